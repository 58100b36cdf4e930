"""One data set's statistics: what was counted, and what that says about each concept."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.evidence import Evidence
from napari_cytosae.concepts.atlas.evidence_ranks import Correlations, correlate, no_correlations
from napari_cytosae.concepts.atlas.evidence_sample import MeasuredCells
from napari_cytosae.concepts.atlas.evidence_where import Whereabouts
from napari_cytosae.concepts.atlas.measures import (
    NO_LABEL,
    label_entropy,
    missing_where_nan,
    ratio,
    top_class,
)
from napari_cytosae.concepts.atlas.partners import CellSample, Partners, find_partners
from napari_cytosae.concepts.atlas.published_order import resolve_images
from napari_cytosae.concepts.atlas.references import References
from napari_cytosae.concepts.atlas.units import UNIT
from napari_cytosae.concepts.cell import GRID, N_PATCHES, N_TOKENS
from napari_cytosae.errors import AtlasError

Tissue = Literal["blood", "bone marrow", ""]


@dataclass(frozen=True, slots=True)
class DataSetInfo:
    """What a data set is and how it was counted.

    Parameters
    ----------
    name
        In a person's words, unique within an atlas.
    kind
        ``"runs"`` (cells of stored runs), ``"images"`` (images encoded whole) or ``"published"``
        (upstream's feature data).
    d_sae, k
        Concepts, and references for each.
    n_images
        Cells or images that were counted.
    threshold
        τ of `Counts.tokens_above`.
    classes
        Names of the labels; references hold indices into them.
    class_sizes
        Images of each class; empty where they are not known.
    class_sizes_from
        ``"counted"``, ``"given"`` (beside the published files) or ``"references"`` (read off the
        published references' places, see `published_order`); empty where not known.
    labelled_by
        Where the labels came from, see `Labels.described`; empty without any.
    tissue
        ``"blood"``, ``"bone marrow"`` or empty.
    bundle_name, bundle_digest, sae_digest
        The model, None where it is not known.
    image_folder
        Folder of the original images of a published set, where a user has said.
    evidence
        Whether evidence was collected from those cells that were measured.
    measured_cells
        How many those are.
    finished
        False while a build is on its way.
    created, software_version
        When (ISO 8601, UTC) and with what.
    notes
        What a person should know.
    """

    name: str
    kind: Literal["runs", "images", "published"]
    d_sae: int
    k: int
    n_images: int
    threshold: float = 0.2
    classes: tuple[str, ...] = ()
    class_sizes: tuple[int, ...] = ()
    class_sizes_from: Literal["counted", "given", "references", ""] = ""
    labelled_by: str = ""
    tissue: Tissue = ""
    bundle_name: str | None = None
    bundle_digest: str | None = None
    sae_digest: str | None = None
    image_folder: str | None = None
    evidence: bool = False
    measured_cells: int = 0
    finished: bool = True
    created: str = ""
    software_version: str = ""
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Give the content as plain values."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "DataSetInfo":
        """Read what `as_dict` gave; unknown entries of later versions are left out."""
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in content.items()
            if key in cls.__slots__
        }
        return cls(**known)


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """What was counted for each concept.

    Parameters
    ----------
    images
        (d_sae,) int64: images whose mean over tokens is above 0.
    mass
        (d_sae,) float64: sum of that mean over all images.
    mass_units
        (d_sae,) int64: the sum over all tokens in steps of 2⁻²⁴, exact; None in published sets.
    patches
        (d_sae,) int64: patches where the concept is active; None in published sets.
    tokens_above
        (d_sae,) int64: tokens above τ; None in published sets.
    """

    images: NDArray[np.int64]
    mass: NDArray[np.float64]
    mass_units: NDArray[np.int64] | None = None
    patches: NDArray[np.int64] | None = None
    tokens_above: NDArray[np.int64] | None = None

    @classmethod
    def exact(
        cls,
        images: NDArray[np.int64],
        mass_units: NDArray[np.int64],
        patches: NDArray[np.int64],
        tokens_above: NDArray[np.int64],
        n_tokens: int = N_TOKENS,
    ) -> "Counts":
        """Take the exact sums of a count of one's own."""
        mass = np.asarray(mass_units * (UNIT / n_tokens), np.float64)
        return cls(images, mass, mass_units, patches, tokens_above)


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """Where the cells of a data set come from, in the order that references count them.

    Parameters
    ----------
    identities
        Hex digest of each run's or image's content; what is there twice is counted once.
    paths
        Run folders, or image files.
    images
        The image that each run analysed: its path where it is known, else its name.
    n_cells
        Cells of each.
    """

    identities: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    n_cells: tuple[int, ...] = ()


Part = Literal[
    "counts", "references", "sources", "sample", "partners", "where", "measured", "correlations"
]


@dataclass(eq=False)
class DataSet:
    """Statistics of every concept over one data set.

    Parameters
    ----------
    info
        What the data set is.
    load
        Gives one part: ``counts``, ``references``, ``sources``, ``sample``, ``partners``, or of the
        evidence ``where``, ``measured`` or ``correlations``. Asked once, when the part is first
        needed.
    """

    info: DataSetInfo
    load: Callable[[Part], Any] = field(repr=False)

    @classmethod
    def of(
        cls,
        info: DataSetInfo,
        counts: Counts,
        references: References,
        sources: Sources | None = None,
        sample: CellSample | None = None,
        partners: Partners | None = None,
        where: Whereabouts | None = None,
        measured: MeasuredCells | None = None,
    ) -> "DataSet":
        """Make a data set of parts that are at hand."""
        parts: dict[Part, Any] = {
            "counts": counts,
            "references": references,
            "sources": sources or Sources(),
            "sample": sample,
            "partners": partners,
            "where": where,
            "measured": measured,
            "correlations": None,
        }
        return cls(info, parts.__getitem__)

    def with_info(self, info: DataSetInfo) -> "DataSet":
        """Give the same statistics under another description."""
        return DataSet(info, lambda part: getattr(self, part))

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.info.name

    def __len__(self) -> int:
        return self.info.n_images

    @cached_property
    def counts(self) -> Counts:
        """What was counted for each concept."""
        counts: Counts = self.load("counts")
        return counts

    @cached_property
    def references(self) -> References:
        """The cells that show each concept best."""
        references: References = self.load("references")
        return references

    @cached_property
    def sources(self) -> Sources:
        """Runs or images that the cells come from."""
        sources: Sources = self.load("sources")
        return sources

    @cached_property
    def sample(self) -> CellSample | None:
        """A few cells with their strongest concepts, drawn by their identity; None if not kept."""
        sample: CellSample | None = self.load("sample")
        return sample

    @cached_property
    def partners(self) -> Partners | None:
        """The concepts that are strong in the same cells; None where no cells were kept."""
        partners: Partners | None = self.load("partners")
        if partners is None and self.sample is not None:
            partners = find_partners(self.sample, self.info.d_sae)
        return partners

    @cached_property
    def where(self) -> Whereabouts | None:
        """Activation by compartment; None where no cell was measured."""
        where: Whereabouts | None = self.load("where")
        return where

    @cached_property
    def measured(self) -> MeasuredCells | None:
        """Measured cells, drawn by their identity; None where no cell was measured."""
        measured: MeasuredCells | None = self.load("measured")
        return measured

    @cached_property
    def correlations(self) -> Correlations | None:
        """Rank correlations with the cells' measures; None where no cell was measured."""
        correlations: Correlations | None = self.load("correlations")
        if correlations is None and self.measured is not None:
            correlations = correlate(self.measured, self.info.d_sae)
        return correlations

    @cached_property
    def evidence(self) -> Evidence | None:
        """What compartments and morphology tell of each concept; None without measured cells."""
        where = self.where
        if where is None:
            return None
        return Evidence(where, lambda: self.correlations or no_correlations(self.info.d_sae))

    @cached_property
    def frequency(self) -> NDArray[np.float64]:
        """(d_sae,) share of images where the mean over tokens is above 0 (``sae_sparsity``)."""
        return ratio(self.counts.images, self.info.n_images)

    @cached_property
    def mean_activation(self) -> NDArray[np.float64]:
        """(d_sae,) mean over those images of the mean over tokens; 0 where there are none."""
        return ratio(self.counts.mass, self.counts.images)

    @cached_property
    def mass_share(self) -> NDArray[np.float64]:
        """(d_sae,) share of all activation of the data set."""
        return ratio(self.counts.mass, float(self.counts.mass.sum()))

    @cached_property
    def patch_frequency(self) -> NDArray[np.float64] | None:
        """(d_sae,) share of all patches where the concept is active; None in published sets."""
        if self.counts.patches is None:
            return None
        return ratio(self.counts.patches, float(self.info.n_images) * N_PATCHES)

    @cached_property
    def label_entropy(self) -> NDArray[np.float64]:
        """(d_sae,) entropy of the references' labels in nats; NaN where none has a label."""
        return label_entropy(self.references.values, self.references.labels)

    @cached_property
    def top_class(self) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """Most frequent class among the references, how many have it, how many have any."""
        return top_class(self.references.values, self.references.labels)

    @cached_property
    def one_class(self) -> NDArray[np.bool_]:
        """(d_sae,) whether all k references are there and of one class."""
        _, hits, _ = self.top_class
        return np.asarray(hits == self.info.k)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per concept.

        ``concept_id``; ``images`` and ``frequency``; ``mean_activation``; ``mass_share``;
        ``patch_frequency`` (missing in published sets); ``references`` (how many places are
        filled); ``entropy`` in nats, ``purity``, ``top_class`` and ``top_class_references``
        (missing or empty where no reference has a label).
        """
        classes, hits, labelled = self.top_class
        names = np.array([*self.info.classes, ""], object)
        patches = self.patch_frequency
        return pd.DataFrame(
            {
                "concept_id": np.arange(self.info.d_sae),
                "images": self.counts.images,
                "frequency": self.frequency,
                "mean_activation": self.mean_activation,
                "mass_share": self.mass_share,
                "patch_frequency": missing_where_nan(
                    np.full(self.info.d_sae, np.nan) if patches is None else patches
                ),
                "references": self.references.filled.sum(axis=1),
                "entropy": missing_where_nan(self.label_entropy),
                "purity": missing_where_nan(np.where(labelled > 0, ratio(hits, labelled), np.nan)),
                "top_class": names[classes],
                "top_class_references": hits,
            }
        )

    def top(self, concept_id: int, k: int | None = None) -> pd.DataFrame:
        """List a concept's reference cells, the strongest first.

        Parameters
        ----------
        concept_id
            The concept.
        k
            How many at most; all that were kept without it.

        Returns
        -------
        DataFrame
            ``value`` (mean over the tokens), ``image`` (path or name of the image, empty where it is
            not known), ``label`` (its class, or empty), ``cell`` (the cell's label in the run, or
            the published index), ``patch_row`` and ``patch_column`` (where the concept is
            largest, missing where that is not known), ``run`` (the run folder, or empty).

        Raises
        ------
        AtlasError
            Where there is no such concept.
        """
        check_concept(concept_id, self.info.d_sae)
        references = self.references
        rows = np.flatnonzero(references.filled[concept_id])[:k]
        patches = references.patches[concept_id, rows].astype(np.int64)
        sources = references.sources[concept_id, rows]
        paths = [self.sources.paths[source] if source >= 0 else "" for source in sources]
        images = self.images_of(sources, references.cells[concept_id, rows])
        known = patches >= 0
        classes = references.labels[concept_id, rows]
        return pd.DataFrame(
            {
                "value": references.values[concept_id, rows],
                "image": images,
                "label": [
                    self.info.classes[label] if label != NO_LABEL else "" for label in classes
                ],
                "cell": references.cells[concept_id, rows],
                "patch_row": pd.arrays.IntegerArray(patches // GRID, ~known),
                "patch_column": pd.arrays.IntegerArray(patches % GRID, ~known),
                "run": paths if self.info.kind == "runs" else [""] * len(rows),
            }
        )

    @cached_property
    def published_images(self) -> list[Path]:
        """File of each published index; empty where the original folder is not known or gone.

        Raises
        ------
        AtlasError
            Where the folder is not what it was when it was linked.
        """
        info = self.info
        if info.image_folder is None or not Path(info.image_folder).is_dir():
            return []
        return resolve_images(info.image_folder, self.references, info.classes, info.n_images)

    def images_of(self, sources: NDArray[np.int32], cells: NDArray[np.int64]) -> list[str]:
        """Give paths or names of the images of some cells; empty where they are not known."""
        if self.info.kind == "published":
            files = self.published_images
            return [str(files[index]) if files else "" for index in cells]
        return [self.sources.images[source] if source >= 0 else "" for source in sources]


def check_concept(concept_id: int, d_sae: int) -> int:
    """Return the concept id, or say which ids there are.

    Raises
    ------
    AtlasError
        Where the atlas has no such concept.
    """
    if not 0 <= concept_id < d_sae:
        raise AtlasError(
            f"There is no concept {concept_id}: this atlas's concepts go from 0 to {d_sae - 1}."
        )
    return concept_id
