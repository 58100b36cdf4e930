"""The slide with its cells outlined and numbered."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

from napari_cytosae.concepts import Run
from napari_cytosae.export.canvas import Canvas
from napari_cytosae.export.overlay import picture_scale, scaled_slide
from napari_cytosae.slides import Slide

_FOOT_PX = 44
_OUTLINE = "#0072B2"
# A number on a smaller cell would cover it.
_SMALLEST_NUMBERED_PX = 28


def draw_overview(run: Run, slide: Slide, path: Path) -> None:
    """Write a PNG of the slide with every cell outlined and, where there is room, numbered.

    The picture's longer side is at most 4096 px (plus a line of text); small fields are enlarged.

    Parameters
    ----------
    run
        The finished run.
    slide
        The image that the run analysed.
    path
        Where the picture goes.
    """
    scale = picture_scale(slide.shape)
    picture = scaled_slide(slide, scale)
    height, width = picture.shape[:2]
    canvas = Canvas(width, height + _FOOT_PX)
    canvas.image(picture, 0, 0)
    boxes = run.table[["box_y0", "box_x0", "box_y1", "box_x1"]].to_numpy().astype(np.int64)
    labels = run.table["label"].to_numpy().astype(np.int64)
    outlines = [
        outline * scale
        for label, box in zip(labels, boxes, strict=True)
        for outline in cell_outline(run.labels, int(label), box, step=max(1, int(1 / scale)))
    ]
    canvas.lines(outlines, _OUTLINE, width=2.2, casing=1.2)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) * scale
    typical = float(np.median(sides)) if len(sides) else 0.0
    if typical >= _SMALLEST_NUMBERED_PX:
        size = float(np.clip(0.2 * typical, 13, 30))
        for label, (y0, x0, _, x1) in zip(labels, boxes * scale, strict=True):
            x = float(np.clip((x0 + x1) / 2, size, width - size))
            y = max(y0 - 0.25 * size, size)
            canvas.text(
                str(label), x, y, size, color=_OUTLINE, bold=True, anchor="center", casing=2.5
            )
    _draw_foot(canvas, run, slide, scale)
    canvas.save(path)


def cell_outline(
    labels: NDArray[np.int32], label: int, box: NDArray[np.int64], step: int = 1
) -> list[NDArray[np.float64]]:
    """Trace one cell's border.

    Parameters
    ----------
    labels
        (H, W) label image.
    label
        The cell's label.
    box
        y0, x0, y1, x1 of the cell in px, half-open.
    step
        Look at every ``step``-th pixel only.

    Returns
    -------
    list of NDArray
        Closed (n, 2) polylines, x and y in px from the image's corner.
    """
    y0, x0, y1, x1 = (int(side) for side in box)
    mask = np.pad(np.asarray(labels[y0:y1:step, x0:x1:step]) == label, 1)
    # One pixel was padded, and a pixel's centre lies half a pixel from its corner.
    contours = find_contours(mask, 0.5)  # type: ignore[no-untyped-call]
    return [(contour[:, ::-1] - 0.5) * step + (x0, y0) for contour in contours]


def _draw_foot(canvas: Canvas, run: Run, slide: Slide, scale: float) -> None:
    n_cells = len(run.table)
    cells = "1 cell" if n_cells == 1 else f"{n_cells:,} cells"
    size = 18
    baseline = canvas.height - _FOOT_PX / 2 + size / 3
    words = f"{cells}   ·   {slide.name}"
    canvas.text(words, 14, baseline, size, room=0.65 * canvas.width)
    microns_per_pixel = slide.microns_per_pixel
    if not microns_per_pixel:
        return
    length_um = round_length(0.15 * canvas.width / scale * microns_per_pixel)
    length_px = length_um / microns_per_pixel * scale
    right = canvas.width - 14
    canvas.lines(
        [np.array([[right - length_px, baseline - 6], [right, baseline - 6]])], "#222222", width=4
    )
    canvas.text(f"{length_um:g} µm", right - length_px - 10, baseline, size, anchor="right")


def round_length(most_um: float) -> float:
    """Take the largest of 1, 2, 5, 10, 20, 50, … µm that is not above `most_um`."""
    power = 10.0 ** math.floor(math.log10(most_um))
    return max(step * power for step in (1, 2, 5) if step * power <= most_um * (1 + 1e-9))
