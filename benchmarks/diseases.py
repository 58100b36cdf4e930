"""The whole cohort path on Chula RBC-12's fields by disease: what is told apart, and by what.

    python benchmarks/diseases.py [FOLDER] --out DIR

FOLDER holds one folder of fields per disease. Each field is taken for a patient; its pixel size is set
from the width of a red cell. DIR gets the table (``chula.csv``), the cohort (``chula.cohort``) and the
report; a second call finds them done.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image

from napari_cytosae.cohorts import Barcodes, ComparisonOptions, compare, read_cohort
from napari_cytosae.cohorts.baselines import make_baselines, read_baselines
from napari_cytosae.cohorts.classification import Classification, ClassificationOptions, classify
from napari_cytosae.cohorts.extraction import ExtractionSettings, extract
from napari_cytosae.export.cohort import CohortReport, write_cohort_report

NAMES = {
    "he": "hereditary elliptocytosis",
    "hs": "hereditary spherocytosis",
    "iron-deficiency-anemia": "iron deficiency",
    "megaloblastic-anemia": "megaloblastic anemia",
    "thalassemia": "thalassaemia",
}
PIXEL_UM = {1280: 0.094, 640: 0.1875}


def write_table(folder: Path, table: Path) -> None:
    """List the fields, each a patient of its own."""
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("patient", "diagnosis", "image", "microns_per_pixel"))
        for place in sorted(path for path in folder.iterdir() if path.is_dir()):
            for image in sorted(place.iterdir()):
                if image.suffix.lower() in (".jpg", ".jpeg", ".png"):
                    width = Image.open(image).width
                    name = NAMES.get(place.name, place.name)
                    row = (f"{place.name}/{image.stem}", name, image.resolve(), PIXEL_UM[width])
                    writer.writerow(row)


def print_fields(barcodes: Barcodes) -> None:
    """Print fields and cells of each disease."""
    print(f"\n{'disease':>28} {'fields':>7} {'cells':>7}")
    for name in barcodes.diagnoses:
        mine = barcodes.patients[barcodes.diagnosis == name]
        print(f"{name:>28} {len(mine):7,} {int(mine['n_cells'].sum()):7,}")


def print_scores(found: Classification) -> None:
    """Print what the barcodes tell, and what else tells as much."""
    means = found.summary()
    for name in ("weighted_f1", "balanced_accuracy", "auroc"):
        print(f"{name:>28} {means.loc[name, 'mean']:.2f} ± {means.loc[name, 'sd']:.2f}")
    if found.null.size:
        print(f"{'shuffled':>28} {found.null.mean():.2f} ± {found.null.std():.2f}")
    print(f"\n{'weighted F1 of':>28}")
    for row in found.beside.to_dict("records"):
        print(f"{row['name']:>28} {row['weighted_f1']:.2f} ± {row['weighted_f1_sd']:.2f}")
    for row in found.grouped.to_dict("records"):
        if np.isfinite(row["weighted_f1"]):
            print(f"{'new ' + row['covariate']:>28} {row['weighted_f1']:.2f}")
    for words in (*found.warnings, *found.notes):
        print(f"  ! {words}")


def main() -> None:
    """Extract, classify, control for size and light, compare, and write the report."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "folder", type=Path, nargs="?", default=Path("../shared/data/chula-rbc12/diseases")
    )
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    if not chosen.folder.is_dir():
        raise SystemExit(f"{chosen.folder} does not exist")
    chosen.out.mkdir(parents=True, exist_ok=True)
    table, place = chosen.out / "chula.csv", chosen.out / "chula.cohort"
    write_table(chosen.folder, table)
    cohort, settings = read_cohort(table), ExtractionSettings(cells="red")
    barcodes = extract(cohort, place, settings, skip_bad=True)
    make_baselines(cohort, place, settings)
    baselines = read_baselines(place, barcodes)
    print_fields(barcodes)

    print("\nAll five diseases")
    how = ClassificationOptions(repeats=5, n_permutations=20)
    found = classify(barcodes, how, beside=baselines)
    print_scores(found)

    print("\nFields of 1280 × 960 px only: four diseases, one image size")
    same_size = (barcodes.patients["image_width_px"] == 1280).to_numpy()
    quick = ClassificationOptions(repeats=5, n_permutations=0, curve=())
    print_scores(classify(barcodes.select(same_size), quick))

    print("\nThalassaemia against the others")
    for within in (None, "image_width_px"):
        result = compare(
            barcodes, "thalassaemia", options=ComparisonOptions(within=within, n_permutations=200)
        )
        first = result.top(1).iloc[0]
        print(
            f"  within {within}: {len(result.significant())} of {result.n_concepts:,} concepts at "
            f"q ≤ 0.05; first #{first['concept_id']} (δ {first['delta']:+.2f}, q {first['q']:.1g})"
        )
    comparisons = [compare(barcodes, name) for name in barcodes.diagnoses]
    content = CohortReport(barcodes, comparisons, found, place, "Chula RBC-12 by disease", [])
    print(f"\nThe report is {write_cohort_report(content, chosen.out / 'report')}.")


if __name__ == "__main__":
    main()
