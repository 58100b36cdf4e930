"""Names of a cohort's concepts, whichever autoencoder the other docks show."""

from __future__ import annotations

import logging

from qtpy.QtCore import QObject, Signal

from napari_cytosae.concepts.naming import dictionary_of
from napari_cytosae.errors import NamesError
from napari_cytosae.viewer.name_watch import DictionaryWatch

logger = logging.getLogger(__name__)


class CohortNames(QObject):
    """Tells when a name of the cohort's concepts has changed."""

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._watch = DictionaryWatch(self)
        self._watch.heard.connect(lambda _: self.changed.emit())

    def follow(self, sae_digest: str | None) -> None:
        """Watch the names of this autoencoder's concepts."""
        try:
            self._watch.follow(dictionary_of(sae_digest) if sae_digest else None)
        except NamesError as error:  # concepts are shown as they were named before
            logger.warning("%s", error)
            self._watch.follow(None)

    def forget(self) -> None:
        """Watch no longer."""
        self._watch.stop()
