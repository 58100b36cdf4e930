"""The lower part of the CytoSAE dock: the selected cell, its crop, and its concepts."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QImage
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_cytosae.concepts import ActiveConcept, ConceptDifference
from napari_cytosae.viewer.concept_list import ConceptList, ConceptRow, percent
from napari_cytosae.viewer.crop_view import CropView, heat_image
from napari_cytosae.viewer.session import Session
from napari_cytosae.viewer.subscriptions import Subscriptions

EMPTY = "Press Run to find and analyse all cells, or click a cell to look at that one alone."
NONE_SELECTED = "Click a cell on the image to see its concepts, or step through them with N and P."
_STEPS = ("Previous cell (P)", "Next cell (N)")


class CellPanel(QWidget):
    """Show what is selected in the session; its clicks go to the session."""

    colour_pressed = Signal(int)  # concept_id
    smooth_toggled = Signal(bool)
    stepped = Signal(int)  # label
    full = Signal()  # no hue is left for another pin

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._shown: int | None = None
        self._build()
        self.subscriptions = Subscriptions()
        for signal, slot in (
            (session.selection_changed, self.refresh),
            (session.results_changed, self._on_results),
            (session.pins_changed, self._show_concepts),
            (session.preview_changed, self._show_heats),
            (session.order_changed, self._show_order),
            (session.names_changed, lambda _: self._show_concepts()),
        ):
            self.subscriptions.connect(signal, slot)
        self.refresh()

    def _build(self) -> None:
        self.title = QLabel()
        font = self.title.font()
        font.setBold(True)
        self.title.setFont(font)
        self.title.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.previous = _step_button("◂", _STEPS[0])
        self.previous.clicked.connect(lambda: self.step(-1))
        self.next = _step_button("▸", _STEPS[1])
        self.next.clicked.connect(lambda: self.step(1))
        header = QHBoxLayout()
        header.addWidget(self.title)
        header.addWidget(self.previous)
        header.addWidget(self.next)

        self.crop = CropView()
        self.crop.patch_clicked.connect(self._session.select_patch)
        self.facts = QLabel()
        self.facts.setToolTip(
            "Diameter of a circle of its area, the nucleus' share of that area, "
            "its centre, and how many concepts are active in it."
        )
        self.facts.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.facts.setMinimumWidth(self.facts.fontMetrics().horizontalAdvance("9,999 concepts") + 4)
        self.other = CropView()
        self.other.setToolTip("The other cell, as the model saw it (Esc ends the comparison).")
        self.other.setVisible(False)
        top = QHBoxLayout()
        top.addWidget(self.crop)
        top.addWidget(self.other)
        top.addWidget(self.facts, 1)

        self.heading = QLabel()
        self.heading.setWordWrap(True)
        self.heading.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.whole_cell = QToolButton()
        self.whole_cell.setText("whole cell")
        self.whole_cell.setToolTip("Show the concepts of the whole cell again (Esc in the crop).")
        self.whole_cell.clicked.connect(lambda: self._session.select_patch(None))
        above = QHBoxLayout()
        above.addWidget(self.heading)
        above.addWidget(self.whole_cell)

        self.concepts = ConceptList()
        self.concepts.hovered.connect(self._on_hover)
        self.concepts.chosen.connect(self._on_chosen)
        self.concepts.pin_toggled.connect(self._toggle_pin)
        self.context = QLabel()
        self.context.setWordWrap(True)

        self.pin = QPushButton("&Pin map")
        self.pin.setToolTip("Give the concept a colour, and show its map over all cells (Enter).")
        self.pin.clicked.connect(lambda: self._on_button(self._toggle_pin))
        self.colour = QPushButton("C&olour cells")
        self.colour.setToolTip("Colour every cell by how strong the concept is in it.")
        self.colour.clicked.connect(lambda: self._on_button(self.colour_pressed.emit))
        self.smooth = QCheckBox("smooth")
        self.smooth.setToolTip("Draw maps smoothly, or as the squares that the patches are.")
        self.smooth.setChecked(True)
        self.smooth.toggled.connect(self._on_smooth)
        buttons = QHBoxLayout()
        buttons.addWidget(self.pin)
        buttons.addWidget(self.colour)
        buttons.addStretch(1)
        buttons.addWidget(self.smooth)

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (header, top, above):
            layout.addLayout(part)
        layout.addWidget(self.concepts, 1)
        layout.addWidget(self.context)
        layout.addLayout(buttons)

    # -- what is shown ---------------------------------------------------------------------

    def _on_results(self) -> None:
        # More cells came: the one on show may be among them, and frequencies have moved.
        self._shown = None
        self.refresh()

    def refresh(self) -> None:
        """Show the selected cell."""
        session = self._session
        results, label = session.results, session.selected
        has_cells = results is not None and len(results) > 0
        self.previous.setEnabled(has_cells)
        self.next.setEnabled(has_cells)
        if results is None or label is None:
            self._shown = None
            self._show_other()
            self.title.setText("No cell selected")
            self.crop.show_crop(None)
            self.facts.setText("")
            self._show_concepts()
            return
        if label != self._shown:
            self._shown = label
            self._show_title()
            self.crop.show_crop(results.crop(label))
            self.facts.setText(self._facts(label))
        self.crop.show_chosen(session.patch)
        self._show_other()
        self._show_concepts()

    @property
    def _compared(self) -> int | None:
        """Cell that the selected one is compared with: the last that was added to it."""
        return self._session.also[-1] if self._session.also else None

    def _show_other(self) -> None:
        """Show the crop of the cell that is compared with, in the place of the facts."""
        results, other = self._session.results, self._compared
        self.other.setVisible(other is not None)
        self.facts.setVisible(other is None)
        if other is None or results is None:
            self.other.show_crop(None)
            self._show_title()
            return
        self.other.show_crop(results.crop(other))
        more = len(self._session.also) - 1
        self.title.setText(
            f"Cells {self._session.selected} and {other}" + (f", {more} more" if more else "")
        )

    def _facts(self, label: int) -> str:
        """Size and place of a cell, with units."""
        results = self._session.results
        row, size = results.row(label), results.microns_per_pixel
        diameter = 2 * float(np.sqrt(row["area_px"] / np.pi))
        lines = [f"{diameter * size:.1f} µm wide" if size else f"{diameter:.0f} px wide"]
        nucleus = float(row.get("nucleus_area_px", np.nan))
        if nucleus == nucleus and nucleus > 0:
            lines.append(f"{percent(min(nucleus / float(row['area_px']), 1.0))} nucleus")
        lines.append(f"x {row['centroid_x']:.0f} px\ny {row['centroid_y']:.0f} px")
        answer = results.answer(label)
        if answer is not None:
            lines.append(f"{len(results.active_concepts(label))} concepts")
        return "\n".join(lines)

    def _show_concepts(self) -> None:
        session = self._session
        results, label, patch = session.results, session.selected, session.patch
        other = self._compared
        rows: list[ConceptRow] = []
        if results is not None and label is not None:
            if other is not None:
                differences = results.differences(label, other)
                rows = [self._difference(each, label, other) for each in differences]
            else:
                rows = [self._line(each) for each in results.active_concepts(label, patch)]
        self.concepts.show_rows(rows)
        self.whole_cell.setVisible(patch is not None)
        if results is None or label is None:
            analysed = results is not None and results.run is not None and len(results) > 0
            self.heading.setText(NONE_SELECTED if analysed else EMPTY)
        elif results.answer(label) is None:
            self.heading.setText("This cell is still to be encoded; Run goes on with it.")
        elif other is not None:
            self.heading.setText(f"What differs · + more in cell {label}, − more in cell {other}")
        elif patch is not None:
            self.heading.setText(f"Concepts at patch row {patch[0] + 1}, column {patch[1] + 1}")
        else:
            self.heading.setText("Active concepts · share of patches")
        self._show_context()
        self._show_heats()

    def _line(self, concept: ActiveConcept) -> ConceptRow:
        patch = self._session.patch
        share = percent(concept.patch_share)
        facts = f"in {share} of this cell's patches, at most {concept.maximum:.2f}"
        if concept.run_frequency == concept.run_frequency:
            facts += f"; in {percent(concept.run_frequency)} of the cells of this run"
        where = "here" if patch is not None else "on average over its tokens"
        if concept.suggested:
            facts += "; the name is suggested, nobody has confirmed it"
        return ConceptRow(
            concept.concept_id,
            concept.name,
            concept.activation,
            None if patch is not None else concept.patch_share,
            f"#{concept.concept_id}: {concept.activation:.3f} {where}; {facts}",
            self._session.hue(concept.concept_id),
            concept.suggested,
        )

    def _difference(self, difference: ConceptDifference, label: int, other: int) -> ConceptRow:
        concept = difference.concept_id
        return ConceptRow(
            concept,
            difference.name,
            difference.difference,
            None,
            f"#{concept}: {difference.first:.3f} in cell {label}, {difference.second:.3f} in cell "
            f"{other}, on average over their tokens",
            self._session.hue(concept),
            signed=True,
        )

    def _show_context(self) -> None:
        """Say the chosen concept's numbers with their context."""
        chosen = self.concepts.chosen_id()
        row = next((row for row in self.concepts.rows if row.concept_id == chosen), None)
        self.context.setText(row.facts if row is not None else "")
        self.context.setVisible(row is not None)
        self.pin.setEnabled(row is not None)
        self.colour.setEnabled(row is not None)
        pinned = row is not None and row.hue is not None
        self.pin.setText("Un&pin" if pinned else "&Pin map")

    def _show_heats(self) -> None:
        """Lay the maps of the pinned concepts, or of the one looked at, over the crops."""
        for view, label in ((self.crop, self._session.selected), (self.other, self._compared)):
            view.show_heats(self._heats(label))

    def _heats(self, label: int | None) -> list[QImage]:
        session, results = self._session, self._session.results
        answer = results.answer(label) if results is not None else None
        if answer is None:
            return []
        looked_at = [session.preview] if session.preview is not None else list(session.pins)
        return [
            heat_image(
                answer.concept_map(concept_id),
                results.full_scale(concept_id),
                session.map_hue(concept_id),
            )
            for concept_id in looked_at
        ]

    # -- what the user does ----------------------------------------------------------------

    def step(self, step: int) -> None:
        """Select the next (1) or previous (-1) cell."""
        if self._session.results is not None:
            label = self._session.results.neighbour(
                self._session.selected, step, self._session.order
            )
            if label is not None:
                self._session.select(label)
                self.stepped.emit(label)

    def _show_order(self) -> None:
        """Say in which order the arrows go through cells."""
        order, results = self._session.order, self._session.results
        for button, words in zip((self.previous, self.next), _STEPS, strict=True):
            if order is not None and results is not None:
                words += f", by {results.title(order)}"
            button.setToolTip(words)
        if self._compared is None:
            self._show_title()

    def _show_title(self) -> None:
        """Say which cell it is, and its place where cells are gone through by a concept."""
        session = self._session
        title = f"Cell {session.selected}"
        if session.order is not None and session.results is not None:
            ranked = session.results.ranked_cells(session.order)
            if session.selected in ranked:
                place = ranked.index(session.selected) + 1
                title += f" · no. {place:,} by #{session.order}"
        if session.selected is not None:
            self.title.setText(title)

    def show_bare(self, bare: bool) -> None:
        """Show the crop without maps while ``bare`` holds."""
        self.crop.show_bare(bare)
        self.other.show_bare(bare)

    def _on_hover(self, concept_id: int | None) -> None:
        # Leaving the list gives the chosen concept's map back.
        self._session.look_at(self.concepts.chosen_id() if concept_id is None else concept_id)

    def _on_chosen(self, concept_id: int | None) -> None:
        self._session.look_at(concept_id)
        if concept_id is not None:
            self._session.choose_concept(concept_id)
        self._show_context()

    def _on_button(self, act: object) -> None:
        chosen = self.concepts.chosen_id()
        if chosen is not None and callable(act):
            act(chosen)

    def _toggle_pin(self, concept_id: int) -> None:
        if not self._session.toggle_pin(concept_id):
            self.full.emit()

    def _on_smooth(self, smooth: bool) -> None:
        for view in (self.crop, self.other):
            view.smooth = smooth
            view.update()
        self.smooth_toggled.emit(smooth)


def _step_button(text: str, tooltip: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tooltip)
    button.setAccessibleName(tooltip)
    return button
