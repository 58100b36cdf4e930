"""Open any image as a `Slide`, and draw a sample smear."""

from napari_cytosae.slides.files import image_stem, is_image_folder
from napari_cytosae.slides.rgb import to_rgb8
from napari_cytosae.slides.sample import SampleSmear, sample_smear
from napari_cytosae.slides.slide import Slide

__all__ = ["SampleSmear", "Slide", "image_stem", "is_image_folder", "sample_smear", "to_rgb8"]
