"""What an analysis would find and cost; light enough for a window to import."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from napari_cytosae.errors import RunError
from napari_cytosae.in_words import duration, megabytes, rounded


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an analysis would find and cost here.

    Parameters
    ----------
    cells, cells_low, cells_high
        Cells expected; some 9 times in 10 between the other two.
    seconds, seconds_low, seconds_high
        Time, with nothing else at work on this machine.
    n_bytes, n_bytes_high
        Size of the run folder.
    free_bytes
        Room on the disk that it would lie on.
    """

    cells: int
    cells_low: int
    cells_high: int
    seconds: float
    seconds_low: float
    seconds_high: float
    n_bytes: int
    n_bytes_high: int
    free_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the disk has room for it."""
        return self.n_bytes_high < self.free_bytes

    @property
    def exact(self) -> bool:
        """Whether the cells were counted, rather than estimated."""
        return self.cells_low == self.cells_high


def together(estimates: Sequence[Estimate]) -> Estimate:
    """Add estimates of images that are analysed one after another on one disk.

    Their ranges are added, as if all were wrong in the same direction.
    """
    sums = {
        field.name: sum(getattr(each, field.name) for each in estimates)
        for field in fields(Estimate)
    }
    return Estimate(**sums | {"free_bytes": min(each.free_bytes for each in estimates)})


def check_room(estimate: Estimate, folder: Path) -> None:
    """Refuse an analysis that the disk has no room for.

    Raises
    ------
    RunError
        Saying how much is missing.
    """
    if not estimate.fits:
        raise RunError(
            f"The disk of {folder} has {megabytes(estimate.free_bytes)} free, and up to "
            f"{megabytes(estimate.n_bytes_high)} are needed. Make room, or choose another folder."
        )


def in_words(estimate: Estimate) -> str:
    """Say an estimate as one would: ``about 12,000 cells (11,000 to 13,000), 9 min, 400 MB``."""
    low, high = (rounded(each) for each in (estimate.cells_low, estimate.cells_high))
    if estimate.exact and not estimate.cells:
        return "no cells: if it shows stained ones, give the pixel size"
    if estimate.exact:
        cells = "1 cell" if estimate.cells == 1 else f"{estimate.cells:,} cells"
    elif not estimate.cells:
        cells = f"no cells in the sample, at most {high:,}"
    else:
        cells = f"about {rounded(estimate.cells):,} cells ({low:,} to {high:,})"
    times = duration(estimate.seconds)
    longest = duration(estimate.seconds_high)
    if times != longest:
        times = f"{times} (up to {longest})"
    return f"{cells}, {times}, {megabytes(estimate.n_bytes)}"
