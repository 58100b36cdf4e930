"""What measured cells tell of the chosen concept: where it is, and what it goes with."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPalette
from qtpy.QtWidgets import QLabel, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from napari_cytosae.concepts.atlas.enrichment import FALSE_DISCOVERY_RATE
from napari_cytosae.concepts.atlas.evidence import in_words
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.export.palette import HUES
from napari_cytosae.viewer.subscriptions import Subscriptions

if TYPE_CHECKING:
    from napari_cytosae.viewer.session import Session

_EMPTY = "Choose a concept to see where it is in the cells, and what it goes with."
_NO_ATLAS = "Evidence comes with an atlas: open one (Atlas ▾), or build one with atlas build."
_NONE = (
    "No cell of this atlas was measured. Build it anew from runs of this version, or measure their "
    "cells with measure_run."
)
_NOWHERE = "No measured cell has this concept."
_MEASURES = 8
_SHARE_COLOUR, _LOW_COLOUR = HUES[0], HUES[1]


class BarRow(QWidget):
    """One line: words, a bar with a mark, and numbers.

    Parameters
    ----------
    words
        At the left.
    low, high
        Where the bar begins and ends, both from 0 to 1.
    mark
        Where the mark is; None without one.
    numbers
        At the right.
    colour
        Of the bar.
    faint
        Whether the line is no finding.
    """

    def __init__(
        self,
        words: str,
        low: float,
        high: float,
        mark: float | None,
        numbers: str,
        colour: str,
        faint: bool = False,
    ) -> None:
        super().__init__()
        self.words, self.numbers = words, numbers
        self._bar, self._mark = (low, high), mark
        self._colour, self._faint = colour, faint
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(f"{words}: {numbers}")

    def sizeHint(self) -> QSize:
        return QSize(280, self.fontMetrics().height() + 5)

    minimumSizeHint = sizeHint

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics, palette = self.fontMetrics(), self.palette()
        ink = palette.color(QPalette.ColorRole.WindowText)
        if self._faint:
            ink.setAlpha(140)
        width, height = self.width(), self.height()
        left = min(metrics.horizontalAdvance("cytoplasm, basophilic") + 8, int(0.4 * width))
        right = min(metrics.horizontalAdvance("100 %, 10.0 × its area") + 8, int(0.4 * width))
        painter.setPen(ink)
        words = metrics.elidedText(self.words, Qt.TextElideMode.ElideRight, left - 6)
        middle = int(Qt.AlignmentFlag.AlignVCenter)
        painter.drawText(QRectF(0, 0, left - 6, height), middle, words)
        painter.drawText(
            QRectF(width - right, 0, right, height),
            middle | int(Qt.AlignmentFlag.AlignRight),
            metrics.elidedText(self.numbers, Qt.TextElideMode.ElideRight, right),
        )
        space = QRectF(left, height * 0.25, max(width - left - right - 6, 1), height * 0.5)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(palette.color(QPalette.ColorRole.Base))
        painter.drawRect(space)
        low, high = self._bar
        colour = QColor(self._colour)
        colour.setAlpha(110 if self._faint else 255)
        painter.setBrush(colour)
        painter.drawRect(
            QRectF(
                space.left() + low * space.width(), space.top(),
                max((high - low) * space.width(), 0.0), space.height(),
            )
        )  # fmt: skip
        if self._mark is not None:
            painter.setBrush(ink)
            at = space.left() + self._mark * space.width()
            painter.drawRect(QRectF(at - 1, space.top() - 3, 2, space.height() + 6))


class EvidenceView(QWidget):
    """Shows the session's chosen concept; filled when it is looked at."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._shown: tuple[object, int | None] = (None, None)
        self.title = QLabel(_EMPTY)
        self.title.setWordWrap(True)
        self.title.setTextFormat(Qt.TextFormat.RichText)
        self.rows: list[BarRow] = []
        self._area = QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.title)
        layout.addWidget(self._area, 1)
        self.subscriptions = Subscriptions()
        self.subscriptions.connect(session.concept_changed, self.refresh)
        self.subscriptions.connect(session.atlas_changed, self.refresh)
        self.refresh()

    def showEvent(self, event: object) -> None:
        super().showEvent(event)
        self.refresh()

    def refresh(self) -> None:
        """Show the chosen concept's evidence; reading it waits until somebody looks."""
        what = (self._session.atlas, self._session.concept)
        if what == self._shown or not self.isVisible():
            return
        self._shown = what
        self.rows = []
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(0, 0, 4, 0)
        layout.setSpacing(2)
        atlas, concept = what
        self.retitle()
        if atlas is not None and concept is not None and concept < atlas.d_sae:
            try:
                self._fill(layout, concept)
            except CytoSAEError as error:
                self._note(layout, str(error))
        layout.addStretch(1)
        self._area.setWidget(inner)

    def retitle(self) -> None:
        """Say which concept this is, once its names are those of the dictionary."""
        atlas, concept = self._session.atlas, self._session.concept
        if atlas is None:
            self.title.setText(_NO_ATLAS)
        elif concept is None or concept >= atlas.d_sae:
            self.title.setText(_EMPTY)
        else:
            words, suggested = atlas.words(concept)
            name = f"<i>{escape(words)}</i> (suggested)" if suggested else escape(words)
            self.title.setText(f"<b>#{concept}</b> {name or 'is not named yet'}")

    def _fill(self, layout: QVBoxLayout, concept: int) -> None:
        atlas = self._session.atlas
        assert atlas is not None
        measured = [data for data in atlas.data_sets if data.evidence is not None]
        if not measured:
            self._note(layout, _NONE)
        for data in measured:
            assert data.evidence is not None
            where = data.evidence.where_table(concept)
            n_cells = int(where["cells"].iloc[0])
            head = f"<b>{escape(data.name)}</b> · " if len(atlas) > 1 else ""
            if not n_cells:
                self._note(layout, head + _NOWHERE)
            else:
                self._note(
                    layout,
                    f"{head}share of its activation in {n_cells:,} measured cells that have it; "
                    "mark: share of their crops",
                )
                self._add_compartments(layout, where)
            measures = data.evidence.measure_table(concept).head(_MEASURES)
            if len(measures):
                self._note(
                    layout, "rank correlation ρ with the cells' measures; faint: may be chance"
                )
                self._add_measures(layout, measures)

    def _add_compartments(self, layout: QVBoxLayout, where: pd.DataFrame) -> None:
        known = where.dropna(subset="share")
        most = max(float(known[["share", "area"]].to_numpy().max(initial=0.0)), 1e-9)
        for row in known.to_dict("records"):
            numbers = f"{row['share']:.0%}".replace("%", " %")
            if not np.isnan(row["enrichment"]):
                numbers += f", {row['enrichment']:.1f} × its area"
            self._add(
                layout,
                BarRow(
                    row["compartment"], 0, row["share"] / most, row["area"] / most, numbers,
                    _SHARE_COLOUR,
                ),
            )  # fmt: skip

    def _add_measures(self, layout: QVBoxLayout, measures: pd.DataFrame) -> None:
        for row in measures.to_dict("records"):
            rho = row["rho"]
            low, high = sorted((0.5, 0.5 + rho / 2))
            bar = BarRow(
                row["words"], low, high, 0.5, f"ρ {in_words(rho)}, q {row['q']:.1g}",
                _SHARE_COLOUR if rho > 0 else _LOW_COLOUR,
                faint=row["q"] > FALSE_DISCOVERY_RATE,
            )  # fmt: skip
            bar.setToolTip(
                f"{row['active']:,} of {row['cells']:,} cells drawn for this have the concept"
            )
            self._add(layout, bar)

    def _add(self, layout: QVBoxLayout, row: BarRow) -> None:
        self.rows.append(row)
        layout.addWidget(row)

    def _note(self, layout: QVBoxLayout, words: str) -> None:
        label = QLabel(words)
        label.setWordWrap(True)
        label.setTextFormat(Qt.TextFormat.RichText)
        label.setStyleSheet("QLabel { margin-top: 4px; }")
        layout.addWidget(label)
