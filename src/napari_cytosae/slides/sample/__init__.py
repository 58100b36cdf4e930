"""The project's own blood smear: drawn, never photographed."""

from napari_cytosae.slides.sample.smear import SampleSmear, sample_smear

__all__ = ["SampleSmear", "sample_smear"]
