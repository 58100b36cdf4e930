"""Read a slide around its damaged places: what cannot be read looks like bare glass, and is listed."""

import threading
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.slides import Slide

Box = tuple[int, int, int, int]
"""y0, x0, y1, x1 in level-0 px, half-open."""


class PatchedSlide:
    """A slide whose damaged tiles are filled in; threads may share one.

    Parameters
    ----------
    slide : Slide
    fill : (float, float, float)
        Red, green and blue of what is put in place of a tile that cannot be decoded.
    damaged : iterable of (int, int, int, int)
        Boxes that are known to be damaged, from an earlier attempt.
    """

    def __init__(
        self,
        slide: Slide,
        fill: tuple[float, float, float] = (255.0, 255.0, 255.0),
        damaged: Iterable[Box] = (),
    ) -> None:
        self.shape = slide.shape
        self._slide = slide
        self._fill = np.asarray(np.rint(fill), np.uint8)
        self._lock = threading.Lock()
        self._damaged: list[Box] = []
        for box in damaged:
            self._note(box)

    @property
    def damaged(self) -> list[Box]:
        """Boxes that could not be decoded so far, from top to bottom."""
        with self._lock:
            return sorted(self._damaged)

    def read_region(self, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read a rectangle that lies inside.

        Raises
        ------
        UnreachableImageError
            Where the file is gone: then nothing is damaged, but all is missing.
        """
        region, gaps = self._slide.read_around_damage(y, x, height, width)
        for y0, x0, y1, x1 in gaps:
            region[y0 - y : y1 - y, x0 - x : x1 - x] = self._fill
            self._note((y0, x0, y1, x1))
        return region

    def damaged_in(self, y0: float, x0: float, y1: float, x1: float) -> list[Box]:
        """List the damaged boxes that a box of level 0 meets."""
        return [
            box
            for box in self.damaged
            if box[0] < y1 and y0 < box[2] and box[1] < x1 and x0 < box[3]
        ]

    def _note(self, box: Box) -> None:
        """Keep a box, unless one that is known covers it; drop those that it covers."""
        with self._lock:
            if any(_covers(known, box) for known in self._damaged):
                return
            self._damaged = [known for known in self._damaged if not _covers(box, known)]
            self._damaged.append(box)


def _covers(outer: Box, inner: Box) -> bool:
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and inner[2] <= outer[2]
        and inner[3] <= outer[3]
    )
