"""The commands ``cohort explain`` and ``cohort cells``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from napari_cytosae.cli.classify import MODEL_FILE
from napari_cytosae.cli.cohort import open_barcodes
from napari_cytosae.cli.console import note, plain_table, results
from napari_cytosae.errors import CohortError

if TYPE_CHECKING:
    import pandas as pd

    from napari_cytosae.export.cohort import WhyPatient


def explain(
    folder: Path,
    patient: str,
    *,
    model: Path | None,
    name: str | None,
    without: list[int],
    top: int,
    pictures: bool,
    out: Path | None,
) -> None:
    """Print why a patient is predicted as it is, and write it where that is wished.

    Raises
    ------
    CytoSAEError
        Where there is no such patient, class or concept, or the model does not fit.
    """
    from napari_cytosae.cohorts.classification import load_model
    from napari_cytosae.export.cohort import why_patient, write_why

    barcodes = open_barcodes(folder)
    home = folder if folder.is_dir() else folder.parent
    place = model or home / MODEL_FILE
    if not place.is_file():
        raise CohortError(
            f"There is no model {place}. Make one with: napari-cytosae cohort classify {folder}"
        )
    loaded = load_model(place)
    why = why_patient(loaded, barcodes, patient, name=name, without=without, k=top, folder=home)
    _print(why, top)
    for words in why.notes:
        note(words)
    if out is not None:
        written, missing = write_why(why, loaded, barcodes, out, pictures=pictures)
        if missing:
            note(f"Some cells are not drawn. {missing}")
        note(f"In {out}: {', '.join(path.name for path in written)}.")
    note("For research; not a diagnosis.")


def cells(
    folder: Path,
    group: str,
    *,
    by: str,
    patients: list[str],
    q: float,
    min_delta: float,
    top: int,
    pictures: bool,
    out: Path | None,
) -> None:
    """Print the cells that show best what is specific to a disease.

    Raises
    ------
    CytoSAEError
        Where there is no such group or patient, nothing is specific, or runs are not at hand.
    """
    from napari_cytosae.cohorts import ComparisonOptions, compare
    from napari_cytosae.cohorts.explanation import specific_concepts
    from napari_cytosae.export.cohort import cells_of_disease, write_cells_of_disease

    barcodes = open_barcodes(folder)
    home = folder if folder.is_dir() else folder.parent
    compared = compare(barcodes, group, by=by, options=ComparisonOptions(n_permutations=1))
    specific = specific_concepts(barcodes, compared, q=q, min_delta=min_delta)
    chosen = patients or [str(one) for one in barcodes.patients.index[compared.in_first]]
    concepts = plain_table(
        "concept", f"cells {group}", "cells others", "weight", "name",
        right=(f"cells {group}", "cells others", "weight"),
    )  # fmt: skip
    for row in specific.table.head(top).to_dict("records"):
        concepts.add_row(
            f"#{row['concept_id']}",
            f"{row['share_first']:.2%}",
            f"{row['share_second']:.2%}",
            f"{row['weight']:.2f}",
            Text(str(row["name"] or "")),
        )
    results().print(concepts)
    found, missing = cells_of_disease(barcodes, specific, chosen, top, home)
    table = plain_table("patient", "image", "cell", "score", "concept", right=("cell", "score"))
    for row in found.to_dict("records"):
        table.add_row(
            Text(str(row["patient"])),
            Text(Path(str(row["image"])).name),
            str(row["label"]),
            f"{row['score']:.2f}",
            Text(str(row["concept"])),
        )
    results().print(table)
    for words in missing:
        note(words)
    if out is not None:
        written, lost = write_cells_of_disease(specific, found, out, pictures=pictures)
        if lost:
            note(f"Some cells are not drawn. {lost}")
        note(f"In {out}: {', '.join(path.name for path in written)}.")
    note("For research; not a diagnosis.")


def _print(why: WhyPatient, top: int) -> None:
    from napari_cytosae.concepts.naming.names import title_of

    console = results()
    one = why.explanation
    chances = ", ".join(
        f"{name} {p:.0%}" for name, p in zip(one.classes, one.probabilities, strict=True)
    )
    console.print(Text(f"{one.patient}: {chances}. What speaks for {why.name}:"))
    numbers = ("contribution", "barcode", "typical")
    table = plain_table("concept", *numbers, right=numbers)
    for row in one.evidence(why.name).head(top).to_dict("records"):
        title = title_of(int(row["concept_id"]), str(row["name"]), bool(row["name_suggested"]))
        table.add_row(
            Text(title),
            f"{row['contribution']:+.3f}",
            f"{row['value']:.3g}",
            f"{row['typical']:.3g}",
        )
    console.print(table)
    console.print(Text(f"Probability of {why.name} if a concept were absent:"))
    console.print(_rows(why.what_if, ("concept", "before", "after", "change")))
    console.print(Text("Probability of the predicted class as concepts are masked:"))
    console.print(_rows(why.masking, ("k", "without", "only", "random")))
    if why.cells is not None:
        cells = plain_table("image", "cell", "evidence", "concept", right=("cell", "evidence"))
        for row in why.cells.to_dict("records"):
            cells.add_row(
                Text(Path(str(row["image"])).name),
                str(row["label"]),
                f"{row['evidence']:+.3f}",
                Text(str(row["concept"])),
            )
        console.print(cells)


def _rows(table: pd.DataFrame, columns: tuple[str, ...]) -> object:
    shown = plain_table(*columns, right=columns[1:])
    for row in table.to_dict("records"):
        shown.add_row(
            Text(str(row[columns[0]])),
            *(f"{row[name]:{'+.3f' if name == 'change' else '.3f'}}" for name in columns[1:]),
        )
    return shown
