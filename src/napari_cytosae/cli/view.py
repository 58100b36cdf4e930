"""Open napari from the command line, or say what it lacks."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from napari_cytosae.errors import CytoSAEError

_BINDINGS = ("PySide6", "PyQt6", "PyQt5", "PySide2")


def has_screen() -> bool:
    """Tell whether windows can be opened here."""
    if os.environ.get("QT_QPA_PLATFORM") in ("minimal", "offscreen"):
        return False  # a window that nobody sees would never be closed
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def window_hindrance(asked_for: bool = True) -> str:
    """Say in one line why no window can be opened; empty where one can.

    Parameters
    ----------
    asked_for
        Whether the user named the window. Where not, none is opened on a machine that only
        builds or tests (``CI`` is set): nobody would close it.
    """
    if not asked_for and os.environ.get("CI"):
        return "CI is set."
    if not any(find_spec(binding) for binding in _BINDINGS):
        return 'napari needs a Qt binding: pip install "napari-cytosae[all]"'
    if not has_screen():
        return (
            "There is no display to open a window on (DISPLAY is not set): run this on a desktop, "
            "or through ssh -X."
        )
    return ""


def open_window(path: Path) -> None:
    """Open a run folder or an image in napari, and stay until its window is closed.

    Raises
    ------
    CytoSAEError
        Where there is no such path, no Qt binding or no display.
    """
    if not path.exists():
        raise CytoSAEError(f"{path} does not exist; give a run folder (NAME.cytosae) or an image.")
    if hindrance := window_hindrance():
        raise CytoSAEError(hindrance)
    from napari_cytosae.viewer import open_in_napari

    open_in_napari(path)
