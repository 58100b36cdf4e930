"""Fields of forms: boxes that keep their choice, and small remarks."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QComboBox, QSizePolicy
from superqt import QElidingLabel


def wide_combo(tooltip: str) -> QComboBox:
    """Make a box that takes the room there is, and needs little."""
    combo = QComboBox()
    combo.setToolTip(tooltip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return combo


def remark() -> QElidingLabel:
    """Make a small label for a one-line remark; its tooltip has room for more."""
    label = QElidingLabel()
    font = label.font()
    font.setPointSizeF(font.pointSizeF() * 0.9)
    label.setFont(font)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def refill(combo: QComboBox, entries: list[tuple[str, Any]], last: bool = False) -> None:
    """Replace a combo's entries and keep the choice; signal only a real change.

    With ``last`` a new last entry is chosen: what was opened last is what one wants to look at.
    """
    before = [combo.itemData(index) for index in range(combo.count())]
    chosen = combo.currentData()
    grown = last and bool(entries) and not any(_same(entries[-1][1], each) for each in before)
    combo.blockSignals(True)
    combo.clear()
    for text, data in entries:
        combo.addItem(text, data)
    position = next((i for i, (_, data) in enumerate(entries) if _same(data, chosen)), 0)
    if grown or (chosen is None and last):
        position = len(entries) - 1
    combo.setCurrentIndex(position)
    combo.blockSignals(False)
    if not _same(combo.currentData(), chosen):
        combo.currentIndexChanged.emit(combo.currentIndex())


def _same(one: Any, other: Any) -> bool:
    """Tell whether two entries are the same: layers by identity, words (which Qt copies) by text."""
    if one is None or other is None:
        return False
    return one is other or (isinstance(one, str) and one == other)
