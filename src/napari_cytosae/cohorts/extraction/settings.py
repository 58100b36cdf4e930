"""How a cohort's images are analysed: the same for all of them."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from napari_cytosae.cells.read import NAMED_SOURCES
from napari_cytosae.concepts.encode import Precision
from napari_cytosae.errors import CohortError
from napari_cytosae.models import Bundle, load_bundle


@dataclass(frozen=True, slots=True)
class ExtractionSettings:
    """What `analyze` is told about every image of a cohort.

    Parameters
    ----------
    bundle
        Name or folder of a bundle, or a pair of files: backbone and SAE. Not a loaded bundle, as
        workers on other machines load their own.
    cells
        ``"detect"``, ``"red"``, or ``"whole"``: images of single cells, many of which are analysed
        together.
    threshold
        τ of the barcodes.
    precision, device, microns_per_pixel, crop_um, batch_cells
        As in `napari_cytosae.analyze`.
    overwrite
        Replace runs of the cohort's folder that were made with other settings.
    """

    bundle: str | Path | tuple[Path, Path] = "starter"
    cells: str = "detect"
    threshold: float = 0.2
    precision: Precision = "auto"
    device: str = "auto"
    microns_per_pixel: float | None = None
    crop_um: float = 25.0
    batch_cells: int = 16
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.cells not in NAMED_SOURCES:
            raise CohortError(
                f"Cells of a cohort come from {', '.join(NAMED_SOURCES)}, not from {self.cells}. "
                "For cells of your own, analyse the images first and give the runs."
            )
        if not self.threshold >= 0:
            raise CohortError(f"τ is {self.threshold}; give 0 or more.")

    def load(self) -> Bundle:
        """Load the bundle; once in each process."""
        return _loaded(self.bundle)


@lru_cache(maxsize=1)
def _loaded(bundle: str | Path | tuple[Path, Path]) -> Bundle:
    if isinstance(bundle, tuple):
        return load_bundle(backbone=bundle[0], sae=bundle[1])
    return load_bundle(bundle)
