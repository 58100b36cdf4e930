"""Go to a cell: select it, and bring it into the middle of the canvas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cytosae.errors import RunError
from napari_cytosae.viewer.in_view import box_in_view
from napari_cytosae.viewer.session import Session, session_of, unwrapped

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_cytosae.concepts.atlas.reference_pictures import ReferencePicture

# A cell is brought no nearer than this many times its own size across the canvas.
_ROOM = 6.0


def camera_of(viewer: Any) -> Any:
    """Give a viewer's camera, wherever its version of napari keeps it."""
    scene = getattr(viewer, "scene", None)
    return scene.camera if scene is not None else viewer.camera


def go_to_cell(viewer: napari.Viewer, run: Path, label: int) -> None:
    """Select a cell of a run, opening the run and its image where they are not on show.

    Raises
    ------
    CytoSAEError
        Where the run or its image cannot be read, or there is no such cell.
    """
    from napari_cytosae.concepts import open_run
    from napari_cytosae.viewer.open_window import show_run_in

    viewer = unwrapped(viewer)
    session = session_of(viewer)
    shown = None if session.results is None else session.results.run
    if shown is None or shown.path.resolve() != run.resolve():
        opened = open_run(run)
        opened.cell(label)  # says what is wrong before anything is opened
        show_run_in(viewer, opened)
    session.select(label)
    if session.source is not None:
        centre_on(viewer, session.source, _box_of(session, label))


def bring_into_view(viewer: napari.Viewer, label: int) -> None:
    """Move the canvas to a cell of the results on show, where it is not in view already."""
    session = session_of(viewer)
    source = session.source
    if source is None or session.results is None:
        return
    box, seen = _box_of(session, label), box_in_view(source)
    if seen is None or any(
        not seen[axis] <= box[axis] <= box[axis + 2] <= seen[axis + 2] for axis in (0, 1)
    ):
        centre_on(unwrapped(viewer), source, box)


def _box_of(session: Session, label: int) -> list[float]:
    assert session.results is not None
    row = session.results.row(label)
    return [float(row[name]) for name in ("box_y0", "box_x0", "box_y1", "box_x1")]


def go_to_picture(viewer: napari.Viewer, picture: ReferencePicture) -> None:
    """Go to the cell of a picture: in its slide, or to the single-cell image that it is.

    Raises
    ------
    CytoSAEError
        Where neither is at hand.
    """
    from napari_cytosae.concepts import open_run
    from napari_cytosae.viewer.open_window import show_in
    from napari_cytosae.viewer.slide_layers import open_slides

    if picture.run is None or not picture.run.is_dir():
        raise RunError(
            picture.missing or f"The run {picture.run} is not there any more; extract it again."
        )
    if open_run(picture.run).slide_path is None and Path(picture.image).is_file():
        # A run that was put together from many single cells is no slide of its own.
        show_in(unwrapped(viewer), open_slides(Path(picture.image)), None)
    else:
        go_to_cell(viewer, picture.run, picture.cell)


def centre_on(viewer: Any, layer: Image, box: list[float]) -> None:
    """Bring a box (y0, x0, y1, x1 in level-0 px) into the middle, near enough to be seen."""
    y0, x0, y1, x1 = box
    corners = np.array([layer.data_to_world(at)[-2:] for at in ((y0, x0), (y1, x1))])
    camera = camera_of(viewer)
    camera.center = (camera.center[0], *corners.mean(axis=0))
    across = float(np.abs(corners[1] - corners[0]).max())
    size = min(viewer._canvas_size) if hasattr(viewer, "_canvas_size") else 600
    if across > 0:
        camera.zoom = max(camera.zoom, size / (_ROOM * across))
