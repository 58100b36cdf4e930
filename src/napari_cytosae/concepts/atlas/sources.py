"""What an atlas is built from: run folders, or images that are taken whole."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from napari_cytosae.cells import CropGeometry
from napari_cytosae.concepts.atlas.evidence_counts import is_measured
from napari_cytosae.concepts.atlas.published_order import SUFFIXES
from napari_cytosae.concepts.manifest import MANIFEST_NAME, RunKey
from napari_cytosae.concepts.run import Run
from napari_cytosae.errors import AtlasError

_FEW = 3


@dataclass(frozen=True, slots=True, eq=False)
class RunSource:
    """A finished run, and what identifies its cells.

    Parameters
    ----------
    run
        The run.
    identity
        Hex digest of the image, its cells and how they were cut out.
    """

    run: Run
    identity: str

    @property
    def image(self) -> str:
        """Path of the image, or its name where the path is not known."""
        path = self.run.slide_path
        return self.run.manifest.slide_name if path is None else str(path)


def identity_of(key: RunKey) -> str:
    """Identify a run's cells by content: the model and its precision are no part of it."""
    what = [key.image, key.cells, key.crop_um, key.cell_fraction, key.whole, key.microns_per_pixel]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def identity_of_image(digest: str, microns_per_pixel: float | None) -> str:
    """Identify an image that is taken whole: as the run that analysed it whole."""
    geometry = CropGeometry(whole=True)
    return identity_of(
        RunKey(
            image=digest,
            cells="whole",
            crop_um=geometry.crop_um,
            cell_fraction=geometry.cell_fraction,
            whole=True,
            microns_per_pixel=microns_per_pixel,
            bundle="",
            precision="float32",
        )
    )


def find_sources(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Tell run folders from images among paths and the folders that hold them.

    Returns
    -------
    runs, images : list of Path
        In the order given, each once; a folder's own by code point.

    Raises
    ------
    AtlasError
        Where a path holds neither, or there are both.
    """
    runs: dict[Path, Path] = {}
    images: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise AtlasError(f"{path} does not exist.")
        found_runs, found_images = _inside(path)
        if not found_runs and not found_images:
            raise AtlasError(
                f"{path} holds neither runs nor images. Give folders that an analysis has written, "
                "or a folder of images."
            )
        for known, found in ((runs, found_runs), (images, found_images)):
            for source in found:
                known.setdefault(source.resolve(), source)
    if runs and images:
        raise AtlasError(
            f"There are both runs ({next(iter(runs.values()))}) and images "
            f"({next(iter(images.values()))}). Build an atlas of each and merge them."
        )
    return list(runs.values()), list(images.values())


def _inside(path: Path) -> tuple[list[Path], list[Path]]:
    if path.is_file():
        return [], [path]
    if (path / MANIFEST_NAME).is_file():
        return [path], []
    runs = sorted(_runs_below(path), key=lambda run: run.relative_to(path).parts)
    if runs:
        return runs, []
    files = [file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()]
    visible = [
        file
        for file in files
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    return [], sorted(visible, key=lambda file: file.relative_to(path).parts)


def _runs_below(folder: Path) -> Iterator[Path]:
    """Find run folders at any depth; nothing inside a run is looked at."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.name.startswith("."):
            if (entry / MANIFEST_NAME).is_file():
                yield entry
            else:
                yield from _runs_below(entry)


def open_runs(paths: list[Path]) -> tuple[list[RunSource], list[str]]:
    """Open runs, leaving out those that hold the same cells as another.

    Returns
    -------
    sources : list of RunSource
    notes : list of str
        What was left out.

    Raises
    ------
    AtlasError
        Where a run is unfinished, or runs were made with different models.
    RunError
        Where one cannot be read.
    """
    runs = [Run(path) for path in paths]
    unfinished = [str(run.path) for run in runs if run.unfinished]
    if unfinished:
        raise AtlasError(
            f"{_few(unfinished)} {'is' if len(unfinished) == 1 else 'are'} unfinished. Analyse the "
            "same images again to finish, or leave them out."
        )
    other = [run for run in runs if run.bundle_digest != runs[0].bundle_digest]
    if other:
        raise AtlasError(
            f"{other[0].path} was made with the bundle {other[0].bundle_name!r} "
            f"({other[0].bundle_digest[:8]}), and {runs[0].path} with {runs[0].bundle_name!r} "
            f"({runs[0].bundle_digest[:8]}). An atlas is of one model."
        )
    sources: dict[str, RunSource] = {}
    twice: list[str] = []
    for run in runs:
        identity = identity_of(run.manifest.key)
        if identity in sources:
            twice.append(str(run.path))
        else:
            sources[identity] = RunSource(run, identity)
    notes = [f"Left out, as their cells are in another run: {_few(twice)}."] if twice else []
    return list(sources.values()), notes


def not_measured(sources: list[RunSource]) -> list[str]:
    """Say which runs' cells were not measured, and so add no evidence."""
    without = [str(source.run.path) for source in sources if not is_measured(source.run)]
    if not without:
        return []
    return [
        f"No evidence from {_few(without)}: the cells were not measured. Analyse the same images "
        "again, or measure them with measure_run, and build the atlas anew."
    ]


def _few(names: list[str]) -> str:
    more = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {more} more" if more > 0 else "")
