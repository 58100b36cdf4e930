"""What a concept's reference cells look like, cut anew from the images where those are at hand."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.cells import CropGeometry, iter_crops
from napari_cytosae.cells.crops import read_reflected
from napari_cytosae.concepts.atlas.data_set import DataSet
from napari_cytosae.concepts.run import Run
from napari_cytosae.errors import CytoSAEError
from napari_cytosae.slides import Slide

_OPEN_AT_ONCE = 8


@dataclass(frozen=True, slots=True, eq=False)
class ReferencePicture:
    """One reference cell of a concept.

    Parameters
    ----------
    data_set, rank
        Which data set, and the place in its list, from 0.
    concept_id
        The concept.
    value
        Mean over the cell's tokens.
    label
        The cell's class, or empty.
    cell
        Its label in the run, or the published index.
    image
        Path or name of the image, empty where it is not known.
    run
        The run folder, None where the cell is of no run.
    crop
        (S, S, 3) uint8, None where the image is not at hand.
    concept_map
        (16, 16) float32 activations by patch, None where they are not known.
    missing
        Why there is no crop; empty where there is one.
    """

    data_set: str
    rank: int
    concept_id: int
    value: float
    label: str
    cell: int
    image: str
    run: Path | None
    crop: NDArray[np.uint8] | None
    concept_map: NDArray[np.float32] | None
    missing: str


class ReferencePictures:
    """Cut reference cells out of their images; a few runs and slides are kept open between calls.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._slides: OrderedDict[str, Slide] = OrderedDict()

    def of(
        self, data_set: DataSet, concept_id: int, k: int | None = None
    ) -> Iterator[ReferencePicture]:
        """Yield the pictures of a concept's references in one data set, the strongest first.

        Parameters
        ----------
        data_set
            One of an atlas's.
        concept_id
            The concept.
        k
            How many at most.

        Yields
        ------
        ReferencePicture
        """
        for rank, row in enumerate(data_set.top(concept_id, k).to_dict("records")):
            crop: NDArray[np.uint8] | None = None
            concept_map: NDArray[np.float32] | None = None
            missing = ""
            try:
                if row["run"]:
                    concept_map = self.concept_map(row["run"], int(row["cell"]), concept_id)
                    crop = self.crop(row["run"], int(row["cell"]))
                elif row["image"] and data_set.info.kind != "runs":
                    crop = self._whole(str(row["image"]))
                else:
                    missing = f"{data_set.name} was published without its images."
            except (CytoSAEError, OSError) as error:
                missing = str(error)
            yield ReferencePicture(
                data_set=data_set.name,
                rank=rank,
                concept_id=concept_id,
                value=float(row["value"]),
                label=str(row["label"]),
                cell=int(row["cell"]),
                image=str(row["image"]),
                run=Path(row["run"]) if row["run"] else None,
                crop=crop,
                concept_map=concept_map,
                missing=missing,
            )

    def concept_map(self, run: str | Path, label: int, concept_id: int) -> NDArray[np.float32]:
        """Give a concept at every patch of a run's cell, (16, 16)."""
        return self._run(str(run)).concept_map(label, concept_id)

    def crop(
        self, run: str | Path, label: int, image: str | Path | None = None
    ) -> NDArray[np.uint8]:
        """Cut a run's cell out of its image, (S, S, 3).

        Parameters
        ----------
        run, label
            The cell.
        image
            The single-cell image that it was, for runs that were put together from such.

        Raises
        ------
        CytoSAEError
            Where the run or its image is not at hand.
        """
        if image and self._run(str(run)).slide_path is None:
            return self._whole(str(image))
        return self._of_run(str(run), label)

    def close(self) -> None:
        """Close all images."""
        while self._slides:
            self._slides.popitem()[1].close()
        self._runs.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _of_run(self, path: str, label: int) -> NDArray[np.uint8]:
        run = self._run(path)
        slide_path = run.slide_path
        if slide_path is None:
            raise CytoSAEError(f"{run.path.name} was made from an array, not from a file.")
        slide = self._slide(slide_path)
        key = run.manifest.key
        rows = run.table.index[run.table["label"] == label]
        (batch,) = iter_crops(
            slide,
            pd.DataFrame(run.table.loc[rows]),
            CropGeometry(key.crop_um, key.cell_fraction, key.whole),
            microns_per_pixel=run.microns_per_pixel,
        )
        return batch.pixels[0]

    def _whole(self, path: str) -> NDArray[np.uint8]:
        slide = self._slide(Path(path))
        side = float(max(slide.shape))
        top, left = ((each - side) // 2 for each in slide.shape)
        return read_reflected(slide, np.array([top, left, top + side, left + side]))

    def _run(self, path: str) -> Run:
        run = self._runs.pop(path, None) or Run(path)
        self._runs[path] = run
        if len(self._runs) > _OPEN_AT_ONCE:
            self._runs.popitem(last=False)
        return run

    def _slide(self, path: Path) -> Slide:
        slide = self._slides.pop(str(path), None) or Slide.open(path)
        self._slides[str(path)] = slide
        if len(self._slides) > _OPEN_AT_ONCE:
            self._slides.popitem(last=False)[1].close()
        return slide
