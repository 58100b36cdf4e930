"""The one state that all docks of a viewer share, and the signals that tell of its changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from psygnal import Signal

from napari_cytosae.export.palette import HUES

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_cytosae.viewer.results import Results


def unwrapped(thing: Any) -> Any:
    """Return the object behind napari's public-only proxy, or the object itself.

    Layers are told apart by identity, and a proxy is never identical to what it stands for.
    """
    return getattr(thing, "__wrapped__", thing)


class Session:
    """Current image, results, selected cell and patch, pinned and previewed concepts of one viewer.

    Views subscribe to the signals and read the attributes; they change the state only through the
    methods, so that every view hears of it. Nothing here knows of Qt.
    """

    results_changed = Signal()  # other results, or more cells in them
    selection_changed = Signal()  # the selected cell, or the patch within it
    pins_changed = Signal()
    preview_changed = Signal()
    names_changed = Signal(object)  # ids of concepts that were named or renamed

    def __init__(self) -> None:
        self.results: Results | None = None
        self.selected: int | None = None
        self.patch: tuple[int, int] | None = None
        self.pins: dict[int, int] = {}
        self.preview: int | None = None
        self._source: ref[Image] | None = None

    @property
    def source(self) -> Image | None:
        """Image layer that the results explain; None when there is none or it was deleted."""
        return self._source() if self._source is not None else None

    def show(self, results: Results | None, source: Image | None) -> None:
        """Replace the results by those of another run or image; the selection starts anew.

        Pins stay only while the model stays: a concept id means nothing in another dictionary.
        """
        same_model = (
            results is not None
            and self.results is not None
            and results.bundle_digest == self.results.bundle_digest
        )
        self.results = results
        self._source = ref(source) if source is not None else None
        self.selected = self.patch = self.preview = None
        if not same_model:
            self.pins = {}
        self.results_changed.emit()
        self.pins_changed.emit()
        self.selection_changed.emit()

    def select(self, label: int | None) -> None:
        """Select a cell by its label (None: no cell); the whole cell, not one of its patches."""
        if (label, None) == (self.selected, self.patch):
            return
        self.selected, self.patch = label, None
        self.selection_changed.emit()

    def select_patch(self, patch: tuple[int, int] | None) -> None:
        """Narrow the selection to a patch (row, column) of the selected cell; None widens it."""
        if self.selected is None or patch == self.patch:
            return
        self.patch = patch
        self.selection_changed.emit()

    def toggle_pin(self, concept_id: int) -> bool:
        """Pin a concept with the first free hue, or unpin it.

        Returns False, and changes nothing, when all six hues are worn.
        """
        if concept_id in self.pins:
            del self.pins[concept_id]
        else:
            slot = self._free_slot()
            if slot is None:
                return False
            self.pins[concept_id] = slot
        self.pins_changed.emit()
        return True

    def _free_slot(self) -> int | None:
        return next((slot for slot in range(len(HUES)) if slot not in self.pins.values()), None)

    def hue(self, concept_id: int) -> str | None:
        """Hue of a pinned concept (``#rrggbb``), None for one that is not pinned."""
        slot = self.pins.get(concept_id)
        return None if slot is None else HUES[slot]

    def map_hue(self, concept_id: int) -> str:
        """Hue to draw a concept's map in: its own, or the one that pinning would give it."""
        return self.hue(concept_id) or HUES[self._free_slot() or 0]

    def look_at(self, concept_id: int | None) -> None:
        """Preview a concept's map on the selected cell (None: take it away)."""
        if concept_id == self.preview:
            return
        self.preview = concept_id
        self.preview_changed.emit()


_sessions: WeakKeyDictionary[ViewerModel, Session] = WeakKeyDictionary()


def session_of(viewer: Any) -> Session:
    """Return the session of a viewer, made on first use; it goes when the viewer goes."""
    viewer = unwrapped(viewer)
    session = _sessions.get(viewer)
    if session is None:
        session = _sessions[viewer] = Session()
    return session
