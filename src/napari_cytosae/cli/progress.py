"""How far an analysis is, on a terminal or in a log; and how Ctrl-C stops it."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from napari_cytosae.cli.console import note, progress

if TYPE_CHECKING:
    from napari_cytosae.concepts import Progress as Step

_STAGES = {
    "open": "opening",
    "detect": "finding cells",
    "encode": "encoding cells",
    "measure": "measuring cells",
    "write": "writing",
    "export": "drawing",
}


@contextmanager
def stop_on_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a wish that work asks for; the second one stops at once.

    Yields
    ------
    callable
        Tells whether Ctrl-C was pressed.
    """
    pressed = threading.Event()

    def on_press(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        note("Stopping after the cells in work; press Ctrl-C again to stop at once.")

    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set  # only the main thread may listen to signals
        return
    before = signal.signal(signal.SIGINT, on_press)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


class Display:
    """Shows one image after another at work: a live bar on a terminal, lines in a log."""

    def __init__(self, n_images: int) -> None:
        self._n_images = n_images
        self._name = ""
        self._place = 0
        self._said = ""
        self._live: Progress | None = None
        if sys.stderr.isatty():
            self._live = Progress(
                TextColumn("{task.description}", markup=False),
                TextColumn("{task.fields[stage]}", markup=False, style="dim"),
                BarColumn(bar_width=30),
                TextColumn("{task.fields[count]}", markup=False),
                TimeRemainingColumn(),
                console=progress(),
                transient=True,
            )
            self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def begin(self, name: str) -> None:
        """Go on to the next image."""
        self._place += 1
        self._name = name if self._n_images == 1 else f"[{self._place}/{self._n_images}] {name}"
        self._said = ""

    def show(self, step: "Step") -> None:
        """Show how far the image is."""
        self.stage(step.stage, step.done, step.total, approximate=step.approximate)
        if step.message:
            self.say(step.message)

    def stage(
        self, stage: str, done: int = 0, total: int = 0, *, approximate: bool = False
    ) -> None:
        """Show a stage of the work, with its count of cells where it has one."""
        if not self._live:
            if stage == "encode" and self._said != stage:
                self._said = stage
                if approximate:
                    self.say("finding and encoding cells")
                    return
                found = "1 cell" if total == 1 else f"{total:,} cells"
                before = "all" if done == total else f"{done:,} of them"
                self.say(f"{found}, {before} encoded before" if done else found)
            return
        counted = stage in ("encode", "measure") and total > 0
        about = "about " if approximate else ""
        count = f"{done:,} of {about}{total:,} cells" if counted else ""
        if stage == self._said and self._task is not None:
            self._live.update(
                self._task, completed=done, count=count, total=total if counted else None
            )
            return
        self._said = stage
        # A new task for each stage: cells that were encoded before, or another stage's pace, say
        # nothing about how long this one takes.
        if self._task is not None:
            self._live.remove_task(self._task)
        self._task = self._live.add_task(
            self._name,
            stage=_STAGES[stage],
            count=count,
            total=total if counted else None,  # None makes the bar pulse
            completed=done,
        )

    def say(self, words: str) -> None:
        """Leave a line about the image that is at work."""
        line = f"{self._name}: {words}"
        if self._live:
            self._live.console.print(line, markup=False)
        else:
            note(line)
