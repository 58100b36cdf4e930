"""Run, progress with time left, Cancel, and one line that says how things stand."""

from __future__ import annotations

from time import monotonic

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_cytosae.in_words import duration


class RunBar(QWidget):
    """Three states: ready, working (what, how far, how long, Cancel), and failed (what to do)."""

    run_pressed = Signal()
    cancel_pressed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.run = QPushButton("▶ &Run")
        self.run.setToolTip("Find the cells and analyse them. A run that stopped goes on.")
        self.run.clicked.connect(self.run_pressed)
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        self.bar.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.cancel = QPushButton("■ Cancel")
        self.cancel.setToolTip("Stop after the cells at work; what is done is kept (Esc).")
        self.cancel.clicked.connect(self.cancel_pressed)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.message.linkActivated.connect(self._copy_details)
        self._details = ""
        self._unit = ""
        self._counting_since: tuple[float, int] | None = None

        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.run, 1)
        row.addWidget(self.bar, 2)
        row.addWidget(self.cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.message)
        self.set_working(False)

    def set_working(self, working: bool) -> None:
        """Switch between ready and working."""
        self.run.setVisible(not working)
        self.bar.setVisible(working)
        self.cancel.setVisible(working)
        self.cancel.setEnabled(working)
        self._counting_since = None
        if working:
            self.bar.setRange(0, 0)
            self.say("")

    def set_cancelling(self) -> None:
        """Say that the wish was heard, until the work has stopped."""
        self.cancel.setEnabled(False)
        self.say("Stopping after the cells at work …")

    def show_progress(self, done: int, total: int, unit: str) -> None:
        """Show how far, and how long it will take from the pace so far."""
        # A new value is painted at once otherwise, and with it all that waits to be in the window.
        self.bar.setUpdatesEnabled(False)
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(done)
        # Cells that an earlier session finished say nothing about the pace.
        if self._counting_since is None or done < self._counting_since[1] or unit != self._unit:
            self._counting_since = monotonic(), done
        self._unit = unit
        began, at_first = self._counting_since
        text = f"{done} of {total} {unit}"
        if done > at_first and done < total:
            left = (monotonic() - began) / (done - at_first) * (total - done)
            text += f", {duration(left)} left"
        self.bar.setFormat(text)
        self.bar.setUpdatesEnabled(True)

    def show_stage(self, text: str) -> None:
        """Show a stage without a count."""
        self.bar.setRange(0, 0)
        self.bar.setFormat(text)
        self.say(text)

    def say(self, text: str) -> None:
        """Say how things stand, in one line."""
        self._details = ""
        self.message.setText(text)
        self.message.setVisible(bool(text))

    def fail(self, text: str, details: str) -> None:
        """Say what happened and what to do; the details can be copied."""
        from html import escape

        self._details = details
        self.message.setText(f'{escape(text)} <a href="copy">Copy details</a>')
        self.message.setVisible(True)

    def _copy_details(self) -> None:
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None and self._details:
            clipboard.setText(self._details)
