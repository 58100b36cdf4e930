"""Hear of names that were given in another dock, another window or by somebody else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QObject, QTimer, Signal

from napari_cytosae.concepts.naming import Dictionary
from napari_cytosae.errors import NamesError
from napari_cytosae.viewer.session import Session, session_of, unwrapped

logger = logging.getLogger(__name__)

# How often a file that others may write is looked at.
_LOOK_MS = 4000


class DictionaryWatch(QObject):
    """Listen to a dictionary; look now and then whether others wrote it.

    A dictionary tells of changes in the thread that makes them, which may be a worker's; Qt brings
    the news to the main thread.
    """

    heard = Signal(object)  # ids of concepts

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._dictionary: Dictionary | None = None
        self._stop: Callable[[], None] | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self.look)

    def follow(self, dictionary: Dictionary | None) -> None:
        """Listen to this dictionary from now on, and no longer to another."""
        if dictionary is self._dictionary:
            return
        self.stop()
        self._dictionary = dictionary
        if dictionary is None:
            self._timer.stop()
            return
        self._stop = dictionary.listen(self.heard.emit)
        self._timer.start()

    def stop(self) -> None:
        """Listen no longer; of use when Qt has taken the widget away already."""
        self._dictionary = None
        if self._stop is not None:
            self._stop()
            self._stop = None

    def look(self) -> None:
        """Read what other processes have written since."""
        if self._dictionary is None:
            return
        try:
            self._dictionary.refresh()
        except NamesError as error:  # somebody is about to mend it, or to bring it back
            logger.warning("%s", error)


class NameWatch(DictionaryWatch):
    """Watch the dictionary of the concepts that a session shows, and tell the session."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.heard.connect(session.names_changed.emit)
        session.results_changed.connect(self._follow)
        session.atlas_changed.connect(self._follow)
        session.dictionary_changed.connect(self._follow)
        self._follow()

    def _follow(self) -> None:
        self.follow(self._session.dictionary)


_watches: WeakKeyDictionary[Any, NameWatch] = WeakKeyDictionary()


def watch_names(viewer: Any) -> NameWatch:
    """Watch the names of a viewer's results; one watch for all its docks."""
    viewer = unwrapped(viewer)
    watch = _watches.get(viewer)
    if watch is None:
        watch = _watches[viewer] = NameWatch(session_of(viewer))
    return watch
