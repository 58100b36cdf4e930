"""Paint the label images of slides: pyramids in OME-Zarr that grow while cells are found."""

import os
import shutil
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import ArrayLike

from napari_cytosae.cells.label_image import LabelImage, PaintedLabels
from napari_cytosae.cells.outline import Outline
from napari_cytosae.concepts.durable import explain_write_error

CHUNK_PX = 1024
# The smallest level fits a thumbnail.
_SMALLEST_PX = 1024
# What zarr names its files until they are whole.
_PARTIAL = "*.partial"

Chunk = tuple[int, int]


class LabelWriter:
    """Paint cells into a label pyramid, a few at a time.

    Painting the same cells once more changes nothing: after a kill it is simply done again. A chunk
    is replaced as a whole, so whoever reads meanwhile sees the chunk before or after.

    Parameters
    ----------
    path
        The OME-Zarr group; made where it is not there.
    shape
        Height and width at full resolution, in px.
    microns_per_pixel
        For readers of other programs.
    """

    def __init__(
        self, path: Path, shape: tuple[int, int], microns_per_pixel: float | None = None
    ) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            if not (path / "zarr.json").is_file():
                shutil.rmtree(path, ignore_errors=True)
                _create(path, shape, microns_per_pixel)
            for leftover in path.rglob(_PARTIAL):
                leftover.unlink(missing_ok=True)
        except OSError as error:
            raise explain_write_error(error, path) from error
        group = zarr.open_group(path, mode="r+")
        self._levels: list[Any] = [group[str(number)] for number in range(len(_shapes(shape)))]

    def paint(self, ids: ArrayLike, outlines: Sequence[Outline | None]) -> None:
        """Paint cells whose outlines do not overlap, and flush what was painted to the disk.

        Raises
        ------
        RunError
            Where the disk is full or gone.
        """
        shape = tuple(self._levels[0].shape)
        painted = PaintedLabels(shape, ids, outlines)
        touched = {chunk for each in outlines if each is not None for chunk in _chunks_of(each)}
        self._paint(painted, touched)

    def paint_image(self, labels: LabelImage) -> None:
        """Paint a whole label image, chunk by chunk."""
        height, width = labels.shape
        if isinstance(labels, PaintedLabels):
            outlines = (each for each in labels.outlines if each is not None)
            self._paint(labels, {chunk for each in outlines for chunk in _chunks_of(each)})
            return
        self._paint(
            labels,
            {
                (row, column)
                for row in range(-(-height // CHUNK_PX))
                for column in range(-(-width // CHUNK_PX))
            },
        )

    def _paint(self, labels: LabelImage, touched: Iterable[Chunk]) -> None:
        try:
            with self._lock:
                changed = [(0, chunk) for chunk in sorted(touched) if self._fill(labels, chunk)]
                above = {(row // 2, column // 2) for _, (row, column) in changed}
                for number in range(1, len(self._levels)):
                    for chunk in sorted(above):
                        self._shrink(number, chunk)
                        changed.append((number, chunk))
                    above = {(row // 2, column // 2) for row, column in above}
                self._flush(changed)
        except OSError as error:
            raise explain_write_error(error, self.path) from error

    def _fill(self, labels: LabelImage, chunk: Chunk) -> bool:
        """Paint one chunk of the full resolution; tell whether there was anything to paint."""
        level = self._levels[0]
        window = _window(chunk, level.shape)
        new = np.asarray(labels[window])
        if not new.any():
            return False
        old = level[window]
        level[window] = np.where(new > 0, new, old)
        return True

    def _shrink(self, number: int, chunk: Chunk) -> None:
        """Make one chunk of a smaller level from the level below it.

        The largest label of each four: a cell is seen until it is smaller than a pixel.
        """
        level, below = self._levels[number], self._levels[number - 1]
        window = _window(chunk, level.shape)
        rows, columns = (
            slice(2 * part.start, min(2 * part.stop, size))
            for part, size in zip(window, below.shape, strict=True)
        )
        large = below[rows, columns]
        padded = np.zeros(tuple(2 * (part.stop - part.start) for part in window), np.int32)
        padded[: large.shape[0], : large.shape[1]] = large
        upper = np.maximum(padded[::2], padded[1::2])
        level[window] = np.maximum(upper[:, ::2], upper[:, 1::2])

    def _flush(self, changed: list[tuple[int, Chunk]]) -> None:
        for number, (row, column) in changed:
            with suppress(FileNotFoundError):  # a chunk of zeros has no file
                descriptor = os.open(
                    self.path / str(number) / "c" / str(row) / str(column), os.O_RDONLY
                )
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)


def _create(path: Path, shape: tuple[int, int], microns_per_pixel: float | None) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=3)
    datasets: list[dict[str, Any]] = []
    unit = {} if microns_per_pixel is None else {"unit": "micrometer"}
    for number, level_shape in enumerate(_shapes(shape)):
        group.create_array(
            str(number),
            shape=level_shape,
            chunks=(CHUNK_PX, CHUNK_PX),
            dtype="int32",
            fill_value=0,
            dimension_names=("y", "x"),
        )
        step = 2.0**number * (microns_per_pixel or 1.0)
        offset = (2.0**number - 1) / 2 * (microns_per_pixel or 1.0)
        datasets.append(
            {
                "path": str(number),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [step, step]},
                    {"type": "translation", "translation": [offset, offset]},
                ],
            }
        )
    ome: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [
            {
                "name": path.stem,
                "axes": [{"name": name, "type": "space", **unit} for name in "yx"],
                "datasets": datasets,
            }
        ],
        "image-label": {"version": "0.5"},
    }
    group.attrs["ome"] = ome


def _shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    shapes = [(int(shape[0]), int(shape[1]))]
    while max(shapes[-1]) > _SMALLEST_PX:
        shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
    return shapes


def _window(chunk: Chunk, shape: Sequence[int]) -> tuple[slice, slice]:
    rows, columns = (
        slice(at * CHUNK_PX, min((at + 1) * CHUNK_PX, size))
        for at, size in zip(chunk, shape, strict=True)
    )
    return rows, columns


def _chunks_of(outline: Outline) -> Iterable[Chunk]:
    height, width = outline.mask.shape
    for row in range(outline.y // CHUNK_PX, (outline.y + height - 1) // CHUNK_PX + 1):
        for column in range(outline.x // CHUNK_PX, (outline.x + width - 1) // CHUNK_PX + 1):
            yield row, column
