"""The nucleated cells of one tile of a slide; the same cells whichever tiles a slide is cut into.

Every step looks only so far: a tile is read with a halo that is wider than that, and keeps the
cells whose nucleus has its centre in the tile itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from napari_cytosae.cells.crops import RegionSource
from napari_cytosae.cells.extent import cell_matter, grow_cells, join_parts_of_one_cell
from napari_cytosae.cells.grid import Box, WorkingGrid
from napari_cytosae.cells.nuclei import NucleusRules, Zone, find_nuclei
from napari_cytosae.cells.outline import Outline, within, without
from napari_cytosae.cells.stain import relative_density
from napari_cytosae.cells.survey import Survey

BLUR_UM = 0.2
# Wider than the largest part of chromatin (60 µm) and the reach of cytoplasm on both sides of it.
HALO_UM = 90.0
# Cells are grown this far around a tile: those that may join or limit one of its own.
NEIGHBOURS_UM = 45.0


@dataclass(frozen=True, slots=True, eq=False)
class FoundCell:
    """One detected cell, in level-0 px.

    Attributes
    ----------
    y, x : int
        Centre of its nucleus: what decides to which tile it belongs.
    extent : Outline
        Nucleus and cytoplasm.
    nucleus : Outline or None
        Never outside the extent.
    """

    y: int
    x: int
    extent: Outline
    nucleus: Outline | None


def tile_boxes(shape: tuple[int, int], tile_px: int) -> Iterator[Box]:
    """Cut a slide into tiles, row by row; those at the lower and right edges may be smaller."""
    height, width = shape
    for y in range(0, height, tile_px):
        for x in range(0, width, tile_px):
            yield y, x, min(y + tile_px, height), min(x + tile_px, width)


def cells_of_tile(
    slide: RegionSource, survey: Survey, tile: Box, rules: NucleusRules | None = None
) -> list[FoundCell]:
    """Find the cells of one tile.

    Parameters
    ----------
    slide : RegionSource
        The whole slide.
    survey : Survey
        From `survey_slide` on that slide.
    tile : (int, int, int, int)
        y0, x0, y1, x1 in level-0 px. A cell that lies across its edge belongs to the tile that has
        the centre of its nucleus.
    rules : NucleusRules, optional

    Returns
    -------
    list of FoundCell
        From top to bottom. None where neither the slide nor its red cells tell a pixel's size:
        nothing then tells a lymphocyte from a platelet.
    """
    if survey.pixel_um is None:
        return []
    if survey.occupied is not None and not survey.occupied.meets(tile):
        return []
    grid = WorkingGrid.over(slide.shape, survey.pixel_um)
    working_um = grid.microns_per_pixel
    window = grid.window_around(tile, int(np.ceil(HALO_UM / working_um)))
    relative = _blurred_density(slide, survey, grid, window)
    origin = window[:2]
    nuclei = find_nuclei(
        relative,
        working_um,
        rules,
        origin=origin,
        zone=_zone(grid, tile, window, HALO_UM / 1.5),
    )
    if not nuclei.any():
        return []
    cells = grow_cells(
        nuclei,
        cell_matter(relative),
        working_um,
        zone=_zone(grid, tile, window, NEIGHBOURS_UM),
    )
    nuclei, cells = join_parts_of_one_cell(nuclei, cells, working_um)
    found = [
        (index, y, x)
        for index, y, x in _centres(nuclei, grid, origin)
        if tile[0] <= y < tile[2]
        and tile[1] <= x < tile[3]
        and (survey.occupied is None or survey.occupied.holds(y, x))
    ]
    own = [
        FoundCell(y, x, extents[0], extents[1])
        for (_, y, x), extents in zip(
            found, _at_full_size(cells, nuclei, grid, origin, [f[0] for f in found]), strict=True
        )
        if extents[0] is not None
    ]
    return sorted(own, key=lambda cell: (cell.y, cell.x))


def _blurred_density(
    slide: RegionSource, survey: Survey, grid: WorkingGrid, window: Box
) -> NDArray[np.float32]:
    y0, x0, y1, x1 = grid.source_of(window)
    small = grid.reduce(slide.read_region(y0, x0, y1 - y0, x1 - x0), window)
    relative = relative_density(small, survey.reference)
    blur_px = BLUR_UM / grid.microns_per_pixel
    for channel in range(3):
        ndi.gaussian_filter(relative[..., channel], blur_px, output=relative[..., channel])
    return relative


def _zone(grid: WorkingGrid, tile: Box, window: Box, margin_um: float) -> Zone:
    """Give the tile with a margin as slices of a window's arrays."""
    y0, x0, y1, x1 = grid.window_around(tile, int(np.ceil(margin_um / grid.microns_per_pixel)))
    return slice(y0 - window[0], y1 - window[0]), slice(x0 - window[1], x1 - window[1])


def _centres(
    nuclei: NDArray[np.int32], grid: WorkingGrid, origin: tuple[int, int]
) -> list[tuple[int, int, int]]:
    """Give each nucleus' id and its centre in whole px of level 0."""
    y, x = np.nonzero(nuclei)
    ids = nuclei[y, x]
    area = np.bincount(ids)
    # Sums of whole numbers: the same wherever the window began.
    sum_y = np.bincount(ids, y).astype(np.int64) + area * origin[0]
    sum_x = np.bincount(ids, x).astype(np.int64) + area * origin[1]
    present = np.flatnonzero(area)
    return [
        (
            index,
            *grid.point_on_slide(
                int(sum_y[index] // area[index]), int(sum_x[index] // area[index])
            ),
        )
        for index in present.tolist()
    ]


def _at_full_size(
    cells: NDArray[np.int32],
    nuclei: NDArray[np.int32],
    grid: WorkingGrid,
    origin: tuple[int, int],
    wanted: list[int],
) -> Iterator[tuple[Outline | None, Outline | None]]:
    """Draw extents and nuclei at full size; where outlines cross, the upper cell keeps the pixels."""
    windows = ndi.find_objects(cells)
    boxes = np.array(
        [[w[0].start, w[1].start, w[0].stop, w[1].stop] if w else [0] * 4 for w in windows]
    ).reshape(-1, 4)
    drawn: dict[int, Outline | None] = {}
    for index in wanted:
        box = boxes[index - 1]
        reach = 6  # a smooth outline leaves its box on the grid by less than this, twice
        beside = (
            (boxes[:index, 0] < box[2] + reach)
            & (box[0] < boxes[:index, 2] + reach)
            & (boxes[:index, 1] < box[3] + reach)
            & (box[1] < boxes[:index, 3] + reach)
        )
        extent = _drawn(cells, index, windows, grid, origin, drawn)
        for other in np.flatnonzero(beside[:-1]).tolist():
            extent = without(extent, _drawn(cells, other + 1, windows, grid, origin, drawn))
        nucleus = None
        if extent is not None:
            window = windows[index - 1]
            inside = nuclei[window] == index
            nucleus = grid.enlarge(inside, origin[0] + window[0].start, origin[1] + window[1].start)
            nucleus = within(nucleus, extent)
        yield extent, nucleus


def _drawn(
    cells: NDArray[np.int32],
    index: int,
    windows: list[tuple[slice, slice] | None],
    grid: WorkingGrid,
    origin: tuple[int, int],
    drawn: dict[int, Outline | None],
) -> Outline | None:
    if index not in drawn:
        window = windows[index - 1]
        drawn[index] = window and grid.enlarge(
            cells[window] == index, origin[0] + window[0].start, origin[1] + window[1].start
        )
    return drawn[index]
