"""The left part of the Cohort dock: what is open, its patients, and how work stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QMenu,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_cytosae.viewer.cohort_export import Export, ExportButton
from napari_cytosae.viewer.cohort_status import CohortStatus
from napari_cytosae.viewer.cohort_work import OpenedCohort
from napari_cytosae.viewer.patient_table import PatientTable


class PatientsPanel(QWidget):
    """Open, save, the table of patients, progress and messages."""

    open_asked = Signal(object)  # a path
    form_asked = Signal()

    def __init__(
        self, exports: Callable[[], Sequence[Export]], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.open_button = QToolButton()
        self.open_button.setText("Open ▾")
        self.open_button.setToolTip("Open a cohort, or analyse the images of patients.")
        self.open_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.open_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.open_button)
        menu.addAction("A cohort's folder…", self._ask_for_folder)
        menu.addAction("Barcodes (.h5ad)…", self._ask_for_file)
        menu.addSeparator()
        menu.addAction("Analyse the images of patients…", self.form_asked)
        self.open_button.setMenu(menu)
        self.save_button = ExportButton(exports)
        self.title = QElidingLabel()
        self.title.setTextFormat(Qt.TextFormat.PlainText)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.table = PatientTable()
        self.table.setMinimumHeight(90)
        self.status = CohortStatus()
        top = QHBoxLayout()
        top.addWidget(self.open_button)
        top.addWidget(self.title, 1)
        top.addWidget(self.save_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(top)
        column.addWidget(self.table, 1)
        column.addWidget(self.status)
        self.setMinimumWidth(260)

    def show_cohort(self, cohort: OpenedCohort) -> None:
        """Name a cohort and list its patients."""
        barcodes = cohort.barcodes
        bundle = barcodes.provenance.get("bundle")
        words = (
            f"{cohort.folder.name if cohort.kept else 'Barcodes'}: {len(barcodes)} patients, "
            f"{int(barcodes.patients['n_cells'].sum()):,} cells"
        )
        self.title.setText(words)
        more = [words, str(cohort.folder)]
        if bundle:
            more.append(f"Model: {bundle}; τ = {barcodes.threshold:g}")
        left_out = list(barcodes.provenance.get("left_out", ()))
        if left_out:
            more.append("Left out: " + "; ".join(map(str, left_out[:10])))
        self.title.setToolTip("\n".join(more))
        self.save_button.folder = cohort.folder.resolve().parent
        self.table.show_patients(cohort, None)

    def set_busy(self, busy: bool, there: bool) -> None:
        """Hold back what cannot be done now."""
        self.open_button.setEnabled(not busy)
        self.save_button.busy = busy
        self.save_button.setEnabled(there)
        self.status.set_working(busy)

    def _ask_for_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "A cohort's folder")
        if name:
            self.open_asked.emit(Path(name))

    def _ask_for_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Barcodes", filter="Barcodes (*.h5ad)")
        if name:
            self.open_asked.emit(Path(name))
