"""Find nucleated cells, take them from what a user already has, and cut their crops."""

from napari_cytosae.cells.crops import CropBatch, CropGeometry, crop_boxes, iter_crops
from napari_cytosae.cells.detect import detect_cells, detect_with, estimate_microns_per_pixel
from napari_cytosae.cells.found import Cells, measure_cells
from napari_cytosae.cells.nuclei import NucleusRules
from napari_cytosae.cells.read import read_cells
from napari_cytosae.cells.red_cells import RedCellRules, detect_red_cells
from napari_cytosae.cells.sources import (
    cells_from_boxes,
    cells_from_labels,
    cells_from_points,
    whole_image,
)
from napari_cytosae.cells.stain import StainReference, estimate_stain

__all__ = [
    "Cells",
    "CropBatch",
    "CropGeometry",
    "NucleusRules",
    "RedCellRules",
    "StainReference",
    "cells_from_boxes",
    "cells_from_labels",
    "cells_from_points",
    "crop_boxes",
    "detect_cells",
    "detect_red_cells",
    "detect_with",
    "estimate_microns_per_pixel",
    "estimate_stain",
    "iter_crops",
    "measure_cells",
    "read_cells",
    "whole_image",
]
