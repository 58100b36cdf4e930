"""The atlas: what each concept of an SAE is, over one or several data sets side by side."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.data_set import DataSet, Tissue, check_concept
from napari_cytosae.concepts.atlas.evidence import Evidence
from napari_cytosae.concepts.atlas.focus import UPSTREAM_NOISY, Focus, find_focus
from napari_cytosae.concepts.atlas.folder import (
    is_atlas,
    prepare_folder,
    read_concepts,
    read_data_sets,
    read_manifest,
    write_atlas,
)
from napari_cytosae.concepts.atlas.parquet import frame_of_table, table_of_frame
from napari_cytosae.concepts.atlas.partners import SAMPLE_CELLS
from napari_cytosae.concepts.atlas.published import STAND_IN_DIGEST, read_published
from napari_cytosae.concepts.atlas.published_order import resolve_images
from napari_cytosae.concepts.atlas.search import SearchIndex
from napari_cytosae.concepts.atlas.suggest import Suggestions, generalisation, suggest
from napari_cytosae.concepts.atlas.summary import summarise
from napari_cytosae.concepts.durable import only_process
from napari_cytosae.concepts.naming.dictionary import Dictionary
from napari_cytosae.concepts.naming.names import Names
from napari_cytosae.concepts.naming.places import dictionary_of
from napari_cytosae.errors import AtlasError, NamesError

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from napari_cytosae.concepts.atlas.job import BuildProgress
    from napari_cytosae.concepts.encode import Precision
    from napari_cytosae.models import Bundle

AnyPath = str | Path
_MAYBE_MISSING = ("patch_frequency", "entropy", "purity", "compartment_")


class Atlas:
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
        found = list(data_sets)
        _check_together(found)
        self._data_sets = {data.name: data for data in found}
        self._given_names = None if names is None else _as_names(names)
        self._named: tuple[Names, pd.DataFrame] | None = None
        self._index: tuple[Names, SearchIndex] | None = None
        self._names_at: tuple[int, Names] | None = None
        self.created = datetime.now(UTC).isoformat(timespec="seconds")
        self.path: Path | None = None
        self._read_summary: Callable[[], pa.Table | None] = lambda: None

    # -- where atlases come from ----------------------------------------------------------------

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

    # -- what is in it --------------------------------------------------------------------------

    @property
    def data_sets(self) -> list[DataSet]:
        """The data sets, in the order in which they came."""
        return list(self._data_sets.values())

    def __getitem__(self, name: str) -> DataSet:
        try:
            return self._data_sets[name]
        except KeyError:
            raise AtlasError(
                f"There is no data set {name!r} in this atlas; it has {', '.join(self._data_sets)}."
            ) from None

    def __iter__(self) -> Iterator[DataSet]:
        return iter(self.data_sets)

    def __len__(self) -> int:
        return len(self._data_sets)

    def __repr__(self) -> str:
        sets = ", ".join(f"{data.name} ({len(data):,})" for data in self.data_sets)
        return f"<Atlas of {self.d_sae:,} concepts: {sets}>"

    @property
    def d_sae(self) -> int:
        """Number of concepts of the SAE."""
        return self.data_sets[0].info.d_sae

    @property
    def sae_digest(self) -> str | None:
        """Digest of the SAE, by which names are found; None where it is not known."""
        digests = {data.info.sae_digest for data in self.data_sets if data.info.sae_digest}
        real = digests - {STAND_IN_DIGEST}
        return next(iter(real or digests), None)

    @property
    def bundle_name(self) -> str:
        """Name of the bundle, as far as it is known."""
        return next((n for data in self.data_sets if (n := data.info.bundle_name)), "")

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary in which people name these concepts.

        Raises
        ------
        NamesError
            Where the SAE is not known, or the file cannot be read.
        """
        if self.sae_digest is None:
            raise NamesError(
                "It is not known which sparse autoencoder this atlas is of, so its concepts cannot "
                "be named. Read the feature data again with the SAE's digest."
            )
        return dictionary_of(self.sae_digest)

    @property
    def names(self) -> Names:
        """Name of every concept that has one: as given, else as the dictionary has them now."""
        if self._given_names is not None:
            return self._given_names
        dictionary = self._readable_dictionary
        revision = -1 if dictionary is None else dictionary.revision
        if self._names_at is None or self._names_at[0] != revision:
            self._names_at = (revision, Names.of(dictionary))
        return self._names_at[1]

    @names.setter
    def names(self, names: Mapping[int, str] | None) -> None:
        self._given_names = None if names is None else _as_names(names)

    @property
    def finished(self) -> bool:
        """Whether no build was stopped on its way."""
        return all(data.info.finished for data in self.data_sets)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """`table` without people's names; see `summarise` for the columns."""
        stored = self._read_summary()
        if stored is not None and stored.num_rows == self.d_sae:
            return frame_of_table(stored, _MAYBE_MISSING)
        return summarise(self.data_sets, self.suggestions, self._focus_of)

    @property
    def table(self) -> pd.DataFrame:
        """One row per concept, over all data sets; see `summarise` for the columns.

        After ``concept_id`` come ``name`` and ``name_suggested`` (whether no person stands behind
        the name).
        """
        names = self.names
        if self._named is None or self._named[0] is not names:
            table = self.summary.copy(deep=False)
            for place, (column, values) in enumerate(names.columns(self.d_sae).items(), start=1):
                table.insert(place, column, values)
            self._named = (names, table)
        return self._named[1]

    @property
    def var(self) -> pd.DataFrame:
        """`table` as AnnData wants it for ``var``: indexed by the concept id as text."""
        table = self.table
        floats = {
            str(name): table[name].to_numpy(np.float64, na_value=np.nan)
            for name in table
            if isinstance(table[name].dtype, pd.Float64Dtype)
        }
        return table.assign(**floats).set_axis(table["concept_id"].astype(str).to_numpy())

    def words(self, concept_id: int) -> tuple[str, bool]:
        """Say what a concept is called, and whether that is a suggestion only.

        A person's name comes first, then the dictionary's suggestion, that of the labels, and that
        of the measured cells; empty where nothing is known.
        """
        row = self.table.iloc[check_concept(concept_id, self.d_sae)]
        if row["name"]:
            return str(row["name"]), bool(row["name_suggested"])
        words = str(row["suggestion"]) or str(row.get("seen_name", ""))
        return words, bool(words)

    def top(self, concept_id: int, k: int | None = None) -> pd.DataFrame:
        """List the cells that show a concept best, data set by data set, the strongest first.

        Returns
        -------
        DataFrame
            ``data_set``, then the columns of `DataSet.top`: ``value``, ``image``, ``label``,
            ``cell``, ``patch_row``, ``patch_column``, ``run``.

        Raises
        ------
        AtlasError
            Where there is no such concept.
        """
        check_concept(concept_id, self.d_sae)
        lists = []
        for data in self.data_sets:
            top = data.top(concept_id, k)
            top.insert(0, "data_set", data.name)
            lists.append(top)
        return pd.concat(lists, ignore_index=True)

    def search(self, text: str) -> pd.DataFrame:
        """Give the rows of `table` that have every word of a text, the most telling first.

        Names, suggestions and their evidence are searched; ``#123`` or a number finds concepts
        whose number begins so.
        """
        found = self.table.iloc[self.find(text)]
        return found.sort_values("rank", kind="stable")

    def find(self, text: str) -> NDArray[np.int64]:
        """Give the ids of what `search` finds, ascending; quick enough for every keystroke."""
        names = self.names
        if self._index is None or self._index[0] is not names:
            # The evidence begins with the suggestion.
            searched = ("name", "evidence", "seen")
            words = (self.table[name].to_numpy(object) for name in searched if name in self.table)
            self._index = (names, SearchIndex(words))
        return self._index[1].find(text)

    def focus(
        self,
        threshold: float | None = None,
        *,
        data_set: str | None = None,
        noisy_above: float | None = None,
    ) -> Focus:
        """Choose the concepts worth showing and computing, by mean activation.

        Parameters
        ----------
        threshold
            Mean activation; the valley between the two modes without it.
        data_set
            Look at one data set; at all together without it.
        noisy_above
            Mean activation above which a concept is too common to tell much. Without it upstream's
            0.1 for the published SAE, and what corresponds to it elsewhere.
        """
        if noisy_above is None and all(data.info.kind == "published" for data in self.data_sets):
            noisy_above = UPSTREAM_NOISY
        if data_set is None:
            means = self.summary["mean_activation"].to_numpy(np.float64)
            shares = self.summary["mass_share"].to_numpy(np.float64)
        else:
            means, shares = self[data_set].mean_activation, self[data_set].mass_share
        return find_focus(means, shares, threshold, noisy_above)

    @cached_property
    def suggestions(self) -> Suggestions:
        """What the data sets' labels say about each concept, with the tests behind it."""
        return suggest(self.data_sets)

    def suggested_names(self, least_agreement: int = 1) -> dict[int, str]:
        """Give the suggestions for concepts in focus, by id, as a dictionary takes them in.

        Parameters
        ----------
        least_agreement
            Data sets that must agree on one.
        """
        summary = self.summary
        chosen = summary["in_focus"] & (summary["agreement"] >= max(1, least_agreement))
        words = summary.loc[chosen, ["concept_id", "suggestion"]]
        return dict(zip(words["concept_id"].tolist(), words["suggestion"].tolist(), strict=True))

    @cached_property
    def generalisation(self) -> pd.DataFrame:
        """Which concepts show the same cell in blood and in bone marrow; see `generalisation`."""
        return generalisation(self.data_sets, self.suggestions)

    def partners(self, concept_id: int, data_set: str | None = None) -> pd.DataFrame:
        """List the concepts that are strong in the same cells.

        Parameters
        ----------
        concept_id
            The concept.
        data_set
            Of one data set; of all that kept a sample of cells without it.

        Returns
        -------
        DataFrame
            ``data_set``, ``concept_id``, ``suggestion``, ``cosine`` (between the two concepts'
            strengths over the sampled cells), ``share`` (of the sampled cells with the concept,
            those that have the partner too), ``sampled_cells``.
        """
        check_concept(concept_id, self.d_sae)
        columns = ["data_set", "concept_id", "suggestion", "cosine", "share", "sampled_cells"]
        words = self.table["suggestion"]
        rows: list[tuple[Any, ...]] = []
        for data in [self[data_set]] if data_set is not None else self.data_sets:
            found = data.partners
            if found is None:
                continue
            for other, cosine, share in zip(
                found.concept_ids[concept_id],
                found.cosines[concept_id],
                found.shares[concept_id],
                strict=True,
            ):
                if other >= 0:
                    rows.append(
                        (data.name, int(other), words[other], float(cosine), float(share),
                         found.n_sampled)
                    )  # fmt: skip
        return pd.DataFrame(rows, columns=columns)

    def where(self, concept_id: int) -> pd.DataFrame:
        """Say where a concept is active, of each data set whose cells were measured.

        Returns
        -------
        DataFrame
            ``data_set``, then the columns of `Evidence.where_table`: ``compartment``, ``share``,
            ``area``, ``enrichment``, ``cells``.
        """
        return self._of_evidence(concept_id, lambda found: found.where_table(concept_id))

    def correlates(self, concept_id: int) -> pd.DataFrame:
        """List the measures of cells that go with a concept, data set by data set.

        Returns
        -------
        DataFrame
            ``data_set``, then the columns of `Evidence.measure_table`: ``measure``, ``words``,
            ``rho``, ``p``, ``q``, ``cells``, ``active``, the strongest first.
        """
        return self._of_evidence(concept_id, lambda found: found.measure_table(concept_id))

    def hubs(self, data_set: str, least: int = 100) -> pd.DataFrame:
        """List the images that stand among the references of very many concepts.

        Returns
        -------
        DataFrame
            ``image``, ``cell`` (or published index), ``concepts`` (in how many lists it stands),
            ``share`` (of all concepts that have references), the most crowded first.
        """
        data = self[data_set]
        sources, cells, places = data.references.hubs()
        n = int((places >= least).sum())
        images = [data.sources.images[source] if source >= 0 else "" for source in sources[:n]]
        with_any = max(1, int(data.references.filled.any(axis=1).sum()))
        return pd.DataFrame(
            {
                "image": images,
                "cell": cells[:n],
                "concepts": places[:n],
                "share": places[:n] / with_any,
            }
        )

    def link_images(self, data_set: str, folder: AnyPath) -> None:
        """Say where the original images of a published set lie, so that references show them.

        Raises
        ------
        AtlasError
            Where the folder is another data set, or the set is no published one.
        """
        data = self[data_set]
        if data.info.kind != "published":
            raise AtlasError(f"The images of {data_set} are known from its runs.")
        resolve_images(folder, data.references, data.info.classes, data.info.n_images)
        linked = replace(data.info, image_folder=str(Path(folder).resolve()))
        self._data_sets[data_set] = data.with_info(linked)

    # -- how ------------------------------------------------------------------------------------

    def _of_evidence(
        self, concept_id: int, table_of: Callable[[Evidence], pd.DataFrame]
    ) -> pd.DataFrame:
        check_concept(concept_id, self.d_sae)
        tables = []
        for data in self.data_sets:
            if data.evidence is not None:
                table = table_of(data.evidence)
                table.insert(0, "data_set", data.name)
                tables.append(table)
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def _focus_of(self, means: NDArray[np.float64], shares: NDArray[np.float64]) -> Focus:
        published = all(data.info.kind == "published" for data in self.data_sets)
        return find_focus(means, shares, noisy_above=UPSTREAM_NOISY if published else None)

    @cached_property
    def _readable_dictionary(self) -> Dictionary | None:
        """The dictionary, or None where there is none to read: concepts are shown all the same."""
        if self.sae_digest is None:
            return None
        try:
            return self.dictionary
        except NamesError as error:
            logger.warning("Concepts are shown by their numbers. %s", error)
            return None


def open_atlas(path: AnyPath, names: Mapping[int, str] | None = None) -> Atlas:
    """Open an atlas; see `Atlas.open`."""
    return Atlas.open(path, names)


def _check_together(data_sets: Sequence[DataSet]) -> None:
    if not data_sets:
        raise AtlasError("An atlas needs at least one data set.")
    names = [data.name for data in data_sets]
    for name in names:
        if names.count(name) > 1:
            raise AtlasError(f"Two data sets are called {name!r}. Give one of them another name.")
    first = data_sets[0].info
    unknown = (None, STAND_IN_DIGEST)
    digests = [data.info.sae_digest for data in data_sets if data.info.sae_digest not in unknown]
    for data in data_sets:
        other = data.info.sae_digest not in unknown and data.info.sae_digest != digests[0]
        if data.info.d_sae != first.d_sae or other:
            raise AtlasError(
                f"{data.name} ({data.info.d_sae:,} concepts) and {first.name} "
                f"({first.d_sae:,} concepts) are of different sparse autoencoders: concept 7 of "
                "one is not concept 7 of the other. Keep them in two atlases."
            )


def _as_names(names: Mapping[int, str]) -> Names:
    return names if isinstance(names, Names) else Names(names)
