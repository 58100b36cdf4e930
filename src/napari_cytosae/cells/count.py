"""How many cells a slide has, told from a sample of its tiles."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from napari_cytosae.cells.detect import tile_side
from napari_cytosae.cells.grid import Box
from napari_cytosae.cells.patches import PatchedSlide
from napari_cytosae.cells.region import Region
from napari_cytosae.cells.survey import Survey, survey_slide
from napari_cytosae.cells.tiles import FoundCell, cells_of_tile, tile_boxes
from napari_cytosae.errors import Cancelled
from napari_cytosae.slides import Slide

# At least and at most so many tiles are looked through; in between, as many as fit the time.
_LEAST_TILES, _MOST_TILES = 4, 32
_SECONDS = 8.0
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True, eq=False)
class CellCount:
    """How many cells there are, as far as a sample tells.

    Parameters
    ----------
    expected, low, high
        Cells in all; some 9 times in 10 between the other two.
    tiles_seen, tiles
        Tiles that were looked through, of those on which there may be cells. Where both are the
        same, the count is exact.
    seconds_per_tile
        Time that one took.
    sample
        Each tile that was looked through, with its cells.
    """

    expected: int
    low: int
    high: int
    tiles_seen: int
    tiles: int
    seconds_per_tile: float
    sample: tuple[tuple[Box, tuple[FoundCell, ...]], ...] = ()


def count_cells(
    slide: Slide,
    microns_per_pixel: float | None = None,
    region: Region | None = None,
    *,
    seconds: float = _SECONDS,
    cancelled: Callable[[], bool] = lambda: False,
) -> CellCount:
    """Estimate the number of nucleated cells from some tiles.

    The tiles are spread over those with little and those with much on them, as a look at low
    resolution shows; the rest is expected to hold cells in proportion to what lies on it (a ratio
    estimator: Cochran, Sampling Techniques, chapter 6).

    Parameters
    ----------
    slide
        The slide.
    microns_per_pixel
        Pixel size, where it is known better than from the slide.
    region
        Where cells are wanted; everywhere where None.
    seconds
        Time after which no further tile is begun, four at least being looked through.
    cancelled
        Asked before each tile.

    Raises
    ------
    CellsError
        If the slide has no colour, or is dark.
    ImageError
        If it cannot be read.
    Cancelled
        When `cancelled` says so.
    """
    survey = survey_slide(slide, microns_per_pixel)
    boxes = [
        box
        for box in tile_boxes(slide.shape, tile_side(survey))
        if region is None or region.meets(box)
    ]
    matter = np.array([_matter(survey, box) for box in boxes])
    boxes = [box for box, much in zip(boxes, matter, strict=True) if much > 0]
    matter = matter[matter > 0]
    patched = PatchedSlide(slide, survey.reference.glass)
    seen: list[int] = []
    sample: list[tuple[Box, tuple[FoundCell, ...]]] = []
    began = time.monotonic()
    for place in _spread(matter):
        late = len(seen) >= _LEAST_TILES and time.monotonic() - began > seconds
        if late or len(seen) >= _MOST_TILES:
            break
        if cancelled():
            raise Cancelled("The estimate was stopped.")
        cells = cells_of_tile(patched, survey, boxes[place])
        if region is not None and cells:
            inside = region.contains(np.array([(cell.y, cell.x) for cell in cells], float))
            cells = [cell for cell, kept in zip(cells, inside, strict=True) if kept]
        seen.append(place)
        sample.append((boxes[place], tuple(cells)))
    took = time.monotonic() - began
    expected, low, high = _extrapolated(
        matter, np.array(seen, np.intp), np.array([len(cells) for _, cells in sample], float)
    )
    return CellCount(
        expected, low, high, len(seen), len(boxes), took / max(len(seen), 1), tuple(sample)
    )


def _matter(survey: Survey, box: Box) -> float:
    """Tell how much lies on a tile: squares that are no bare glass, else its area."""
    if survey.occupied is None:
        return float((box[2] - box[0]) * (box[3] - box[1]))
    height, width = survey.occupied.side_px
    rows = slice(int(box[0] / height), int(np.ceil(box[2] / height)))
    columns = slice(int(box[1] / width), int(np.ceil(box[3] / width)))
    return float(survey.occupied.squares[rows, columns].sum())


def _spread(matter: NDArray[np.float64]) -> Iterator[int]:
    """Go through all tiles so that any beginning of the order has sparse and crowded ones alike."""
    order = np.argsort(matter, kind="stable")
    places = np.argsort((np.arange(len(order)) + 0.5) * _GOLDEN % 1.0, kind="stable")
    # Step n of a golden-ratio sequence falls into the largest gap that its forerunners left.
    ranks = np.empty(len(order), np.intp)
    ranks[places] = np.arange(len(order))
    yield from order[ranks].tolist()


def _extrapolated(
    matter: NDArray[np.float64], seen: NDArray[np.intp], counts: NDArray[np.float64]
) -> tuple[int, int, int]:
    """Give the expected, least and most cells of all tiles."""
    n, tiles, found = len(seen), len(matter), int(counts.sum())
    if n == tiles:
        return found, found, found
    if not found:  # with 95 % confidence fewer than 3 per tiles looked at: the rule of three
        return 0, 0, int(np.ceil(3 * matter.sum() / matter[seen].sum()))
    ratio = found / matter[seen].sum()
    expected = ratio * matter.sum()
    residuals = counts - ratio * matter[seen]
    variance = tiles**2 * (1 - n / tiles) / n * float((residuals**2).sum()) / (n - 1)
    # Cells lie at random at best: tiles that happen to be alike do not tell more than that.
    variance = max(variance, expected * (tiles / n - 1))
    error = float(special.stdtrit(n - 1, 0.975)) * variance**0.5
    return round(expected), max(found, round(expected - error)), round(expected + error)
