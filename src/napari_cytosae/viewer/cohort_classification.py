"""The Cohort dock's page on classification: predictions of patients, and what they are worth."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QLabel, QPushButton, QScrollArea, QVBoxLayout, QWidget
from superqt import QFlowLayout

from napari_cytosae.cohorts import Barcodes
from napari_cytosae.export.cohort.classification_figures import draw_beside, draw_confusion
from napari_cytosae.export.cohort.style import shorten
from napari_cytosae.viewer.cohort_comparison import small_combo
from napari_cytosae.viewer.cohort_export import Export, FigureExport, TableExport
from napari_cytosae.viewer.cohort_plots import Plot
from napari_cytosae.viewer.cohort_work import Classified
from napari_cytosae.viewer.turning_splitter import TurningSplitter

_NAME = 12  # letters that a small plot has room for
_NARROW_PX = 600


class ClassificationPage(QWidget):
    """A button to classify, the verdict with its warnings, and plots."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.classified: Classified | None = None
        self.start = QPushButton("Classify")
        self.start.setToolTip(
            "Logistic regression on barcodes; every patient is predicted by models that have not "
            "seen them."
        )
        self.by_site = small_combo("Patients of one value are never on both sides of a fold.")
        self.shuffle = QCheckBox("shuffles")
        self.shuffle.setChecked(True)
        self.shuffle.setToolTip("Classify shuffled diagnoses too, to know what chance gives.")
        self.apply = QPushButton("Apply a model…")
        self.apply.setToolTip("Predict these patients by a model that was made of another cohort.")
        self.keep = QPushButton("Save the model…")
        self.keep.setToolTip("Fit a model to all patients, and save it for other cohorts.")
        self.keep.setEnabled(False)
        controls = QWidget()
        row = QFlowLayout(controls)
        row.setContentsMargins(0, 0, 0, 0)
        for widget in (self.start, self.by_site, self.shuffle, self.apply, self.keep):
            row.addWidget(widget)
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.verdict.setTextFormat(Qt.TextFormat.PlainText)
        self.confusion, self.beside = Plot(), Plot()
        self.confusion.setToolTip("True against predicted diagnoses, mean over repeats.")
        self.beside.setToolTip(
            "A covariate that predicts as well as the barcodes may be what they see."
        )
        # Warnings are long and come first: they have room of their own, and can be scrolled.
        self.verdict.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.verdict.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        words = QScrollArea()
        words.setWidgetResizable(True)
        words.setFrameShape(QScrollArea.Shape.NoFrame)
        words.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        words.setWidget(self.verdict)
        words.setMinimumSize(180, 60)
        parts = TurningSplitter(_NARROW_PX)
        parts.add_parts((words, 1), (self.confusion, 1), (self.beside, 1))
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addWidget(controls)
        column.addWidget(parts, 1)

    def show_cohort(self, barcodes: Barcodes) -> None:
        """Begin anew with a cohort."""
        self.classified = None
        self.keep.setEnabled(False)
        self.by_site.clear()
        self.by_site.addItem("leave out patients", None)
        for name in barcodes.covariates:
            self.by_site.addItem(f"leave out by {name}", name)
        self.verdict.setText(
            "All patients have one diagnosis: they cannot be told apart, but a model that was made "
            "of others can be applied to them."
            if len(barcodes.diagnoses) < 2
            else ""
        )
        for plot in (self.confusion, self.beside):
            plot.show_figure(None)

    def show_classified(self, classified: Classified) -> None:
        """Say and draw what predictions are worth."""
        self.classified = classified
        found = classified.classification
        self.keep.setEnabled(found is not None)
        if found is None:
            self.verdict.setText("\n".join(applied_in_words(classified)))
            for plot in (self.confusion, self.beside):
                plot.show_figure(None)
            return
        own = found.validation
        words = [
            f"Weighted F1 {own.mean('weighted_f1'):.2f} ± {own.sd('weighted_f1'):.2f}, AUROC "
            f"{own.mean('auroc'):.2f}, balanced accuracy {own.mean('balanced_accuracy'):.2f}"
        ]
        if found.null.size:
            words[0] += f"; shuffled {found.null.mean():.2f} (p = {found.p:.2g})"
        words[0] += ". For research; not a diagnosis."
        self.verdict.setText("\n".join([*words, *(f"⚠ {warning}" for warning in found.warnings)]))

        def confusion(figure: Figure) -> None:
            axes = figure.subplots()
            draw_confusion(axes, found)
            names = [shorten(name, _NAME) for name in found.classes]
            axes.set_xticks(range(len(names)), names)
            axes.set_yticks(range(len(names)), names)

        self.confusion.show_figure(confusion)

        def beside(figure: Figure) -> None:
            axes = figure.subplots()
            draw_beside(axes, found)
            axes.set_xlabel("weighted F1 ± sd")

        self.beside.show_figure(beside)

    def exports(self) -> list[Export]:
        """Give what is on show."""
        classified = self.classified
        if classified is None:
            return []
        predictions = TableExport("Predictions", classified.predictions, index=True)
        found = classified.classification
        if found is None:
            return [predictions]
        names = list(found.classes)
        return [
            FigureExport("Confusion", lambda figure: draw_confusion(figure.subplots(), found)),
            FigureExport("Baselines", lambda figure: draw_beside(figure.subplots(), found)),
            predictions,
            TableExport("Scores", found.summary(), index=True),
            TableExport("Confusion", pd.DataFrame(found.confusion, names, names), index=True),
            TableExport("Baselines", found.beside),
        ]


def applied_in_words(classified: Classified) -> list[str]:
    """Say what a model of another cohort predicts."""
    table = classified.predictions
    counts = ", ".join(f"{n} {name}" for name, n in table["predicted"].value_counts().items())
    words = [f"Predicted by {classified.origin}: {counts}. For research; not a diagnosis."]
    unlike = table[table["unlike"]]
    if len(unlike):
        words.append(
            f"⚠ {len(unlike)} of {len(table)} patients are unlike the training cohort; their "
            "predictions are not to be trusted:"
        )
        words += [f"⚠ {patient}: {why}" for patient, why in unlike["why"].items()]
    return words
