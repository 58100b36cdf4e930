"""The atlas: what each concept of an SAE is, over one or several data sets side by side."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cytosae.concepts.atlas.concept_lists import ConceptLists
from napari_cytosae.concepts.atlas.data_set import DataSet, Tissue
from napari_cytosae.concepts.atlas.folder import (
    is_atlas,
    prepare_folder,
    read_concepts,
    read_data_sets,
    read_manifest,
    write_atlas,
)
from napari_cytosae.concepts.atlas.parquet import table_of_frame
from napari_cytosae.concepts.atlas.partners import SAMPLE_CELLS
from napari_cytosae.concepts.atlas.published import read_published
from napari_cytosae.concepts.durable import only_process
from napari_cytosae.errors import AtlasError

if TYPE_CHECKING:
    from napari_cytosae.concepts.atlas.job import BuildProgress
    from napari_cytosae.concepts.encode import Precision
    from napari_cytosae.models import Bundle

AnyPath = str | Path


class Atlas(ConceptLists):
    """Statistics, references and suggested names of every concept, by data set.

    Parameters
    ----------
    data_sets
        One or more, with different names, of one SAE.
    names
        People's names by concept id; those of the SAE's dictionary without it, as they are at the
        time of asking.

    Raises
    ------
    AtlasError
        Where there is no data set, two have one name, or they are of different SAEs.
    """

    def __init__(
        self, data_sets: Iterable[DataSet], names: Mapping[int, str] | None = None
    ) -> None:
        super().__init__(data_sets, names)
        self.created = datetime.now(UTC).isoformat(timespec="seconds")
        self.path: Path | None = None

    @classmethod
    def build(
        cls,
        sources: AnyPath | Sequence[AnyPath],
        *,
        name: str | None = None,
        labels: str | Path | Mapping[str, str] | None = None,
        tissue: Tissue = "",
        out: AnyPath | None = None,
        k: int = 10,
        threshold: float = 0.2,
        sample_cells: int = SAMPLE_CELLS,
        evidence: bool = True,
        workers: int | None = None,
        bundle: "AnyPath | Bundle" = "starter",
        precision: "Precision" = "auto",
        device: str = "auto",
        batch_cells: int = 16,
        progress: "Callable[[BuildProgress], None] | None" = None,
        cancelled: Callable[[], bool] = lambda: False,
        overwrite: bool = False,
    ) -> "Atlas":
        """Count the concepts of stored runs' cells, or of images, in one pass.

        Memory goes with the number of concepts, not of cells. Where `out` has a part of this very
        data set, the build goes on from there, and ends with the same bits.

        Parameters
        ----------
        sources
            Run folders, or folders that hold some; or images, or a folder of them with one folder
            for each class, which are encoded whole (as with ``cells="whole"``; no run is kept).
        name
            What the data set is called; the name of the folder without it.
        labels
            The cells' classes: ``"folder"`` (that which a run lies in), the name of a column of
            the runs' tables of cells, a mapping or a CSV file from images (and cells) to classes.
            Images without it are of the class that their folder names.
        tissue
            ``"blood"`` or ``"bone marrow"``, for the table of what carries over.
        out
            Folder of the atlas; without it the atlas is in memory, and can be saved.
        k
            References for each concept.
        threshold
            τ: tokens above it are counted.
        sample_cells
            Cells kept for co-activation; 0 for none.
        evidence
            Whether to collect what the cells' compartments and morphology tell, from those runs
            whose cells were measured.
        workers
            Threads that read runs; up to four, as there are processors, without it.
        bundle, precision, device, batch_cells
            For images: the model and how it runs, as in `analyze`.
        progress
            Called with `BuildProgress` values.
        cancelled
            Asked often; what was saved stays.
        overwrite
            Replace another atlas in `out`.

        Raises
        ------
        Cancelled
            When `cancelled` says so.
        AtlasError
            Where there is nothing to count, runs are unfinished or of different models, or `out`
            holds another atlas.
        CytoSAEError
            Where a run, an image or the bundle cannot be read.
        """
        from napari_cytosae.concepts.atlas.build import build_atlas
        from napari_cytosae.concepts.atlas.job import BuildJob, usable_processors
        from napari_cytosae.concepts.atlas.labels import Labels

        job = BuildJob(
            sources=(sources,) if isinstance(sources, str | Path) else tuple(sources),
            name=name, labels=Labels.of(labels), tissue=tissue,
            out=None if out is None else Path(out), k=k, threshold=threshold,
            sample_cells=sample_cells, evidence=evidence,
            workers=usable_processors() if workers is None else workers,
            bundle=bundle, precision=precision, device=device, batch_cells=batch_cells, overwrite=overwrite,
        )  # fmt: skip
        return build_atlas(job, progress, cancelled)

    @classmethod
    def from_published(
        cls,
        folders: AnyPath | Sequence[AnyPath],
        *,
        names: Mapping[int, str] | None = None,
        sae_digest: str | None = None,
    ) -> "Atlas":
        """Read upstream's feature-data folders, each a data set; see `read_published`.

        Parameters
        ----------
        folders
            One folder or several.
        names
            People's names by concept id.
        sae_digest
            Digest of the SAE, where it is at hand (`Bundle.sae_digest`).

        Raises
        ------
        AtlasError
            Where a folder holds no feature data, or they do not belong together.
        """
        given = (folders,) if isinstance(folders, str | Path) else folders
        return cls([read_published(folder, sae_digest=sae_digest) for folder in given], names)

    @classmethod
    def open(cls, path: AnyPath, names: Mapping[int, str] | None = None) -> "Atlas":
        """Open a folder that `save`, `build` or the command line wrote.

        Takes milliseconds: tables are read when they are first asked for.

        Raises
        ------
        AtlasError
            Where the folder holds no atlas, or a damaged one.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        atlas = cls(read_data_sets(folder, manifest), names)
        atlas.created = str(manifest.get("created", ""))
        atlas.path = folder
        atlas._read_summary = lambda: read_concepts(folder, manifest)
        return atlas

    def save(self, path: AnyPath, *, overwrite: bool = False) -> Path:
        """Write the atlas into a folder: whole, or not at all.

        Parameters
        ----------
        path
            The folder; one that this atlas was opened from or saved to may be written anew.
        overwrite
            Whether another atlas there may be replaced.

        Raises
        ------
        AtlasError
            Where the folder holds another atlas or somebody's files.
        RunError
            Where it cannot be written, or another process is writing it.
        """
        folder = Path(path)
        own = self.path is not None and self.path.resolve() == folder.resolve()
        prepare_folder(folder)
        with only_process(folder):
            if is_atlas(folder) and not own and not overwrite:
                raise AtlasError(
                    f"{folder} holds an atlas. Choose another folder, or say that it may be "
                    "overwritten (overwrite=True)."
                )
            summary = table_of_frame(self.summary) if self.finished else None
            write_atlas(folder, self.data_sets, summary, self.created)
        self.path = folder
        return folder

    def merge(self, other: "Atlas") -> "Atlas":
        """Put two atlases of one SAE together.

        Data sets of different names stand side by side. Those of one name are added up: the atlas
        of two halves merged is the atlas of the whole, bit for bit.

        Raises
        ------
        AtlasError
            Where they are of different SAEs, or both hold the same run or image.
        """
        from napari_cytosae.concepts.atlas.merge import merge_data_sets

        together = dict(self._data_sets)
        for name, data in other._data_sets.items():
            mine = together.get(name)
            together[name] = data if mine is None else merge_data_sets(mine, data)
        names = None
        if self._given_names is not None or other._given_names is not None:
            names = {**other.names, **self.names}
        merged = Atlas(together.values(), names)
        merged.created = min(self.created, other.created)
        return merged


def open_atlas(path: AnyPath, names: Mapping[int, str] | None = None) -> Atlas:
    """Open an atlas; see `Atlas.open`."""
    return Atlas.open(path, names)
