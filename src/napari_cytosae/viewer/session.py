"""The one state that all docks of a viewer share, and the signals that tell of its changes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from psygnal import Signal

from napari_cytosae.concepts.naming import dictionary_of, use_shared_names
from napari_cytosae.errors import NamesError
from napari_cytosae.export.palette import HUES

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_cytosae.concepts.atlas import Atlas
    from napari_cytosae.concepts.naming import Dictionary
    from napari_cytosae.viewer.results import Results

logger = logging.getLogger(__name__)


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
    order_changed = Signal()  # by what cells are gone through
    dictionary_changed = Signal()  # names are kept in another file
    concept_changed = Signal()  # the chosen concept
    atlas_changed = Signal()
    bundle_offered = Signal(object)  # the folder of a bundle that was made here

    def __init__(self) -> None:
        self.offered: Path | None = None
        self.results: Results | None = None
        self.selected: int | None = None
        self.also: tuple[int, ...] = ()  # cells that were selected beside it, the latest last
        self.patch: tuple[int, int] | None = None
        self.pins: dict[int, int] = {}
        self.preview: int | None = None
        self.concept: int | None = None
        self.order: int | None = None  # concept by whose strength cells are gone through
        self.atlas: Atlas | None = None
        self._dictionary: tuple[str, Dictionary | None] | None = None
        self._source: ref[Image] | None = None

    @property
    def source(self) -> Image | None:
        """Image layer that the results explain; None when there is none or it was deleted."""
        return self._source() if self._source is not None else None

    def offer_bundle(self, folder: Path) -> None:
        """Offer a bundle's folder to whoever chooses models, now or when that dock is opened."""
        self.offered = folder
        self.bundle_offered.emit(folder)

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
        self.also = ()
        self.order_by(None)
        if not same_model:
            self.pins = {}
            if not self._atlas_fits(results):
                self.choose_concept(None)
        self.results_changed.emit()
        self.pins_changed.emit()
        self.selection_changed.emit()

    def _atlas_fits(self, results: Results | None) -> bool:
        """Whether concept ids of the atlas on show mean the same in other results."""
        if self.atlas is None or results is None:
            return self.atlas is not None
        return results.sae_digest is not None and results.sae_digest == self.atlas.sae_digest

    def show_atlas(self, atlas: Atlas | None) -> None:
        """Show another atlas."""
        self.atlas = atlas
        self.atlas_changed.emit()

    def order_by(self, concept_id: int | None) -> None:
        """Go through cells by a concept's strength from now on; None: in the table's order."""
        if concept_id != self.order:
            self.order = concept_id
            self.order_changed.emit()

    def choose_concept(self, concept_id: int | None) -> None:
        """Choose the concept that galleries and forms are about."""
        if concept_id == self.concept:
            return
        self.concept = concept_id
        self.concept_changed.emit()

    @property
    def sae_digest(self) -> str | None:
        """Which SAE the concepts on show are of: the results', else the atlas's."""
        if self.results is not None and self.results.sae_digest is not None:
            return self.results.sae_digest
        return None if self.atlas is None else self.atlas.sae_digest

    @property
    def dictionary(self) -> Dictionary | None:
        """Names of the concepts on show; None where their SAE is not known."""
        digest = self.sae_digest
        if digest is None:
            return None
        if self._dictionary is None or self._dictionary[0] != digest:
            try:
                self._dictionary = (digest, dictionary_of(digest))
            except NamesError as error:
                logger.warning("Concepts are shown by their numbers. %s", error)
                self._dictionary = (digest, None)
        return self._dictionary[1]

    def keep_names_in(self, folder: Path | None) -> Path:
        """Keep the names of the concepts on show in another folder, or one's own (None).

        Returns
        -------
        Path
            The file that is used now.

        Raises
        ------
        NamesError
            A file there cannot be read, or names concepts of another SAE; nothing has changed then.
        """
        digest = self.sae_digest
        if digest is None:
            raise NamesError("It is not known which SAE these concepts are of.")
        before = self.dictionary
        path = use_shared_names(digest, folder)
        self._dictionary = None
        after = self.dictionary
        self.dictionary_changed.emit()
        known = [each.entries for each in (before, after) if each is not None]
        self.names_changed.emit(frozenset(concept for entries in known for concept in entries))
        return path

    def select(self, label: int | None) -> None:
        """Select a cell by its label (None: no cell); the whole cell, not one of its patches."""
        if (label, None, ()) == (self.selected, self.patch, self.also):
            return
        self.selected, self.patch, self.also = label, None, ()
        self.selection_changed.emit()

    def select_also(self, label: int) -> None:
        """Select a cell beside the selected one, or take it out again."""
        if self.selected is None:
            self.select(label)
        elif label == self.selected:
            *rest, last = self.also or (None,)
            self.selected, self.also = last, tuple(rest)
            self.patch = None
            self.selection_changed.emit()
        else:
            without = tuple(other for other in self.also if other != label)
            self.also = without if len(without) < len(self.also) else (*without, label)
            self.patch = None
            self.selection_changed.emit()

    @property
    def cells(self) -> list[int]:
        """Every selected cell, the one that is shown first."""
        return [] if self.selected is None else [self.selected, *self.also]

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
            if concept_id == self.order:
                self.order_by(None)
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
