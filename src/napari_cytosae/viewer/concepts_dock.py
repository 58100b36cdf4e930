"""The Concepts dock: table and gallery of the atlas, scatter, focus, naming, and review."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from napari_cytosae.concepts.atlas import Atlas, ReferenceMaps, ReferencePicture
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.viewer.atlas_plots import ConceptScatter, FocusPlot
from napari_cytosae.viewer.atlas_work import shipped_atlas
from napari_cytosae.viewer.concept_columns import IN_SLIDE
from napari_cytosae.viewer.concept_listing import ConceptListing
from napari_cytosae.viewer.dock_area import begin_at_bottom
from napari_cytosae.viewer.evidence_view import EvidenceView
from napari_cytosae.viewer.folding_splitter import FoldingSplitter
from napari_cytosae.viewer.gallery import Gallery
from napari_cytosae.viewer.go_to import go_to_cell
from napari_cytosae.viewer.name_watch import watch_names
from napari_cytosae.viewer.naming_form import NamingForm
from napari_cytosae.viewer.result_layers import result_layers_of
from napari_cytosae.viewer.review_page import ReviewPage
from napari_cytosae.viewer.session import session_of, unwrapped
from napari_cytosae.viewer.subscriptions import Subscriptions

if TYPE_CHECKING:
    import napari

_HEIGHT = 300  # px, of the dock below the canvas


class ConceptsDock(QStackedWidget):
    """All concepts of the model on show: found, sorted, looked at, named, and reviewed."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = unwrapped(napari_viewer)
        self.session = session_of(self._viewer)
        self.layers = result_layers_of(self._viewer)
        watch_names(self._viewer)
        self._drawn: tuple[object, ...] = ()
        self._build()
        self._connect()
        self._on_results()
        begin_at_bottom(self, _HEIGHT)

    def _build(self) -> None:
        self.listing = listing = ConceptListing(self.session)
        self.table, self.message, self.cancel = listing.table, listing.message, listing.cancel
        self.search, self.scope = listing.bar.search, listing.bar.scope
        self.in_focus = listing.bar.in_focus
        self.atlas_menu = listing.atlas_menu
        self.jobs = self.atlas_menu.jobs
        self.open_atlas, self.build_atlas = self.atlas_menu.open_atlas, self.atlas_menu.build_atlas
        maps = ReferenceMaps()  # one for both, since it holds a model
        self.gallery = Gallery(self.session, maps)
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
        self._desk = QWidget()
        layout = QVBoxLayout(self._desk)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(FoldingSplitter(listing, self.tabs))
        self.review = ReviewPage(maps)
        self.review.setContentsMargins(4, 4, 4, 4)
        self.addWidget(self._desk)
        self.addWidget(self.review)
        self.setMinimumHeight(220)

    def _connect(self) -> None:
        session, listing = self.session, self.listing
        self.table.chosen.connect(self._on_chosen)
        self.table.hovered.connect(self._on_hovered)
        listing.refilled.connect(self._on_refilled)
        listing.filtered.connect(self._show_filtered)
        self.atlas_menu.review_wanted.connect(self.begin_review)
        self.review.left.connect(lambda: self.setCurrentWidget(self._desk))
        self.scatter.chosen.connect(self._on_chosen)
        self.focus_plot.moved.connect(self._on_focus_moved)
        self.gallery.go_to.connect(self._go_to)
        self.gallery.slide_wanted.connect(self.show_on_slide)
        self.naming.failed.connect(listing.say)
        self.tabs.currentChanged.connect(lambda _: self._fill_plots())
        self.subscriptions = Subscriptions()
        for signal, slot in (
            (session.results_changed, self._on_results),
            (session.atlas_changed, listing.refill),
            (session.selection_changed, listing.show_selection),
            (session.concept_changed, self._on_concept),
            (session.pins_changed, self.table.concepts.restyle),
            (session.names_changed, lambda _: self._on_names()),
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
        jobs = (self.jobs, self.gallery.jobs, self.review.jobs, self.review.card.jobs)

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
        self.listing.refill()

    def _on_refilled(self) -> None:
        self.tabs.setTabEnabled(self.tabs.indexOf(self.scatter), self.listing.n_concepts > 0)
        self.tabs.setTabEnabled(self.tabs.indexOf(self.focus_plot), self.session.atlas is not None)
        self._drawn = ()
        self._fill_plots()
        self._on_concept()
        self.evidence.retitle()

    def _on_names(self) -> None:
        self.listing.show_names()
        self.evidence.retitle()

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

    def _show_gallery(self) -> None:
        self.tabs.setCurrentWidget(self.gallery)

    def _go_to(self, picture: ReferencePicture) -> None:
        if picture.run is None:
            self.listing.say(picture.missing or "This cell is of no run that could be opened.")
            return
        try:
            go_to_cell(self._viewer, picture.run, picture.cell)
        except CytoSAEError as error:
            self.listing.say(str(error))

    def show_on_slide(self, concept_id: int) -> None:
        """Show a concept over all cells of the slide, and go through those by its strength."""
        session, results = self.session, self.session.results
        if results is None:
            return
        pinned = concept_id in session.pins or session.toggle_pin(concept_id)
        self.layers.colour_by(concept_id)
        session.order_by(concept_id)
        words = f"Cells are coloured by {results.title(concept_id)}; N and P go through them by it."
        if not pinned:
            words += " Its map is not shown: all six colours are in use."
        self.listing.say(words)

    # -- focus and scatter -----------------------------------------------------------------

    def _fill_plots(self) -> None:
        """Draw the plot of the tab that is looked at; the others wait until they are."""
        tab, listing = self.tabs.currentWidget(), self.listing
        if not listing.n_concepts or tab in self._drawn:
            return
        if tab is self.scatter:
            frequency, mean = listing.column("frequency"), listing.column("mean_activation")
            if frequency is None:
                frequency = listing.column(IN_SLIDE)
            if frequency is not None and mean is not None:
                self.scatter.show_concepts(
                    np.arange(listing.n_concepts), frequency, mean, listing.column("entropy")
                )
                self._drawn = (*self._drawn, tab)
                self._show_filtered()
        elif tab is self.focus_plot and listing.focus is not None:
            self.focus_plot.show_focus(listing.focus)
            self._drawn = (*self._drawn, tab)
        if tab is self.scatter:
            self.scatter.choose(self.session.concept)

    def _show_filtered(self) -> None:
        if self.scatter in self._drawn:
            self.scatter.show_only(self.table.concepts.ids)

    def _on_focus_moved(self, threshold: float) -> None:
        atlas = self.session.atlas
        if atlas is None:
            return
        self.listing.focus = atlas.focus(threshold)
        self.focus_plot.say(self.listing.focus)
        if self.in_focus.isChecked():
            self.listing.filter()

    # -- review ----------------------------------------------------------------------------

    def begin_review(self) -> None:
        """Show the blinded review in place of the table, so that nothing tells of the concepts."""
        if self.session.atlas is None:
            self.listing.say("A review shows cells of an atlas: open or build one first (Atlas ▾).")
            return
        self.review.open(self.session.atlas)
        self.setCurrentWidget(self.review)
