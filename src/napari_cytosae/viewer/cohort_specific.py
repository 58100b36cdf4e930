"""The Cohort dock's page on cells that show what is specific to a disease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt import QFlowLayout

from napari_cytosae.cohorts.explanation import SpecificConcepts
from napari_cytosae.concepts.naming.names import title_of
from napari_cytosae.viewer.cohort_comparison import small_combo
from napari_cytosae.viewer.cohort_export import Export, TableExport
from napari_cytosae.viewer.cohort_strip import CellStrip
from napari_cytosae.viewer.cohort_work import OpenedCohort
from napari_cytosae.viewer.gallery_tiles import MaskStyle
from napari_cytosae.viewer.specific_work import LookedThrough, SpecificRequest, specific_job
from napari_cytosae.viewer.turning_splitter import TurningSplitter

_NARROW_PX = 520
_SIDE_PX = 96
_HUE = "#e69f00"
_EMPTY = "Choose a disease and whose cells to look through, then Find."
_CHOSEN, _OF_DISEASE, _ALL, _SLIDE = "chosen", "disease", "all", "slide"
_ID = Qt.ItemDataRole.UserRole


class SpecificPage(QWidget):
    """A gallery of the cells that show most of what is specific to a disease, and of what."""

    concept_chosen = Signal(int)
    go_to = Signal(object)  # a ReferencePicture

    def __init__(self, results: Callable[[], Any], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._results = results
        self._cohort: OpenedCohort | None = None
        self._patient = ""
        self.specific: SpecificConcepts | None = None
        self.found: list[dict[str, Any]] = []
        self.disease = small_combo("Whose specific concepts are looked for.")
        self.whose = small_combo("Whose cells are looked through.")
        self.whose.addItem("in the selected patient", _CHOSEN)
        self.whose.addItem("in all patients with it", _OF_DISEASE)
        self.whose.addItem("in all patients", _ALL)
        self.whose.addItem("on the slide on show", _SLIDE)
        self.within = small_combo(
            "Choose the concepts by comparing patients of the same value only."
        )
        self.find = QPushButton("&Find")
        self.find.setToolTip("Choose the disease's specific concepts, and rank the cells by them.")
        self.stop = QPushButton("■ Stop")
        self.stop.setToolTip("Stop; the cells that are there stay.")
        self.stop.hide()
        controls = QWidget()
        row = QFlowLayout(controls)
        row.setContentsMargins(0, 0, 0, 0)
        for widget in (self.disease, self.whose, self.within, self.find, self.stop):
            row.addWidget(widget)
        self.cells = CellStrip(_EMPTY)
        self.list = QTreeWidget()
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setHeaderLabels(["specific concept", "cells", "others"])
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setToolTip(
            "Share of cells that show the concept, in patients with the disease and in all others."
        )
        self.list.setAccessibleName("Concepts specific to the disease")
        header = self.list.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.list.setMinimumSize(180, 90)
        split = TurningSplitter(_NARROW_PX)
        split.add_parts((self.cells, 2), (self.list, 1))
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addWidget(controls)
        column.addWidget(split, 1)
        self.find.clicked.connect(self.start)
        self.stop.clicked.connect(self.cells.jobs.cancel)
        self.disease.activated.connect(lambda _: self._forget())
        self.cells.go_to.connect(self.go_to)
        self.cells.answered.connect(self._on_answer)
        self.cells.ended.connect(lambda: self._set_working(False))
        self.list.itemSelectionChanged.connect(self._on_selected)

    def show_cohort(self, cohort: OpenedCohort) -> None:
        """Begin anew with a cohort."""
        self._cohort = cohort
        barcodes = cohort.barcodes
        self.disease.clear()
        for name in barcodes.diagnoses:
            self.disease.addItem(f"specific to {name}", name)
        self.within.clear()
        self.within.addItem("compared in all patients", None)
        for name in barcodes.covariates:
            self.within.addItem(f"compared within {name}", name)
        self._forget()
        enough = len(barcodes.diagnoses) > 1
        self.find.setEnabled(enough)
        if not enough:
            self.cells.clear("All patients have one diagnosis: nothing can be specific to it.")

    def show_patient(self, patient: str | None) -> None:
        """Take over the patient that is selected."""
        self._patient = patient or ""
        self.whose.setItemText(0, f"in {patient}" if patient else "in the selected patient")

    def rename(self, cohort: OpenedCohort) -> None:
        """Show other names; the cells stay."""
        self._cohort = cohort
        for row in range(self.list.topLevelItemCount()):
            item = self.list.topLevelItem(row)
            item.setText(0, cohort.barcodes.names.title(int(item.data(0, _ID))))

    def start(self) -> None:
        """Look for the cells, beside the window."""
        cohort = self._cohort
        if cohort is None or self.disease.currentData() is None:
            return
        disease, whose = self.disease.currentData(), self.whose.currentData()
        barcodes = cohort.barcodes
        run = None
        patients: tuple[str, ...] = ()
        words = str(self.whose.currentText()).removeprefix("in ")
        if whose == _SLIDE:
            results = self._results()
            run = None if results is None else results.run
            words = "the slide on show"
            if run is None:
                self.cells.clear(
                    "No run is on show: open one, or analyse the image, and try again."
                )
                return
            if cohort.sae_digest and results.sae_digest not in (None, cohort.sae_digest):
                self.cells.clear(
                    "The run on show is of another autoencoder than the cohort: its concepts mean "
                    "other things. Analyse the image with the cohort's bundle"
                    f" ({barcodes.provenance.get('bundle', '')})."
                )
                return
        elif whose == _CHOSEN:
            patients = (self._patient,) if self._patient else ()
            if not patients:
                self.cells.clear("Select a patient first.")
                return
        else:
            own = barcodes.diagnosis == disease if whose == _OF_DISEASE else slice(None)
            patients = tuple(str(patient) for patient in barcodes.patients.index[own])
            words = f"{len(patients)} patients" + (f" with {disease}" * (whose == _OF_DISEASE))
        request = SpecificRequest(
            cohort, disease, patients, run, words, within=self.within.currentData()
        )
        self._forget()
        self._set_working(True)
        self.cells.start(
            lambda cancelled: specific_job(request, cancelled),
            f"Looking for what is specific to {disease} …",
            MaskStyle(hue=_HUE),
            _SIDE_PX,
        )

    def _forget(self) -> None:
        self.specific = None
        self.list.clear()
        self.cells.clear()
        self._set_working(False)

    def _set_working(self, working: bool) -> None:
        self.stop.setVisible(working)

    def _on_answer(self, answer: object) -> None:
        if isinstance(answer, SpecificConcepts):
            self.specific = answer
            for row in answer.table.to_dict("records"):
                self.list.addTopLevelItem(_item(row))
        elif isinstance(answer, LookedThrough) and answer.total > 1:
            self.cells.head.setText(f"Looked through {answer.done} of {answer.total} patients …")

    def _on_selected(self) -> None:
        items = self.list.selectedItems()
        if items:
            self.concept_chosen.emit(int(items[0].data(0, _ID)))

    def exports(self) -> list[Export]:
        """Give what is on show."""
        if self.specific is None:
            return []
        cells = pd.DataFrame(
            [
                {
                    "patient": tile.what.data_set, "diagnosis": tile.what.label,
                    "score": tile.what.value, "concept_id": tile.what.concept_id,
                    "image": tile.what.image, "run": str(tile.what.run or ""),
                    "label": tile.what.cell,
                }
                for tile in self.cells.strip.tiles
            ]
        )  # fmt: skip
        group = self.specific.group
        return [
            TableExport(f"Concepts specific to {group}", self.specific.table),
            TableExport(f"Cells with what is specific to {group}", cells),
        ]


def _item(row: dict[Any, Any]) -> QTreeWidgetItem:
    title = title_of(int(row["concept_id"]), str(row["name"]), bool(row["name_suggested"]))
    shares = [f"{row[f'share_{group}']:.1%}" for group in ("first", "second")]
    item = QTreeWidgetItem([title, *shares])
    item.setData(0, _ID, int(row["concept_id"]))
    for column in (1, 2):
        item.setTextAlignment(column, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    if row["name_suggested"]:
        font = item.font(0)
        font.setItalic(True)
        item.setFont(0, font)
    item.setToolTip(
        0,
        f"{title}\nCliff's delta {row['delta']:+.2f}, q = {row['q']:.2g}, in "
        f"{row['patients_first']} patients; weight {row['weight']:.2f}",
    )
    return item
