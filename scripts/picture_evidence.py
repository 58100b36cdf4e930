"""Draw the picture of docs/evidence.md: real concepts of BCCD's cells, and where they are.

Run from the project's root; the runs are kept for the next time::

    python scripts/picture_evidence.py --data ../shared/data --runs /tmp/bccd-runs

For each of a few compartments the concept in focus is taken that has most of its activation there,
of at least 60 measured cells. Four minutes on two cores.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import napari_cytosae as nc
from napari_cytosae.cells.compartments import COMPARTMENTS
from napari_cytosae.concepts.atlas import Atlas, ReferencePictures
from napari_cytosae.export.overlay import heat_over, resize_crop
from napari_cytosae.export.palette import HUES

SHOWN = ("nucleus", "cytoplasm", "cell border", "red cells")
CELLS = 5
LEAST_CELLS = 60
SIDE = 168


def build(data: Path, runs: Path) -> Atlas:
    """Analyse BCCD's fields, where that is not done yet, and count them."""
    bundle = nc.load_bundle("starter")
    fields = sorted((data / "bccd").rglob("*.jpg"))
    for field in fields:
        nc.analyze(field, bundle, out=runs / f"{field.stem}.cytosae")
    return Atlas.build(runs, name="BCCD", tissue="blood")


def chosen(atlas: Atlas) -> list[int]:
    """Pick the concept that is most in each compartment."""
    table, evidence = atlas.table, atlas["BCCD"].evidence
    assert evidence is not None
    ids = []
    for compartment in SHOWN:
        there = table[table["in_focus"] & (table["compartment"] == compartment)]
        there = there[evidence.where.cells[there["concept_id"]] >= LEAST_CELLS]
        ids.append(int(there.loc[there["compartment_share"].astype(float).idxmax(), "concept_id"]))
    return ids


def draw(atlas: Atlas, ids: list[int], path: Path) -> None:
    """Draw reference cells with the concept's map, and its share of each compartment."""
    figure = Figure(figsize=(11, 2.15 * len(ids)), layout="constrained", dpi=110)
    grid = figure.subplots(len(ids), CELLS + 1, width_ratios=[1] * CELLS + [2.4])
    evidence = atlas["BCCD"].evidence
    assert evidence is not None
    with ReferencePictures() as pictures:
        for axes, concept in zip(grid, ids, strict=True):
            for place, at in enumerate(axes[:CELLS]):
                at.set_axis_off()
                if place == 0:
                    at.set_title(f"#{concept}", fontsize=9, loc="left", fontweight="bold")
            for at, picture in zip(axes, pictures.of(atlas["BCCD"], concept, CELLS), strict=False):
                if picture.crop is not None and picture.concept_map is not None:
                    crop = resize_crop(picture.crop, SIDE)
                    top = float(picture.concept_map.max())
                    at.imshow(heat_over(crop, picture.concept_map, top, HUES[0]))
            where = evidence.where_table(concept)
            bars, rows = axes[CELLS], np.arange(len(COMPARTMENTS))
            bars.barh(rows, where["share"], color="#0072B2", height=0.6)
            bars.scatter(where["area"], rows, marker="|", s=90, color="black", zorder=3)
            bars.set(yticks=rows, yticklabels=COMPARTMENTS, xlim=(0, 1))
            bars.invert_yaxis()
            bars.tick_params(labelsize=7)
            bars.spines[["top", "right"]].set_visible(False)
            words = evidence.words[concept].replace("; ", "\n")
            bars.set_title(words, fontsize=7, loc="left")
    figure.savefig(path)


def main() -> None:
    """Build, choose, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds bccd/")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--out", type=Path, default=Path("docs/_static/evidence.png"))
    arguments = parser.parse_args()
    atlas = build(arguments.data, arguments.runs)
    ids = chosen(atlas)
    draw(atlas, ids, arguments.out)
    table = atlas.table
    print(atlas, f"{atlas['BCCD'].info.measured_cells} measured")
    print(
        (table["compartment"] != "").sum(),
        "tagged,",
        (table["correlates"] != "").sum(),
        "correlated",
    )
    for concept in ids:
        print(f"#{concept}", table["seen"].iloc[concept])


if __name__ == "__main__":
    main()
