"""The button of the Concepts dock that opens, builds and saves atlases."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QMenu, QToolButton, QWidget

from napari_cytosae.concepts.atlas import Atlas, BuildProgress
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.viewer.atlas_work import build_atlas_job, open_atlas_job
from napari_cytosae.viewer.jobs import JobRunner
from napari_cytosae.viewer.session import Session

_STOPPED = "Stopped. What was counted is kept: build it again, and it goes on from there."
_BUILDING = {
    "open": "Opening the runs",
    "count": "Counting cells",
    "encode": "Encoding images",
    "write": "Writing the atlas",
}


class AtlasMenu(QToolButton):
    """Shows atlases in a session; what it does takes place beside the window."""

    said = Signal(str)
    building = Signal(bool)  # something that can be cancelled begins, or is over
    review_wanted = Signal()

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.setText("Atlas ▾")
        self.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.setToolTip("Statistics of whole data sets, and the blinded review of concepts.")
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self)
        menu.addAction("Open an atlas, or import published data…", self._ask_for_atlas)
        menu.addAction("Build one from runs…", self._ask_for_runs)
        self.save_action = menu.addAction("Save the atlas…", self._ask_where_to_save)
        self.close_action = menu.addAction("Close the atlas", lambda: session.show_atlas(None))
        menu.addSeparator()
        self.review_action = menu.addAction("Blinded review…", self.review_wanted.emit)
        menu.setToolTipsVisible(True)
        self.review_action.setToolTip(
            "See cells of concepts without labels or names, and say what they have in common."
        )
        self.setMenu(menu)
        self.jobs = JobRunner(self)
        self.jobs.yielded.connect(self._on_answer)
        self.jobs.failed.connect(lambda error: self._on_end(str(error)))
        self.jobs.finished.connect(lambda whole: self._on_end("" if whole else _STOPPED))

    def follow_atlas(self) -> None:
        """Offer what can be done with the atlas on show, or without one."""
        for action in (self.save_action, self.close_action, self.review_action):
            action.setEnabled(self._session.atlas is not None)

    def open_atlas(self, folder: Path) -> None:
        """Open an atlas or import published data."""
        self.said.emit(f"Reading {folder.name} …")
        self.jobs.start(lambda cancelled: open_atlas_job(folder, cancelled))

    def build_atlas(self, sources: Path, out: Path) -> None:
        """Count the runs of a folder into an atlas, and show it."""
        self.building.emit(True)
        self.said.emit(f"Opening the runs of {sources.name} …")
        self.jobs.start(lambda cancelled: build_atlas_job(sources, out, cancelled))

    # -- what is asked ---------------------------------------------------------------------

    def _ask_for_atlas(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "An atlas, or published feature data")
        if name:
            self.open_atlas(Path(name))

    def _ask_for_runs(self) -> None:
        sources = QFileDialog.getExistingDirectory(self, "A folder of runs")
        if not sources:
            return
        out, _ = QFileDialog.getSaveFileName(
            self, "Keep the atlas as a folder", str(Path(sources) / "atlas.cytosae-atlas")
        )
        if out:
            self.build_atlas(Path(sources), Path(out))

    def _ask_where_to_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the atlas as a folder", "atlas.cytosae-atlas"
        )
        if not name or self._session.atlas is None:
            return
        try:
            self._session.atlas.save(Path(name))
            self.said.emit(f"Saved as {name}.")
        except CytoSAEError as error:
            self.said.emit(str(error))

    # -- what comes back -------------------------------------------------------------------

    def _on_answer(self, answer: BuildProgress | Atlas) -> None:
        if isinstance(answer, BuildProgress):
            far = f": {answer.done:,} of {answer.total:,}" if answer.total else ""
            self.said.emit(f"{_BUILDING[answer.stage]}{far}")
        else:
            self._session.show_atlas(answer)

    def _on_end(self, words: str) -> None:
        self.building.emit(False)
        if words:
            self.said.emit(words)
