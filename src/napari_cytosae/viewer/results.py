"""What the views read: the cells of one image, and their concepts as far as they are encoded."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cells import CropGeometry, LabelImage, iter_crops
from napari_cytosae.concepts import (
    ActiveConcept,
    Canvas,
    CellActivations,
    ConceptDifference,
    Run,
    colour_by,
    compare_cells,
    paint_maps,
)
from napari_cytosae.concepts.naming import Dictionary, Names, dictionary_of
from napari_cytosae.errors import NamesError
from napari_cytosae.slides import Slide

logger = logging.getLogger(__name__)

# Concepts of a cell that features and tips name.
_N_TOP = 3
# Cells of a run at work that are kept beside what is on the disk; some 80 kB each.
_MOST_FRESH = 1024


Tops = list[tuple[int, float]]
"""Concepts that lead in a cell, each with its activation, the strongest first."""


def top_of(cell: CellActivations) -> Tops:
    """Rank the few concepts of a cell that features and tips name."""
    return [(each.concept_id, each.activation) for each in cell.active_concepts(k=_N_TOP)]


@dataclass(eq=False)
class Results:
    """Cells of one image with their activations, from a run or encoded one by one.

    Parameters
    ----------
    slide
        The image that the crops are cut from.
    labels
        (H, W) label image of the cells.
    table
        One row per cell, as in :class:`~napari_cytosae.cells.Cells`.
    bundle_name, bundle_digest
        The model. A concept id means nothing without it.
    geometry, microns_per_pixel
        How crops are cut.
    run
        The run that the cells belong to; None for cells that were clicked without one.
    made_from
        What decided which cells there are and how they are cut, for cells without a run.
    sae_digest
        Digest of the SAE, by which the names of its concepts are found.
    """

    slide: Slide
    labels: LabelImage
    table: pd.DataFrame
    bundle_name: str
    bundle_digest: str
    geometry: CropGeometry
    microns_per_pixel: float | None
    run: Run | None = None
    made_from: tuple[Any, ...] = ()
    sae_digest: str | None = None
    # Cells of a run that still goes on, and cells that were clicked without one.
    fresh: dict[int, CellActivations] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._read: CellActivations | None = None
        self._tops: dict[int, Tops] = {}
        self._names: tuple[Dictionary | None, int, Names] | None = None
        self._ranked: tuple[tuple[Any, ...], list[int]] | None = None
        self._rows = {int(label): row for row, label in enumerate(self.table["label"])}

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def of_run(cls, run: Run, slide: Slide) -> Results:
        """Results of a run that is finished, or as far as it came."""
        key = run.manifest.key
        return cls(
            slide,
            run.labels,
            run.table,
            run.bundle_name,
            run.bundle_digest,
            CropGeometry(key.crop_um, key.cell_fraction, key.whole),
            run.microns_per_pixel,
            run,
            sae_digest=run.sae_digest,
        )

    def add(self, cells: list[CellActivations], tops: list[Tops] | None = None) -> None:
        """Take freshly encoded cells; of a run only the latest stay in memory.

        Parameters
        ----------
        cells
            The cells.
        tops
            What `top_of` gives for each, where it was computed beside the window.
        """
        for cell, top in zip(cells, tops or map(top_of, cells), strict=True):
            self.fresh[cell.label] = cell
            self._tops[cell.label] = top
        if self.run is not None:
            for label in list(self.fresh)[: len(self.fresh) - _MOST_FRESH]:
                del self.fresh[label]

    def more_cells(self, table: pd.DataFrame) -> None:
        """Take cells that were found on another tile of a slide."""
        if not len(table):
            return
        first = len(self.table)
        self.table = pd.concat([self.table, table], ignore_index=True) if first else table
        for row, label in enumerate(table["label"], start=first):
            self._rows[int(label)] = row

    def take_run(self, run: Run) -> None:
        """Let the finished run take the place of the one at work."""
        self.run, self.labels, self.table = run, run.labels, run.table
        self._rows = {int(label): row for row, label in enumerate(self.table["label"])}
        self._read = None
        self.fresh.clear()
        self._tops.clear()

    # -- cells -----------------------------------------------------------------------------

    @property
    def cell_labels(self) -> list[int]:
        """Labels in the table's order."""
        return list(self._rows)

    def label_at(self, y: int, x: int) -> int | None:
        """Cell at a pixel of the image, None between cells and outside."""
        height, width = self.labels.shape
        if not (0 <= y < height and 0 <= x < width):
            return None
        return int(self.labels[y, x]) or None

    def row(self, label: int) -> pd.Series:
        """Line of the table that describes a cell."""
        return self.table.iloc[self._rows[label]]

    def extent_of(self, label: int, margin_px: int = 0) -> tuple[int, int, int, int]:
        """Box of a cell, y0, x0, y1, x1 in px (half-open), widened and kept inside the image."""
        row = self.row(label)
        height, width = self.labels.shape
        return (
            max(int(row["box_y0"]) - margin_px, 0),
            max(int(row["box_x0"]) - margin_px, 0),
            min(int(row["box_y1"]) + margin_px, height),
            min(int(row["box_x1"]) + margin_px, width),
        )

    def crop(self, label: int) -> NDArray[np.uint8]:
        """Pixels of a cell's crop, (S, S, 3) uint8."""
        return self.crop_with_box(label)[0]

    def crop_with_box(self, label: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Pixels of a cell's crop, and its box on the image: y0, x0, y1, x1 in px."""
        (batch,) = iter_crops(
            self.slide,
            self.table.iloc[[self._rows[label]]],
            self.geometry,
            microns_per_pixel=self.microns_per_pixel,
        )
        return batch.pixels[0], batch.boxes[0]

    def neighbour(self, label: int | None, step: int, concept_id: int | None = None) -> int | None:
        """Next (1) or previous (-1) cell, round and round.

        In the table's order, or among the cells that have a concept, from the strongest down.
        """
        labels = self.cell_labels if concept_id is None else self.ranked_cells(concept_id)
        if not labels:
            return None
        if concept_id is None and label in self._rows:
            return labels[(self._rows[label] + step) % len(labels)]
        if label not in labels:
            return labels[0 if step > 0 else -1]
        return labels[(labels.index(label) + step) % len(labels)]

    # -- concepts --------------------------------------------------------------------------

    def answer(self, label: int | None) -> CellActivations | None:
        """Return a cell's activations, None while they are not there."""
        if label is None or label not in self._rows:
            return None
        if label in self.fresh:
            return self.fresh[label]
        if self.run is None:
            return None
        if label in self._tops and not self.run.is_encoded(label):
            self.run = Run(self.run.path)  # it has been written since
        if not self.run.is_encoded(label):
            return None
        # A click asks for its cell several times: for the list, for maps, for layers.
        if self._read is None or self._read.label != label:
            self._read = self.run.cell(label)
        return self._read

    def active_concepts(
        self, label: int, patch: tuple[int, int] | None = None
    ) -> list[ActiveConcept]:
        """Rank a cell's concepts, strongest first; empty while the cell is not encoded."""
        answer = self.answer(label)
        if answer is None:
            return []
        if self.run is None or label in self.fresh:
            return answer.active_concepts(patch, names=self.names)
        return self.run.rank(answer, patch)

    def differences(self, first: int, second: int) -> list[ConceptDifference]:
        """Rank the concepts by how much two cells differ; empty while one is not encoded."""
        cells = [self.answer(first), self.answer(second)]
        if cells[0] is None or cells[1] is None:
            return []
        return compare_cells(cells[0], cells[1], names=self.names)

    def title(self, concept_id: int) -> str:
        """Name of a concept as it is shown: its number, and its name, marked where suggested."""
        return self.names.title(concept_id)

    @property
    def names(self) -> Names:
        """Names of the model's concepts, as its dictionary has them now."""
        if self.run is not None:
            return self.run.names
        dictionary = self.dictionary
        revision = -1 if dictionary is None else dictionary.revision
        if self._names is None or self._names[:2] != (dictionary, revision):
            self._names = (dictionary, revision, Names.of(dictionary))
        return self._names[2]

    @cached_property
    def dictionary(self) -> Dictionary | None:
        """The dictionary of the model's SAE; None where it is unknown or cannot be read."""
        try:
            return None if self.sae_digest is None else dictionary_of(self.sae_digest)
        except NamesError as error:
            logger.warning("Concepts are shown by their numbers. %s", error)
            return None

    def full_scale(self, concept_id: int) -> float:
        """Activation that is drawn at full strength: the same for all cells of the run."""
        tops = [float(cell.concept_map(concept_id).max()) for cell in self.fresh.values()]
        if self.run is not None:
            tops.append(float(self.run.concepts["max_activation"].iloc[concept_id]))
        return max(tops, default=0.0) or 1.0

    def canvas(self, concept_id: int, *, smooth: bool) -> Canvas:
        """Paint the maps of one concept over all encoded cells on the image's grid."""
        cells = list(self.fresh.values())
        maps = np.array([cell.concept_map(concept_id) for cell in cells]).reshape(-1, 16, 16)
        boxes = np.array([cell.box for cell in cells]).reshape(-1, 4)
        if self.run is not None:
            maps = np.concatenate([self.run.concept_maps(concept_id), maps])
            boxes = np.concatenate([self.run.boxes, boxes])
        return paint_maps(maps.astype(np.float32), boxes, self.slide.shape, smooth=smooth)

    def strengths(self, concept_id: int) -> dict[int, float]:
        """Mean activation of a concept in every encoded cell, by label."""
        strengths = {} if self.run is None else colour_by(self.run, concept_id)
        for label, cell in self.fresh.items():
            summary = cell.summary(threshold=0.0)
            strengths[label] = float(summary.mean[summary.concept_ids == concept_id].sum())
        return strengths

    def ranked_cells(self, concept_id: int) -> list[int]:
        """Labels of the cells that have a concept, the strongest first."""
        state = (concept_id, self.run, len(self._tops), len(self.fresh))
        if self._ranked is None or self._ranked[0] != state:
            strengths = self.strengths(concept_id)
            labels = [label for label, strength in strengths.items() if strength > 0]
            labels.sort(key=lambda label: (-strengths[label], label))
            self._ranked = (state, labels)
        return self._ranked[1]

    def top_concepts(self, k: int) -> list[tuple[list[str], NDArray[np.float32]]]:
        """Give the k strongest concepts of every cell, rank by rank.

        Returns
        -------
        list of (titles, activations)
            One pair per rank, each with one entry per row of the table; empty and NaN where a cell
            is not encoded or has fewer.
        """
        ids = np.full((len(self), k), -1, np.int64)
        values = np.full((len(self), k), np.nan, np.float32)
        if self.run is not None and self.run.encoded.any():
            rows = [self._rows[label] for label in self.run.table["label"].to_list()]
            ids[rows], values[rows] = self.run.top_concepts(k)
        tops = {label: concepts[:k] for label, concepts in self._tops.items()}
        for label, concepts in tops.items():
            for rank, (concept_id, activation) in enumerate(concepts):
                ids[self._rows[label], rank] = concept_id
                values[self._rows[label], rank] = activation
        titles = {int(each): self.title(int(each)) for each in np.unique(ids[ids >= 0])}
        titles[-1] = ""
        return [
            ([titles[each] for each in ids[:, rank].tolist()], values[:, rank]) for rank in range(k)
        ]
