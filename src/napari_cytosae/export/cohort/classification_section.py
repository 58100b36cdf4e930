"""The report's section on classification and its explanation."""

from collections.abc import Hashable, Mapping

import numpy as np
import pandas as pd

from napari_cytosae.cohorts import Barcodes
from napari_cytosae.cohorts.classification import SCORES, Classification, fold_models
from napari_cytosae.cohorts.explanation import Explanation, explain, masking_curve
from napari_cytosae.cohorts.explanation.masking import MASKS
from napari_cytosae.export.cohort import classification_figures as of_classes
from napari_cytosae.export.cohort.files import ReportFiles, file_name
from napari_cytosae.export.cohort.page import paragraphs, side_by_side, table
from napari_cytosae.export.cohort.style import new_figure

_EXPLAINED = 8
_PER_CLASS = ("precision", "recall", "f1", "auroc")


def classified(barcodes: Barcodes, found: Classification, files: ReportFiles) -> str:
    """Tell of the classification."""
    summary = found.summary()
    predictions = found.predictions(barcodes)
    for name, content in (
        ("classification_scores", summary),
        ("classification_folds", found.validation.folds.set_index("repeat")),
        ("classification_per_class", found.per_class),
        ("classification_predictions", predictions),
        ("classification_calibration", found.calibration.table.rename_axis("bin")),
        (
            "classification_confusion",
            pd.DataFrame(found.confusion, list(found.classes), list(found.classes)),
        ),
    ):
        files.csv(name, content)
    files.csv("classification_beside", found.beside, index=False)
    files.csv("classification_grouped", found.grouped, index=False)
    scores = table(
        ("score", "mean", "sd over folds"),
        [(SCORES[str(n)], f"{r['mean']:.3f}", f"{r['sd']:.3f}") for n, r in summary.iterrows()],
    )
    per_class = table(
        (found.options.by, "patients", "precision", "recall", "F1", "AUROC"),
        [
            (name, int(row["patients"]), *(_with_sd(row, k) for k in _PER_CLASS))
            for name, row in found.per_class.to_dict("index").items()
        ],
    )
    chance = ""
    if found.p is not None:
        chance = (
            f" Shuffled, it is {found.null.mean():.2f} ± {found.null.std():.2f} "
            f"(p = {found.p:.2g})."
        )
    parts = [
        '<h2 id="classification">Classification</h2>',
        f"<p>Weighted F1 of patients left out: <b>{found.validation.mean('weighted_f1'):.2f} ± "
        f"{found.validation.sd('weighted_f1'):.2f}</b>.{chance}</p>",
        paragraphs(found.warnings, "warn"),
        paragraphs(found.notes, "soft"),
        side_by_side(scores, per_class),
        _figures(found, files),
        _grouped(found.grouped),
        _explanations(barcodes, found, predictions, files),
    ]
    return "".join(parts)


def _figures(found: Classification, files: ReportFiles) -> str:
    confusion, calibration = new_figure(4.2, 3.7), new_figure(4.2, 3.7)
    of_classes.draw_confusion(confusion.subplots(), found)
    of_classes.draw_calibration(calibration.subplots(), found)
    beside = new_figure(5.6, 0.9 + 0.32 * (len(found.beside) + bool(found.null.size)))
    of_classes.draw_beside(beside.subplots(), found)
    parts = [
        files.figure("confusion", confusion, "Patients, mean over repeats; share of the row."),
        files.figure("calibration", calibration, "Whether confidence comes true."),
        files.figure("beside", beside, "Barcodes beside what they are to be held against."),
    ]
    if found.null.size:
        null = new_figure(4, 2.4)
        of_classes.draw_null(null.subplots(), found)
        parts.append(files.figure("shuffles", null, "Shuffled, and as it is (line)."))
    if len(found.curve):
        files.csv("classification_curve", found.curve, index=False)
        curve = new_figure(5.2, 4)
        of_classes.draw_curve(curve, found)
        parts.append(
            files.figure("curve", curve, "F1 with only the concepts above a mean activation.")
        )
    return side_by_side(*parts)


def _grouped(grouped: pd.DataFrame) -> str:
    if grouped.empty:
        return ""
    rows = [
        (
            row["covariate"],
            row["groups"],
            "–" if np.isnan(row["weighted_f1"])
            else f"{row['weighted_f1']:.2f} ± {row['weighted_f1_sd']:.2f}",
            row["note"],
        )
        for row in grouped.to_dict("records")
    ]  # fmt: skip
    return (
        "<h3>Patients of sites that the model has not seen</h3><p>All patients who share a "
        "covariate's value are left out together.</p>"
        + table(("covariate", "values", "weighted F1", ""), rows, words=(0, 3))
    )


def _explanations(
    barcodes: Barcodes, found: Classification, predictions: pd.DataFrame, files: ReportFiles
) -> str:
    models = fold_models(barcodes, found)
    explanations: dict[str, Explanation] = {}
    for model, rows in models:
        for patient in barcodes.patients.index[rows]:
            explanations[str(patient)] = explain(model, barcodes, str(patient))
    listed = [
        one.evidence().head(10).assign(patient=patient, predicted=one.predicted)
        for patient, one in explanations.items()
    ]
    order = ["patient", "predicted"]
    tables = pd.concat(listed, ignore_index=True)
    files.csv("explanations", tables[[*order, *tables.columns.drop(order)]], index=False)
    most = max(len(model.concept_ids) for model, _ in models)
    curve = masking_curve(models, barcodes, [k for k in MASKS if k <= most])
    files.csv("masking", curve, index=False)
    masking = new_figure(5.4, 3.3)
    of_classes.draw_masking(masking.subplots(), curve)
    parts = [
        "<h3>What the predictions stand on</h3>",
        files.figure(
            "masking",
            masking,
            "Concepts masked in the order in which they speak for the predicted class, mean over "
            "patients, each by a model that has not seen the patient.",
        ),
        "<h3>Patients</h3>",
        _prediction_table(found, predictions),
    ]
    shown = []
    for patient in _worth_showing(found, predictions):
        drawn = new_figure(5.4, 3.4)
        one = explanations[patient]
        of_classes.draw_contributions(drawn.subplots(), one)
        true = str(predictions.loc[patient, found.options.by])
        words = "rightly" if one.predicted == true else f"but {true}"
        shown.append(
            files.figure(
                f"why_{file_name(patient)}",
                drawn,
                f"{patient}: predicted {one.predicted} with {one.probabilities.max():.0%}, "
                f"{words}.",
            )
        )
    return "".join(parts) + side_by_side(*shown)


def _prediction_table(found: Classification, predictions: pd.DataFrame) -> str:
    rows = [
        (
            patient,
            row[found.options.by],
            row["predicted"] + ("" if row["predicted"] == row[found.options.by] else " ✗"),
            f"{row['agreement']:.0%}",
            *(f"{row[f'p {name}']:.2f}" for name in found.classes),
        )
        for patient, row in predictions.iterrows()
    ]
    headings = ("patient", found.options.by, "predicted", "agreement", *found.classes)
    return (
        "<details><summary>All predictions, mean over repeats</summary>"
        + table(headings, rows, words=(0, 1, 2))
        + "</details>"
    )


def _worth_showing(found: Classification, predictions: pd.DataFrame) -> list[str]:
    """Choose the surest right prediction of each class, and the surest wrong ones."""
    confidence = predictions[[f"p {name}" for name in found.classes]].max(axis=1)
    right = predictions["predicted"] == predictions[found.options.by]
    chosen: list[str] = []
    for name in found.classes:
        own = confidence[right & (predictions["predicted"] == name)]
        if len(own):
            chosen.append(str(own.idxmax()))
    wrong = confidence[~right].sort_values(ascending=False)
    chosen = chosen[: _EXPLAINED // 2] + [str(patient) for patient in wrong.index]
    return chosen[:_EXPLAINED]


def _with_sd(row: Mapping[Hashable, float], name: str) -> str:
    return f"{row[name]:.2f} ± {row[name + '_sd']:.2f}"
