"""The gallery: cells that show a concept best, of the slide on show and of each data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_cytosae.concepts.atlas import ReferenceMaps, ReferencePicture
from napari_cytosae.viewer.gallery_section import GallerySection
from napari_cytosae.viewer.gallery_tiles import Tile
from napari_cytosae.viewer.gallery_work import (
    THIS_SLIDE,
    GalleryRequest,
    Section,
    fill_gallery,
)
from napari_cytosae.viewer.jobs import JobRunner
from napari_cytosae.viewer.mask_controls import MaskControls
from napari_cytosae.viewer.session import Session
from napari_cytosae.viewer.subscriptions import Subscriptions

K = 10
_MORE = 5  # times as many of the slide's cells with every wish for more
_COLUMN_PX = 330  # sections stand side by side where each has this much room
_ALL = 1_000_000
_EMPTY = "Choose a concept in the table, or in a cell's list, to see the cells that show it best."


class Gallery(QWidget):
    """Shows the session's chosen concept; a click on a cell asks to go there."""

    go_to = Signal(object)  # a ReferencePicture
    slide_wanted = Signal(int)  # a concept on the whole slide

    def __init__(
        self,
        session: Session,
        maps: ReferenceMaps | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._maps = maps or ReferenceMaps()
        self.sections: dict[str, GallerySection] = {}
        self._k = (K, K)  # of the slide, of each data set
        self._asked: tuple[Any, ...] = ()
        self.jobs = JobRunner(self)
        self.jobs.yielded.connect(self._on_step)
        self.jobs.finished.connect(self._on_finished)
        self.jobs.failed.connect(lambda error: self.message.setText(str(error)))
        self._build()
        self.subscriptions = Subscriptions()
        for signal in (session.concept_changed, session.atlas_changed, session.results_changed):
            self.subscriptions.connect(signal, self.refresh)
        self.subscriptions.connect(session.pins_changed, self._restyle)

    def _build(self) -> None:
        self.controls = MaskControls()
        self.controls.changed.connect(self._restyle)
        self.controls.compute_toggled.connect(self.refresh)
        self.message = QLabel(_EMPTY)
        self.message.setWordWrap(True)
        self._content = QWidget()
        self._grid = QGridLayout(self._content)
        self._grid.setContentsMargins(0, 0, 4, 0)
        self._grid.setHorizontalSpacing(12)
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setWidget(self._content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.controls)
        layout.addWidget(self.message)
        layout.addWidget(self.area, 1)

    # -- filling ---------------------------------------------------------------------------

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self.refresh()

    def refresh(self) -> None:
        """Fill the gallery for the chosen concept, unless it shows just that already."""
        session = self._session
        if not self.isVisible():
            return
        run = None if session.results is None else session.results.run
        finished = run if run is not None and not run.unfinished else None
        about = (session.concept, session.atlas, finished)
        if self._asked[:3] != about:
            self._k = (K, K)
        maps = self._maps if self.controls.compute.isChecked() else None
        asked = (*about, self._k, maps)
        if asked == self._asked:
            return
        self._asked = asked
        self._clear()
        if session.concept is None:
            self.jobs.abandon()
            self.message.setText(_EMPTY)
            self.message.setVisible(True)
            return
        atlas = session.atlas
        if atlas is not None and session.concept >= atlas.d_sae:
            atlas = None
        request = GalleryRequest(
            session.concept,
            *self._k,
            atlas,
            session.results if finished is not None else None,
            maps,
        )
        self.message.setText("Cutting cells …")
        self.message.setVisible(True)
        self.jobs.start(lambda cancelled: fill_gallery(request, cancelled))

    def _ask_for_more(self, data_set: str) -> None:
        of_slide, of_each = self._k
        # An atlas holds few references: all of them at once.
        self._k = (of_slide * _MORE, of_each) if data_set == THIS_SLIDE else (of_slide, _ALL)
        self.refresh()

    def _clear(self) -> None:
        for section in self.sections.values():
            self._grid.removeWidget(section)
            section.deleteLater()
        self.sections.clear()

    def _on_step(self, step: Section | ReferencePicture) -> None:
        if isinstance(step, Section):
            self._begin(step)
            return
        section = self.sections.get(step.data_set)
        if section is not None:
            section.strip.add(_tile(step))

    def _begin(self, section: Section) -> None:
        shown = self.sections[section.data_set] = GallerySection(section)
        shown.strip.activated.connect(self.go_to)
        shown.more_wanted.connect(lambda name=section.data_set: self._ask_for_more(name))
        concept = self._session.concept
        shown.slide_wanted.connect(lambda: self.slide_wanted.emit(concept))
        self._arrange()
        self._restyle()

    def _arrange(self) -> None:
        """Put the data sets side by side as far as there is room, the others below."""
        n_columns = max(1, min(self.area.viewport().width() // _COLUMN_PX, len(self.sections)))
        for place, section in enumerate(self.sections.values()):
            at = divmod(place, n_columns)
            self._grid.addWidget(section, *at)
        n_rows = -(-len(self.sections) // n_columns)
        for row in range(self._grid.rowCount()):
            self._grid.setRowStretch(row, 0)
        self._grid.setRowStretch(n_rows, 1)
        for column in range(self._grid.columnCount()):
            self._grid.setColumnStretch(column, column < n_columns)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._arrange()

    def _on_finished(self, completed: bool) -> None:
        for section in self.sections.values():
            section.strip.end()
        self._follow_maps()
        self.message.setVisible(not self.sections)
        if not self.sections:
            self.message.setText("There is no atlas and no finished run to take cells from.")

    def _follow_maps(self) -> None:
        """Offer masks where there are some, and to compute those that can be."""
        known = missing = False
        sets = () if self._session.atlas is None else self._session.atlas.data_sets
        for data in sets:
            section = self.sections.get(data.name)
            tiles = [] if section is None else section.strip.tiles
            without = any(t.concept_map is None and t.picture is not None for t in tiles)
            missing |= without and ReferenceMaps.bundle_for(data) is not None
        for section in self.sections.values():
            known |= any(tile.concept_map is not None for tile in section.strip.tiles)
        self.controls.follow_maps(known, missing)

    def _restyle(self) -> None:
        concept = self._session.concept
        if concept is None:
            return
        style = self.controls.style_in(self._session.map_hue(concept))
        for section in self.sections.values():
            section.strip.draw_as(style, self.controls.side)


def _tile(picture: ReferencePicture) -> Tile:
    value = f"{picture.value:.3g}"
    name = f"cell {picture.cell}"
    if picture.run is None:
        name = Path(picture.image).stem if picture.image else f"image {picture.cell}"
    note = [name if picture.data_set == THIS_SLIDE else f"{name} · {picture.data_set}"]
    if picture.label:
        note.append(picture.label)
    note.append(f"mean activation over its tokens: {value}")
    if picture.image:
        note.append(Path(picture.image).name)
    if picture.missing:
        note.append(picture.missing)
    elif picture.run is not None:
        note.append("Click to go there.")
    return Tile(
        picture.crop,
        picture.concept_map,
        f"{picture.label or name}\n{value}",
        "\n".join(note),
        picture,
    )
