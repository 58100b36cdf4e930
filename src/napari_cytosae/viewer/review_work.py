"""What a review does beside the window: draw and open, cut cells, compare sheets."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cytosae.concepts.atlas import ReferenceMaps, ReferencePictures
from napari_cytosae.concepts.review import (
    Agreement,
    BlindPicture,
    Review,
    ReviewPlan,
    ReviewSheet,
    SheetFile,
    blind_pictures,
    compare_sheets,
    read_sheet,
    with_pictures,
)
from napari_cytosae.errors import AtlasError
from napari_cytosae.viewer.torch_beside_gl import keep_triton_out

if TYPE_CHECKING:
    from napari_cytosae.concepts.atlas import Atlas


@dataclass(frozen=True, slots=True, eq=False)
class BeginJob:
    """Whose review, where, and how it is drawn where there is none yet (`plan`; None: go on)."""

    atlas: Atlas
    folder: Path
    reviewer: str
    plan: ReviewPlan | None


@dataclass(frozen=True, slots=True, eq=False)
class Reviewing:
    """A review at work: its atlas, what was drawn, one person's sheet."""

    atlas: Atlas
    review: Review
    file: SheetFile


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """All pictures of a concept that are at hand."""

    concept_id: int
    pictures: tuple[BlindPicture, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """All sheets of a folder, and how far they agree; None with fewer than two rated ones."""

    sheets: tuple[ReviewSheet, ...]
    agreement: Agreement | None


def begin_job(job: BeginJob, cancelled: Callable[[], bool]) -> Generator[Reviewing, None, None]:
    """Draw a review or open the one that is there, and open the reviewer's sheet."""
    if job.plan is None:
        review = Review.open(job.folder)
        review.check_fits(job.atlas)
    else:
        review = Review.draw(job.atlas, job.folder, job.plan)
    shown = with_pictures(job.atlas, review.plan.references)
    if not shown[list(review.concepts)].any():
        raise AtlasError(
            "None of this review's cells can be shown: their images are not on this computer. Open "
            "an atlas whose runs or images are, or link a published set to its images "
            "(napari-cytosae atlas link)."
        )
    if cancelled():
        return
    (path,) = review.begin([job.reviewer]).values()
    yield Reviewing(job.atlas, review, SheetFile(path))


def cells_job(
    atlas: Atlas,
    concepts: Sequence[int],
    k: int,
    maps: ReferenceMaps | None,
    cancelled: Callable[[], bool],
) -> Generator[Filled, None, None]:
    """Cut the cells of some concepts out of their images, concept by concept."""
    if maps is not None:
        keep_triton_out()
    with ReferencePictures() as pictures:
        for concept in concepts:
            found = []
            for picture in blind_pictures(atlas, concept, k, pictures, maps):
                if cancelled():
                    return
                found.append(picture)
            yield Filled(concept, tuple(found))


def compare_job(
    folder: Path, own: ReviewSheet, cancelled: Callable[[], bool]
) -> Generator[Compared, None, None]:
    """Read the sheets of a folder and compare them; one's own as it is in memory."""
    others = [read_sheet(path) for path in Review.open(folder).sheet_paths]
    sheets = [own, *(sheet for sheet in others if sheet.reviewer != own.reviewer)]
    begun = [sheet for sheet in sheets if sheet.done]
    found = compare_sheets(begun) if len(begun) > 1 else None
    yield Compared(tuple(sheets), found)
