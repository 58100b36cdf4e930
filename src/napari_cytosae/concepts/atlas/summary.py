"""One row per concept over all data sets of an atlas."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cytosae.concepts.atlas.data_set import DataSet
from napari_cytosae.concepts.atlas.evidence import headlines
from napari_cytosae.concepts.atlas.focus import Focus
from napari_cytosae.concepts.atlas.measures import missing_where_nan, ratio
from napari_cytosae.concepts.atlas.suggest import Suggestions
from napari_cytosae.concepts.cell import N_PATCHES

_IN_FOCUS, _NOISY, _OUT_OF_FOCUS, _NEVER_ACTIVE = range(4)


def summarise(
    data_sets: Sequence[DataSet],
    suggestions: Suggestions,
    focus_of: Callable[[NDArray[np.float64], NDArray[np.float64]], Focus],
) -> pd.DataFrame:
    """Put the data sets' statistics together, all their images counted alike.

    Parameters
    ----------
    data_sets
        One or more.
    suggestions
        What their labels suggest.
    focus_of
        Chooses concepts by mean activation and share of mass.

    Returns
    -------
    DataFrame
        One row per concept: ``concept_id``; ``suggestion`` (a class name, no person's) and
        ``evidence`` ("eosinophil 10/10 mll23, 9/10 bmc"); ``agreement`` (data sets in which it is
        enriched); ``images``, ``frequency``, ``mean_activation`` and ``mass_share`` over all images
        of all sets; ``patch_frequency`` over those sets that know it; ``entropy`` and ``purity``,
        means over the sets whose references have labels (missing where none has);
        ``references``, how many there are; ``in_focus`` and ``noisy`` (see `Focus`); ``rank``, 0
        for the first: those in focus come first, then noisy ones, then the rest, by agreement,
        purity and mean activation. With several data sets, also ``frequency NAME``,
        ``mean_activation NAME``, ``entropy NAME`` and ``class NAME`` of each. Where cells were
        measured, also ``compartment``, ``compartment_share`` and ``compartment_enrichment``,
        ``correlates`` ("N:C ratio ρ 0.71") and ``seen``, all of it in words, and
        ``seen_name``, without numbers, of the data set in which most measured cells have the
        concept (see `Evidence`).
    """
    d_sae = data_sets[0].info.d_sae
    n_images = sum(data.info.n_images for data in data_sets)
    images = np.sum([data.counts.images for data in data_sets], axis=0)
    mass = np.sum([data.counts.mass for data in data_sets], axis=0)
    means, shares = ratio(mass, images), ratio(mass, float(mass.sum()))
    focus = focus_of(means, shares)
    in_focus = np.zeros(d_sae, bool)
    in_focus[focus.concept_ids] = True
    noisy = means > focus.noisy_above
    entropy = _mean([data.label_entropy for data in data_sets])
    purity = _mean([_purity(data) for data in data_sets])
    patches = [found for data in data_sets if (found := data.counts.patches) is not None]
    n_patches = float(
        N_PATCHES * sum(data.info.n_images for data in data_sets if data.counts.patches is not None)
    )
    patch_frequency = np.full(d_sae, np.nan)
    if patches:
        patch_frequency = ratio(np.sum(patches, axis=0), n_patches)
    tier = np.select(
        [images == 0, ~in_focus, noisy], [_NEVER_ACTIVE, _OUT_OF_FOCUS, _NOISY], _IN_FOCUS
    )
    order = np.lexsort(
        (np.arange(d_sae), -means, -np.nan_to_num(purity), -suggestions.agreement, tier)
    )
    rank = np.empty(d_sae, np.int64)
    rank[order] = np.arange(d_sae)
    columns: dict[str, object] = {
        "concept_id": np.arange(d_sae),
        "suggestion": suggestions.words(),
        "evidence": suggestions.evidence(),
        "agreement": suggestions.agreement,
        "images": images,
        "frequency": ratio(images, n_images),
        "mean_activation": means,
        "mass_share": shares,
        "patch_frequency": missing_where_nan(patch_frequency),
        "entropy": missing_where_nan(entropy),
        "purity": missing_where_nan(purity),
        "references": np.sum(
            [data.references.filled.sum(axis=1) for data in data_sets], axis=0, dtype=np.int64
        ),
        "in_focus": in_focus,
        "noisy": noisy,
        "rank": rank,
    }  # fmt: skip
    seen = [data.evidence for data in data_sets if data.evidence is not None]
    if seen:
        told = headlines(seen)
        columns |= {
            "compartment": told.compartment,
            "compartment_share": missing_where_nan(told.share),
            "compartment_enrichment": missing_where_nan(told.enrichment),
            "correlates": told.correlates,
            "seen": told.words,
            "seen_name": told.names,
        }
    if len(data_sets) > 1:
        for data in data_sets:
            columns[f"frequency {data.name}"] = data.frequency
            columns[f"mean_activation {data.name}"] = data.mean_activation
            columns[f"entropy {data.name}"] = missing_where_nan(data.label_entropy)
            names = np.array([*data.info.classes, ""], object)
            columns[f"class {data.name}"] = names[data.top_class[0]]
    return pd.DataFrame(columns)


def _purity(data: DataSet) -> NDArray[np.float64]:
    _, hits, labelled = data.top_class
    return np.where(labelled > 0, ratio(hits, labelled), np.nan)


def _mean(columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean over the data sets that have a value; NaN where none has."""
    values = np.stack(columns)
    known = ~np.isnan(values)
    n_known = known.sum(axis=0)
    mean = ratio(np.where(known, values, 0.0).sum(axis=0), n_known)
    return np.where(n_known > 0, mean, np.nan)
