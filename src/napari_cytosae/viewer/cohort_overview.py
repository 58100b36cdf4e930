"""The Cohort dock's pages with one patient's barcode, and with all patients at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cytosae.cohorts import Barcodes, Comparison, correlate_patients
from napari_cytosae.export.cohort.comparison_figures import (
    draw_barcode,
    draw_correlation,
    draw_heatmap,
)
from napari_cytosae.viewer.cohort_export import Export, FigureExport, TableExport
from napari_cytosae.viewer.cohort_plots import Plot
from napari_cytosae.viewer.turning_splitter import TurningSplitter

_CONCEPTS = 18
_NARROW_PX = 520


class PatientPage(QWidget):
    """One patient's barcode against the mean of its disease; drawn when it is looked at."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plot = Plot()
        self.plot.setToolTip(
            "Each line is a concept of the selected patient, from the most frequent of its disease "
            "on;\nbehind it, what is usual in patients with the same diagnosis."
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.plot)
        self._barcodes: Barcodes | None = None
        self._patient = ""

    def show_patient(self, barcodes: Barcodes, patient: str) -> None:
        """Take another patient; `draw` shows it."""
        self._barcodes, self._patient = barcodes, patient
        self.plot.show_figure(None)

    def draw(self) -> None:
        """Draw what is not drawn yet."""
        barcodes, patient = self._barcodes, self._patient
        if barcodes is None or self.plot.figure.axes:
            return
        self.plot.show_figure(lambda figure: draw_barcode(figure.subplots(), barcodes, patient))

    def exports(self) -> list[Export]:
        """Give what is on show."""
        barcodes, patient = self._barcodes, self._patient
        if barcodes is None:
            return []
        row = list(barcodes.patients.index).index(patient)
        own = barcodes.diagnosis == barcodes.diagnosis[row]
        values = barcodes.dense()
        names = barcodes.names.columns(barcodes.d_sae)
        table = pd.DataFrame(
            {
                "concept_id": barcodes.concept_ids,
                **{name: column[barcodes.concept_ids] for name, column in names.items()},
                "tokens_per_cell": values[row],
                "mean_of_diagnosis": values[own].mean(axis=0),
            }
        )
        return [
            FigureExport(
                f"Barcode {patient}",
                lambda figure: draw_barcode(figure.subplots(), barcodes, patient),
            ),
            TableExport(f"Barcode {patient}", table),
        ]


class AllPatientsPage(TurningSplitter):
    """Concepts in all patients, and how alike patients are; drawn when they are looked at."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(_NARROW_PX, parent)
        self.heatmap, self.correlation = Plot(), Plot()
        self.heatmap.setToolTip(
            "Concepts × patients, in standard deviations from the concept's mean:\nthe most different "
            "ones of the comparison, or the most frequent where there is none."
        )
        self.correlation.setToolTip("How the barcodes of patients correlate (Spearman).")
        self.add_parts((self.heatmap, 3), (self.correlation, 2))
        self._barcodes: Barcodes | None = None
        self._comparison: Comparison | None = None

    def show_cohort(self, barcodes: Barcodes) -> None:
        """Take another cohort; `draw` shows it."""
        self._barcodes, self._comparison = barcodes, None
        for plot in (self.heatmap, self.correlation):
            plot.show_figure(None)

    def show_comparison(self, comparison: Comparison | None) -> None:
        """Take another comparison, which decides which concepts are shown."""
        self._comparison = comparison
        self.heatmap.show_figure(None)

    def draw(self) -> None:
        """Draw what is not drawn yet."""
        barcodes = self._barcodes
        if barcodes is None:
            return
        if not self.heatmap.figure.axes:
            self.heatmap.show_figure(self._draw_heatmap)
        if len(barcodes) > 2 and not self.correlation.figure.axes:
            self.correlation.show_figure(lambda figure: draw_correlation(figure, barcodes))

    def _concepts(self, barcodes: Barcodes) -> list[int]:
        if self._comparison is not None:
            return [int(concept) for concept in self._comparison.top(_CONCEPTS)["concept_id"]]
        mean = barcodes.dense().mean(axis=0)
        order = np.argsort(-mean, kind="stable")[:_CONCEPTS]
        return [int(concept) for concept in barcodes.concept_ids[order]]

    def _draw_heatmap(self, figure: Figure) -> None:
        assert self._barcodes is not None
        draw_heatmap(figure, self._barcodes, self._concepts(self._barcodes))

    def exports(self) -> list[Export]:
        """Give what is on show."""
        barcodes = self._barcodes
        if barcodes is None:
            return []
        ids = self._concepts(barcodes)
        patients = list(barcodes.patients.index)
        titles = [barcodes.names.title(concept) for concept in ids]
        heat = pd.DataFrame(barcodes.dense(ids), barcodes.patients.index, titles)
        heat.insert(0, "diagnosis", barcodes.diagnosis)
        found: list[Export] = [
            FigureExport("Concepts of patients", self._draw_heatmap),
            TableExport("Concepts of patients", heat, index=True),
        ]
        if len(barcodes) > 2:
            table = pd.DataFrame(correlate_patients(barcodes), patients, patients)
            found += [
                FigureExport(
                    "Correlation of patients", lambda figure: draw_correlation(figure, barcodes)
                ),
                TableExport("Correlation of patients", table, index=True),
            ]
        return found
