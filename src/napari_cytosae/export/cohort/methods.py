"""What was done, in words that a paper's methods section can take over."""

import platform
from importlib.metadata import PackageNotFoundError, version

from napari_cytosae import __version__
from napari_cytosae.cohorts import Barcodes, Comparison
from napari_cytosae.cohorts.classification import Classification

_PACKAGES = ("numpy", "scipy", "scikit-learn", "anndata", "pandas", "torch", "matplotlib")

_STATISTICS = {
    "count": "the number of tokens (256 patches and the class token) whose activation exceeds "
    "τ = {threshold:g}, summed over the patient's cells and divided by their number",
    "presence": "the share of the patient's cells with any token whose activation exceeds "
    "τ = {threshold:g}",
    "mean": "the mean, over the patient's cells, of its mean activation over tokens",
    "max": "the mean, over the patient's cells, of its largest activation over tokens",
}


def methods(
    barcodes: Barcodes, comparisons: list[Comparison], classification: Classification | None
) -> list[str]:
    """Describe a cohort's analysis, a paragraph each."""
    bundle = barcodes.provenance.get("bundle")
    statistic = "count"
    if comparisons:
        statistic = comparisons[0].options.statistic
    elif classification is not None:
        statistic = classification.options.statistic
    model = f" with the bundle {bundle}" if bundle else ""
    cells = int(barcodes.patients["n_cells"].sum())
    found = [
        f"{cells:,} cells of {len(barcodes)} patients were encoded{model} by a sparse autoencoder of "
        f"{barcodes.d_sae:,} concepts, of which {len(barcodes.concept_ids):,} were active. A "
        f"patient's barcode gives for each concept "
        f"{_STATISTICS[statistic].format(threshold=barcodes.threshold)}."
    ]
    if comparisons:
        found.append(_comparison_words(comparisons[0]))
    if classification is not None:
        found.append(_classification_words(classification))
        found.append(
            "Explanations. The contribution of a concept to a patient's logit is the model's weight "
            "times the concept's distance, in standard deviations, from the mean of the fitted "
            "patients; with the intercept, contributions add up to the logit. Every patient is "
            "explained by the model of the fold that left the patient out. For masking curves, "
            "concepts were set to the fitted patients' mean in the order of their contribution to "
            "the predicted class."
        )
    return found


def versions() -> dict[str, str]:
    """Give the versions of the software that figures depend on."""
    found = {"napari-cytosae": __version__, "Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _comparison_words(comparison: Comparison) -> str:
    options = comparison.options
    test = "Wilcoxon–Mann–Whitney's test"
    if options.within is not None:
        test = f"van Elteren's test within {options.within}"
    kind = "exact p-values" if comparison.exact else "the normal approximation, corrected for ties"
    return (
        f"Comparisons. Groups were compared concept by concept with {test} ({kind}); concepts that "
        f"fewer than {options.min_patients} patients have were not tested. Effect sizes are Cliff's "
        "delta. Several tests were accounted for by the false discovery rate (Benjamini and "
        "Hochberg) and by the largest statistic of "
        f"{len(comparison.null):,} permutations of the groups (family-wise)."
    )


def _classification_words(classification: Classification) -> str:
    options = classification.options
    folds = int(classification.validation.folds["fold"].max()) + 1
    kept = "all concepts that vary"
    if options.min_patients > 1:
        kept = f"concepts that at least {options.min_patients} of the fitted patients have"
    if options.min_mean_activation > 0:
        kept += f" with a mean activation of at least {options.min_mean_activation:g}"
    if options.most_concepts is not None:
        kept += f", at most the {options.most_concepts} with the largest Kruskal–Wallis statistic"
    groups = ""
    if options.groups is not None:
        groups = f"; patients of one {options.groups} were never on both sides"
    balanced = "classes weighted to count alike, " if options.balanced else ""
    shuffles = ""
    if classification.null.size:
        shuffles = (
            f" Chance was measured by {classification.null.size} shuffles of the {options.by}, each "
            "cross-validated the same way."
        )
    return (
        f"Classification. The {options.by} was predicted by multinomial logistic regression with an "
        f"L2 penalty ({balanced}barcodes standardised) on {kept}. Performance was measured on "
        f"patients left out by {folds}-fold cross-validation, stratified by {options.by} and repeated "
        f"{options.repeats} times{groups}. Scales, the choice of concepts and the penalty (by "
        f"{options.inner_folds}-fold cross-validation of the log loss) came from the fitted patients "
        f"alone.{shuffles} Scores are means ± standard deviations over folds; per class, over "
        "repeats."
    )
