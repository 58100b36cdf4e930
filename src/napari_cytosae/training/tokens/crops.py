"""The crops that tokens are made of: which there are, and their pixels."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.cells import CropGeometry, crop_boxes, read_cells, whole_image
from napari_cytosae.cells.crops import read_reflected
from napari_cytosae.cells.read import NAMED_SOURCES
from napari_cytosae.cohorts.image_files import is_run
from napari_cytosae.errors import (
    Cancelled,
    CytoSAEError,
    ImageError,
    TrainingError,
    UnreachableImageError,
)
from napari_cytosae.models.known_hashes import hash_of
from napari_cytosae.slides import Slide
from napari_cytosae.training.tokens.images import LabelledImage

AUTO: Final = "auto"

LARGEST_WHOLE_PX: Final = 448
"""Longer side up to which an image is taken for one cell's: twice the backbone's input. The
single-cell images of MLL23, Acevedo, BMC and Hehr measure 144 to 363 px."""

# Larger files are known by their pyramid, not by all of their bytes.
_LARGEST_HASHED = 64 * 2**20
_OPEN_AT_ONCE = 16

Box = tuple[int, int, int, int]
FileState = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CropOptions:
    """How crops are cut from images.

    Parameters
    ----------
    cells
        What becomes a crop: ``"whole"`` (the image), ``"detect"`` (each nucleated cell), ``"red"``
        (each red cell), several of these, or ``"auto"``: images whose longer side is 448 px or
        less are whole, in others nucleated cells are found. Runs have their own cells.
    crop_um
        Side of a crop in µm, where the pixel size is known.
    microns_per_pixel
        Pixel size, where it is known better than from the files.
    """

    cells: tuple[str, ...] = (AUTO,)
    crop_um: float = 25.0
    microns_per_pixel: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", tuple(dict.fromkeys(self.cells)))
        known = (AUTO, *NAMED_SOURCES)
        if not self.cells or any(name not in known for name in self.cells):
            raise TrainingError(f"cells is {self.cells}; choose from {', '.join(known)}.")
        if len(self.cells) > 1 and not {AUTO, "whole"}.isdisjoint(self.cells):
            raise TrainingError("'auto' and 'whole' do not go with other sources of cells.")
        CropGeometry(crop_um=self.crop_um)


@dataclass(frozen=True, slots=True)
class Crop:
    """One crop of one image.

    Parameters
    ----------
    id
        What it is known by: its image's content, and its place there. Neither name nor folder.
    path
        The image.
    box
        y0, x0, y1, x1 in px of level 0; may reach outside the image.
    label
        The image's class; empty where nobody says.
    """

    id: str
    path: Path
    box: Box
    label: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image or crop that is left out.

    Parameters
    ----------
    path
        The image.
    reason
        Why, in words.
    """

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class CropPlan:
    """All crops of some images, in an order that has nothing to do with their classes.

    Parameters
    ----------
    crops
        Sorted by id, which is as good as shuffled and the same wherever the images lie.
    skipped
        Images that cannot be read.
    states
        Size and time of each image when its content was looked at.
    """

    crops: tuple[Crop, ...]
    skipped: tuple[Skipped, ...]
    states: Mapping[Path, FileState]


def plan_crops(
    images: Sequence[LabelledImage],
    options: CropOptions,
    *,
    known: MutableMapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> CropPlan:
    """Find the crops of images; those that cannot be read are named and left out.

    Parameters
    ----------
    images
        See `gather_images`.
    options
        How crops are cut.
    known
        Boxes that were found before, by image content and options; added to.
    progress
        Called with images done, and all.
    cancelled
        Asked before each image.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    UnreachableImageError
        A disk or network drive is gone: that is not an image's fault.
    """
    known = {} if known is None else known
    settings = json.dumps(asdict(options), sort_keys=True)
    seen: Counter[str] = Counter()
    crops: list[Crop] = []
    skipped: list[Skipped] = []
    states: dict[Path, FileState] = {}
    for number, image in enumerate(images):
        if cancelled():
            raise Cancelled("Stopped while cells were looked for; repeat it to go on.")
        progress(number, len(images))
        try:
            path, digest, boxes, state = _boxes_of(image.path, options, settings, known)
        except UnreachableImageError:
            raise
        except (CytoSAEError, OSError) as error:
            skipped.append(Skipped(image.path, str(error)))
            continue
        states[path] = state
        for box in boxes:
            content = f"{digest} {list(box)}"
            # The same content may be there more than once: each counts.
            place = f"{content} {seen[content]}"
            seen[content] += 1
            name = hashlib.sha256(place.encode()).hexdigest()[:32]
            crops.append(Crop(name, path, box, image.label))
    progress(len(images), len(images))
    return CropPlan(tuple(sorted(crops, key=lambda crop: crop.id)), tuple(skipped), states)


class CropReader:
    """Reads crops; the slides that were used last stay open.

    Parameters
    ----------
    states
        Of images when the crops were planned: one that has changed since is not read.
    """

    def __init__(self, states: Mapping[Path, FileState] | None = None) -> None:
        self._states = states or {}
        self._open = lru_cache(maxsize=_OPEN_AT_ONCE)(Slide.open)

    def read(self, crop: Crop) -> NDArray[np.uint8]:
        """Read a crop: (S, S, 3).

        Raises
        ------
        ImageError
            The image cannot be read there, or has changed.
        """
        slide = self._open(crop.path)
        pixels = read_reflected(slide, np.array(crop.box, np.float64))
        if self._states.get(crop.path, now := _state_of(crop.path)) != now:
            raise ImageError(f"{crop.path.name} has changed while its tokens were made")
        return pixels

    def read_all(
        self, crops: Sequence[Crop]
    ) -> tuple[list[Crop], list[NDArray[np.uint8]], dict[str, str]]:
        """Read crops, and leave out those that cannot be read.

        Returns
        -------
        read : list
            The crops that could be read.
        pixels : list
            Theirs.
        unread : dict
            Why the others could not, by id.

        Raises
        ------
        UnreachableImageError
            A disk or network drive is gone: that is not an image's fault.
        """
        read: list[Crop] = []
        pixels: list[NDArray[np.uint8]] = []
        unread: dict[str, str] = {}
        for crop in crops:
            try:
                found = self.read(crop)
            except UnreachableImageError:
                raise
            except (CytoSAEError, OSError) as error:
                unread[crop.id] = str(error)
            else:
                read.append(crop)
                pixels.append(found)
        return read, pixels, unread


def _boxes_of(
    path: Path, options: CropOptions, settings: str, known: MutableMapping[str, Any]
) -> tuple[Path, str, list[Box], FileState]:
    """Give the image, its content's digest, its crops' boxes, and the file's state before."""
    if is_run(path):
        return _boxes_of_run(path)
    state = _state_of(path)
    digest = _content_digest(path)
    key = hashlib.sha256(f"{digest} {settings}".encode()).hexdigest()
    if key not in known:
        known[key] = _find_boxes(path, options)
    return path, digest, [_as_box(box) for box in known[key]], state


def _boxes_of_run(path: Path) -> tuple[Path, str, list[Box], FileState]:
    from napari_cytosae.concepts.run import Run

    run = Run(path)
    image = run.slide_path
    if image is None or not image.exists():
        raise ImageError(f"the image of the run {path.name} is not where it was: {image}")
    state = _state_of(image)
    digest = _content_digest(image)
    if Slide.open(image).digest != run.manifest.key.image:
        raise ImageError(f"{image.name} has changed since the run {path.name} was made")
    return image, digest, [_as_box(box) for box in run.boxes.tolist()], state


def _find_boxes(path: Path, options: CropOptions) -> list[list[int]]:
    with Slide.open(path, microns_per_pixel=options.microns_per_pixel) as slide:
        whole = options.cells == ("whole",) or (
            options.cells == (AUTO,) and max(slide.shape) <= LARGEST_WHOLE_PX
        )
        if whole:
            table = whole_image(slide.shape).table
            boxes = crop_boxes(table, CropGeometry(whole=True), None, slide.shape)
            return [list(map(int, box)) for box in boxes]
        geometry = CropGeometry(crop_um=options.crop_um)
        pixel_um = options.microns_per_pixel or slide.microns_per_pixel
        found: list[list[int]] = []
        for name in ("detect",) if options.cells == (AUTO,) else options.cells:
            table = read_cells(name, slide, microns_per_pixel=pixel_um).table
            boxes = crop_boxes(table, geometry, pixel_um, slide.shape)
            found += [list(map(int, box)) for box in boxes]
        return found


def _content_digest(path: Path) -> str:
    if path.is_file() and path.stat().st_size <= _LARGEST_HASHED:
        return hash_of(path)
    return Slide.open(path).digest


def _as_box(numbers: Sequence[float]) -> Box:
    y0, x0, y1, x1 = (int(number) for number in numbers)
    return y0, x0, y1, x1


def _state_of(path: Path) -> FileState:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
