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
    """A connected part of chromatin; coordinates in µm."""

    area: float
    centre: NDArray[np.float64]
    outline: NDArray[np.float64]
    members: list[int] = field(default_factory=list)


def azure_density(relative: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the density of azure dyes: red + green − blue of relative densities.

    Azure B and methylene blue absorb red and green; eosin and haemoglobin absorb green and blue,
    so that the last two cancel; grey dirt keeps only a third of its absorption.
    """
    return np.asarray(relative[..., 0] + relative[..., 1] - relative[..., 2])


def find_nuclei(
    relative: NDArray[np.float32], microns_per_pixel: float, rules: NucleusRules | None = None
) -> NDArray[np.int32]:
    """Label nuclei, the segments of one nucleus together.

    Parameters
    ----------
    relative : (H, W, 3) float32
        Relative densities at about 0.2 µm per pixel, noise blurred.
    microns_per_pixel : float
    rules : NucleusRules, optional

    Returns
    -------
    (H, W) int32
        1 … n, 0 elsewhere.
    """
    rules = rules or NucleusRules()
    chromatin = _chromatin(relative, microns_per_pixel, rules)
    parts = _cut_at_necks(chromatin, microns_per_pixel, rules)
    nuclei = _join_segments(parts, microns_per_pixel, rules)
    areas = np.bincount(nuclei.ravel()) * microns_per_pixel**2
    keep = (areas >= rules.smallest_um2) & (areas <= rules.largest_um2)
    keep[0] = False
    renumbered = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return np.asarray(renumbered[nuclei])


def _chromatin(
    relative: NDArray[np.float32], microns_per_pixel: float, rules: NucleusRules
) -> NDArray[np.bool_]:
    """Mark chromatin: azure-stained, of a nucleus' hue, and dense for the cell it is in."""
    azure = azure_density(relative)
    blobs = label(azure > rules.azure, connectivity=1)
    margin = max(1, round(0.6 / microns_per_pixel))
    chromatin = np.zeros(azure.shape, bool)
    smallest_px = rules.smallest_segment_um2 / microns_per_pixel**2
    sizes = np.bincount(blobs.ravel())
    for index, window in enumerate(ndi.find_objects(blobs), start=1):
        if sizes[index] < smallest_px:
            continue
        around = tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in window)
        blob = blobs[around] == index
        red, green, blue = relative[around][blob].mean(axis=0)
        # Dirt and ink absorb blue as much as green; green overlays absorb red more than green.
        if blue > 0.75 * green or red > 1.1 * green:
            continue
        # Granules and basophilic cytoplasm pass the first threshold too; a second one, between
        # the nucleus and whatever surrounds it, leaves them out.
        values = azure[around]
        densest = np.percentile(values[blob], 95)
        nearby = ndi.binary_dilation(blob, iterations=margin)
        threshold = np.clip(threshold_otsu(values[nearby]), 0.4 * densest, 0.7 * densest)
        dense = blob & (values >= threshold)
        chromatin[around] |= ndi.binary_fill_holes(ndi.binary_opening(dense))
    return chromatin


def _cut_at_necks(
    chromatin: NDArray[np.bool_], microns_per_pixel: float, rules: NucleusRules
) -> NDArray[np.int32]:
    """Label components, those with several thick parts cut where they are thinnest."""
    parts = label(chromatin, connectivity=2).astype(np.int32)
    sizes = np.bincount(parts.ravel()) * microns_per_pixel**2
    following = sizes.size
    for index, window in enumerate(ndi.find_objects(parts), start=1):
        if sizes[index] < 2 * rules.whole_um2:
            continue
        part = parts[window] == index
        depth = ndi.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
        depth = ndi.gaussian_filter(depth, 0.3 / microns_per_pixel)
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
        pieces = watershed(-depth, markers, mask=part)
        for piece in range(2, len(peaks) + 1):
            parts[window][pieces == piece] = following
            following += 1
    return np.asarray(parts)


def _join_segments(
    parts: NDArray[np.int32], microns_per_pixel: float, rules: NucleusRules
) -> NDArray[np.int32]:
    """Give the segments of one nucleus one id, the nearest first."""
    segments = _segments(parts, microns_per_pixel, rules)
    ids = list(segments)
    gaps = _gaps(segments, rules.segment_gap_um)
    owner = {i: i for i in ids}
    for _, i, j in sorted(gaps):
        a, b = segments[owner[i]], segments[owner[j]]
        if a is b or not _one_nucleus(a, b, rules):
            continue
        area = a.area + b.area
        segments[owner[i]] = _Segment(
            area,
            (a.area * a.centre + b.area * b.centre) / area,
            np.concatenate([a.outline, b.outline]),
            a.members + b.members,
        )
        for k in b.members:
            owner[k] = owner[i]
    new_ids = np.zeros(int(parts.max()) + 1, np.int32)
    for k, o in owner.items():
        new_ids[k] = o
    return np.asarray(new_ids[parts])


def _segments(
    parts: NDArray[np.int32], microns_per_pixel: float, rules: NucleusRules
) -> dict[int, _Segment]:
    segments: dict[int, _Segment] = {}
    for index, window in enumerate(ndi.find_objects(parts), start=1):
        mask = np.pad(parts[window] == index, 1)
        area = mask.sum() * microns_per_pixel**2
        if area < rules.smallest_segment_um2:
            continue
        offset = np.array([window[0].start - 1, window[1].start - 1])
        outline = np.argwhere(mask & ~ndi.binary_erosion(mask)) + offset
        centre = np.argwhere(mask).mean(axis=0) + offset
        segments[index] = _Segment(
            float(area), centre * microns_per_pixel, outline * microns_per_pixel, [index]
        )
    return segments


def _gaps(segments: dict[int, _Segment], limit: float) -> list[tuple[float, int, int]]:
    """Measure the distance of every two outlines that are not further apart than the limit."""
    ids = np.array(list(segments), np.int64)
    if ids.size < 2:
        return []
    low = np.array([segment.outline.min(axis=0) for segment in segments.values()]) - limit
    high = np.array([segment.outline.max(axis=0) for segment in segments.values()])
    gaps = []
    for n, i in enumerate(ids.tolist()):
        near = ((low[n + 1 :] <= high[n]) & (low[n] <= high[n + 1 :])).all(axis=1)
        if not near.any():
            continue
        tree = KDTree(segments[i].outline)
        for j in ids[n + 1 :][near].tolist():
            gap = float(tree.query(segments[j].outline)[0].min())
            if gap <= limit:
                gaps.append((gap, i, j))
    return gaps


def _one_nucleus(a: _Segment, b: _Segment, rules: NucleusRules) -> bool:
    """Tell whether two groups of segments belong to one cell."""
    points = np.concatenate([a.outline, b.outline])
    directions = np.array([[1.0, 0.0, 0.7071, 0.7071], [0.0, 1.0, 0.7071, -0.7071]])
    if np.ptp(points @ directions, axis=0).max() > rules.widest_um:
        return False
    apart = float(np.hypot(*(a.centre - b.centre)))
    return min(a.area, b.area) < rules.whole_um2 or apart < rules.apart_um
