"""Build an atlas from runs or images; a build that was stopped goes on where it was saved."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from napari_cytosae import __version__
from napari_cytosae.concepts.atlas.accumulator import Accumulator
from napari_cytosae.concepts.atlas.atlas import Atlas
from napari_cytosae.concepts.atlas.collector import Collector
from napari_cytosae.concepts.atlas.count_runs import count_runs
from napari_cytosae.concepts.atlas.data_set import DataSet, DataSetInfo
from napari_cytosae.concepts.atlas.evidence_counts import EvidenceAccumulator
from napari_cytosae.concepts.atlas.folder import is_atlas, prepare_folder, write_atlas
from napari_cytosae.concepts.atlas.job import BuildJob, BuildProgress
from napari_cytosae.concepts.atlas.labels import Labels
from napari_cytosae.concepts.atlas.parquet import table_of_frame
from napari_cytosae.concepts.atlas.sources import find_sources, not_measured, open_runs
from napari_cytosae.concepts.durable import only_process
from napari_cytosae.errors import AtlasError

_SAVE_EVERY_SECONDS = 30.0
_FEW = 3  # files that a note lists

Tell = Callable[[BuildProgress], None]


@dataclass(eq=False)
class _Work:
    """What is left to count, and where.

    Parameters
    ----------
    info
        The data set, without what is counted.
    collector
        Holds what was counted before.
    steps
        Does the work; yields whether the collector may be saved as it is.
    notes
        What a person should know once all is done.
    """

    info: DataSetInfo
    collector: Collector
    steps: Iterator[bool]
    notes: Callable[[], tuple[str, ...]]


def build_atlas(
    job: BuildJob, progress: Tell | None = None, cancelled: Callable[[], bool] = lambda: False
) -> Atlas:
    """Build an atlas of one data set.

    Where the job's folder holds an atlas of the same data set, what it has counted is not counted
    again: a stopped build goes on, and a finished one takes in what has come since.

    Parameters
    ----------
    job
        What to build.
    progress
        Called with `BuildProgress` values.
    cancelled
        Asked often; what was saved stays, and is gone on with next time.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    AtlasError
        Where the sources do not fit together, or the folder holds another atlas.
    RunError
        Where a run is damaged, or the folder cannot be written.
    """
    tell = progress or (lambda _: None)
    tell(BuildProgress("open", 0, 0))
    runs, images = find_sources([Path(source) for source in job.sources])
    if job.out is None:
        return _build(job, runs, images, None, tell, cancelled)
    prepare_folder(job.out)
    with only_process(job.out):
        return _build(job, runs, images, _existing(job), tell, cancelled)


def _build(
    job: BuildJob,
    runs: list[Path],
    images: list[Path],
    existing: Atlas | None,
    tell: Tell,
    cancelled: Callable[[], bool],
) -> Atlas:
    before = None if existing is None else existing.data_sets[0]
    created = _now() if existing is None else existing.created
    if runs:
        work = _of_runs(job, runs, before, tell, cancelled)
    else:
        work = _of_images(job, images, before, tell, cancelled)
    n_before = work.collector.n_cells
    saved = time.monotonic()
    for whole in work.steps:
        if whole and job.out is not None and time.monotonic() - saved > _SAVE_EVERY_SECONDS:
            part = work.collector.data_set(replace(work.info, finished=False))
            write_atlas(job.out, [part], None, created)
            saved = time.monotonic()
    if not work.collector.n_cells:
        raise AtlasError("There is nothing to count: no run has cells, or no image could be read.")
    if existing is not None and existing.finished and work.collector.n_cells == n_before:
        return existing
    tell(BuildProgress("write", 0, 0))
    info = replace(work.info, notes=work.notes())
    atlas = Atlas([work.collector.data_set(info)])
    atlas.created = created
    if job.out is None:
        return atlas
    write_atlas(job.out, atlas.data_sets, table_of_frame(atlas.summary), created)
    return Atlas.open(job.out)


def _existing(job: BuildJob) -> Atlas | None:
    """Give the atlas that the folder holds, if it is of this data set.

    Raises
    ------
    AtlasError
        Where it is another.
    """
    if job.out is None or not is_atlas(job.out) or job.overwrite:
        return None
    atlas = Atlas.open(job.out)
    if len(atlas) > 1:
        raise _another(job.out, f"an atlas of {len(atlas)} data sets")
    return atlas


def _collector(job: BuildJob, info: DataSetInfo, before: DataSet | None) -> Collector:
    """Take up what was counted before.

    Raises
    ------
    AtlasError
        Where that was counted otherwise.
    """
    collector = Collector(
        Accumulator(info.d_sae, info.k, info.threshold, sample_cells=job.sample_cells),
        EvidenceAccumulator(info.d_sae) if info.evidence else None,
    )
    if before is None:
        return collector
    for what in ("name", "kind", "bundle_digest", "k", "threshold", "labelled_by"):
        there, wanted = getattr(before.info, what), getattr(info, what)
        if there != wanted:
            words = what.replace("_", " ")
            raise _another(job.out, f"an atlas with another {words} ({there} there, {wanted} now)")
    if before.info.evidence != info.evidence:
        has = "with" if before.info.evidence else "without"
        raise _another(job.out, f"an atlas {has} evidence from measured cells")
    sampled = 0 if before.sample is None else before.sample.size
    if sampled != job.sample_cells:
        raise _another(
            job.out, f"an atlas with a sample of {sampled} cells, not {job.sample_cells}"
        )
    collector.absorb(before)
    return collector


def _another(out: Path | None, what: str) -> AtlasError:
    return AtlasError(
        f"{out} holds {what}. Choose another folder, or say that it may be overwritten "
        "(overwrite=True)."
    )


def _of_runs(
    job: BuildJob,
    paths: list[Path],
    before: DataSet | None,
    tell: Tell,
    cancelled: Callable[[], bool],
) -> _Work:
    sources, notes = open_runs(paths)
    if job.evidence:
        notes += not_measured(sources)
    first = sources[0].run
    info = DataSetInfo(
        name=job.data_set_name,
        kind="runs",
        d_sae=first.d_sae,
        k=job.k,
        n_images=0,
        threshold=job.threshold,
        labelled_by=job.labels.described,
        tissue=job.tissue,
        bundle_name=first.bundle_name,
        bundle_digest=first.bundle_digest,
        sae_digest=first.sae_digest,
        evidence=job.evidence,
        created=_now(),
        software_version=__version__,
    )
    collector = _collector(job, info, before)
    if before is not None:
        there = before.sources
        cells = {source.identity: len(source.run) for source in sources}
        for identity, path, n_cells in zip(
            there.identities, there.paths, there.n_cells, strict=True
        ):
            if cells.get(identity) != n_cells:
                raise _another(job.out, f"an atlas with other cells ({path})")
    missing = [source for source in sources if source.identity not in collector]
    total = sum(len(source.run) for source in sources)

    def steps() -> Iterator[bool]:
        tell(BuildProgress("count", collector.n_cells, total))
        for whole in count_runs(missing, job.labels, collector, job.workers, cancelled):
            tell(BuildProgress("count", collector.n_cells, total))
            yield whole

    return _Work(info, collector, steps(), lambda: tuple(notes))


def _of_images(
    job: BuildJob,
    images: list[Path],
    before: DataSet | None,
    tell: Tell,
    cancelled: Callable[[], bool],
) -> _Work:
    from napari_cytosae.concepts.atlas.count_images import Skipped, count_images
    from napari_cytosae.concepts.encode import EncodeOptions
    from napari_cytosae.models import Bundle, load_bundle

    bundle = job.bundle if isinstance(job.bundle, Bundle) else load_bundle(job.bundle)
    labels = job.labels or Labels.of_subfolders(images, [Path(source) for source in job.sources])
    info = DataSetInfo(
        name=job.data_set_name,
        kind="images",
        d_sae=bundle.d_sae,
        k=job.k,
        n_images=0,
        threshold=job.threshold,
        labelled_by=labels.described,
        tissue=job.tissue,
        bundle_name=bundle.name,
        bundle_digest=bundle.digest,
        sae_digest=bundle.sae_digest,
        created=_now(),
        software_version=__version__,
    )
    collector = _collector(job, info, before)
    if before is not None:
        gone = set(before.sources.paths) - {str(image.resolve()) for image in images}
        if gone:
            raise _another(job.out, f"an atlas with other images ({min(gone)})")
    skipped = Skipped([], [])
    known_before = set(before.sources.paths) if before is not None else set[str]()

    def steps() -> Iterator[bool]:
        done = 0
        tell(BuildProgress("encode", 0, len(images)))
        options = EncodeOptions(job.precision, job.device, job.batch_cells)
        for n in count_images(images, labels, collector, bundle, options, skipped, cancelled):
            done += n
            tell(BuildProgress("encode", done, len(images)))
            yield True

    def notes() -> tuple[str, ...]:
        twice = [name for name in skipped.known if str(Path(name).resolve()) not in known_before]
        lists = (("are in the data set already", twice), ("cannot be read", skipped.unreadable))
        return tuple(
            f"Left out, as they {why}: {len(names):,} images ({', '.join(names[:_FEW])}"
            f"{' …' if len(names) > _FEW else ''})."
            for why, names in lists
            if names
        )

    return _Work(info, collector, steps(), notes)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
