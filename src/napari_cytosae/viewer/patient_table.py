"""The Cohort dock's list of patients."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from napari_cytosae.viewer.cohort_work import Classified, OpenedCohort

_WIDEST_PX = 150  # long ids and diagnoses are told whole where the mouse rests
_COLUMNS = ("patient", "diagnosis", "cells", "predicted", "p")


class _Patients(QAbstractTableModel):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[Any, ...]] = []
        self.why: dict[str, str] = {}  # why a patient is unlike those that a model knows

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return len(_COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return _COLUMNS[section]
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        value = self.rows[index.row()][index.column()]
        if role == Qt.ItemDataRole.UserRole:  # what is sorted by
            return "" if value is None else value
        unlike = self.why.get(self.rows[index.row()][0], "")
        if role == Qt.ItemDataRole.ToolTipRole:
            words = "" if value is None else str(value)
            return f"{words}\nUnlike the training cohort: {unlike}" if unlike else words
        if role == Qt.ItemDataRole.DisplayRole:
            if unlike and index.column() == 3:
                return f"⚠ {value}"
            if isinstance(value, float):
                return f"{value:.2f}"
            return f"{value:,}" if isinstance(value, int) else value
        if role == Qt.ItemDataRole.TextAlignmentRole and isinstance(value, int | float):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None


class PatientTable(QTableView):
    """Patients with their diagnoses, and what is predicted; a selected one is told."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.patients = _Patients()
        self._sorted = QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self.patients)
        self._sorted.setSortRole(Qt.ItemDataRole.UserRole)
        self.setModel(self._sorted)
        self.setSortingEnabled(True)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 6)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setStretchLastSection(True)
        self.horizontalHeader().setMaximumSectionSize(_WIDEST_PX)
        self.setTabKeyNavigation(False)  # Tab leaves the table, arrow keys move in it
        self.setAccessibleName("Patients")
        self.setToolTip("Select a patient (arrow keys) to see its barcode and prediction.")
        self.selectionModel().currentRowChanged.connect(self._on_current)

    def show_patients(self, cohort: OpenedCohort, classified: Classified | None) -> None:
        """List the patients of a cohort."""
        patients = cohort.barcodes.patients
        predicted: dict[str, tuple[str, float]] = {}
        why: dict[str, str] = {}
        if classified is not None:
            table = classified.predictions
            highest = table[[f"p {name}" for name in classified.classes]].max(axis=1)
            predicted = {
                str(patient): (str(row["predicted"]), float(highest[patient]))
                for patient, row in table.iterrows()
            }
            if "why" in table:
                why = {str(patient): str(words) for patient, words in table["why"].items() if words}
        rows = [
            (str(patient), str(row["diagnosis"] or ""), int(row["n_cells"]),
             *predicted.get(str(patient), (None, None)))
            for patient, row in patients.iterrows()
        ]  # fmt: skip
        self.patients.beginResetModel()
        self.patients.rows, self.patients.why = rows, why
        self.patients.endResetModel()
        for column in (3, 4):
            self.setColumnHidden(column, classified is None)

    def choose(self, patient: str) -> None:
        """Select a patient."""
        for row, values in enumerate(self.patients.rows):
            if values[0] == patient:
                self.selectRow(self._sorted.mapFromSource(self.patients.index(row, 0)).row())

    def _on_current(self, index: QModelIndex, before: QModelIndex) -> None:
        if index.isValid():
            row = self._sorted.mapToSource(index).row()
            self.chosen.emit(self.patients.rows[row][0])
