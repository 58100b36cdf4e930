"""How far the Cohort dock's work is, how long it will take, and one message."""

from __future__ import annotations

from collections import deque
from time import monotonic

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_cytosae.viewer.run_bar import duration

_LINES = 4  # more than that would take the table's room
_LINE_CHARACTERS = 160


class Pace:
    """Estimate the time left from the latest steps.

    What an earlier session finished goes by in no time and says nothing of what is to come; with the
    latest steps only, that is soon forgotten.
    """

    def __init__(self, steps: int = 8) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=steps + 1)

    def left(self, done: int, total: int, now: float) -> float | None:
        """Give the seconds left; None while that cannot be told."""
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()
        if not self._seen or done > self._seen[-1][1]:
            self._seen.append((now, done))
        (began, first), (_, last) = self._seen[0], self._seen[-1]
        if last == first or done >= total:
            return None
        # The step at work has taken its time, too.
        return max(now - began, 1e-3) / (last - first) * (total - done)


class CohortStatus(QWidget):
    """A bar with a button to stop, shown while something is at work, and what there is to say."""

    cancel_pressed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self.cancel = QPushButton("■ Cancel")
        self.cancel.setToolTip("Stop; what is done is kept (Esc).")
        self.cancel.clicked.connect(self._on_cancel)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextFormat(Qt.TextFormat.PlainText)
        self.copy = QPushButton("Copy all of it")
        self.copy.setToolTip("Copy the whole message.")
        self.copy.clicked.connect(self._copy)
        self._text = ""
        self._pace = Pace()
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.message)
        layout.addWidget(self.copy, 0, Qt.AlignmentFlag.AlignLeft)
        self.set_working(False)
        self.say("")

    @property
    def text(self) -> str:
        """The whole message."""
        return self._text

    def set_working(self, working: bool) -> None:
        """Show the bar while something is at work."""
        self.bar.setVisible(working)
        self.cancel.setVisible(working)
        self.cancel.setEnabled(working)
        self._pace = Pace()
        if working:
            self.bar.setRange(0, 0)

    def show_progress(self, done: int, total: int, words: str) -> None:
        """Show how far, and how long it will take."""
        if not self.cancel.isEnabled():
            return  # stopping: that is what it says
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        left = self._pace.left(done, total, monotonic()) if total else None
        if words:
            self.say(words if left is None else f"{words}, {duration(left)} left")

    def say(self, text: str) -> None:
        """Say something; a long list is cut, and can be copied whole."""
        self._text = text
        lines = text.split("\n")
        cut = len(lines) > _LINES or any(len(line) > 2 * _LINE_CHARACTERS for line in lines)
        shown = [
            line if len(line) <= 2 * _LINE_CHARACTERS else line[: 2 * _LINE_CHARACTERS] + "…"
            for line in lines
        ]
        if len(lines) > _LINES:
            shown = [*shown[: _LINES - 1], f"… and {len(lines) - _LINES + 1} more lines"]
        self.message.setText("\n".join(shown))
        self.message.setToolTip(text if cut else "")
        self.message.setVisible(bool(text))
        self.copy.setVisible(cut)

    def _on_cancel(self) -> None:
        self.say("Stopping after what is at work …")
        self.cancel.setEnabled(False)
        self.cancel_pressed.emit()

    def _copy(self) -> None:
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self._text)
