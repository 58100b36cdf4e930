"""Add up data sets that were counted apart."""

from dataclasses import replace

from napari_cytosae.concepts.atlas.accumulator import Accumulator
from napari_cytosae.concepts.atlas.collector import Collector
from napari_cytosae.concepts.atlas.data_set import DataSet, DataSetInfo
from napari_cytosae.concepts.atlas.evidence_counts import EvidenceAccumulator
from napari_cytosae.concepts.atlas.evidence_sample import MEASURED_CELLS
from napari_cytosae.errors import AtlasError


def accumulator_like(data: DataSet) -> Accumulator:
    """Give an empty accumulator with a data set's settings."""
    info = data.info
    sample_cells = 0 if data.sample is None else data.sample.size
    return Accumulator(info.d_sae, info.k, info.threshold, sample_cells=sample_cells)


def _evidence_like(*parts: DataSet) -> EvidenceAccumulator | None:
    """Give an empty accumulator for evidence, if any part has some; absent evidence adds none."""
    if not any(data.info.evidence for data in parts):
        return None
    sizes = [data.measured.size for data in parts if data.measured is not None]
    return EvidenceAccumulator(parts[0].info.d_sae, sample_cells=min(sizes, default=MEASURED_CELLS))


def merge_data_sets(first: DataSet, second: DataSet) -> DataSet:
    """Add up two parts of a data set: the result is that of counting the whole, bit for bit.

    Raises
    ------
    AtlasError
        Where they were counted differently, share a run or image, or are published ones, whose
        sums nobody knows exactly.
    """
    mine, other = first.info, second.info
    if "published" in (mine.kind, other.kind):
        raise AtlasError(
            f"Both atlases have a data set {mine.name!r}, and published numbers cannot be added "
            "up. Rename one of them."
        )
    for what, a, b in (
        ("of different kinds", mine.kind, other.kind),
        ("made with different bundles", mine.bundle_digest, other.bundle_digest),
        ("of different numbers of references", mine.k, other.k),
        ("of different thresholds", mine.threshold, other.threshold),
        (
            "of different samples of cells",
            first.sample and first.sample.size,
            second.sample and second.sample.size,
        ),
    ):
        if a != b:
            raise AtlasError(
                f"The two data sets {mine.name!r} are {what} ({a} and {b}) and cannot be added "
                "up. Rename one of them to keep both."
            )
    twice = set(first.sources.identities) & set(second.sources.identities)
    if twice:
        at = first.sources.identities.index(min(twice))
        raise AtlasError(
            f"Both atlases have counted {first.sources.paths[at]}"
            f"{f' and {len(twice) - 1} more' if len(twice) > 1 else ''}, whose cells would count "
            "twice. Build one of the atlases without."
        )
    collector = Collector(accumulator_like(first), _evidence_like(first, second))
    collector.absorb(first)
    collector.absorb(second)
    return collector.data_set(_merged_info(mine, other))


def _merged_info(mine: DataSetInfo, other: DataSetInfo) -> DataSetInfo:
    return replace(
        mine,
        tissue=mine.tissue if mine.tissue == other.tissue else "",
        finished=mine.finished and other.finished,
        created=min(mine.created, other.created),
        notes=tuple(dict.fromkeys([*mine.notes, *other.notes])),
    )
