"""What a person does in the window, as functions."""

from collections.abc import Callable

import napari
import numpy as np
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_cytosae.slides import SampleSmear
from napari_cytosae.viewer.main_dock import CytoSAEDock


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Let the window live until a condition holds."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        QTest.qWait(20)
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    raise AssertionError("waited in vain")


def add_smear(viewer: napari.Viewer, smear: SampleSmear, **settings: object) -> napari.layers.Image:
    size = smear.microns_per_pixel
    look = {"scale": (size, size), "units": ("um", "um"), "translate": (3.0, -7.0)} | settings
    return viewer.add_image(smear.image, name="smear", rgb=True, **look)


def analysed(dock: CytoSAEDock) -> CytoSAEDock:
    """Press Run and wait for the end."""
    dock.run_bar.run.click()
    until(lambda: not dock.jobs.busy)
    QApplication.processEvents()
    return dock


def click(
    viewer: napari.Viewer,
    world: tuple[float, float],
    drag_px: float = 0.0,
    modifiers: tuple[str, ...] = (),
) -> None:
    """Click (or drag) on the canvas at a point in world coordinates."""

    class Event:
        def __init__(self, kind: str, shift: float) -> None:
            self.type, self.button, self.modifiers = kind, 1, modifiers
            self.position = world
            self.pos = np.array([100.0, 100.0 + shift])

    press = Event("mouse_press", 0.0)
    steps = [callback(viewer, press) for callback in viewer.mouse_drag_callbacks]
    steps = [step for step in steps if step is not None]
    for step in steps:
        next(step, None)
    # The callbacks hold the press event and see it turn into the others, as napari has it.
    if drag_px:
        press.type, press.pos = "mouse_move", np.array([100.0, 100.0 + drag_px])
        for step in steps:
            next(step, None)
    press.type = "mouse_release"
    for step in steps:
        next(step, None)


def world_of(layer: napari.layers.Layer, yx: tuple[float, float]) -> tuple[float, float]:
    return tuple(layer.data_to_world(yx))
