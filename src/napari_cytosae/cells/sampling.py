"""A fixed sample of windows of a slide: where something lies on the glass, and the brightest glass."""

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.errors import DamagedImageError
from napari_cytosae.slides import Slide

# A window is looked for on a level that is at least and at most so much smaller than level 0.
_LEAST_DOWNSAMPLE, _MOST_DOWNSAMPLE = 4.0, 80.0
# Without such a level, this many patches along each axis are looked at.
_PATCHES = 20
_PATCH_PX = 128
# What varies less than this share of the most varied windows shows little but glass.
_VARIED_SHARE = 0.3
_BRIGHT_WINDOWS = 4


def sample_windows(
    slide: Slide, side_px: int, most: int, *, bright: bool = True
) -> list[NDArray[np.uint8]]:
    """Read windows of level 0, spread evenly over what lies on the glass.

    Parameters
    ----------
    slide : Slide
    side_px : int
        Side of a window.
    most : int
        How many at most.
    bright : bool
        Add a few of the brightest windows: where a slide is full of cells, they show its glass.

    Returns
    -------
    list of (h, w, 3) uint8
        Without those that cannot be read.
    """
    mean, spread = _overview(slide, side_px)
    places = _spread_evenly(np.argwhere(spread >= _VARIED_SHARE * _high(spread)), most)
    if bright:
        # Exactly even windows were filled in by the scanner and show no glass.
        candidates = np.argwhere(spread > 0)
        order = np.argsort(-mean[tuple(candidates.T)], kind="stable")[:_BRIGHT_WINDOWS]
        places += [place for place in candidates[order].tolist() if place not in places]
    windows = []
    for row, column in places:
        y, x = row * side_px, column * side_px
        height, width = min(side_px, slide.shape[0] - y), min(side_px, slide.shape[1] - x)
        try:
            windows.append(slide.read_region(y, x, height, width))
        except DamagedImageError:
            continue  # whether all of the slide is damaged, the caller sees
    return windows


def _overview(slide: Slide, side_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give mean and spread of green in each window of a grid over the slide; NaN, 0 if unread."""
    rows, columns = (-(-size // side_px) for size in slide.shape)
    # A strip at the edge that is much narrower than a window shows too little.
    rows, columns = (
        max(1, count - (size % side_px != 0 and size % side_px < side_px // 2))
        for count, size in zip((rows, columns), slide.shape, strict=True)
    )
    mean, spread = np.full((rows, columns), np.nan), np.zeros((rows, columns))
    level = _level(slide)
    row_list, column_list = range(rows), range(columns)
    if level is None:  # few and small: each costs whole tiles of the full resolution
        row_list, column_list = (
            range(0, count, max(1, count // _PATCHES)) for count in (rows, columns)
        )
    for row in row_list:
        for column in column_list:
            patch = _patch(slide, level, row * side_px, column * side_px, side_px)
            if patch is not None:
                mean[row, column], spread[row, column] = patch.mean(), patch.std()
    return mean, spread


def _level(slide: Slide) -> int | None:
    """Choose the smallest level on which a window still has a few pixels."""
    heights = np.array([shape[0] for shape in slide.level_shapes], np.float64)
    downsamples = heights[0] / heights
    fit = np.flatnonzero((downsamples >= _LEAST_DOWNSAMPLE) & (downsamples <= _MOST_DOWNSAMPLE))
    return int(fit[-1]) if fit.size else None


def _patch(
    slide: Slide, level: int | None, y: int, x: int, side_px: int
) -> NDArray[np.uint8] | None:
    """Read green of one window on a level, or of a patch in its middle at full resolution."""
    if level is None:
        height, width = (
            min(_PATCH_PX, size - at) for size, at in zip(slide.shape, (y, x), strict=True)
        )
        y += (min(side_px, slide.shape[0] - y) - height) // 2
        x += (min(side_px, slide.shape[1] - x) - width) // 2
        level = 0
    else:
        shape = slide.level_shapes[level]
        zoom_y, zoom_x = (big / small for big, small in zip(slide.shape, shape, strict=True))
        bottom = min(max(int((y + side_px) / zoom_y), int(y / zoom_y) + 1), shape[0])
        right = min(max(int((x + side_px) / zoom_x), int(x / zoom_x) + 1), shape[1])
        y, x = min(int(y / zoom_y), shape[0] - 1), min(int(x / zoom_x), shape[1] - 1)
        height, width = max(bottom - y, 1), max(right - x, 1)
    try:
        return slide.read_region(y, x, height, width, level)[..., 1]
    except DamagedImageError:
        return None


def _high(spread: NDArray[np.float64]) -> float:
    seen = spread[spread > 0]
    return float(np.percentile(seen, 90)) if seen.size else 0.0


def _spread_evenly(places: NDArray[np.int64], most: int) -> list[list[int]]:
    """Choose at most so many places, evenly along their rows."""
    if len(places) > most:
        places = places[np.linspace(0, len(places) - 1, most).round().astype(int)]
    chosen: list[list[int]] = places.tolist()
    return chosen
