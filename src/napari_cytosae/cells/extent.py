"""Cell extents: what belongs to a nucleus of the stained matter around it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.morphology import convex_hull_image, disk

from napari_cytosae.cells.nuclei import Zone, meets

# Cytoplasm reaches at most this far from the nucleus (eosinophils, eccentric plasma cells).
REACH_UM = 6.5
# Thinner structures are rims of red cells and stain threads.
THREAD_UM = 1.4
# Outlines are smoothed at this scale: membranes are, colour noise is not.
SMOOTH_UM = 0.5


def cell_matter(relative: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mark what may be nucleus or cytoplasm of a nucleated cell, not glass and not red cell.

    Parameters
    ----------
    relative : (H, W, 3) float32
        Relative densities, see :func:`napari_cytosae.cells.stain.relative_density`.

    Returns
    -------
    (H, W) bool
        Azure (nuclei, granules) beyond what red cells reach, pale matter that absorbs far less
        blue than haemoglobin does, or eosin denser and purer than a red cell's (the granules of
        eosinophils).
    """
    red, green, blue = relative[..., 0], relative[..., 1], relative[..., 2]
    azure = red + green - blue
    # Basophilic cytoplasm absorbs red as much as green, which no red cell does.
    basophilic = (red > 0.75 * green) & (blue < 0.45 * green)
    cytoplasm = (green > 0.3) & ((blue < 0.35 * green) | basophilic)
    eosin = (green > 1.3) & (red < 0.27 * green)
    return np.asarray((azure > 1.5) | cytoplasm | eosin)


def grow_cells(
    nuclei: NDArray[np.int32],
    matter: NDArray[np.bool_],
    microns_per_pixel: float,
    *,
    zone: Zone | None = None,
) -> NDArray[np.int32]:
    """Grow every nucleus into the cytoplasm around it, each pixel to its nearest nucleus.

    Parameters
    ----------
    nuclei : (H, W) int32
    matter : (H, W) bool
        From :func:`cell_matter`.
    microns_per_pixel : float
    zone : (slice, slice), optional
        Where cells are wanted; nuclei that lie far from it are not grown.

    Returns
    -------
    (H, W) int32
        Same ids; every nucleus lies inside its cell.
    """
    cells = np.zeros_like(nuclei)
    windows = {
        index: window
        for index, window in enumerate(ndi.find_objects(nuclei), start=1)
        if window is not None and meets(window, zone)
    }
    for index, window in windows.items():
        cells[window][nuclei[window] == index] = index
    open_px = max(1, round(THREAD_UM / 2 / microns_per_pixel))
    reach_px = REACH_UM / microns_per_pixel
    margin = int(np.ceil(reach_px)) + 2
    for index, window in windows.items():
        around = _widened(window, margin, nuclei.shape)
        nucleus = nuclei[around] == index
        nearby = _nearest(nuclei, index, window, around, reach_px)
        # Granules and vacuoles leave gaps; rims of neighbouring red cells are thin.
        mine = _closed(nucleus | (matter[around] & nearby), open_px)
        mine = _opened(mine, open_px) | nucleus
        parts, _ = ndi.label(mine)
        touched = np.unique(parts[nucleus])
        mine = np.isin(parts, touched[touched > 0])
        mine = ndi.binary_fill_holes(_smooth(mine, SMOOTH_UM / microns_per_pixel)) | nucleus
        free = (cells[around] == 0) | nucleus
        cells[around][mine & free] = index
    return cells


def _nearest(
    nuclei: NDArray[np.int32],
    index: int,
    window: tuple[slice, ...],
    around: tuple[slice, ...],
    reach_px: float,
) -> NDArray[np.bool_]:
    """Mark what lies within reach of a nucleus and not nearer to another one."""
    distance = ndi.distance_transform_edt(nuclei[around] != index)
    # Whatever is nearer to a point within reach lies within twice the reach.
    wide = _widened(window, int(np.ceil(2 * reach_px)) + 2, nuclei.shape)
    others = nuclei[wide]
    others = (others > 0) & (others != index)
    if others.any():
        inner = tuple(
            slice(a.start - w.start, a.stop - w.start) for a, w in zip(around, wide, strict=True)
        )
        distance[distance > ndi.distance_transform_edt(~others)[inner]] = np.inf
    return np.asarray(distance <= reach_px)


def _widened(window: tuple[slice, ...], margin: int, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(max(s.start - margin, 0), min(s.stop + margin, size))
        for s, size in zip(window, shape, strict=True)
    )


def _closed(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    padded = np.pad(mask, radius_px, mode="edge")
    closed = ndi.binary_closing(padded, disk(radius_px), border_value=0)
    return np.asarray(closed[radius_px:-radius_px, radius_px:-radius_px] | mask)


def _smooth(mask: NDArray[np.bool_], sigma_px: float) -> NDArray[np.bool_]:
    blurred = ndi.gaussian_filter(mask.astype(np.float32), sigma_px, mode="nearest")
    return np.asarray(blurred > 0.5)


def _opened(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    padded = np.pad(mask, radius_px, mode="edge")
    opened = ndi.binary_opening(padded, disk(radius_px))
    return np.asarray(opened[radius_px:-radius_px, radius_px:-radius_px])


# Parts of one cell: together as round as a cell, and no larger than the largest leucocytes.
ROUND_ASPECT = 1.45
ROUND_SOLIDITY = 0.78
WIDEST_CELL_UM = 25.0


def join_parts_of_one_cell(
    nuclei: NDArray[np.int32], cells: NDArray[np.int32], microns_per_pixel: float
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Join neighbours that make up one round cell, and number cells anew.

    The nucleus of an eosinophil or a monocyte may fall into two parts, each as large as a
    lymphocyte's nucleus. What tells them from two cells is the cell around them: two cells side by
    side are twice as long as wide, two parts of one cell are round together.

    Parameters
    ----------
    nuclei, cells : (H, W) int32
    microns_per_pixel : float

    Returns
    -------
    nuclei, cells : (H, W) int32
        Ids 1 … n from top to bottom.
    """
    cells, nuclei = cells.copy(), nuclei.copy()
    windows = {
        index: window
        for index, window in enumerate(ndi.find_objects(cells), start=1)
        if window is not None
    }
    now = {index: index for index in windows}
    pairs = _touching(cells, windows)
    # The longest common border first.
    for pair in sorted(pairs, key=lambda pair: (-pairs[pair], pair)):
        a, b = now[pair[0]], now[pair[1]]
        if a == b:
            continue
        window = _around(windows[a], windows[b])
        mask = (cells[window] == a) | (cells[window] == b)
        if not _round(mask, microns_per_pixel):
            continue
        for image in (cells, nuclei):
            image[window][image[window] == b] = a
        windows[a] = window
        now = {index: a if owner == b else owner for index, owner in now.items()}
    used = np.bincount(cells.ravel()) > 0
    used[0] = False
    renumbered = np.where(used, np.cumsum(used), 0).astype(np.int32)
    nuclei[nuclei >= used.size] = 0
    return renumbered[nuclei], renumbered[cells]


def _touching(
    cells: NDArray[np.int32], windows: dict[int, tuple[slice, ...]]
) -> dict[tuple[int, int], int]:
    """Count the pixels along which each pair of cells touches, a gap of one pixel allowed."""
    borders: dict[tuple[int, int], int] = {}
    for index, window in windows.items():
        around = cells[_widened(window, 2, cells.shape)]
        mine = around == index
        # Each pair is counted from its lower id.
        others = np.where(around > index, around, 0)
        if not others.any():
            continue
        for step in (1, 2):
            for cut, rest in (
                (np.s_[step:], np.s_[:-step]),
                (np.s_[:, step:], np.s_[:, :-step]),
            ):
                for a, b in ((cut, rest), (rest, cut)):
                    touched, counts = np.unique(others[b][mine[a]], return_counts=True)
                    for other, count in zip(touched.tolist(), counts.tolist(), strict=True):
                        if other:
                            borders[index, other] = borders.get((index, other), 0) + count
    return borders


def _around(a: tuple[slice, ...], b: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(min(p.start, q.start), max(p.stop, q.stop)) for p, q in zip(a, b, strict=True)
    )


def _round(mask: NDArray[np.bool_], microns_per_pixel: float) -> bool:
    """Tell whether a shape could be one cell."""
    if max(mask.shape) * microns_per_pixel > WIDEST_CELL_UM:
        return False
    # Without threads and torn edges, which tell nothing of the number of cells.
    shape = _opened(mask, max(1, round(THREAD_UM / microns_per_pixel)))
    if not shape.any():
        return False
    short, long = np.linalg.eigvalsh(np.cov(np.argwhere(shape).T))
    if long > ROUND_ASPECT**2 * short:
        return False
    return float(shape.sum() / convex_hull_image(shape).sum()) >= ROUND_SOLIDITY
