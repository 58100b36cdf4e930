"""What the views read: the cells of one image, and their concepts as far as they are encoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cells import CropGeometry, iter_crops
from napari_cytosae.concepts import ActiveConcept, Canvas, CellActivations, Run, paint_maps
from napari_cytosae.slides import Slide


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
        The finished run, once there is one.
    """

    slide: Slide
    labels: NDArray[np.integer]
    table: pd.DataFrame
    bundle_name: str
    bundle_digest: str
    geometry: CropGeometry
    microns_per_pixel: float | None
    run: Run | None = None
    # Cells of a run that still goes on, and cells that were clicked without one.
    fresh: dict[int, CellActivations] = field(default_factory=dict)

    def __post_init__(self) -> None:
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
        )

    def add(self, cells: Any) -> None:
        """Take freshly encoded cells."""
        self.fresh.update((cell.label, cell) for cell in cells)

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

    def neighbour(self, label: int | None, step: int) -> int | None:
        """Next (1) or previous (-1) cell in the table's order, round and round."""
        labels = self.cell_labels
        if not labels:
            return None
        if label not in self._rows:
            return labels[0 if step > 0 else -1]
        return labels[(self._rows[label] + step) % len(labels)]

    # -- concepts --------------------------------------------------------------------------

    def answer(self, label: int | None) -> CellActivations | None:
        """Return a cell's activations, None while they are not there."""
        if label is None or label not in self._rows:
            return None
        if label in self.fresh:
            return self.fresh[label]
        if self.run is not None and self.run.encoded[self._rows[label]]:
            return self.run.cell(label)
        return None

    def active_concepts(
        self, label: int, patch: tuple[int, int] | None = None
    ) -> list[ActiveConcept]:
        """Rank a cell's concepts, strongest first; empty while the cell is not encoded."""
        if self.run is not None and label not in self.fresh:
            return self.run.active_concepts(label, patch) if self.answer(label) else []
        answer = self.answer(label)
        return [] if answer is None else answer.active_concepts(patch)

    def title(self, concept_id: int) -> str:
        """Name of a concept as it is shown: its number, and its name where it has one."""
        name = "" if self.run is None else str(self.run.concepts["name"].iloc[concept_id])
        return f"#{concept_id} {name}".strip()

    def full_scale(self, concept_id: int) -> float:
        """Activation that is drawn at full strength: the same for all cells of the run."""
        if self.run is not None and not self.run.unfinished:
            top = float(self.run.concepts["max_activation"].iloc[concept_id])
        else:
            top = max(
                (float(cell.concept_map(concept_id).max()) for cell in self.fresh.values()),
                default=0.0,
            )
        return top or 1.0

    def canvas(self, concept_id: int, *, smooth: bool) -> Canvas:
        """Paint the maps of one concept over all encoded cells on the image's grid."""
        if self.run is not None and not self.fresh:
            maps, boxes = self.run.concept_maps(concept_id), self.run.boxes
        else:
            cells = list(self.fresh.values())
            maps = np.array([cell.concept_map(concept_id) for cell in cells], np.float32)
            boxes = np.array([cell.box for cell in cells], np.float64)
        return paint_maps(
            maps.reshape(-1, 16, 16), boxes.reshape(-1, 4), self.slide.shape, smooth=smooth
        )

    def strengths(self, concept_id: int) -> dict[int, float]:
        """Mean activation of a concept in every encoded cell, by label."""
        if self.run is not None and not self.run.unfinished:
            values = self.run.strengths(concept_id)
            return dict(zip(self.cell_labels, (float(value) for value in values), strict=True))
        return {
            label: next(
                (
                    concept.activation
                    for concept in cell.active_concepts()
                    if concept.concept_id == concept_id
                ),
                0.0,
            )
            for label, cell in self.fresh.items()
        }

    def top_concepts(self, k: int) -> list[tuple[list[str], NDArray[np.float32]]]:
        """Give the k strongest concepts of every cell, rank by rank.

        Returns
        -------
        list of (titles, activations)
            One pair per rank, each with one entry per row of the table; empty and NaN where a cell
            is not encoded or has fewer.
        """
        titles = [[""] * len(self) for _ in range(k)]
        values = [np.full(len(self), np.nan, np.float32) for _ in range(k)]
        for row, label in enumerate(self.cell_labels):
            for rank, concept in enumerate(self._strongest(row, label, k)):
                titles[rank][row] = self.title(concept[0])
                values[rank][row] = concept[1]
        return list(zip(titles, values, strict=True))

    def _strongest(self, row: int, label: int, k: int) -> list[tuple[int, float]]:
        if self.run is not None and not self.run.unfinished:
            profile = self.run.adata.X[[row]].tocsr()
            order = np.lexsort((profile.indices, -profile.data))[:k]
            return [(int(profile.indices[i]), float(profile.data[i])) for i in order]
        answer = self.fresh.get(label)
        ranked = [] if answer is None else answer.active_concepts(k=k)
        return [(concept.concept_id, concept.activation) for concept in ranked]
