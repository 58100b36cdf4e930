"""Made cohorts with planted concepts: what comparison, classification and ranking find of the truth.

Run: python benchmarks/cohorts.py [--cohorts 100]
"""

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from napari_cytosae.cohorts import ComparisonOptions, SyntheticOptions, compare, make_cohort
from napari_cytosae.cohorts.classification import ClassificationOptions, classify
from napari_cytosae.cohorts.explanation import rank_cells, specific_concepts

_TWO = {"healthy": 20, "disease": 20}
_THREE = {"healthy": 20, "disease A": 20, "disease B": 20}


def main() -> None:
    """Print one table per question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=100, help="simulated cohorts per row")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    found(arguments.cohorts)
    independent()
    rare(max(1, arguments.cohorts // 20))
    told_apart()
    print(f"\n{time.perf_counter() - begun:.0f} s in all")


def found(n_cohorts: int) -> None:
    """Planted concepts among those found at a false discovery rate of 5 %."""
    print(f"\nComparison, FDR 5 %, {n_cohorts} cohorts of 20 + 20 patients, 400 concepts")
    print(f"{'planted':>8} {'log odds':>9} {'sites':>6} {'false':>7} {'found':>7} {'top 10':>7}")
    options = ComparisonOptions(n_permutations=1)
    for planted, odds, site_odds in ((0, 0.0, 0.0), (10, 0.8, 0.0), (10, 1.6, 0.0), (10, 1.6, 0.5)):
        false, hits, top = [], [], []
        for seed in range(n_cohorts):
            made = make_cohort(
                SyntheticOptions(
                    patients=_TWO, n_planted=planted, log_odds=odds, n_sites=3,
                    site_log_odds=site_odds,
                ),
                seed,
            )  # fmt: skip
            result = compare(made.barcodes, "disease", "healthy", options=options)
            ids = result.significant()["concept_id"].to_numpy()
            true = np.isin(ids, made.planted["disease"])
            false.append((~true).sum() / max(len(ids), 1))
            if planted:
                hits.append(true.sum() / planted)
                top.append(np.isin(result.top(10)["concept_id"], made.planted["disease"]).mean())
        numbers = (f"{np.mean(one):7.1%}" if one else f"{'–':>7}" for one in (false, hits, top))
        print(f"{planted:8} {odds:9.1f} {site_odds:6.1f} {' '.join(numbers)}")


def independent() -> None:
    """Correlation of a patient's number of cells with the sum of its barcode."""
    made = make_cohort(SyntheticOptions(patients={"one": 200}, n_planted=0, spread_cells=1.2))
    cells = made.barcodes.patients["n_cells"]
    print("\nBarcodes and numbers of cells, 200 patients (Spearman)")
    for words, per in (
        ("per cell (the paper's)", "cells"),
        ("per concept (upstream's)", "concepts"),
    ):
        total = np.asarray(made.barcodes.values("count", per).sum(axis=1)).ravel()  # type: ignore[arg-type]
        print(f"{words:>26} {spearmanr(cells, total).statistic:+.2f}")


def rare(n_cohorts: int) -> None:
    """Share of cells of one in 500 that are ranked first in their patient."""
    recalls: list[float] = []
    first: list[bool] = []
    for seed in range(n_cohorts):
        made = make_cohort(
            SyntheticOptions(
                patients={"healthy": 15, "sick": 15}, n_concepts=150, n_planted=3,
                median_cells=800, spread_cells=0.4, rare_one_in=500,
            ),
            seed,
        )  # fmt: skip
        comparison = compare(
            made.barcodes, "sick", "healthy", options=ComparisonOptions(n_permutations=1)
        )
        specific = specific_concepts(made.barcodes, comparison)
        first.append(int(specific.table["concept_id"].iloc[0]) == made.rare_concept)
        for row in np.flatnonzero(made.barcodes.diagnosis == "sick"):
            patient = made.barcodes.patients.index[row]
            truth = {label for who, label in made.rare_cells if who == patient}
            ranked = rank_cells(made.cells[row], specific, k=len(truth))
            recalls.append(len(truth & set(ranked["label"])) / len(truth))
    print(f"\nRare cells, 1 in 500, {n_cohorts} cohorts of 15 + 15 patients")
    print(f"{'their concept first':>26} {np.mean(first):.0%}")
    print(f"{'found among the first':>26} {np.mean(recalls):.1%}")


def told_apart() -> None:
    """Weighted F1 of three classes; and what is warned of as site and diagnosis go together."""
    print("\nClassification, 20 + 20 + 20 patients, 5 folds, 2 repeats (weighted F1)")
    print(f"{'log odds':>9} {'confounded':>11} {'barcodes':>9} {'shuffled':>9} {'site':>6} "
          f"{'new site':>9}  warned")  # fmt: skip
    options = ClassificationOptions(repeats=2, n_permutations=10, curve=(), curve_repeats=1)
    for odds, confounding in ((0.0, 0.0), (1.2, 0.0), (1.2, 0.5), (0.0, 1.0)):
        made = make_cohort(
            SyntheticOptions(
                patients=_THREE, log_odds=odds, n_sites=3, site_log_odds=1.0,
                confounding=confounding,
            )
        )  # fmt: skip
        result = classify(made.barcodes, options)
        beside = result.beside.set_index("name")["weighted_f1"]
        new = result.grouped["weighted_f1"].to_numpy(np.float64)
        print(f"{odds:9.1f} {confounding:11.1f} {beside['barcodes']:9.2f} "
              f"{result.null.mean():9.2f} {beside['site']:6.2f} {_or_dash(new):>9}  "
              f"{any('site alone' in words for words in result.warnings)}")  # fmt: skip


def _or_dash(values: NDArray[np.float64]) -> str:
    return f"{values[0]:.2f}" if len(values) and np.isfinite(values[0]) else "–"


if __name__ == "__main__":
    main()
