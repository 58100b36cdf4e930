"""The blinded review within the Concepts dock: its beginning, its concepts, its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QStackedWidget, QWidget

from napari_cytosae.concepts.atlas import ReferenceMaps
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.concepts.naming import remember_author
from napari_cytosae.concepts.review import ReviewPlan, agreement_report
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.viewer.jobs import JobRunner
from napari_cytosae.viewer.review_card import ReviewCard
from napari_cytosae.viewer.review_end import ReviewEnd
from napari_cytosae.viewer.review_start import ReviewStart
from napari_cytosae.viewer.review_work import (
    BeginJob,
    Compared,
    Reviewing,
    begin_job,
    compare_job,
)

if TYPE_CHECKING:
    from napari_cytosae.concepts.atlas import Atlas


class ReviewPage(QStackedWidget):
    """Leads through one review; what it shows says nothing of labels, names or values."""

    left = Signal()

    def __init__(self, maps: ReferenceMaps | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._atlas: Atlas | None = None
        self.at: Reviewing | None = None
        self.start = ReviewStart()
        self.card = ReviewCard(maps)
        self.end = ReviewEnd()
        for page in (self.start, self.card, self.end):
            self.addWidget(page)
            page.left.connect(self._leave)
        self.jobs = JobRunner(self)
        self.jobs.yielded.connect(self._on_answer)
        self.jobs.failed.connect(self._on_failure)
        self.start.asked.connect(self._begin)
        self.card.ended.connect(self._finish)
        self.card.move_wanted.connect(self._move)
        self.end.back_wanted.connect(self._go_back)
        self.end.report_wanted.connect(self._ask_for_report)
        self.end.compare_wanted.connect(self._compare)

    def open(self, atlas: Atlas) -> None:
        """Go on with the review of an atlas, or ask how to begin one."""
        if self.at is not None and self.at.atlas is atlas:
            return
        self._atlas, self.at = atlas, None
        self.start.work(False)
        self.start.look()
        self.setCurrentWidget(self.start)

    def abandon(self) -> None:
        """Let go of what runs: the window is going away."""
        for runner in (self.jobs, self.card.jobs):
            runner.abandon()

    def _leave(self) -> None:
        self.jobs.abandon()
        self.start.work(False)
        if self.currentWidget() is not self.card:
            # What is over begins anew next time; what is not is gone on with.
            self.at = None
        self.left.emit()

    # -- beginning -------------------------------------------------------------------------

    def _begin(self, folder: Path, reviewer: str, plan: ReviewPlan | None) -> None:
        if self._atlas is None:
            return
        self.start.work(True)
        job = BeginJob(self._atlas, folder, reviewer, plan)
        self.jobs.start(lambda cancelled: begin_job(job, cancelled))

    def _on_answer(self, answer: Reviewing | Compared) -> None:
        if isinstance(answer, Compared):
            self.end.show_compared(answer)
            return
        self.at = answer
        self.start.work(False)
        remember_author(answer.file.sheet.reviewer)
        place = answer.file.first_open
        self.card.show_review(answer, place or 0)
        if place is None:
            self._finish()
        else:
            self.setCurrentWidget(self.card)
            self.card.answers.name.setFocus()

    def _on_failure(self, error: Exception) -> None:
        if self.currentWidget() is self.start:
            self.start.say(str(error))
        else:
            self.end.message.setText(str(error))

    # -- the end ---------------------------------------------------------------------------

    def _finish(self) -> None:
        """Show the end: what all say, once one's own sheet is finished."""
        assert self.at is not None
        blind = self.at.file.first_open is not None
        self.setCurrentWidget(self.end)
        if blind:
            self.end.wait_for(self.at, blind=True)
        else:
            self._compare()

    def _compare(self) -> None:
        assert self.at is not None
        self.end.wait_for(self.at, blind=False)
        folder, own = self.at.file.path.parent, self.at.file.sheet
        self.jobs.start(lambda cancelled: compare_job(folder, own, cancelled))

    def _go_back(self) -> None:
        assert self.at is not None
        self.jobs.abandon()
        self.card.show_review(self.at, self.at.file.first_open or 0)
        self.setCurrentWidget(self.card)

    def _ask_for_report(self) -> None:
        if self.at is None:
            return
        default = self.at.file.path.parent / "agreement.md"
        name, _ = QFileDialog.getSaveFileName(self, "Save the report", str(default), "*.md")
        if name:
            self.save_report(Path(name))

    def save_report(self, path: Path) -> None:
        """Write the report that the end shows."""
        compared = self.end.compared
        if compared is None or compared.agreement is None:
            return
        begun = [sheet for sheet in compared.sheets if sheet.done]
        text = agreement_report(begun, compared.agreement)
        try:
            write_durably(path, lambda part: part.write_text(text, encoding="utf-8"))
        except CytoSAEError as error:
            self.end.say(str(error))
            return
        self.end.say(f"The report is {path}.")

    # -- a sheet that cannot be saved ------------------------------------------------------

    def _move(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Save your sheet in another folder")
        if name:
            self.move_sheet(Path(name))

    def move_sheet(self, folder: Path) -> None:
        """Go on with one's sheet in another folder."""
        if self.at is None:
            return
        try:
            self.at.file.move_to(folder / self.at.file.path.name)
        except CytoSAEError as error:
            self.card.status.setText(str(error))
            return
        self.card.keep()
