"""The Concepts dock: table and gallery of the atlas, scatter, focus, and naming."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QShortcut,
    QSizePolicy,
    QSplitter,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_cytosae.concepts.atlas import Atlas, BuildProgress, Focus, ReferencePicture
from napari_cytosae.concepts.naming import Names, Stars
from napari_cytosae.errors import CytoSAEError, NamesError
from napari_cytosae.viewer.atlas_plots import ConceptScatter, FocusPlot
from napari_cytosae.viewer.atlas_work import build_atlas_job, open_atlas_job, shipped_atlas
from napari_cytosae.viewer.concept_columns import IN_CELL, IN_SLIDE, columns_of, values_of
from napari_cytosae.viewer.concept_table import ConceptTable
from napari_cytosae.viewer.concept_table_model import mask_of
from napari_cytosae.viewer.dock_area import begin_at_bottom
from napari_cytosae.viewer.evidence_view import EvidenceView
from napari_cytosae.viewer.gallery import Gallery
from napari_cytosae.viewer.go_to import go_to_cell
from napari_cytosae.viewer.jobs import JobRunner
from napari_cytosae.viewer.name_watch import watch_names
from napari_cytosae.viewer.naming_form import NamingForm
from napari_cytosae.viewer.result_layers import result_layers_of
from napari_cytosae.viewer.session import session_of, unwrapped
from napari_cytosae.viewer.subscriptions import Subscriptions

if TYPE_CHECKING:
    import napari

_HEIGHT = 300  # px, of the dock below the canvas
EVERYWHERE, SLIDE, CELL, STARRED = "everywhere", "slide", "cell", "starred"
_STOPPED = "Stopped. What was counted is kept: build it again, and it goes on from there."
_BUILDING = {
    "open": "Opening the runs",
    "count": "Counting cells",
    "encode": "Encoding images",
    "write": "Writing the atlas",
}
_EMPTY = (
    "Analyse an image to list the concepts of its cells, or open an atlas to see what each concept "
    "is over whole data sets."
)


class ConceptsDock(QWidget):
    """All concepts of the model on show: found, sorted, looked at, and named."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = unwrapped(napari_viewer)
        self.session = session_of(self._viewer)
        self.layers = result_layers_of(self._viewer)
        watch_names(self._viewer)
        self.jobs = JobRunner(self)
        self._n = 0
        self._shown: Any = None
        self._focus: Focus | None = None
        self._stars: Stars | None = None
        self._build()
        self._connect()
        self._on_results()
        begin_at_bottom(self, _HEIGHT)

    # -- building --------------------------------------------------------------------------

    def _build(self) -> None:
        self.atlas_button = QToolButton()
        self.atlas_button.setText("Atlas ▾")
        self.atlas_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.atlas_button.setToolTip("Open or import statistics of whole data sets.")
        self.atlas_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.atlas_button)
        menu.addAction("Open an atlas, or import published data…", self._ask_for_atlas)
        menu.addAction("Build one from runs…", self._ask_for_runs)
        self.save_action = menu.addAction("Save the atlas…", self._ask_where_to_save)
        self.close_action = menu.addAction("Close the atlas", lambda: self.session.show_atlas(None))
        self.atlas_button.setMenu(menu)
        self.search = QLineEdit()
        self.search.setPlaceholderText("search names, labels, #numbers  ( / )")
        self.search.setClearButtonEnabled(True)
        self.scope = QComboBox()
        for text, key in (
            ("everywhere", EVERYWHERE),
            ("on this slide", SLIDE),
            ("in the selected cells", CELL),
            ("starred", STARRED),
        ):
            self.scope.addItem(text, key)
        self.scope.setToolTip("Which concepts are listed.")
        self.in_focus = QCheckBox("focus")
        self.in_focus.setChecked(True)
        self.in_focus.setToolTip(
            "List only concepts that are strong enough to matter (see the tab Focus).\n"
            "A search looks at all of them."
        )
        self.columns = QToolButton()
        self.columns.setText("Columns ▾")
        self.columns.setToolTip("Choose the columns of the table.")
        self.count = QLabel()
        top = QHBoxLayout()
        top.addWidget(self.atlas_button)
        top.addWidget(self.search, 1)
        top.addWidget(self.scope)
        top.addWidget(self.in_focus)
        top.addWidget(self.columns)
        self.table = ConceptTable()
        self.cancel = QToolButton()
        self.cancel.setText("■ Cancel")
        self.cancel.setToolTip(
            "Stop building; what is counted is kept, and gone on with next time."
        )
        self.cancel.hide()
        self.message = QElidingLabel(_EMPTY)
        self.message.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(top)
        column.addWidget(self.table, 1)
        below = QHBoxLayout()
        below.addWidget(self.message, 1)
        below.addWidget(self.cancel)
        below.addWidget(self.count)
        column.addLayout(below)

        self.gallery = Gallery(self.session)
        self.naming = NamingForm(self.session)
        self.evidence = EvidenceView(self.session)
        self.scatter = ConceptScatter()
        self.focus_plot = FocusPlot()
        self.tabs = QTabWidget()
        self.tabs.addTab(self.gallery, "&Gallery")
        self.tabs.addTab(self.naming, "&Name")
        self.tabs.addTab(self.evidence, "&Evidence")
        self.tabs.addTab(self.scatter, "S&catter")
        self.tabs.addTab(self.focus_plot, "&Focus")
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.addWidget(left)
        self.splitter.addWidget(self.tabs)
        self.splitter.setStretchFactor(0, 3)
        self.splitter.setStretchFactor(1, 2)
        self.splitter.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.splitter)
        self.setMinimumHeight(220)

    def _connect(self) -> None:
        session = self.session
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(0)
        self._typing.timeout.connect(self._filter)
        self.search.textChanged.connect(lambda _: self._typing.start())
        self.scope.currentIndexChanged.connect(self._filter)
        self.in_focus.toggled.connect(self._filter)
        self.columns.clicked.connect(self._show_columns_menu)
        self.table.chosen.connect(self._on_chosen)
        self.table.hovered.connect(self._on_hovered)
        self.table.pin_toggled.connect(self._on_pin)
        self.table.concepts.star_toggled.connect(self._on_star)
        self.scatter.chosen.connect(self._on_chosen)
        self.focus_plot.moved.connect(self._on_focus_moved)
        self.gallery.go_to.connect(self._go_to)
        self.naming.failed.connect(self._say)
        self.tabs.currentChanged.connect(self._fill_plots)
        self.jobs.yielded.connect(self._on_answer)
        self.jobs.failed.connect(lambda error: self._on_end(str(error)))
        self.jobs.finished.connect(lambda whole: self._on_end("" if whole else _STOPPED))
        self.cancel.clicked.connect(self.jobs.cancel)
        self.subscriptions = Subscriptions()
        for signal, slot in (
            (session.results_changed, self._on_results),
            (session.atlas_changed, self._on_atlas),
            (session.selection_changed, self._on_selection),
            (session.concept_changed, self._on_concept),
            (session.pins_changed, self.table.concepts.restyle),
            (session.names_changed, lambda _: self._show_names()),
        ):
            self.subscriptions.connect(signal, slot)
        for keys, act in (("/", self.search.setFocus), ("G", self._show_gallery)):
            shortcut = QShortcut(QKeySequence(keys), self.table)
            shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
            shortcut.activated.connect(act)
        listening = (
            self.subscriptions, self.gallery.subscriptions, self.naming.subscriptions,
            self.evidence.subscriptions,
        )  # fmt: skip
        jobs = (self.jobs, self.gallery.jobs)

        def farewell() -> None:
            for subscriptions in listening:
                subscriptions.end()
            for runner in jobs:
                runner.abandon()

        self.destroyed.connect(farewell)

    # -- what is listed --------------------------------------------------------------------

    def _on_results(self) -> None:
        """Look for the atlas that belongs to the results' model; list anew what there is."""
        session = self.session
        if session.results is not None and not session._atlas_fits(session.results):
            path = shipped_atlas(session.results.sae_digest)
            atlas = None if path is None else Atlas.open(path)
            if atlas is not session.atlas:
                session.show_atlas(atlas)
                return
        self._refill()

    def _on_atlas(self) -> None:
        self._focus = None
        self._refill()

    def _what(self) -> tuple[Any, ...]:
        results = self.session.results
        run = None if results is None else results.run
        return self.session.atlas, run, None if results is None else results.bundle_digest

    def _refill(self) -> None:
        """List the concepts of the atlas, or without one those of the run on show."""
        session, atlas = self.session, self.session.atlas
        what = self._what()
        if what == self._shown:
            self._on_selection()
            return
        self._shown = what
        results = session.results
        run = None if results is None else results.run
        columns = columns_of(atlas)
        if run is None:
            columns = [column for column in columns if column.key != IN_SLIDE]
        if results is None:
            columns = [column for column in columns if column.key != IN_CELL]
        values: dict[str, Any] = {}
        order = None
        if atlas is not None:
            self._n = atlas.d_sae
            values = values_of(atlas.table, columns)
            order = np.argsort(atlas.table["rank"].to_numpy(), kind="stable")
            if self._focus is None:
                self._focus = atlas.focus()
        elif run is not None:
            self._n = run.d_sae
            values = values_of(run.concepts, [c for c in columns if c.key == "mean_activation"])
            order = np.argsort(-run.concepts["frequency"].to_numpy(float), kind="stable")
        else:
            self._n = 0
        if run is not None and run.d_sae == self._n and not run.unfinished:
            values[IN_SLIDE] = run.concepts["frequency"].to_numpy(np.float64)
        self._open_stars()
        self._say(_EMPTY if self._n == 0 else self._title())
        self.table.concepts.show(columns, values, self._n, order, session.hue)
        self.table.show_columns()
        self.in_focus.setVisible(atlas is not None)
        self.save_action.setEnabled(atlas is not None)
        self.close_action.setEnabled(atlas is not None)
        self.tabs.setTabEnabled(self.tabs.indexOf(self.scatter), self._n > 0)
        self.tabs.setTabEnabled(self.tabs.indexOf(self.focus_plot), atlas is not None)
        self._show_names()
        self._on_selection()
        self._filter()
        self._fill_plots()
        self._on_concept()

    def _title(self) -> str:
        atlas = self.session.atlas
        if atlas is None:
            return "Concepts of the run on show; there is no atlas."
        sets = ", ".join(f"{data.name} ({len(data):,} cells)" for data in atlas.data_sets)
        return f"Atlas of {sets}"

    def _open_stars(self) -> None:
        digest = self.session.sae_digest
        self._stars = None
        try:
            self._stars = Stars(digest) if digest is not None else None
        except NamesError as error:
            self._say(str(error))

    def _show_names(self) -> None:
        """Take the dictionary's names, and the marks, into the table."""
        if not self._n:
            return
        names = Names.of(self.session.dictionary)
        if self.session.dictionary is None and self.session.results is not None:
            names = self.session.results.names
        model = self.table.concepts
        model.mark_suggested(names.suggested)
        model.replace("name", names.columns(self._n)["name"])
        stars = mask_of([i for i in self._stars.ids if i < self._n], self._n) if self._stars else (
            np.zeros(self._n, bool)
        )  # fmt: skip
        model.replace("star", stars)
        if self.session.atlas is not None:
            self.session.atlas.names = names
            self.evidence.retitle()

    def _on_selection(self) -> None:
        """Show how strong each concept is in the selected cell."""
        results = self.session.results
        if not self._n or results is None:
            return
        values = np.full(self._n, np.nan)
        answers = [results.answer(label) for label in self.session.cells]
        known = [answer for answer in answers if answer is not None and answer.d_sae == self._n]
        for answer in known:
            summary = answer.summary(threshold=0.0)
            before = np.nan_to_num(values[summary.concept_ids])
            values[summary.concept_ids] = before + summary.mean / len(known)
        self.table.concepts.replace(IN_CELL, values)
        if self.scope.currentData() == CELL:
            self._filter()

    def _filter(self) -> None:
        """List what is searched for, within the scope and the focus."""
        if not self._n:
            self.count.setText("")
            return
        mask = np.ones(self._n, bool)
        scope, text = self.scope.currentData(), self.search.text().strip()
        values = self.table.concepts._values
        if scope == SLIDE and IN_SLIDE in values:
            mask &= values[IN_SLIDE] > 0
        elif scope == CELL and IN_CELL in values:
            mask &= values[IN_CELL] > 0
        elif scope == STARRED:
            mask &= values["star"]
        hidden = 0
        if text:
            mask &= self._found(text)
        elif self.session.atlas is not None and self.in_focus.isChecked() and self._focus:
            focused = mask & mask_of(self._focus.concept_ids, self._n)
            hidden = int(mask.sum() - focused.sum())
            mask = focused
        self.table.concepts.show_only(mask)
        self.table.choose(self.session.concept)
        words = f"{int(mask.sum()):,} of {self._n:,}"
        self.count.setText(words + (f" · {hidden:,} out of focus" if hidden else ""))

    def _found(self, text: str) -> np.ndarray:
        atlas = self.session.atlas
        found = np.zeros(self._n, bool)
        if atlas is not None:
            found[atlas.find(text)] = True
        dictionary = self.session.dictionary
        if dictionary is not None:
            found |= mask_of([i for i in dictionary.search(text) if i < self._n], self._n)
        number = text.removeprefix("#")
        if number.isdecimal() and int(number) < self._n:
            found[int(number)] = True
        return found

    # -- what is chosen --------------------------------------------------------------------

    def _on_chosen(self, concept_id: int) -> None:
        self.session.choose_concept(concept_id)
        self.session.look_at(concept_id)

    def _on_hovered(self, concept_id: int | None) -> None:
        self.session.look_at(self.session.concept if concept_id is None else concept_id)

    def _on_concept(self) -> None:
        concept = self.session.concept
        self.table.choose(concept)
        if self.tabs.currentWidget() is self.scatter:
            self.scatter.choose(concept)

    def _on_pin(self, concept_id: int) -> None:
        if not self.session.toggle_pin(concept_id):
            self._say("All six colours are in use: unpin a concept first.")

    def _on_star(self, concept_id: int) -> None:
        if self._stars is None:
            self._say("Stars belong to an SAE, and it is not known which one this is.")
            return
        try:
            self._stars.toggle(concept_id)
        except NamesError as error:
            self._say(str(error))
        self._show_names()
        if self.scope.currentData() == STARRED:
            self._filter()

    def _show_gallery(self) -> None:
        self.tabs.setCurrentWidget(self.gallery)

    def _go_to(self, picture: ReferencePicture) -> None:
        if picture.run is None:
            self._say(picture.missing or "This cell is of no run that could be opened.")
            return
        try:
            go_to_cell(self._viewer, picture.run, picture.cell)
        except CytoSAEError as error:
            self._say(str(error))

    # -- focus and scatter -----------------------------------------------------------------

    def _fill_plots(self) -> None:
        """Draw the plot of the tab that is looked at; the others wait until they are."""
        tab, atlas = self.tabs.currentWidget(), self.session.atlas
        drawn = (tab, atlas, self._shown)
        if not self._n or drawn == getattr(self, "_drawn", None):
            return
        if tab is self.scatter:
            values = self.table.concepts._values
            frequency = values.get("frequency", values.get(IN_SLIDE))
            mean = values.get("mean_activation")
            if frequency is not None and mean is not None:
                self.scatter.show_concepts(
                    np.arange(self._n), frequency, mean, values.get("entropy")
                )
                self.scatter.choose(self.session.concept)
                self._drawn = drawn
        elif tab is self.focus_plot and self._focus is not None:
            self.focus_plot.show_focus(self._focus)
            self._drawn = drawn

    def _on_focus_moved(self, threshold: float) -> None:
        atlas = self.session.atlas
        if atlas is None:
            return
        self._focus = atlas.focus(threshold)
        self.focus_plot.say(self._focus)
        if self.in_focus.isChecked():
            self._filter()

    # -- atlases ---------------------------------------------------------------------------

    def open_atlas(self, folder: Path) -> None:
        """Open an atlas or import published data, beside the window."""
        self._say(f"Reading {folder.name} …")
        self.jobs.start(lambda cancelled: open_atlas_job(folder, cancelled))

    def _ask_for_atlas(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "An atlas, or published feature data")
        if name:
            self.open_atlas(Path(name))

    def build_atlas(self, sources: Path, out: Path) -> None:
        """Count the runs of a folder into an atlas, and show it."""
        self.cancel.show()
        self._say(f"Opening the runs of {sources.name} …")
        self.jobs.start(lambda cancelled: build_atlas_job(sources, out, cancelled))

    def _ask_for_runs(self) -> None:
        sources = QFileDialog.getExistingDirectory(self, "A folder of runs")
        if not sources:
            return
        out, _ = QFileDialog.getSaveFileName(
            self, "Keep the atlas as a folder", str(Path(sources) / "atlas.cytosae-atlas")
        )
        if out:
            self.build_atlas(Path(sources), Path(out))

    def _on_answer(self, answer: BuildProgress | Atlas) -> None:
        if isinstance(answer, BuildProgress):
            far = f": {answer.done:,} of {answer.total:,}" if answer.total else ""
            self._say(f"{_BUILDING[answer.stage]}{far}")
        else:
            self.session.show_atlas(answer)

    def _on_end(self, words: str) -> None:
        self.cancel.hide()
        if words:
            self._say(words)

    def _ask_where_to_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the atlas as a folder", "atlas.cytosae-atlas"
        )
        if not name or self.session.atlas is None:
            return
        try:
            self.session.atlas.save(Path(name))
            self._say(f"Saved as {name}.")
        except CytoSAEError as error:
            self._say(str(error))

    def _show_columns_menu(self) -> None:
        menu = self.table.columns_menu()
        menu.exec(self.columns.mapToGlobal(self.columns.rect().bottomLeft()))

    def _say(self, text: str) -> None:
        self.message.setText(text)
        self.message.setToolTip(text)
