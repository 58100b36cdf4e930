"""Nuclei: the compact parts of a smear that azure dyes stain as densely as only chromatin does."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from scipy.spatial import KDTree
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.segmentation import watershed

# Stained matter that reaches further is no single nucleus, not even a megakaryocyte's, but a sheet
# of touching cells.
LARGEST_PART_UM = 60.0
# A sheet gets its thresholds in squares of this side: two or three cells.
SHEET_SQUARE_UM = 30.0
# Nucleoli and vacuoles are smaller.
LARGEST_HOLE_UM2 = 12.0

Zone = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class NucleusRules:
    """What counts as the nucleus of one cell; lengths in µm, areas in µm².

    Attributes
    ----------
    azure : float
        Least azure density of stained matter, in units of the red cells' density in green. Red
        cells reach about 1, eosinophil granules 2.5, nuclei 2.5 to 6.
    smallest_um2, largest_um2 : float
        Area of a nucleus, all segments together. Small lymphocytes have 30 or more, cells cut by
        the border less, a normal platelet 3 to 7 in all; megakaryocytes reach 2000.
    smallest_segment_um2 : float
        A smaller speck is not a segment of a nucleus.
    segment_gap_um : float
        Segments of one nucleus are at most so far apart.
    widest_um : float
        Segments that together span more belong to two cells.
    whole_um2, apart_um : float
        Two parts may be the nuclei of two cells if each has at least this area and their centres
        lie at least so far apart.
    """

    azure: float = 1.8
    smallest_um2: float = 16.0
    largest_um2: float = 2500.0
    smallest_segment_um2: float = 4.0
    segment_gap_um: float = 3.0
    widest_um: float = 18.0
    whole_um2: float = 40.0
    apart_um: float = 7.0


@dataclass(slots=True)
class _Segment:
    """Connected parts of chromatin, in pixels of the whole slide.

    Sums and outlines are whole numbers, so that they come out the same wherever the slide was cut.
    """

    area_px: int
    sum_y: int
    sum_x: int
    outline: NDArray[np.int64]
    members: list[int] = field(default_factory=list)

    @property
    def centre(self) -> tuple[float, float]:
        return self.sum_y / self.area_px, self.sum_x / self.area_px


def azure_density(relative: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the density of azure dyes: red + green − blue of relative densities.

    Azure B and methylene blue absorb red and green; eosin and haemoglobin absorb green and blue,
    so that the last two cancel; grey dirt keeps only a third of its absorption.
    """
    return np.asarray(relative[..., 0] + relative[..., 1] - relative[..., 2])


def find_nuclei(
    relative: NDArray[np.float32],
    microns_per_pixel: float,
    rules: NucleusRules | None = None,
    *,
    origin: tuple[int, int] = (0, 0),
    zone: Zone | None = None,
) -> NDArray[np.int32]:
    """Label nuclei, the segments of one nucleus together.

    Nothing here looks further than `LARGEST_PART_UM` from a nucleus, so that any tile that shows
    its surroundings gives the same nucleus.

    Parameters
    ----------
    relative : (H, W, 3) float32
        Relative densities at about 0.2 µm per pixel, noise blurred.
    microns_per_pixel : float
    rules : NucleusRules, optional
    origin : (int, int)
        Where the array's first pixel lies on the slide.
    zone : (slice, slice), optional
        Where nuclei are wanted; what lies far from it is left out.

    Returns
    -------
    (H, W) int32
        1 … n, 0 elsewhere.
    """
    rules = rules or NucleusRules()
    chromatin = _chromatin(relative, microns_per_pixel, rules, origin, zone)
    parts = _cut_at_necks(chromatin, microns_per_pixel, rules)
    nuclei = _join_segments(parts, microns_per_pixel, rules, origin)
    areas = np.bincount(nuclei.ravel()) * microns_per_pixel**2
    keep = (areas >= rules.smallest_um2) & (areas <= rules.largest_um2)
    keep[0] = False
    renumbered = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return np.asarray(renumbered[nuclei])


def _chromatin(
    relative: NDArray[np.float32],
    microns_per_pixel: float,
    rules: NucleusRules,
    origin: tuple[int, int],
    zone: Zone | None,
) -> NDArray[np.bool_]:
    """Mark chromatin: azure-stained, of a nucleus' hue, and dense for the cell it is in."""
    azure = azure_density(relative)
    blobs = label(azure > rules.azure, connectivity=1).astype(np.int32, copy=False)
    margin = max(1, round(0.6 / microns_per_pixel))
    chromatin = np.zeros(azure.shape, bool)
    smallest_px = rules.smallest_segment_um2 / microns_per_pixel**2
    largest_px = LARGEST_PART_UM / microns_per_pixel
    sizes = np.bincount(blobs.ravel())
    for index, window in enumerate(ndi.find_objects(blobs), start=1):
        if sizes[index] < smallest_px or not meets(window, zone):
            continue
        around = tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in window)
        blob = blobs[around] == index
        if max(s.stop - s.start for s in window) > largest_px:
            corner = (origin[0] + around[0].start, origin[1] + around[1].start)
            chromatin[around] |= _of_sheet(
                blob, relative[around], azure[around], corner, microns_per_pixel, smallest_px
            )
            continue
        threshold = _threshold(blob, relative[around], azure[around], margin)
        if threshold is not None:
            dense = blob & (azure[around] >= threshold)
            chromatin[around] |= ndi.binary_fill_holes(ndi.binary_opening(dense))
    return chromatin


def _threshold(
    blob: NDArray[np.bool_],
    relative: NDArray[np.float32],
    azure: NDArray[np.float32],
    margin: int,
) -> float | None:
    """Give the least azure density of a blob's chromatin; None where its hue is no nucleus'."""
    red, green, blue = relative[blob].mean(axis=0)
    # Dirt and ink absorb blue as much as green; green overlays absorb red more than green.
    if blue > 0.75 * green or red > 1.1 * green:
        return None
    # Granules and basophilic cytoplasm pass the first threshold too; a second one, between
    # the nucleus and whatever surrounds it, leaves them out.
    densest = np.percentile(azure[blob], 95)
    nearby = ndi.binary_dilation(blob, iterations=margin)
    return float(np.clip(threshold_otsu(azure[nearby]), 0.4 * densest, 0.7 * densest))


def _of_sheet(
    sheet: NDArray[np.bool_],
    relative: NDArray[np.float32],
    azure: NDArray[np.float32],
    corner: tuple[int, int],
    microns_per_pixel: float,
    smallest_px: float,
) -> NDArray[np.bool_]:
    """Mark the chromatin of many cells that stain as one, square by square of the slide.

    A threshold for all of a sheet would depend on cells far away, and on where a tile cuts it.
    """
    side = max(8, round(SHEET_SQUARE_UM / microns_per_pixel))
    margin = max(1, round(0.6 / microns_per_pixel))
    dense = np.zeros(sheet.shape, bool)
    height, width = sheet.shape
    for top in range(-(corner[0] % side), height, side):
        for left in range(-(corner[1] % side), width, side):
            y0, x0 = max(top - margin, 0), max(left - margin, 0)
            square = np.zeros((top + side + margin - y0, left + side + margin - x0), bool)
            square = square[: height - y0, : width - x0]
            inner = (
                slice(max(top, 0) - y0, top + side - y0),
                slice(max(left, 0) - x0, left + side - x0),
            )
            around = (slice(y0, y0 + square.shape[0]), slice(x0, x0 + square.shape[1]))
            square[inner] = sheet[around][inner]
            if np.count_nonzero(square) < smallest_px:
                continue
            threshold = _threshold(square, relative[around], azure[around], margin)
            if threshold is not None:
                dense[around] |= square & (azure[around] >= threshold)
    dense = ndi.binary_opening(dense)
    # Only holes of a nucleus' own size: the inside of a ring of cells is none.
    holes = label(~dense, connectivity=1)
    small = np.bincount(holes.ravel()) < LARGEST_HOLE_UM2 / microns_per_pixel**2
    small[0] = False
    return np.asarray(dense | small[holes])


def _cut_at_necks(
    chromatin: NDArray[np.bool_], microns_per_pixel: float, rules: NucleusRules
) -> NDArray[np.int32]:
    """Label components, those with several thick parts cut where they are thinnest."""
    parts = label(chromatin, connectivity=2).astype(np.int32, copy=False)
    sizes = np.bincount(parts.ravel()) * microns_per_pixel**2
    following = sizes.size
    sigma = 0.3 / microns_per_pixel
    # Nothing but background within reach of the blur, so that a part's outermost points are like
    # all its others.
    pad = 1 + int(4 * sigma + 0.5)
    for index, window in enumerate(ndi.find_objects(parts), start=1):
        if sizes[index] < 2 * rules.whole_um2:
            continue
        part = np.pad(parts[window] == index, pad)
        depth = ndi.gaussian_filter(ndi.distance_transform_edt(part), sigma)
        peaks = peak_local_max(
            depth,
            min_distance=max(1, round(rules.apart_um / 2 / microns_per_pixel)),
            labels=part.astype(np.int32),
            exclude_border=False,
        )
        if len(peaks) < 2:
            continue
        markers = np.zeros(part.shape, np.int32)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        pieces = watershed(-depth, markers, mask=part)[pad:-pad, pad:-pad]
        for piece in range(2, len(peaks) + 1):
            parts[window][pieces == piece] = following
            following += 1
    return np.asarray(parts)


def _join_segments(
    parts: NDArray[np.int32],
    microns_per_pixel: float,
    rules: NucleusRules,
    origin: tuple[int, int],
) -> NDArray[np.int32]:
    """Give the segments of one nucleus one id, the nearest first."""
    segments = _segments(parts, microns_per_pixel, rules, origin)
    ids = list(segments)
    gaps = _gaps(segments, rules.segment_gap_um / microns_per_pixel)
    owner = {i: i for i in ids}
    for _, i, j in sorted(gaps):
        a, b = segments[owner[i]], segments[owner[j]]
        if a is b or not _one_nucleus(a, b, microns_per_pixel, rules):
            continue
        segments[owner[i]] = _Segment(
            a.area_px + b.area_px,
            a.sum_y + b.sum_y,
            a.sum_x + b.sum_x,
            np.concatenate([a.outline, b.outline]),
            a.members + b.members,
        )
        for k in b.members:
            owner[k] = owner[i]
    new_ids = np.zeros(int(parts.max(initial=0)) + 1, np.int32)
    for k, o in owner.items():
        new_ids[k] = o
    return np.asarray(new_ids[parts])


def _segments(
    parts: NDArray[np.int32],
    microns_per_pixel: float,
    rules: NucleusRules,
    origin: tuple[int, int],
) -> dict[int, _Segment]:
    segments: dict[int, _Segment] = {}
    for index, window in enumerate(ndi.find_objects(parts), start=1):
        if window is None:
            continue
        mask = np.pad(parts[window] == index, 1)
        area_px = int(np.count_nonzero(mask))
        if area_px * microns_per_pixel**2 < rules.smallest_segment_um2:
            continue
        offset = np.array(
            [origin[0] + window[0].start - 1, origin[1] + window[1].start - 1], np.int64
        )
        outline = np.argwhere(mask & ~ndi.binary_erosion(mask)) + offset
        sums = np.argwhere(mask).sum(axis=0) + area_px * offset
        segments[index] = _Segment(area_px, int(sums[0]), int(sums[1]), outline, [index])
    return segments


def _gaps(segments: dict[int, _Segment], limit_px: float) -> list[tuple[float, int, int]]:
    """Measure the distance of every two outlines that are not further apart than the limit."""
    ids = np.array(list(segments), np.int64)
    if ids.size < 2:
        return []
    low = np.array([segment.outline.min(axis=0) for segment in segments.values()]) - limit_px
    high = np.array([segment.outline.max(axis=0) for segment in segments.values()])
    gaps = []
    for n, i in enumerate(ids.tolist()):
        near = ((low[n + 1 :] <= high[n]) & (low[n] <= high[n + 1 :])).all(axis=1)
        if not near.any():
            continue
        tree = KDTree(segments[i].outline)
        for j in ids[n + 1 :][near].tolist():
            gap = float(tree.query(segments[j].outline)[0].min())
            if gap <= limit_px:
                gaps.append((gap, i, j))
    return gaps


def _one_nucleus(a: _Segment, b: _Segment, microns_per_pixel: float, rules: NucleusRules) -> bool:
    """Tell whether two groups of segments belong to one cell."""
    points = np.concatenate([a.outline, b.outline])
    y, x = points[:, 0], points[:, 1]
    widest_px = rules.widest_um / microns_per_pixel
    along = max(int(np.ptp(y)), int(np.ptp(x)))
    across = 0.7071 * max(int(np.ptp(y + x)), int(np.ptp(y - x)))
    if max(along, across) > widest_px:
        return False
    (ay, ax), (by, bx) = a.centre, b.centre
    apart_um = float(np.hypot(ay - by, ax - bx)) * microns_per_pixel
    smaller_um2 = min(a.area_px, b.area_px) * microns_per_pixel**2
    return smaller_um2 < rules.whole_um2 or apart_um < rules.apart_um


def meets(window: tuple[slice, ...], zone: Zone | None) -> bool:
    """Tell whether an object's box reaches into a zone; everything does where there is none."""
    return zone is None or all(
        s.start < z.stop and z.start < s.stop for s, z in zip(window, zone, strict=True)
    )
