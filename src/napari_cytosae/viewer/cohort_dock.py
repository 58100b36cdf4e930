"""The Cohort dock: patients, their barcodes, what differs between groups, and why a prediction."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QProgressBar,
    QPushButton,
    QSplitter,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_cytosae.cohorts import Comparison
from napari_cytosae.cohorts.classification import ClassificationOptions
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePicture
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.export.cohort.comparison_figures import (
    draw_barcode,
    draw_correlation,
    draw_heatmap,
)
from napari_cytosae.viewer.cohort_cells import GroupCellsView
from napari_cytosae.viewer.cohort_classification import ClassificationView
from napari_cytosae.viewer.cohort_plots import ComparisonPlot, Plot
from napari_cytosae.viewer.cohort_work import (
    CellsRequest,
    Classified,
    OpenedCohort,
    Steps,
    classify_job,
    compare_job,
    extract_job,
    open_job,
)
from napari_cytosae.viewer.dock_area import begin_at_bottom
from napari_cytosae.viewer.go_to import go_to_cell
from napari_cytosae.viewer.jobs import JobRunner
from napari_cytosae.viewer.patient_table import PatientTable
from napari_cytosae.viewer.session import session_of, unwrapped
from napari_cytosae.viewer.subscriptions import Subscriptions

if TYPE_CHECKING:
    import napari

_HEIGHT = 340
_HEATMAP = 18
_EMPTY = "Open a cohort to compare its patients, or a table of patients to analyse their images."
_REST = "all others"
_CELLS = {"detect": "Nucleated cells", "red": "Red cells", "whole": "Each image is one cell"}


class CohortDock(QWidget):
    """Patients and diseases, by concepts."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = unwrapped(napari_viewer)
        self.session = session_of(self._viewer)
        self.cohort: OpenedCohort | None = None
        self.comparison: Comparison | None = None
        self.classified: Classified | None = None
        self.patient: str | None = None
        self.concept: int | None = None
        self.options = ClassificationOptions(
            repeats=5, n_permutations=20, curve=(), curve_repeats=1
        )
        self.jobs = JobRunner(self)
        self._steps = Steps()
        self._build()
        self._connect()
        self._refresh()
        begin_at_bottom(self, _HEIGHT)

    # -- building --------------------------------------------------------------------------

    def _build(self) -> None:
        self.open_button = QToolButton()
        self.open_button.setText("Open ▾")
        self.open_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.open_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.open_button)
        menu.addAction("A cohort's folder…", self._ask_for_folder)
        menu.addAction("Barcodes (.h5ad)…", self._ask_for_file)
        extract = menu.addMenu("Analyse a table of patients")
        for cells, words in _CELLS.items():
            extract.addAction(f"{words}…", partial(self._ask_for_table, cells))
        self.open_button.setMenu(menu)
        self.title = QLabel()
        self.title.setTextFormat(Qt.TextFormat.PlainText)
        self.table = PatientTable()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self.cancel = QPushButton("Cancel")
        self.message = QLabel(_EMPTY)
        self.message.setWordWrap(True)
        self.message.setTextFormat(Qt.TextFormat.PlainText)
        top = QHBoxLayout()
        top.addWidget(self.open_button)
        top.addWidget(self.title, 1)
        below = QHBoxLayout()
        below.addWidget(self.bar, 1)
        below.addWidget(self.cancel)
        left = QWidget()
        left.setMinimumWidth(270)
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(top)
        column.addWidget(self.table, 1)
        column.addLayout(below)
        column.addWidget(self.message)

        self.tabs = QTabWidget()
        self.tabs.addTab(self._build_comparison(), "&Compare")
        self.barcode = Plot()
        self.tabs.addTab(self.barcode, "&Patient")
        self.heatmap, self.correlation = Plot(), Plot()
        maps = QSplitter(Qt.Orientation.Horizontal)
        maps.addWidget(self.heatmap)
        maps.addWidget(self.correlation)
        self.maps = maps
        self.tabs.addTab(maps, "&All patients")
        self.classification = ClassificationView()
        self.tabs.addTab(self.classification, "C&lassify")
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.addWidget(left)
        self.splitter.addWidget(self.tabs)
        self.splitter.setStretchFactor(0, 1)
        self.splitter.setStretchFactor(1, 3)
        self.splitter.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.splitter)
        self.setMinimumHeight(240)

    def _build_comparison(self) -> QWidget:
        self.first, self.second, self.kind = QComboBox(), QComboBox(), QComboBox()
        self.within = QComboBox()
        self.within.setToolTip("Compare patients of the same value only.")
        self.kind.addItem("scatter", False)
        self.kind.addItem("volcano", True)
        row = QHBoxLayout()
        for widget in (self.first, QLabel("against"), self.second, self.within, self.kind):
            row.addWidget(widget, 0 if isinstance(widget, QLabel) else 1)
        self.plot = ComparisonPlot()
        self.cells = GroupCellsView()
        split = QSplitter(Qt.Orientation.Horizontal)
        split.addWidget(self.plot)
        split.addWidget(self.cells)
        split.setStretchFactor(0, 1)
        split.setStretchFactor(1, 1)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(4, 4, 4, 4)
        column.addLayout(row)
        column.addWidget(split, 1)
        return page

    def _connect(self) -> None:
        self._look = QTimer(self)
        self._look.setInterval(150)
        self._look.timeout.connect(self._show_steps)
        self.jobs.started.connect(self._on_started)
        self.jobs.yielded.connect(self._on_answer)
        self.jobs.failed.connect(lambda error: self._on_end(str(error)))
        self.jobs.finished.connect(
            lambda whole: self._on_end(None if whole else "Stopped. What was written is kept.")
        )
        self.cancel.clicked.connect(self.jobs.cancel)
        self.table.chosen.connect(self.choose_patient)
        for box in (self.first, self.second, self.within):
            box.activated.connect(lambda _: self.compare())
        self.kind.activated.connect(lambda _: self._draw_comparison())
        self.plot.chosen.connect(self.choose_concept)
        self.cells.go_to.connect(self._go_to)
        self.classification.start.clicked.connect(self.start_classification)
        self.tabs.currentChanged.connect(lambda _: self._draw_tab())
        self.subscriptions = Subscriptions()
        self.subscriptions.connect(self.session.pins_changed, self._draw_comparison)
        subscriptions, runners = self.subscriptions, (self.jobs, self.cells.jobs)

        def farewell() -> None:
            subscriptions.end()
            for runner in runners:
                runner.abandon()

        self.destroyed.connect(farewell)

    # -- opening ---------------------------------------------------------------------------

    def open_cohort(self, path: Path) -> None:
        """Open a cohort's folder or barcodes, beside the window."""
        self._say(f"Reading {path.name} …")
        self.jobs.start(lambda cancelled: open_job(path))

    def extract(self, source: Path, cells: str = "detect", bundle: str = "starter") -> None:
        """Analyse the images of a table or folder of patients, then show them."""
        steps = self._steps = Steps()
        self._say(f"Analysing the images of {source.name} …")
        self.jobs.start(lambda cancelled: extract_job(source, cells, bundle, steps, cancelled))

    def _ask_for_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "A cohort's folder")
        if name:
            self.open_cohort(Path(name))

    def _ask_for_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Barcodes", filter="Barcodes (*.h5ad)")
        if name:
            self.open_cohort(Path(name))

    def _ask_for_table(self, cells: str) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Table with patient, diagnosis and image", filter="Tables (*.csv *.tsv *.txt)"
        )
        if name:
            self.extract(Path(name), cells)

    # -- answers of the workers ------------------------------------------------------------

    def _on_started(self) -> None:
        self._look.start()
        self._refresh()

    def _on_answer(self, answer: Any) -> None:
        if isinstance(answer, OpenedCohort):
            self._show_cohort(answer)
        elif isinstance(answer, Comparison):
            self._show_comparison(answer)
        elif isinstance(answer, Classified):
            self._show_classification(answer)

    def _on_end(self, words: str | None) -> None:
        self._look.stop()
        if words:
            self._say(words)
        elif self.cohort is not None:
            self._say("")
        self._refresh()
        # A cohort is opened to be compared: the first comparison needs no click.
        if words is None and self.cohort is not None and self.comparison is None:
            self.compare()

    def _show_steps(self) -> None:
        steps = self._steps
        self.bar.setRange(0, steps.total)
        self.bar.setValue(steps.done)
        if steps.words:
            self._say(steps.words)

    def _show_cohort(self, cohort: OpenedCohort) -> None:
        self.cohort = cohort
        self.comparison = self.classified = self.patient = self.concept = None
        barcodes = cohort.barcodes
        self.title.setText(
            f"{cohort.folder.name}: {len(barcodes)} patients, "
            f"{int(barcodes.patients['n_cells'].sum()):,} cells"
        )
        self.table.show_patients(cohort, None)
        names = barcodes.diagnoses
        for box in (self.first, self.second, self.within):
            box.clear()
        self.first.addItems(names)
        self.second.addItem(_REST, None)
        for name in names:
            self.second.addItem(name, name)
        self.within.addItem("in all patients", None)
        for name in barcodes.covariates:
            self.within.addItem(f"within {name}", name)
        self.classification.show_cohort(barcodes)
        for plot in (self.heatmap, self.correlation):
            plot.show_figure(None)
        self._draw_comparison()
        self.cells.clear()
        self.table.choose(str(barcodes.patients.index[0]))

    # -- comparison ------------------------------------------------------------------------

    def compare(self) -> None:
        """Compare the chosen groups."""
        if self.cohort is None or len(self.cohort.barcodes.diagnoses) < 2:
            self._say("All patients have one diagnosis; there is nothing to compare.")
            return
        first, second = self.first.currentText(), self.second.currentData()
        if first == second:
            self._say("Choose two groups that differ.")
            return
        barcodes, within = self.cohort.barcodes, self.within.currentData()
        self._steps = Steps()
        self._say(f"Comparing {first} with {self.second.currentText()} …")
        self.jobs.start(lambda cancelled: compare_job(barcodes, first, second, within))

    def _show_comparison(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self._draw_comparison()
        self.cells.clear()
        self.heatmap.show_figure(None)
        self._draw_tab()

    def _draw_comparison(self) -> None:
        self.plot.show_comparison(self.comparison, bool(self.kind.currentData()), self.session.hue)

    def choose_concept(self, concept_id: int) -> None:
        """Show a concept's best cells in both groups."""
        if self.cohort is None or self.comparison is None:
            return
        self.concept = concept_id
        self.plot.choose(concept_id)
        barcodes = self.cohort.barcodes
        self.cells.show_cells(
            CellsRequest(self.cohort, self.comparison, concept_id),
            barcodes.names.title(concept_id),
            self.session.map_hue(concept_id),
        )
        # Numbers of another autoencoder's concepts mean nothing to the other docks.
        digest = self.session.sae_digest
        if digest is None or digest == barcodes.provenance.get("sae_digest"):
            self.session.choose_concept(concept_id)

    def _go_to(self, picture: ReferencePicture) -> None:
        if picture.run is None or (picture.crop is None and picture.concept_map is None):
            self._say(picture.missing or "This cell's run is not at hand.")
            return
        try:
            go_to_cell(self._viewer, picture.run, picture.cell)
        except CytoSAEError as error:
            self._say(str(error))

    # -- one patient, and all --------------------------------------------------------------

    def choose_patient(self, patient: str) -> None:
        """Show a patient's barcode and, where it is classified, why it is predicted so."""
        self.patient = patient
        self.barcode.show_figure(None)
        self._draw_tab()
        self._draw_why()

    def _draw_tab(self) -> None:
        """Draw the tab that is looked at; the others wait until they are."""
        if self.cohort is None:
            return
        barcodes, tab = self.cohort.barcodes, self.tabs.currentWidget()
        if tab is self.barcode and self.patient is not None and not self.barcode.figure.axes:
            patient = self.patient

            def barcode(figure: Figure) -> None:
                draw_barcode(figure.subplots(), barcodes, patient)

            self.barcode.show_figure(barcode)
        elif tab is self.maps:
            if self.comparison is not None and not self.heatmap.figure.axes:
                top = self.comparison.top(_HEATMAP)["concept_id"]
                ids = [int(concept) for concept in top]
                self.heatmap.show_figure(lambda figure: draw_heatmap(figure, barcodes, ids))
            if len(barcodes) > 2 and not self.correlation.figure.axes:
                self.correlation.show_figure(lambda figure: draw_correlation(figure, barcodes))

    # -- classification --------------------------------------------------------------------

    def start_classification(self) -> None:
        """Classify the patients, beside the window."""
        if self.cohort is None:
            return
        options = replace(
            self.options,
            groups=self.classification.by_site.currentData(),
            n_permutations=self.options.n_permutations
            if self.classification.shuffle.isChecked()
            else 0,
        )
        barcodes = self.cohort.barcodes
        steps = self._steps = Steps()
        self.jobs.start(lambda cancelled: classify_job(barcodes, options, steps, cancelled))

    def _show_classification(self, classified: Classified) -> None:
        assert self.cohort is not None
        self.classified = classified
        self.classification.show_classified(classified)
        self.table.show_patients(self.cohort, classified)
        self.tabs.setCurrentWidget(self.classification)
        if self.patient is not None:
            self.table.choose(self.patient)
        self._draw_why()

    def _draw_why(self) -> None:
        if self.cohort is not None:
            self.classification.show_why(self.cohort.barcodes, self.classified, self.patient)

    # -- what it says ----------------------------------------------------------------------

    def _refresh(self) -> None:
        busy, there = self.jobs.busy, self.cohort is not None
        self.bar.setVisible(busy)
        self.cancel.setVisible(busy)
        self.tabs.setEnabled(there)
        self.classification.start.setEnabled(there and not busy)
        if not there and not busy and not self.message.text():
            self._say(_EMPTY)

    def _say(self, text: str) -> None:
        self.message.setText(text)
        self.message.setVisible(bool(text))
