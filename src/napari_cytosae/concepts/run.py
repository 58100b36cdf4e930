"""A run read back from its folder: what a view, a script or an export asks."""

import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import anndata
import h5py  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import pandas as pd
from anndata.io import read_elem
from numpy.typing import NDArray

from napari_cytosae.concepts.by_concept import N_TOP, read_strengths, read_top, top_of
from napari_cytosae.concepts.cell import (
    GRID,
    ActiveConcept,
    CellActivations,
    CellSummary,
    check_concept,
)
from napari_cytosae.concepts.difference import ConceptDifference, compare_cells
from napari_cytosae.concepts.folder import (
    BOX_COLUMNS,
    PROBLEM_COLUMNS,
    RunFolder,
    empty_table,
)
from napari_cytosae.concepts.manifest import RunManifest
from napari_cytosae.concepts.measure_files import ShardMeasures
from napari_cytosae.concepts.naming.dictionary import Dictionary
from napari_cytosae.concepts.naming.names import NAME_COLUMNS, Names
from napari_cytosae.concepts.naming.places import dictionary_of
from napari_cytosae.concepts.profiles import build_profiles
from napari_cytosae.concepts.shard_plan import ShardPlan
from napari_cytosae.concepts.shards import Shard, read_cell, read_concept
from napari_cytosae.errors import NamesError, RunError

if TYPE_CHECKING:  # reading a run needs none of what finds cells
    from napari_cytosae.cells import LabelImage
    from napari_cytosae.cells.region import Region

logger = logging.getLogger(__name__)


class Run:
    """One analysis of one slide.

    Nothing is read before it is asked for, and a question about one cell reads that cell's bytes
    only, so runs may be larger than memory. A run that is still being written is read as far as it
    has come when it is opened; open it again to see more.

    Parameters
    ----------
    path
        The run folder.

    Raises
    ------
    RunError
        Where the folder is no run, or one of another version of the format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._folder = RunFolder(self.path)
        self.manifest = RunManifest.read(self.path)
        self._names_at: tuple[Dictionary | None, int, Names] | None = None
        self._named: dict[int, Names] = {}

    def __repr__(self) -> str:
        state = f", {int(self.encoded.sum())} encoded" if self.unfinished else ""
        return f"<Run {self.path.name}: {len(self)} cells{state}, bundle {self.bundle_name}>"

    def __len__(self) -> int:
        return len(self.table) if self.manifest.state == "detecting" else self.manifest.n_cells

    @property
    def unfinished(self) -> bool:
        """Whether work is left; analysing the same image again goes on with it."""
        return self.manifest.state != "finished"

    @property
    def bundle_name(self) -> str:
        """Name of the bundle that the run was made with."""
        return self.manifest.bundle_name

    @property
    def bundle_digest(self) -> str:
        """Digest of the bundle that the run was made with."""
        return self.manifest.key.bundle

    @property
    def sae_digest(self) -> str | None:
        """Digest of the SAE alone; None for runs of versions that did not write it."""
        return self.manifest.sae_digest

    @property
    def d_sae(self) -> int:
        """Number of concepts of the SAE."""
        return self.manifest.d_sae

    @cached_property
    def focus(self) -> NDArray[np.int64] | None:
        """The only concepts that were encoded, (n,) ascending ids; None where all were."""
        return self._folder.read_focus(self.manifest)

    @property
    def microns_per_pixel(self) -> float | None:
        """Pixel size at level 0, None where it is unknown."""
        return self.manifest.key.microns_per_pixel

    @property
    def note(self) -> str:
        """What a person should know about the run; empty where there is nothing to say."""
        return self.manifest.note

    @property
    def slide_path(self) -> Path | None:
        """Where the slide lay when it was analysed, None for an array."""
        stored = self.manifest.slide_path
        return None if stored is None else (self.path / stored).resolve()

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per cell: label, centroid, box, areas, and its crop's box.

        Of a slide that is still looked through: the cells that have been found so far.
        """
        if self.manifest.state == "detecting":
            found = self._folder.read_records()
            return empty_table() if found is None else found
        return self._folder.read_table(self.manifest)

    @cached_property
    def boxes(self) -> NDArray[np.float64]:
        """(n, 4) crop boxes, y0, x0, y1, x1 in level-0 px; they may reach beyond the slide."""
        return self.table[BOX_COLUMNS].to_numpy(np.float64).reshape(-1, 4)

    @cached_property
    def labels(self) -> "LabelImage":
        """(H, W) label image of cell extents, 0 for no cell.

        An array, or for a slide what slices like one and stays on the disk (`StoredLabels`).
        """
        return self._folder.read_labels(final=not self.unfinished)

    @cached_property
    def nuclei(self) -> "LabelImage | None":
        """(H, W) label image of nuclei, None where the cells came without."""
        if not self._folder.has_nuclei:
            return None
        return self._folder.read_labels("nuclei", final=not self.unfinished)

    @cached_property
    def region(self) -> "Region | None":
        """The part of the slide that was analysed; None where all of it was."""
        return self._folder.read_region()

    @cached_property
    def problems(self) -> pd.DataFrame:
        """What of the slide could not be read: ``y0``, ``x0``, ``y1``, ``x1`` in level-0 px."""
        try:
            return pd.read_csv(self._folder.problems_path)
        except FileNotFoundError:
            return pd.DataFrame({name: np.zeros(0, np.int64) for name in PROBLEM_COLUMNS})

    @cached_property
    def encoded(self) -> NDArray[np.bool_]:
        """(n,) which cells are encoded, in the table's order: all of a finished run."""
        encoded = np.zeros(len(self), bool)
        there = {path.name for path in self._folder.tokens_path.glob("shard-*.safetensors")}
        for index, name in enumerate(self.plan.names):
            encoded[self.plan.rows(index)] = name in there
        return encoded

    def is_encoded(self, label: int) -> bool:
        """Tell whether there is such a cell, and it is encoded."""
        row = self._rows.get(int(label))
        return row is not None and bool(self.encoded[row])

    @cached_property
    def plan(self) -> ShardPlan:
        """Which cells lie in which shard."""
        return ShardPlan.of(self.manifest, self.table["label"].to_numpy(np.int64))

    @cached_property
    def dictionary(self) -> Dictionary:
        """The dictionary that names the concepts of the run's SAE.

        Raises
        ------
        NamesError
            Where it cannot be read, or the run does not say which SAE it was made with.
        """
        if self.sae_digest is None:
            raise NamesError(
                f"{self.path.name} was made by an earlier version and does not say which SAE it "
                "was made with. Start the same analysis again: it is written down without the "
                "model doing anything anew."
            )
        return dictionary_of(self.sae_digest)

    @property
    def names(self) -> Names:
        """Name of every concept that has one, as the dictionary has them now.

        Of concepts of which the dictionary knows nothing, as they stood when the run was written,
        on another computer perhaps.
        """
        dictionary = self._readable_dictionary
        revision = -1 if dictionary is None else dictionary.revision
        if self._names_at is None or self._names_at[:2] != (dictionary, revision):
            self._names_at = (dictionary, revision, Names.of(dictionary, self._stored_names))
        return self._names_at[2]

    @property
    def adata(self) -> anndata.AnnData:
        """Profiles of the cells as AnnData; of those encoded so far where the run is unfinished."""
        self._name(self._profiles.var)
        return self._profiles

    @property
    def concepts(self) -> pd.DataFrame:
        """One row per concept: name, and frequency and activation in this run (``adata.var``)."""
        return self._name(self._concepts)

    @cached_property
    def _profiles(self) -> anndata.AnnData:
        if self.unfinished:
            return build_profiles(
                self.manifest,
                self.table[self.encoded].reset_index(drop=True),
                self._summaries(),
                focus=self.focus,
            )
        try:
            return anndata.read_h5ad(self._folder.profiles_path)
        except OSError as error:
            raise self._damaged_profiles(error) from error

    @cached_property
    def _concepts(self) -> pd.DataFrame:
        if self.unfinished:
            return cast(pd.DataFrame, self._profiles.var)
        try:
            with h5py.File(self._folder.profiles_path) as file:
                return cast(pd.DataFrame, read_elem(file["var"]))
        except (OSError, KeyError) as error:
            raise self._damaged_profiles(error) from error

    def measures(self) -> Iterator[ShardMeasures]:
        """Yield what was measured of the cells, shard by shard, in the table's order.

        Raises
        ------
        RunError
            Where the cells were not measured, or a file is damaged.
        """
        if not all(self._folder.measures_path(name).exists() for name in self.plan.names):
            raise RunError(
                f"The cells of {self.path.name} were not measured. Start the same analysis again, "
                "or measure them with measure_run."
            )
        yield from self._folder.measures(self.plan)

    def cell(self, label: int) -> CellActivations:
        """Read the activations of one cell at every token.

        Raises
        ------
        RunError
            Where there is no such cell, or it is not encoded yet.
        """
        row = self._row(label)
        if not self.encoded[row]:
            raise RunError(
                f"Cell {label} is not encoded yet: this run is unfinished. Analyse the image again "
                "to go on."
            )
        index, row_in_shard = self.plan.place_of(row)
        return read_cell(self._shard_path(index), row_in_shard, self.boxes[row])

    def shard_paths(self) -> list[Path]:
        """Files of the encoded cells, some tens each, in the table's order.

        Files of an unfinished run that are not written yet are left out.
        """
        paths = map(self._folder.shard_path, self.plan.names)
        return [path for path in paths if path.exists()]

    def active_concepts(
        self, label: int, patch: tuple[int, int] | None = None, k: int | None = None
    ) -> list[ActiveConcept]:
        """Rank the concepts that are active in a cell, strongest first.

        Parameters
        ----------
        label
            The cell.
        patch
            (row, column) in the 16 × 16 grid: rank by the value there. Without it, by the mean over
            all 257 tokens.
        k
            How many at most; all without it.

        Raises
        ------
        RunError
            Where there is no such cell or patch, or the cell is not encoded yet.
        """
        return self.rank(self.cell(label), patch, k)

    def rank(
        self, cell: CellActivations, patch: tuple[int, int] | None = None, k: int | None = None
    ) -> list[ActiveConcept]:
        """Do what `active_concepts` does for a cell that has been read already."""
        return cell.active_concepts(patch, k, frequencies=self._frequencies, names=self.names)

    def compare(self, first: int, second: int, k: int | None = None) -> list[ConceptDifference]:
        """Rank the concepts by how much two cells of this run differ; see `compare_cells`.

        Raises
        ------
        RunError
            Where there is no such cell, or one is not encoded yet.
        """
        return compare_cells(self.cell(first), self.cell(second), k, names=self.names)

    def concepts_at(
        self, label: int, patch: tuple[int, int], k: int | None = None
    ) -> list[ActiveConcept]:
        """Rank the concepts that are active at one patch (row, column) of a cell."""
        return self.active_concepts(label, patch, k)

    def concept_map(self, label: int, concept_id: int) -> NDArray[np.float32]:
        """Give one concept at every patch of a cell, (16, 16) float32; 0 where it is not active."""
        return self.cell(label).concept_map(concept_id)

    def concept_maps(self, concept_id: int) -> NDArray[np.float32]:
        """Give one concept at every patch of every cell, (n, 16, 16) float32, in table order.

        Cells that are not encoded yet are 0; `encoded` tells them.
        """
        check_concept(concept_id, self.d_sae)
        maps = np.zeros((len(self), GRID, GRID), np.float32)
        for index in range(len(self.plan)):
            rows = self.plan.rows(index)
            if self.encoded[rows].any():
                tokens = read_concept(self._shard_path(index), concept_id)
                maps[rows] = tokens[:, 1:].reshape(-1, GRID, GRID)
        return maps

    def strengths(
        self, concept_id: int, statistic: Literal["mean", "max", "count"] = "mean"
    ) -> NDArray[np.float32]:
        """Give one concept's strength in every cell, (n,) float32, in the table's order.

        Parameters
        ----------
        concept_id
            The concept.
        statistic
            Mean or largest value over the cell's 257 tokens, or the number of tokens above τ.
        """
        check_concept(concept_id, self.d_sae)
        if statistic == "mean" and self._has_by_concept:
            return read_strengths(self._folder.by_concept_path, concept_id, len(self))
        matrix = self.adata.X if statistic == "mean" else self.adata.layers[statistic]
        strengths = np.zeros(len(self), np.float32)
        strengths[self.encoded] = matrix[:, [concept_id]].toarray().ravel()
        return strengths

    def top_concepts(self, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Give every cell's strongest concepts, by their mean over its tokens.

        Returns
        -------
        ids, activations
            (n, k) in the table's order; -1 and NaN where a cell is not encoded or has fewer.
        """
        if k <= N_TOP and self._has_by_concept:
            ids, values = read_top(self._folder.by_concept_path)
            return ids[:, :k], values[:, :k]
        ids = np.full((len(self), k), -1, np.int32)
        values = np.full((len(self), k), np.nan, np.float32)
        profiles = self._profiles.X.tocsr()
        ids[self.encoded], values[self.encoded] = top_of(
            profiles.indptr, profiles.indices, profiles.data, k
        )
        return ids, values

    def _summaries(self) -> Iterator[CellSummary]:
        # Only of what was there when the run was opened: it may be written at this moment.
        for index in range(len(self.plan)):
            rows = self.plan.rows(index)
            if self.encoded[rows].all():
                for cell in Shard.read(self._shard_path(index)).cells(self.boxes[rows]):
                    yield cell.summary(self.manifest.threshold)

    def _shard_path(self, index: int) -> Path:
        return self._folder.shard_path(self.plan.names[index])

    @property
    def _has_by_concept(self) -> bool:
        return not self.unfinished and self._folder.by_concept_path.exists()

    @cached_property
    def _rows(self) -> dict[int, int]:
        return {int(label): row for row, label in enumerate(self.table["label"])}

    @cached_property
    def _frequencies(self) -> NDArray[np.float64]:
        return self._concepts["frequency"].to_numpy(np.float64)

    @cached_property
    def _stored_names(self) -> Names:
        return Names.from_table(self._concepts)

    @cached_property
    def _readable_dictionary(self) -> Dictionary | None:
        """The dictionary, or None where there is none to read: cells are shown all the same."""
        if self.sae_digest is None:
            return None
        try:
            return self.dictionary
        except NamesError as error:
            logger.warning("Concepts are shown by their numbers. %s", error)
            return None

    def _name(self, table: pd.DataFrame) -> pd.DataFrame:
        """Bring the names in a table of concepts up to date."""
        names = self.names
        if self._named.get(id(table)) is not names:
            self._named[id(table)] = names
            columns = names.columns(self.d_sae)
            for column in NAME_COLUMNS:
                table[column] = columns[column]
        return table

    def _row(self, label: int) -> int:
        row = self._rows.get(int(label))
        if row is not None:
            return row
        if not self._rows:
            raise RunError(f"There is no cell {label}: this run has no cells. {self.note}".strip())
        nearest = min(self._rows, key=lambda known: abs(known - label))
        raise RunError(
            f"There is no cell {label} in this run of {len(self)} cells; the nearest label is "
            f"{nearest}."
        )

    def _damaged_profiles(self, error: Exception) -> RunError:
        return RunError(
            f"{self._folder.profiles_path} cannot be read ({error}). Delete it and start the same "
            "analysis again: it is written anew without the model."
        )


def open_run(path: str | Path) -> Run:
    """Open a run folder.

    Raises
    ------
    RunError
        Where the folder is no run, or one of another version of the format.
    """
    return Run(path)
