"""A review's folder: what was drawn, and the sheet of each reviewer."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

from napari_cytosae.concepts.atlas.atlas import Atlas
from napari_cytosae.concepts.durable import explain_write_error, write_json_durably
from napari_cytosae.concepts.naming.records import tidy
from napari_cytosae.concepts.review.pictures import with_pictures
from napari_cytosae.concepts.review.sample import sample_concepts
from napari_cytosae.concepts.review.sheet import ReviewSheet, read_sheet
from napari_cytosae.errors import AtlasError, NamesError

PLAN_NAME: Final = "review.json"
_FORMAT: Final = "napari-cytosae review"
_SHEETS: Final = "review-*.csv"


@dataclass(frozen=True, slots=True)
class ReviewPlan:
    """How a review is drawn, and how much of each concept is shown.

    Parameters
    ----------
    clusters, per_cluster
        Regions of mean activation and frequency, and concepts drawn from each.
    references
        Cells shown of each data set.
    seed
        Of the draw.
    """

    clusters: int = 10
    per_cluster: int = 5
    references: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Review:
    """The same concepts, in the same order, for all reviewers of one folder.

    Parameters
    ----------
    folder
        Where the sheets lie.
    concepts
        Ids, in the order in which they are shown.
    plan
        How they were drawn.
    sae_digest
        Of the autoencoder; empty where it is not known.
    """

    folder: Path
    concepts: tuple[int, ...]
    plan: ReviewPlan
    sae_digest: str = ""

    @classmethod
    def draw(cls, atlas: Atlas, folder: Path, plan: ReviewPlan) -> Self:
        """Draw a review's concepts among those of which a picture is at hand; nothing is written.

        Raises
        ------
        AtlasError
            No reference cell's image is at hand, or a number is not possible.
        """
        shown = with_pictures(atlas, plan.references)
        if not shown.any():
            raise AtlasError(
                "No reference cell's image is at hand, so there is nothing to show. Build the atlas "
                "of runs or images that lie on this computer, or link a published set to its images."
            )
        table = atlas.table
        concepts = sample_concepts(
            np.where(shown, table["mean_activation"].to_numpy(float), 0),
            table["frequency"].to_numpy(float),
            clusters=plan.clusters,
            per_cluster=plan.per_cluster,
            seed=plan.seed,
        )
        return cls(folder, tuple(concepts.tolist()), plan, atlas.sae_digest or "")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the review that a folder holds.

        Raises
        ------
        NamesError
            It holds none, or its sheets are of several.
        """
        try:
            content = json.loads((folder / PLAN_NAME).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls._of_sheets(folder)
        except (OSError, ValueError) as error:
            raise NamesError(f"{folder / PLAN_NAME} cannot be read ({error}).") from error
        try:
            if content["format"] != _FORMAT:
                raise ValueError("another format")
            plan = ReviewPlan(**{name: int(value) for name, value in content["plan"].items()})
            concepts = tuple(int(concept) for concept in content["concepts"])
            return cls(folder, concepts, plan, str(content["sae"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NamesError(f"{folder / PLAN_NAME} is no review of this version.") from error

    @classmethod
    def _of_sheets(cls, folder: Path) -> Self:
        paths = _sheets_in(folder)
        if not paths:
            raise NamesError(f"{folder} holds no review.")
        sheets = [read_sheet(path) for path in paths]
        if len({tuple(sheet.concepts) for sheet in sheets}) > 1:
            raise NamesError(f"The sheets in {folder} are of different reviews. Keep those of one.")
        digest = next((sheet.sae_digest for sheet in sheets if sheet.sae_digest), "")
        return cls(folder, tuple(sheets[0].concepts), ReviewPlan(), digest)

    @property
    def sheet_paths(self) -> list[Path]:
        """The sheets that are there."""
        return _sheets_in(self.folder)

    def sheet_path(self, reviewer: str) -> Path:
        """Give the file of a reviewer's sheet, whether it is there or not.

        Raises
        ------
        NamesError
            The name has no letter and no digit.
        """
        name = re.sub(r"[^\w.-]+", "-", tidy(reviewer)).strip("-._").lower()
        if not name:
            raise NamesError("Every reviewer needs a name of their own.")
        return self.folder / f"review-{name}.csv"

    def check_free(self, reviewers: Sequence[str]) -> dict[str, Path]:
        """Make sure that nothing in the folder is of another review.

        Returns
        -------
        The sheet of each reviewer.

        Raises
        ------
        NamesError
            A sheet is of other concepts or of another person, or two reviewers would share one.
        """
        paths = {tidy(name): self.sheet_path(name) for name in reviewers}
        if len(set(paths.values())) < len(reviewers):
            raise NamesError("Every reviewer needs a name of their own.")
        for name, path in paths.items():
            if not path.exists():
                continue
            sheet = read_sheet(path)
            if tuple(sheet.concepts) != self.concepts:
                raise NamesError(
                    f"{path} is of other concepts. Choose another folder for this review."
                )
            if sheet.reviewer.casefold() != name.casefold():
                raise NamesError(
                    f"{path} is {sheet.reviewer}'s. Choose a name that is told from that one."
                )
        if (self.folder / PLAN_NAME).exists() and Review.open(
            self.folder
        ).concepts != self.concepts:
            raise NamesError(
                f"{self.folder} holds a review of other concepts. Go on with that one, or choose "
                "another folder."
            )
        return paths

    def begin(self, reviewers: Sequence[str]) -> dict[str, Path]:
        """Write what was drawn, and an empty sheet for each reviewer who has none.

        Returns
        -------
        The sheet of each.

        Raises
        ------
        NamesError
            As `check_free`.
        RunError
            The folder cannot be written.
        """
        paths = self.check_free(reviewers)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_write_error(error, self.folder) from error
        if not (self.folder / PLAN_NAME).exists():
            content = {
                "format": _FORMAT,
                "version": 1,
                "sae": self.sae_digest,
                "plan": asdict(self.plan),
                "concepts": list(self.concepts),
            }
            write_json_durably(self.folder / PLAN_NAME, content)
        for name, path in paths.items():
            if not path.exists():
                ReviewSheet(self.concepts, name, self.sae_digest).save(path)
        return paths

    def check_fits(self, atlas: Atlas) -> None:
        """Make sure that these are concepts of an atlas.

        Raises
        ------
        NamesError
            They are of another autoencoder.
        """
        known = self.sae_digest and atlas.sae_digest
        if (known and self.sae_digest != atlas.sae_digest) or not all(
            0 <= concept < atlas.d_sae for concept in self.concepts
        ):
            raise NamesError(
                f"The review in {self.folder} is of another autoencoder's concepts. Open the atlas "
                "that it was drawn from."
            )


def _sheets_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.glob(_SHEETS) if path.is_file())
    except OSError:
        return []
