"""The gallery: cells that show a concept best, of the slide on show and of each data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_cytosae.concepts.atlas import ReferencePicture
from napari_cytosae.viewer.gallery_tiles import Tile, TileStrip
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
_EMPTY = "Choose a concept in the table, or in a cell's list, to see the cells that show it best."


class Gallery(QWidget):
    """Shows the session's chosen concept; a click on a cell asks to go there."""

    go_to = Signal(object)  # a ReferencePicture

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._strips: dict[str, TileStrip] = {}
        self._heads: list[QLabel] = []
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
        self.message = QLabel(_EMPTY)
        self.message.setWordWrap(True)
        self._content = QWidget()
        self._sections = QVBoxLayout(self._content)
        self._sections.setContentsMargins(0, 0, 4, 0)
        self._sections.addStretch(1)
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
        asked = (session.concept, session.atlas, finished)
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
            session.concept, K, atlas, session.results if finished is not None else None
        )
        self.message.setText("Cutting cells …")
        self.message.setVisible(True)
        self.jobs.start(lambda cancelled: fill_gallery(request, cancelled))

    def _clear(self) -> None:
        for widget in (*self._strips.values(), *self._heads):
            self._sections.removeWidget(widget)
            widget.deleteLater()
        self._strips.clear()
        self._heads.clear()

    def _on_step(self, step: Section | ReferencePicture) -> None:
        if isinstance(step, Section):
            self._begin(step)
            return
        strip = self._strips.get(step.data_set)
        if strip is not None:
            strip.add(_tile(step))

    def _begin(self, section: Section) -> None:
        head = QLabel(section.title)
        font = head.font()
        font.setBold(True)
        head.setFont(font)
        strip = TileStrip()
        strip.expect(section.n_tiles)
        strip.activated.connect(self.go_to)
        place = self._sections.count() - 1  # the stretch stays last
        self._sections.insertWidget(place, head)
        self._sections.insertWidget(place + 1, strip)
        self._heads.append(head)
        self._strips[section.data_set] = strip
        self._restyle()
        if not section.n_tiles:
            head.setText(f"{section.title} · no cell shows it")

    def _on_finished(self, completed: bool) -> None:
        for strip in self._strips.values():
            strip.end()
        tiles = [tile for strip in self._strips.values() for tile in strip.tiles]
        self.controls.follow_maps(any(tile.concept_map is not None for tile in tiles))
        self.message.setVisible(not self._strips)
        if not self._strips:
            self.message.setText("There is no atlas and no finished run to take cells from.")

    def _restyle(self) -> None:
        concept = self._session.concept
        if concept is None:
            return
        style = self.controls.style_in(self._session.map_hue(concept))
        for strip in self._strips.values():
            strip.draw_as(style, self.controls.side)


def _tile(picture: ReferencePicture) -> Tile:
    value = f"{picture.value:.3g}"
    name = f"cell {picture.cell}" if picture.run is not None else f"image {picture.cell}"
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
