"""Pictures of the glass beside a scan: its label, the whole of it, a thumbnail."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from napari_cytosae.errors import ImageError
from napari_cytosae.slides.opened import ReadPicture


class GlassPictures:
    """Pictures that are read only when one asks for them by name: they can show a patient's.

    Parameters
    ----------
    slide_name : str
        For errors.
    readers : mapping of str to callable
        What reads each.
    """

    def __init__(self, slide_name: str, readers: Mapping[str, ReadPicture]) -> None:
        self._slide_name = slide_name
        self._readers = dict(readers)

    @property
    def names(self) -> tuple[str, ...]:
        """What there is."""
        return tuple(self._readers)

    def read(self, name: str) -> NDArray[np.uint8]:
        """Read one: (H, W, 3).

        Raises
        ------
        ImageError
            If there is no such picture, or it is damaged.
        """
        if name not in self._readers:
            known = ", ".join(self._readers) or "none"
            raise ImageError(f"{self._slide_name} has no picture called {name} (it has: {known}).")
        return self._readers[name]()
