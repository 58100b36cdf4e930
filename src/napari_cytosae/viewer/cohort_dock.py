"""The Cohort dock: patients, their barcodes, what differs between groups, and why a prediction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QFileDialog, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from napari_cytosae.cohorts import Comparison
from napari_cytosae.cohorts.classification import ClassificationOptions
from napari_cytosae.concepts.atlas.reference_pictures import ReferencePicture
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.viewer.cohort_classification import ClassificationPage
from napari_cytosae.viewer.cohort_comparison import ComparisonPage
from napari_cytosae.viewer.cohort_export import Export
from napari_cytosae.viewer.cohort_names import CohortNames
from napari_cytosae.viewer.cohort_overview import AllPatientsPage, PatientPage
from napari_cytosae.viewer.cohort_patients import PatientsPanel
from napari_cytosae.viewer.cohort_specific import SpecificPage
from napari_cytosae.viewer.cohort_tasks import CohortTasks
from napari_cytosae.viewer.cohort_why import WhyPage
from napari_cytosae.viewer.cohort_work import (
    Classified,
    OpenedCohort,
    compare_job,
    renamed_comparison,
)
from napari_cytosae.viewer.dock_area import begin_at_bottom
from napari_cytosae.viewer.extract_form import ExtractForm
from napari_cytosae.viewer.go_to import go_to_picture
from napari_cytosae.viewer.jobs import JobRunner
from napari_cytosae.viewer.session import session_of, unwrapped
from napari_cytosae.viewer.subscriptions import Subscriptions
from napari_cytosae.viewer.turning_splitter import TurningSplitter

if TYPE_CHECKING:
    import napari

_HEIGHT = 360
_NARROW_PX = 640
_EMPTY = "Open a cohort to compare its patients, or analyse the images of patients."
_MODELS = "Models (*.safetensors)"


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
        self.names = CohortNames(self)
        self._build()
        # What takes long has a runner of its own: a glance at other groups must not stop it.
        self.tasks, self.comparing = CohortTasks(self.status, self), JobRunner(self)
        self.jobs = self.tasks.jobs
        self._connect()
        self._refresh()
        self.say(_EMPTY)
        begin_at_bottom(self, _HEIGHT)

    # -- building --------------------------------------------------------------------------

    def _build(self) -> None:
        self.patients = PatientsPanel(self.exports)
        self.table, self.status = self.patients.table, self.patients.status
        self.compared = ComparisonPage(self._hue)
        self.barcode = PatientPage()
        self.overview = AllPatientsPage()
        self.classification = ClassificationPage()
        self.why = WhyPage(self._map_hue)
        self.specific = SpecificPage(lambda: self.session.results)
        self.tabs = QTabWidget()
        self.tabs.setUsesScrollButtons(True)
        for page, title, words in (
            (self.compared, "&Compare", "What differs between two groups"),
            (self.barcode, "&Patient", "The selected patient's barcode against its disease"),
            (self.overview, "&All patients", "The most different concepts in all patients"),
            (self.classification, "C&lassify", "What is predicted of patients left out"),
            (self.why, "&Why", "Why the selected patient is predicted so, and what if"),
            (self.specific, "&Telltale cells", "Cells with what is specific to a disease"),
        ):
            self.tabs.setTabToolTip(self.tabs.addTab(page, title), words)
        self.form = ExtractForm()
        self.pages = QStackedWidget()
        self.pages.addWidget(self.tabs)
        self.pages.addWidget(self.form)
        splitter = TurningSplitter(_NARROW_PX)
        splitter.add_parts((self.patients, 2), (self.pages, 5))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(splitter)
        self.setMinimumHeight(240)

    def _connect(self) -> None:
        self.tasks.opened.connect(self._show_cohort)
        self.tasks.classified.connect(self._show_classification)
        self.tasks.changed.connect(self._refresh)
        self.tasks.ended.connect(self._on_end)
        self.comparing.yielded.connect(self._show_comparison)
        self.comparing.failed.connect(lambda error: self.say(str(error)))
        self.names.changed.connect(self._rename)
        self.patients.open_asked.connect(self.tasks.open)
        self.patients.form_asked.connect(self.show_form)
        self.patients.save_button.said.connect(self.say)
        self.patients.save_button.report_asked.connect(self.write_report)
        self.table.chosen.connect(self.choose_patient)
        self.form.asked.connect(self.tasks.extract)
        self.form.said.connect(self.say)
        self.form.closed.connect(lambda: self.pages.setCurrentWidget(self.tabs))
        self.compared.asked.connect(self.compare)
        self.compared.concept_chosen.connect(self.choose_concept)
        for page in (self.why, self.specific):
            page.concept_chosen.connect(self._tell_concept)
        for page in (self.compared, self.why, self.specific):
            page.go_to.connect(self._go_to)
        self.classification.start.clicked.connect(self.start_classification)
        self.classification.apply.clicked.connect(self._ask_for_model)
        self.classification.keep.clicked.connect(self._ask_where_to_keep)
        self.tabs.currentChanged.connect(lambda _: self._draw_tab())
        self.subscriptions = Subscriptions()
        self.subscriptions.connect(self.session.pins_changed, self.compared.draw)
        self.subscriptions.connect(self.session.bundle_offered, self.form.model.choose_bundle)
        if self.session.offered is not None:
            self.form.model.choose_bundle(self.session.offered)
        subscriptions, names = self.subscriptions, self.names
        runners = (
            self.jobs, self.comparing, self.compared.cells.jobs, self.why.cells.jobs,
            self.why.masking, self.specific.cells.jobs,
        )  # fmt: skip

        def farewell() -> None:
            subscriptions.end()
            names.forget()
            for runner in runners:
                runner.abandon()

        self.destroyed.connect(farewell)

    # -- opening ---------------------------------------------------------------------------

    def open_cohort(self, path: Path) -> None:
        """Open a cohort's folder or barcodes, beside the window."""
        self.tasks.open(path)

    def show_form(self) -> None:
        """Ask for patients to analyse."""
        self.form.refresh()
        self.pages.setCurrentWidget(self.form)
        self.form.source.setFocus()

    def _on_end(self, whole: bool) -> None:
        self.form.refresh()
        # A cohort is opened to be compared: the first comparison needs no click.
        if whole and self.cohort is not None and self.comparison is None:
            self.compare()

    def _show_cohort(self, cohort: OpenedCohort) -> None:
        self.comparing.abandon()
        self.pages.setCurrentWidget(self.tabs)
        self.cohort = cohort
        self.comparison = self.classified = self.patient = self.concept = None
        self.names.follow(cohort.sae_digest)
        self.patients.show_cohort(cohort)
        self.compared.show_cohort(cohort)
        self.classification.show_cohort(cohort.barcodes)
        self.overview.show_cohort(cohort.barcodes)
        self.specific.show_cohort(cohort)
        self.why.show_patient(cohort, None, None)
        self.table.choose(str(cohort.barcodes.patients.index[0]))

    def _rename(self) -> None:
        """Show everything that is there under its new names."""
        if self.cohort is None:
            return
        self.cohort = self.cohort.renamed()
        if self.comparison is not None:
            self.comparison = renamed_comparison(self.comparison, self.cohort.barcodes)
            self.compared.rename(self.comparison)
        if self.classified is not None:
            self.classified = self.classified.renamed()
        self.overview.show_cohort(self.cohort.barcodes)
        self.overview.show_comparison(self.comparison)
        self.specific.rename(self.cohort)
        self.why.rename(self.cohort, self.classified, self.patient or "")
        self._draw_tab()

    # -- comparison ------------------------------------------------------------------------

    def compare(self) -> None:
        """Compare the chosen groups."""
        if self.cohort is None or len(self.cohort.barcodes.diagnoses) < 2:
            self.say("All patients have one diagnosis; there is nothing to compare.")
            return
        page = self.compared
        first, second = page.first.currentText(), page.second.currentData()
        if first == second:
            self.say("Choose two groups that differ.")
            return
        barcodes, within = self.cohort.barcodes, page.within.currentData()
        if not self.jobs.busy:
            self.say(f"Comparing {first} with {page.second.currentText()} …")
        self.comparing.start(lambda cancelled: compare_job(barcodes, first, second, within))

    def _show_comparison(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.compared.show_comparison(comparison)
        self.overview.show_comparison(comparison)
        self._draw_tab()
        if not self.jobs.busy:
            self.say("")

    def choose_concept(self, concept_id: int) -> None:
        """Show a concept's best cells in both groups."""
        if self.cohort is None or self.comparison is None:
            return
        self.concept = concept_id
        self.compared.show_concept(self.cohort, concept_id, self._map_hue(concept_id))
        self._tell_concept(concept_id)

    @property
    def _concepts_are_shared(self) -> bool:
        """Whether numbers of concepts mean the same in the cohort and in the other docks."""
        digest = self.session.sae_digest
        return digest is None or self.cohort is None or digest == self.cohort.sae_digest

    def _tell_concept(self, concept_id: int) -> None:
        if self._concepts_are_shared:
            self.session.choose_concept(concept_id)

    def _hue(self, concept_id: int) -> str | None:
        return self.session.hue(concept_id) if self._concepts_are_shared else None

    def _map_hue(self, concept_id: int) -> str:
        return self.session.map_hue(concept_id if self._concepts_are_shared else -1)

    def _go_to(self, picture: ReferencePicture) -> None:
        try:
            go_to_picture(self._viewer, picture)
        except CytoSAEError as error:
            self.say(str(error))
        else:
            self.say("")

    # -- one patient, and all --------------------------------------------------------------

    def choose_patient(self, patient: str) -> None:
        """Show a patient's barcode and, where it is predicted, why it is predicted so."""
        self.patient = patient
        if self.cohort is not None:
            self.barcode.show_patient(self.cohort.barcodes, patient)
        self.specific.show_patient(patient)
        self._draw_tab()
        self._draw_why()

    def _draw_tab(self) -> None:
        """Draw the tab that is looked at; the others wait until they are."""
        page = self.tabs.currentWidget()
        if self.cohort is not None and isinstance(page, PatientPage | AllPatientsPage):
            page.draw()

    # -- classification --------------------------------------------------------------------

    def start_classification(self) -> None:
        """Classify the patients, beside the window."""
        page = self.classification
        options = replace(
            self.options,
            groups=page.by_site.currentData(),
            n_permutations=self.options.n_permutations if page.shuffle.isChecked() else 0,
        )
        if self.cohort is not None:
            self.tasks.classify(self.cohort, options)

    def _ask_for_model(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "A model of another cohort", filter=_MODELS)
        if name and self.cohort is not None:
            self.tasks.apply(self.cohort, Path(name))

    def _ask_where_to_keep(self) -> None:
        if self.cohort is None or self.classified is None:
            return
        found, start = self.classified.classification, self.cohort.folder / "model.safetensors"
        name, _ = QFileDialog.getSaveFileName(self, "Save the model", str(start), _MODELS)
        if name and found is not None:
            self.tasks.keep(self.cohort, found, Path(name))

    def _show_classification(self, classified: Classified) -> None:
        assert self.cohort is not None
        self.classified = classified
        self.classification.show_classified(classified)
        self.table.show_patients(self.cohort, classified)
        if self.tabs.currentWidget() is not self.why:
            self.tabs.setCurrentWidget(self.classification)
        if self.patient is not None:
            self.table.choose(self.patient)
        self._draw_why()

    def _draw_why(self) -> None:
        self.why.show_patient(self.cohort, self.classified, self.patient)

    # -- on paper --------------------------------------------------------------------------

    def exports(self) -> list[Export]:
        """Give the figures and tables of the tab that is on show."""
        page = self.tabs.currentWidget()
        return page.exports() if self.cohort is not None else []

    def write_report(self, out: Path) -> None:
        """Write the report into a folder, beside the window."""
        if self.cohort is not None:
            self.tasks.report(self.cohort, self.comparison, self.classified, out)

    # -- what it says ----------------------------------------------------------------------

    def _refresh(self) -> None:
        busy, there = self.jobs.busy, self.cohort is not None
        self.patients.set_busy(busy, there)
        self.tabs.setEnabled(there)
        self.form.start.setEnabled(not busy)
        for button in (self.classification.start, self.classification.apply):
            button.setEnabled(there and not busy)
        found = None if self.classified is None else self.classified.classification
        self.classification.keep.setEnabled(found is not None and not busy)

    def say(self, text: str) -> None:
        """Say something below the patients."""
        self.status.say(text)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() != Qt.Key.Key_Escape:
            super().keyPressEvent(event)
        elif self.jobs.busy:
            self.status.cancel.click()
        else:
            self.pages.setCurrentWidget(self.tabs)
