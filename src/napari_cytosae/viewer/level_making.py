"""Small levels that a file does not have, made beside the window while its layer is open."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

import napari
from napari.layers import Image
from napari.utils import progress
from napari.utils.notifications import show_error
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QApplication

from napari_cytosae.errors import Cancelled
from napari_cytosae.slides import Slide
from napari_cytosae.viewer.drawing_anew import draw_anew
from napari_cytosae.viewer.jobs import JobRunner
from napari_cytosae.viewer.slide_key import SLIDE_KEY

# The layer is drawn anew this often.
_SECONDS = 0.5

# A reader's layers are added a moment after they were read; ours are looked for that long.
_PATIENCE_S = 30.0


def make_levels_beside(slide: Slide) -> bool:
    """Begin to make the levels that a slide lacks; its layers are drawn anew as they come.

    It ends with them, or when the last layer of the slide has been removed: what has been made
    stays. Returns False, and does nothing, where there is no window.
    """
    app = QApplication.instance()
    if app is None:
        return False
    if slide not in _under_way:
        _under_way[slide] = LevelMaking(slide)
        # The program would wait for the thread.
        app.aboutToQuit.connect(_under_way[slide].jobs.abandon)
    return True


class LevelMaking(QObject):
    """The work on the levels of one slide."""

    def __init__(self, slide: Slide) -> None:
        super().__init__()
        self._slide: Slide | None = slide
        self._shown = False
        self._began = time.monotonic()
        self._bar = progress(total=100, desc=f"Small levels of {slide.name}")
        self.jobs = JobRunner(self)
        self.jobs.yielded.connect(self._on_share)
        self.jobs.failed.connect(self._on_failed)
        self.jobs.finished.connect(self._on_finished)
        self.jobs.start(_job(slide))

    def _layers(self) -> list[Image]:
        viewer = napari.current_viewer()
        layers = [] if viewer is None else list(viewer.layers)
        return [layer for layer in layers if layer.metadata.get(SLIDE_KEY) is self._slide]

    def _on_share(self, share: float) -> None:
        layers = self._layers()
        self._shown = self._shown or bool(layers)
        if not layers and (self._shown or time.monotonic() - self._began > _PATIENCE_S):
            self.jobs.cancel()
            return
        self._bar.update(round(100 * share) - self._bar.n)
        for layer in layers:
            draw_anew(layer)

    def _on_failed(self, error: Exception) -> None:
        self._end()
        show_error(f"The small levels cannot be made: {error}")

    def _on_finished(self, complete: bool) -> None:
        if complete:
            for layer in self._layers():
                draw_anew(layer)
        self._end()

    def _end(self) -> None:
        """Let go of the slide, whose file is then closed with its last layer."""
        self._bar.close()
        if self._slide is not None:
            _under_way.pop(self._slide, None)
            self._slide = None


# Whoever works is held here; both go when the work ends.
_under_way: dict[Slide, LevelMaking] = {}


def _job(slide: Slide) -> Callable[[Callable[[], bool]], Generator[float, None, None]]:
    def make(cancelled: Callable[[], bool]) -> Generator[float, None, None]:
        told = 0.0
        for share in slide.make_levels():
            if cancelled():
                raise Cancelled("the levels are not wanted any more")
            if time.monotonic() - told >= _SECONDS:
                told = time.monotonic()
                yield share

    return make
