"""The slide with its cells outlined and numbered."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

from napari_cytosae.cells import LabelImage
from napari_cytosae.concepts import Run
from napari_cytosae.export.canvas import Canvas
from napari_cytosae.export.overlay import picture_scale, scaled_slide
from napari_cytosae.slides import Slide

# Green is the hue that neither stain has; white on both sides parts it from dark nuclei.
_OUTLINE = "#00795A"
# A number on a smaller cell would cover it.
_SMALLEST_NUMBERED_PX = 28


def draw_overview(run: Run, slide: Slide, path: Path) -> None:
    """Write a PNG of the slide with every cell outlined and, where there is room, numbered.

    The picture's longer side is at most 3072 px (plus a line of text); small fields are enlarged.
    Where cells crowd, a number that would cover another is left out.

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
    # Letters and lines grow with the picture, which a screen shrinks again.
    unit = min(max(max(height, width) / 1600, 0.75), 2.5)
    foot = round(44 * unit)
    canvas = Canvas(width, height + foot)
    canvas.image(picture, 0, 0)
    boxes = run.table[["box_y0", "box_x0", "box_y1", "box_x1"]].to_numpy().astype(np.int64)
    labels = run.table["label"].to_numpy().astype(np.int64)
    outlines = [
        outline * scale
        for label, box in zip(labels, boxes, strict=True)
        for outline in cell_outline(run.labels, int(label), box, step=max(1, int(1 / scale)))
    ]
    canvas.lines(outlines, _OUTLINE, width=2.5 * unit, casing=1.5 * unit)
    _draw_numbers(canvas, labels, boxes.astype(np.float64) * scale, smallest=13 * unit, width=width)
    _draw_foot(canvas, foot, run, slide, scale)
    canvas.save(path)


def _draw_numbers(
    canvas: Canvas,
    labels: NDArray[np.int64],
    boxes: NDArray[np.float64],
    smallest: float,
    width: int,
) -> None:
    """Write each cell's label above its box (in picture px), the largest cells' first."""
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    if not len(sides) or np.median(sides) < _SMALLEST_NUMBERED_PX:
        return
    size = float(max(smallest, min(0.2 * np.median(sides), 30)))
    # DejaVu's bold digits are 0.7 times as wide as its letters are high.
    half_widths = 0.35 * size * np.array([len(str(label)) for label in labels])
    xs = np.clip((boxes[:, 1] + boxes[:, 3]) / 2, half_widths, width - half_widths)
    ys = np.maximum(boxes[:, 0] - 0.25 * size, size)
    written: list[int] = []
    for row in np.argsort(-sides, kind="stable"):
        across = np.abs(xs[written] - xs[row]) < half_widths[written] + half_widths[row]
        if np.any(across & (np.abs(ys[written] - ys[row]) < 0.8 * size)):
            continue
        written.append(int(row))
        canvas.text(
            str(labels[row]),
            xs[row],
            ys[row],
            size,
            color=_OUTLINE,
            bold=True,
            anchor="center",
            casing=size / 7,
        )


def cell_outline(
    labels: LabelImage, label: int, box: NDArray[np.int64], step: int = 1
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
    contours = find_contours(mask, 0.5)
    return [(contour[:, ::-1] - 0.5) * step + (x0, y0) for contour in contours]


def _draw_foot(canvas: Canvas, foot: int, run: Run, slide: Slide, scale: float) -> None:
    n_cells = len(run.table)
    cells = "1 cell" if n_cells == 1 else f"{n_cells:,} cells"
    size = 0.4 * foot
    baseline = canvas.height - foot / 2 + size / 3
    margin = 0.8 * size
    words = f"{cells}   ·   {slide.name}"
    canvas.text(words, margin, baseline, size, room=0.65 * canvas.width)
    microns_per_pixel = slide.microns_per_pixel
    if not microns_per_pixel:
        return
    length_um = round_length(0.15 * canvas.width / scale * microns_per_pixel)
    length_px = length_um / microns_per_pixel * scale
    right = canvas.width - margin
    canvas.lines(
        [np.array([[right - length_px, baseline - size / 3], [right, baseline - size / 3]])],
        "#222222",
        width=size / 4,
    )
    canvas.text(f"{length_um:g} µm", right - length_px - margin / 2, baseline, size, anchor="right")


def round_length(most_um: float) -> float:
    """Take the largest of 1, 2, 5, 10, 20, 50, … µm that is not above `most_um`."""
    power = 10.0 ** math.floor(math.log10(most_um))
    return max(step * power for step in (1, 2, 5) if step * power <= most_um * (1 + 1e-9))
