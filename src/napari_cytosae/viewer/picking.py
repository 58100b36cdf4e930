"""Clicks on the canvas, told from drags."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np

# A press that moves further pans the view, and picks nothing.
CLICK_RADIUS_PX = 4.0


def click_callback(
    picked: Callable[[np.ndarray, frozenset[str]], None],
) -> Callable[[Any, Any], Generator[None, None, None]]:
    """Make a mouse-drag callback that reports clicks.

    Parameters
    ----------
    picked
        Called with the world position and the modifier keys (``"Shift"``, …) of each click of the
        left button; only while the active layer lets the canvas pan, so that painting stays painting.
    """

    def on_press(viewer: Any, event: Any) -> Generator[None, None, None]:
        active = viewer.layers.selection.active
        if event.button != 1 or (active is not None and str(active.mode) != "pan_zoom"):
            return
        start = np.asarray(event.pos, float)
        position = np.asarray(event.position, float)
        farthest = 0.0
        yield
        while event.type == "mouse_move":
            farthest = max(farthest, float(np.hypot(*(np.asarray(event.pos, float) - start))))
            yield
        if farthest <= CLICK_RADIUS_PX:
            picked(position, frozenset(str(key) for key in event.modifiers))

    return on_press
