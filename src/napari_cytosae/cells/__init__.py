"""Find nucleated cells, take them from what a user already has, and cut their crops."""

from napari_cytosae.cells.crops import CropBatch, CropGeometry, crop_boxes, iter_crops
from napari_cytosae.cells.detect import detect_cells, detect_with
from napari_cytosae.cells.found import Cells, measure_cells
from napari_cytosae.cells.label_image import LabelImage, PaintedLabels
from napari_cytosae.cells.morphology import MORPHOLOGY, measure_morphology
from napari_cytosae.cells.nuclei import NucleusRules
from napari_cytosae.cells.read import read_cells
from napari_cytosae.cells.red_cells import RedCellRules, detect_red_cells
from napari_cytosae.cells.region import Region, cells_within, read_region
from napari_cytosae.cells.sources import (
    cells_from_boxes,
    cells_from_labels,
    cells_from_points,
    whole_image,
)
from napari_cytosae.cells.stain import StainReference, estimate_stain
from napari_cytosae.cells.survey import (
    Survey,
    estimate_microns_per_pixel,
    survey_image,
    survey_slide,
)

__all__ = [
    "MORPHOLOGY",
    "Cells",
    "CropBatch",
    "CropGeometry",
    "LabelImage",
    "NucleusRules",
    "PaintedLabels",
    "RedCellRules",
    "Region",
    "StainReference",
    "Survey",
    "cells_from_boxes",
    "cells_from_labels",
    "cells_from_points",
    "cells_within",
    "crop_boxes",
    "detect_cells",
    "detect_red_cells",
    "detect_with",
    "estimate_microns_per_pixel",
    "estimate_stain",
    "iter_crops",
    "measure_cells",
    "measure_morphology",
    "read_cells",
    "read_region",
    "survey_image",
    "survey_slide",
    "whole_image",
]
