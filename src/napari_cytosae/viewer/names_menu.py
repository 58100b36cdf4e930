"""What can be done with all names at once: take over, save, share with the lab; the vocabulary."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QMenu, QToolButton, QWidget

from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.concepts.naming import (
    TABLE_SUFFIXES,
    Dictionary,
    give_rows,
    names_path,
    read_names_table,
    remembered_author,
    write_names_table,
)
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.viewer.session import Session
from napari_cytosae.viewer.vocabulary_editor import VocabularyEditor

_NO_NAMES = "Names belong to an autoencoder: analyse an image or open an atlas first."


class NamesMenu(QToolButton):
    """A button with a menu; what comes of it is said."""

    said = Signal(str)
    vocabulary_changed = Signal()

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.editor: VocabularyEditor | None = None
        self.setText("Names ▾")
        self.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.setToolTip("Take over, save or share all names; edit the vocabulary.")
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self)
        self._of_names = [
            menu.addAction("Take over names…", self._ask_for_names),
            menu.addAction("Save all names…", self._ask_where_to_save),
            menu.addAction("Keep them in a folder of the lab…", self._ask_for_shared),
            menu.addAction("Keep them in your own file", lambda: self.share(None)),
        ]
        menu.addSeparator()
        menu.addAction("Edit the vocabulary…", self.edit_vocabulary)
        menu.aboutToShow.connect(self._follow)
        self.setMenu(menu)

    def _follow(self) -> None:
        known = self._session.dictionary is not None
        for action in self._of_names:
            action.setEnabled(known)

    def _dictionary(self) -> Dictionary | None:
        dictionary = self._session.dictionary
        if dictionary is None:
            self.said.emit(_NO_NAMES)
        return dictionary

    # -- all names -------------------------------------------------------------------------

    def take_over(self, path: Path) -> None:
        """Take over the names of a table, or all that another dictionary says."""
        dictionary = self._dictionary()
        if dictionary is None:
            return
        try:
            if path.suffix.lower() in TABLE_SUFFIXES:
                rows = read_names_table(path)
                n = give_rows(dictionary, rows, remembered_author())
                words = f"{n:,} of {len(rows):,} concepts are named anew."
            else:
                merged = dictionary.merge(path)
                words = f"{merged.added:,} new records on {len(merged.concepts):,} concepts."
        except CytoSAEError as error:
            self.said.emit(str(error))
            return
        disputed = len(dictionary.conflicts)
        if disputed:
            have = "concept has" if disputed == 1 else "concepts have"
            words += f" {disputed:,} {have} several names: list them by “with several names”."
        self.said.emit(words)

    def save_as(self, path: Path) -> None:
        """Write the names as a table, or with any other ending with all their history."""
        dictionary = self._dictionary()
        if dictionary is None:
            return
        try:
            if path.suffix.lower() in TABLE_SUFFIXES:
                n = write_names_table(dictionary, path)
                self.said.emit(f"{n:,} names are in {path}.")
            else:
                text = dictionary.to_file().to_text()
                write_durably(path, lambda part: part.write_text(text, encoding="utf-8"))
                self.said.emit(f"{path} holds all that was ever said.")
        except CytoSAEError as error:
            self.said.emit(str(error))

    def share(self, folder: Path | None) -> None:
        """Keep the names in a folder that others see, or again in one's own file (None)."""
        if self._dictionary() is None:
            return
        try:
            path = self._session.keep_names_in(folder)
        except CytoSAEError as error:
            self.said.emit(str(error))
            return
        self.said.emit(
            f"Names are kept in {path} now. Those of before are where they were; Take over brings "
            "them along."
        )

    # -- what is asked ---------------------------------------------------------------------

    def _ask_for_names(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Names to take over", "", "Names (*.jsonl *.csv *.tsv);;All files (*)"
        )
        if name:
            self.take_over(Path(name))

    def _ask_where_to_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save all names", "names.csv", "Table (*.csv *.tsv);;With all history (*.jsonl)"
        )
        if name:
            self.save_as(Path(name))

    def _ask_for_shared(self) -> None:
        digest = self._session.sae_digest
        begin = "" if digest is None else str(names_path(digest).parent)
        name = QFileDialog.getExistingDirectory(self, "A folder that the lab sees", begin)
        if name:
            self.share(Path(name))

    # -- the vocabulary --------------------------------------------------------------------

    def edit_vocabulary(self) -> None:
        """Open the vocabulary in a window of its own."""
        self.editor = VocabularyEditor(self.window())
        self.editor.saved.connect(self.vocabulary_changed)
        self.editor.open()
