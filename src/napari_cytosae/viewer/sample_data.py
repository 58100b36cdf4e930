"""Sample data for napari's File menu."""

from __future__ import annotations

from typing import Any

from napari_cytosae.slides import sample_smear


def smear() -> list[tuple[Any, dict[str, Any], str]]:
    """Draw the sample smear, with its pixel size.

    Returns
    -------
    list of layer data tuples
        One RGB image layer, in µm.
    """
    sample = sample_smear()
    size = sample.microns_per_pixel
    settings = {
        "name": "sample smear",
        "rgb": True,
        "scale": (size, size),
        "units": ("micrometer", "micrometer"),
        "axis_labels": ("y", "x"),
    }
    return [(sample.image, settings, "image")]


def add_sample_smear(viewer: Any) -> None:
    """Open the sample smear in a viewer."""
    for data, settings, _ in smear():
        viewer.add_image(data, **settings)
    viewer.reset_view()
