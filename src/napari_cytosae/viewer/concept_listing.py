"""The left half of the Concepts dock: which concepts are listed, and what is said of each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_cytosae.concepts.atlas import Focus
from napari_cytosae.concepts.naming import Names, Stars
from napari_cytosae.errors import NamesError
from napari_cytosae.viewer.atlas_menu import AtlasMenu
from napari_cytosae.viewer.concept_columns import IN_CELL, IN_SLIDE, columns_of, values_of
from napari_cytosae.viewer.concept_table import ConceptTable
from napari_cytosae.viewer.concept_table_model import mask_of
from napari_cytosae.viewer.concepts_bar import (
    CELL,
    DISPUTED,
    NAMED,
    SLIDE,
    STARRED,
    ConceptsBar,
)
from napari_cytosae.viewer.session import Session

_EMPTY = (
    "Analyse an image to list the concepts of its cells, or open an atlas to see what each concept "
    "is over whole data sets."
)


class ConceptListing(QWidget):
    """Table of the session's concepts with search, scopes, focus and stars."""

    refilled = Signal()  # other concepts are listed
    filtered = Signal()  # others of them are on show

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.n_concepts = 0
        self.focus: Focus | None = None
        self._shown: tuple[Any, ...] | None = None
        self._stars: Stars | None = None
        self._build()
        self.bar.changed.connect(self.filter)
        self.bar.columns.clicked.connect(self._show_columns_menu)
        self.table.concepts.star_toggled.connect(self._on_star)
        self.table.pin_toggled.connect(self._on_pin)

    def _build(self) -> None:
        self.atlas_menu = AtlasMenu(self._session)
        self.bar = ConceptsBar(self.atlas_menu)
        self.table = ConceptTable()
        self.cancel = QToolButton()
        self.cancel.setText("■ Cancel")
        self.cancel.setToolTip(
            "Stop building; what is counted is kept, and gone on with next time."
        )
        self.cancel.hide()
        self.cancel.clicked.connect(self.atlas_menu.jobs.cancel)
        self.atlas_menu.building.connect(self.cancel.setVisible)
        self.atlas_menu.said.connect(self.say)
        self.message = QElidingLabel(_EMPTY)
        self.message.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.count = QLabel()
        below = QHBoxLayout()
        below.addWidget(self.message, 1)
        below.addWidget(self.cancel)
        below.addWidget(self.count)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.bar)
        column.addWidget(self.table, 1)
        column.addLayout(below)

    def say(self, text: str) -> None:
        """Say something below the table."""
        self.message.setText(text)
        self.message.setToolTip(text)

    def column(self, key: str) -> NDArray[Any] | None:
        """Give the values of a column, one per concept; None where nothing is known."""
        return self.table.concepts.values(key)

    # -- what is listed --------------------------------------------------------------------

    def refill(self) -> bool:
        """List the concepts of the atlas, or without one those of the run on show.

        Returns
        -------
        Whether they are others than before.
        """
        session, atlas = self._session, self._session.atlas
        results = session.results
        run = None if results is None else results.run
        what = (atlas, run, None if results is None else results.bundle_digest)
        if what == self._shown:
            self.show_selection()
            return False
        if self._shown is None or self._shown[0] is not atlas:
            self.focus = None if atlas is None else atlas.focus()
        self._shown = what
        columns = columns_of(atlas)
        if run is None:
            columns = [column for column in columns if column.key != IN_SLIDE]
        if results is None:
            columns = [column for column in columns if column.key != IN_CELL]
        values: dict[str, Any] = {}
        order = None
        self.n_concepts = 0
        if atlas is not None:
            self.n_concepts = atlas.d_sae
            values = values_of(atlas.table, columns)
            order = np.argsort(atlas.table["rank"].to_numpy(), kind="stable")
        elif run is not None:
            self.n_concepts = run.d_sae
            values = values_of(run.concepts, [c for c in columns if c.key == "mean_activation"])
            order = np.argsort(-run.concepts["frequency"].to_numpy(float), kind="stable")
        if run is not None and run.d_sae == self.n_concepts and not run.unfinished:
            values[IN_SLIDE] = run.concepts["frequency"].to_numpy(np.float64)
        self._open_stars()
        self.say(self._title())
        self.table.concepts.show(columns, values, self.n_concepts, order, session.hue)
        self.table.show_columns()
        self.bar.in_focus.setVisible(atlas is not None)
        self.atlas_menu.follow_atlas()
        self.show_names()
        self.show_selection()
        self.filter()
        self.refilled.emit()
        return True

    def _title(self) -> str:
        atlas = self._session.atlas
        if not self.n_concepts:
            return _EMPTY
        if atlas is None:
            return "Concepts of the run on show; there is no atlas."
        sets = ", ".join(f"{data.name} ({len(data):,} cells)" for data in atlas.data_sets)
        return f"Atlas of {sets}"

    def show_names(self) -> None:
        """Take the dictionary's names, and the marks, into the table."""
        n = self.n_concepts
        if not n:
            return
        names = Names.of(self._session.dictionary)
        if self._session.dictionary is None and self._session.results is not None:
            names = self._session.results.names
        model = self.table.concepts
        model.mark_suggested(names.suggested)
        model.replace("name", names.columns(n)["name"])
        model.replace("star", self._mask(self._stars.ids if self._stars is not None else ()))
        if self._session.atlas is not None:
            self._session.atlas.names = names
        if self.bar.where in (NAMED, DISPUTED):
            self.filter()

    def show_selection(self) -> None:
        """Show how strong each concept is in the selected cells."""
        results = self._session.results
        if not self.n_concepts or results is None:
            return
        values = np.full(self.n_concepts, np.nan)
        answers = [results.answer(label) for label in self._session.cells]
        known = [a for a in answers if a is not None and a.d_sae == self.n_concepts]
        for answer in known:
            summary = answer.summary(threshold=0.0)
            before = np.nan_to_num(values[summary.concept_ids])
            values[summary.concept_ids] = before + summary.mean / len(known)
        self.table.concepts.replace(IN_CELL, values)
        if self.bar.where == CELL:
            self.filter()

    # -- what of it is on show -------------------------------------------------------------

    def filter(self) -> None:
        """List what is searched for, within the scope and the focus."""
        n = self.n_concepts
        if not n:
            self.count.setText("")
            return
        mask = self._in_scope()
        hidden = 0
        if self.bar.text:
            mask &= self._found(self.bar.text)
        elif self._session.atlas is not None and self.bar.in_focus.isChecked() and self.focus:
            focused = mask & mask_of(self.focus.concept_ids, n)
            hidden = int(mask.sum() - focused.sum())
            mask = focused
        self.table.concepts.show_only(mask)
        self.table.choose(self._session.concept)
        words = f"{int(mask.sum()):,} of {n:,}"
        self.count.setText(words + (f" · {hidden:,} out of focus" if hidden else ""))
        self.filtered.emit()

    def _in_scope(self) -> NDArray[np.bool_]:
        scope, dictionary = self.bar.where, self._session.dictionary
        if scope in (SLIDE, CELL):
            values = self.column(IN_SLIDE if scope == SLIDE else IN_CELL)
            if values is not None:
                return np.asarray(values > 0)
        elif scope == STARRED:
            return self._mask(self._stars.ids if self._stars is not None else ())
        elif scope in (NAMED, DISPUTED):
            entries = [] if dictionary is None else dictionary.entries.values()
            return self._mask(
                [e.concept_id for e in entries if (e.conflict if scope == DISPUTED else e.standing)]
            )
        return np.ones(self.n_concepts, bool)

    def _found(self, text: str) -> NDArray[np.bool_]:
        atlas, dictionary = self._session.atlas, self._session.dictionary
        found = np.zeros(self.n_concepts, bool)
        if atlas is not None:
            found[atlas.find(text)] = True
        if dictionary is not None:
            found |= self._mask(dictionary.search(text))
        number = text.removeprefix("#")
        if number.isdecimal() and int(number) < self.n_concepts:
            found[int(number)] = True
        return found

    def _mask(self, ids: Any) -> NDArray[np.bool_]:
        return mask_of([each for each in ids if each < self.n_concepts], self.n_concepts)

    # -- marks -----------------------------------------------------------------------------

    def _open_stars(self) -> None:
        digest = self._session.sae_digest
        self._stars = None
        try:
            self._stars = Stars(digest) if digest is not None else None
        except NamesError as error:
            self.say(str(error))

    def _on_star(self, concept_id: int) -> None:
        if self._stars is None:
            self.say("Stars belong to an SAE, and it is not known which one this is.")
            return
        try:
            self._stars.toggle(concept_id)
        except NamesError as error:
            self.say(str(error))
        self.show_names()
        if self.bar.where == STARRED:
            self.filter()

    def _on_pin(self, concept_id: int) -> None:
        if not self._session.toggle_pin(concept_id):
            self.say("All six colours are in use: unpin a concept first.")

    def _show_columns_menu(self) -> None:
        button = self.bar.columns
        self.table.columns_menu().exec(button.mapToGlobal(button.rect().bottomLeft()))
