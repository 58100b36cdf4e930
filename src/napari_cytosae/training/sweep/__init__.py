"""Train over a grid of settings, and see what each setting does."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_cytosae.training.sweep.figure import draw_sweep
    from napari_cytosae.training.sweep.grid import PAPER_AXES, SweepGrid, SweepPoint, read_axis
    from napari_cytosae.training.sweep.run import PointResult, SweepResult, open_sweep, run_sweep

_HOMES = {
    "figure": ["draw_sweep"],
    "grid": ["PAPER_AXES", "SweepGrid", "SweepPoint", "read_axis"],
    "run": ["PointResult", "SweepResult", "open_sweep", "run_sweep"],
}

__all__ = [
    "PAPER_AXES",
    "PointResult",
    "SweepGrid",
    "SweepPoint",
    "SweepResult",
    "draw_sweep",
    "open_sweep",
    "read_axis",
    "run_sweep",
]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
