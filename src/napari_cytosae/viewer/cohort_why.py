"""The Cohort dock's page on one prediction: what made it, what would change it, which cells show it."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget
from superqt import QFlowLayout

from napari_cytosae.cohorts.classification import CohortModel
from napari_cytosae.cohorts.explanation import Explanation, explain, masking_curve, what_if
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.export.cohort.classification_figures import draw_contributions, draw_masking
from napari_cytosae.viewer.cohort_comparison import small_combo
from napari_cytosae.viewer.cohort_export import Export, FigureExport, TableExport
from napari_cytosae.viewer.cohort_figures import draw_what_if
from napari_cytosae.viewer.cohort_plots import Plot
from napari_cytosae.viewer.cohort_strip import CellStrip
from napari_cytosae.viewer.cohort_work import Classified, OpenedCohort
from napari_cytosae.viewer.contribution_list import ContributionList
from napari_cytosae.viewer.gallery_tiles import MaskStyle
from napari_cytosae.viewer.jobs import JobRunner
from napari_cytosae.viewer.turning_splitter import TurningSplitter
from napari_cytosae.viewer.why_work import (
    Masked,
    WhyRequest,
    masking_job,
    masks_up_to,
    row_of,
    why_job,
)

_NARROW_PX = 620
_SIDE_PX = 84
_EVIDENCE_HUE = "#e69f00"
_NOTHING = "Classify the patients, or apply a model to them: then the selected one is explained."
_WITHOUT, _OWN_CURVE, _WHOLE_CURVE = "without", "patient", "all"


class WhyPage(QWidget):
    """Concepts behind a patient's prediction, the prediction without them, and the cells behind it."""

    concept_chosen = Signal(int)
    go_to = Signal(object)  # a ReferencePicture

    def __init__(self, hue: Callable[[int], str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._hue = hue
        self._cohort: OpenedCohort | None = None
        self._classified: Classified | None = None
        self._model: CohortModel | None = None
        self._patient = ""
        self._cells_are_due = False
        self.explanation: Explanation | None = None
        self.changed: pd.DataFrame | None = None
        self.curve: pd.DataFrame | None = None
        self._whole_curve: pd.DataFrame | None = None
        self.head = QLabel(_NOTHING)
        self.head.setWordWrap(True)
        self.head.setTextFormat(Qt.TextFormat.PlainText)
        self.target = small_combo("The diagnosis that concepts and cells speak for.")
        self.list = ContributionList()
        self.to = small_combo(
            "absent: no cell shows the ticked concepts.\n"
            "typical: they are as in the mean of the patients that the model was made of."
        )
        self.to.addItem("make them absent", "absent")
        self.to.addItem("make them typical", "typical")
        self.tick = QPushButton("Tick top 5")
        self.tick.setToolTip("Tick the five concepts that speak most for the class.")
        self.untick = QPushButton("None")
        self.untick.setToolTip("Tick no concept.")
        self.view = small_combo(
            "What is predicted without the ticked concepts; or the masking curve: how the\n"
            "prediction fares without, or with only, the concepts that speak most for it."
        )
        self.view.addItem("Without the ticked concepts", _WITHOUT)
        self.view.addItem("Masking curve, this patient", _OWN_CURVE)
        self.view.addItem("Masking curve, all patients", _WHOLE_CURVE)
        self.plot = Plot()
        self.cells = CellStrip("")
        self.masking = JobRunner(self)
        self._build()
        self.target.activated.connect(lambda _: self._on_target())
        self.list.ticked.connect(self._predict_again)
        self.list.chosen.connect(self._on_concept)
        self.to.activated.connect(lambda _: self._predict_again())
        self.tick.clicked.connect(lambda: self.list.tick_first(5))
        self.untick.clicked.connect(lambda: self.list.tick_first(0))
        self.view.activated.connect(lambda _: self._draw())
        self.cells.go_to.connect(self.go_to)
        self.masking.yielded.connect(self._on_masked)
        self.masking.failed.connect(lambda error: self.head.setText(str(error)))

    def _build(self) -> None:
        head = QHBoxLayout()
        head.addWidget(self.target)
        head.addWidget(self.head, 1)
        left = _column(self.list, (self.tick, self.untick, self.to))
        middle = _column(self.plot, (self.view,), above=True)
        split = TurningSplitter(_NARROW_PX)
        split.add_parts((left, 1), (middle, 1), (self.cells, 1))
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addLayout(head)
        column.addWidget(split, 1)

    # -- what is explained -----------------------------------------------------------------

    def show_patient(
        self, cohort: OpenedCohort | None, classified: Classified | None, patient: str | None
    ) -> None:
        """Explain a patient's prediction, by a model that has not seen the patient."""
        if classified is not self._classified:
            self.masking.abandon()
            self._whole_curve = None
        self._cohort, self._classified = cohort, classified
        self._patient = patient or ""
        self._model = self.explanation = self.changed = self.curve = None
        if cohort is not None and classified is not None and patient is not None:
            self._model = classified.model_of.get(row_of(cohort.barcodes, patient))
        self._explain()

    def _explain(self) -> None:
        """Take the prediction apart; cells wait until somebody looks."""
        self.target.clear()
        model, cohort = self._model, self._cohort
        there = model is not None and cohort is not None
        for widget in (self.target, self.tick, self.untick, self.to, self.view, self.list):
            widget.setEnabled(there)
        if model is None or cohort is None:
            self.list.show_explanation(None)
            self.plot.show_figure(None)
            self.cells.clear()
            words = _NOTHING
            if self._classified is not None and self._patient:
                words = (
                    f"The diagnosis of {self._patient} is not known: the patient took no part. Save "
                    "the model and apply it to predict all patients."
                )
            self.head.setText(words)
            return
        try:
            self.explanation = explain(model, cohort.barcodes, self._patient)
        except CytoSAEError as error:
            self.head.setText(str(error))
            return
        found = self.explanation
        share = found.probabilities.max()
        seen = "" if self._classified is None or self._classified.origin else (
            " by a model that has not seen the patient"
        )  # fmt: skip
        said = cohort.barcodes.patients["diagnosis"][self._patient] or "not known"
        self.head.setText(
            f"{self._patient} (diagnosis {said}): {found.predicted}, {share:.0%},{seen} with "
            f"{model.concept_ids.size:,} concepts."
        )
        for name in found.classes:
            self.target.addItem(f"speaks for {name}", name)
        self.target.setCurrentIndex(found.classes.index(found.predicted))
        self.list.show_explanation(found, found.predicted)
        self._predict_again()
        self._show_cells(None)

    def rename(self, cohort: OpenedCohort, classified: Classified | None, patient: str) -> None:
        """Show other names; ticks, plots and cells stay."""
        if self.explanation is None or classified is None:
            return
        self._cohort, self._classified = cohort, classified
        self._model = classified.model_of[row_of(cohort.barcodes, patient)]
        self.list.rename(self._model.names.title)

    def _on_target(self) -> None:
        self.list.show_explanation(self.explanation, self.target.currentData())
        self._show_cells(None)

    # -- what if ---------------------------------------------------------------------------

    def _predict_again(self) -> None:
        model, cohort = self._model, self._cohort
        if model is None or cohort is None:
            return
        self.changed = what_if(
            model, cohort.barcodes, self._patient, self.list.ticked_ids, self.to.currentData()
        )
        if self.view.currentData() == _WITHOUT or not self.plot.figure.axes:
            self._draw()

    def _draw(self) -> None:
        model, cohort, view = self._model, self._cohort, self.view.currentData()
        self.plot.show_figure(None)
        if model is None or cohort is None:
            return
        if view == _WHOLE_CURVE:
            if self._whole_curve is None:
                self.curve = None
                assert self._classified is not None
                classified = self._classified
                self.masking.start(lambda cancelled: masking_job(cohort, classified))
                return
            self.curve = self._whole_curve
        elif view == _OWN_CURVE:
            own = cohort.barcodes.select([row_of(cohort.barcodes, self._patient)])
            self.curve = masking_curve(model, own, masks_up_to(model.concept_ids.size))
        self.plot.show_figure(self._draw_plot)

    def _draw_plot(self, figure: Figure) -> None:
        if self.view.currentData() == _WITHOUT:
            if self.changed is not None:
                draw_what_if(figure.subplots(), self.changed)
        elif self.curve is not None:
            axes = figure.subplots()
            draw_masking(axes, self.curve)
            axes.set_ylabel("probability")  # of what, the label's room is too small to say
            axes.set_title("Probability of the class predicted", fontsize=9)

    def _on_masked(self, found: Masked) -> None:
        self._whole_curve = found.curve
        if self.view.currentData() == _WHOLE_CURVE:
            self._draw()

    # -- cells -----------------------------------------------------------------------------

    def _on_concept(self, concept_id: int | None) -> None:
        self._show_cells(concept_id)
        if concept_id is not None:
            self.concept_chosen.emit(concept_id)

    def _show_cells(self, concept_id: int | None) -> None:
        self._cells_are_due = not self.isVisible()
        self.cells.clear("")
        if self._cells_are_due or self._cohort is None or self._model is None:
            return
        request = WhyRequest(
            self._cohort, self._patient, self._model, self.target.currentData(), concept_id
        )
        hue = _EVIDENCE_HUE if concept_id is None else self._hue(concept_id)
        self.cells.start(
            lambda cancelled: why_job(request, cancelled),
            "Looking for the cells …",
            MaskStyle(hue=hue),
            _SIDE_PX,
        )

    def showEvent(self, event: object) -> None:
        super().showEvent(event)
        if self._cells_are_due:
            self._show_cells(self.list.concept)

    # -- export ----------------------------------------------------------------------------

    def exports(self) -> list[Export]:
        """Give what is on show."""
        explanation = self.explanation
        if explanation is None:
            return []
        who = self._patient
        found: list[Export] = [
            FigureExport(
                f"Contributions {who}",
                lambda figure: draw_contributions(figure.subplots(), explanation),
            ),
            TableExport(f"Contributions {who}", explanation.evidence(self.target.currentData())),
        ]
        if self.view.currentData() != _WITHOUT and self.curve is not None:
            curve = self.curve
            whose = who if self.view.currentData() == _OWN_CURVE else "all patients"
            found += [
                FigureExport(
                    f"Masking curve {whose}", lambda figure: draw_masking(figure.subplots(), curve)
                ),
                TableExport(f"Masking curve {whose}", curve),
            ]
        elif self.changed is not None:
            changed = self.changed
            found += [
                FigureExport(
                    f"What if {who}", lambda figure: draw_what_if(figure.subplots(), changed)
                ),
                TableExport(f"What if {who}", changed, index=True),
            ]
        return found


def _column(main: QWidget, others: tuple[QWidget, ...], *, above: bool = False) -> QWidget:
    """Put small controls into a row below or above what they are about."""
    row = QWidget()
    flow = QFlowLayout(row)
    flow.setContentsMargins(0, 0, 0, 0)
    for each in others:
        flow.addWidget(each)
    part = QWidget()
    part.setMinimumWidth(180)
    column = QVBoxLayout(part)
    column.setContentsMargins(0, 0, 0, 0)
    for widget in (row, main) if above else (main, row):
        column.addWidget(widget, int(widget is main))
    return part
