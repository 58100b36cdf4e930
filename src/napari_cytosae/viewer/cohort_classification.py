"""The Cohort dock's page on classification: what it is worth, and why a patient is predicted so."""

from __future__ import annotations

from matplotlib.figure import Figure
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from napari_cytosae.cohorts import Barcodes
from napari_cytosae.cohorts.explanation import explain
from napari_cytosae.export.cohort.classification_figures import (
    draw_beside,
    draw_confusion,
    draw_contributions,
)
from napari_cytosae.viewer.cohort_plots import Plot
from napari_cytosae.viewer.cohort_work import Classified

_SAID = 4
_SHOWN = 10


class ClassificationView(QWidget):
    """A button to classify, the verdict with its warnings, and plots."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.start = QPushButton("Classify")
        self.start.setToolTip(
            "Logistic regression on barcodes; every patient is predicted by models that have not "
            "seen them."
        )
        self.by_site = QComboBox()
        self.by_site.setToolTip("Patients of one value are never on both sides of a fold.")
        self.shuffle = QCheckBox("shuffles")
        self.shuffle.setChecked(True)
        self.shuffle.setToolTip("Classify shuffled diagnoses too, to know what chance gives.")
        row = QHBoxLayout()
        row.addWidget(self.start)
        row.addWidget(self.by_site)
        row.addWidget(self.shuffle)
        row.addStretch(1)
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.verdict.setTextFormat(Qt.TextFormat.PlainText)
        self.confusion, self.beside, self.why = Plot(), Plot(), Plot()
        plots = QSplitter(Qt.Orientation.Horizontal)
        for plot in (self.confusion, self.beside, self.why):
            plots.addWidget(plot)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addLayout(row)
        column.addWidget(self.verdict)
        column.addWidget(plots, 1)

    def show_cohort(self, barcodes: Barcodes) -> None:
        """Begin anew with a cohort."""
        self.by_site.clear()
        self.by_site.addItem("leave out patients", None)
        for name in barcodes.covariates:
            self.by_site.addItem(f"leave out by {name}", name)
        self.verdict.setText("")
        self.verdict.setToolTip("")
        for plot in (self.confusion, self.beside, self.why):
            plot.show_figure(None)

    def show_classified(self, classified: Classified) -> None:
        """Say and draw what a classification is worth."""
        found = classified.classification
        own = found.validation
        words = [
            f"Weighted F1 {own.mean('weighted_f1'):.2f} ± {own.sd('weighted_f1'):.2f}, AUROC "
            f"{own.mean('auroc'):.2f}, balanced accuracy {own.mean('balanced_accuracy'):.2f}"
        ]
        if found.null.size:
            words[0] += f"; shuffled {found.null.mean():.2f} (p = {found.p:.2g})"
        words[0] += ". For research; not a diagnosis."
        words += [f"⚠ {warning}" for warning in found.warnings]
        # The plots need their room; the rest is a tooltip away.
        more = f"\n… and {len(words) - _SAID} more" if len(words) > _SAID else ""
        self.verdict.setText("\n".join(words[:_SAID]) + more)
        self.verdict.setToolTip("\n".join(words))
        self.confusion.show_figure(lambda figure: draw_confusion(figure.subplots(), found))
        self.beside.show_figure(lambda figure: draw_beside(figure.subplots(), found))

    def show_why(
        self, barcodes: Barcodes, classified: Classified | None, patient: str | None
    ) -> None:
        """Draw what speaks for a patient's prediction, by a model that has not seen the patient."""
        self.why.show_figure(None)
        if classified is None or patient is None:
            return
        row = list(barcodes.patients.index).index(patient)
        model = classified.model_of.get(row)
        if model is None:  # a patient whose diagnosis is not known took no part
            return
        explanation = explain(model, barcodes, patient)

        def why(figure: Figure) -> None:
            axes = figure.subplots()
            draw_contributions(axes, explanation, k=_SHOWN)
            share = explanation.probabilities.max()
            axes.set_title(
                f"{explanation.patient}: {explanation.predicted}, {share:.0%}", fontsize=9
            )

        self.why.show_figure(why)
