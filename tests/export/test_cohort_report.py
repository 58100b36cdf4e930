"""The report on a cohort: one page that needs nothing else, figures, tables, and true words."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import anndata
import numpy as np
import pandas as pd
import pytest

from napari_cytosae.cohorts import ComparisonOptions, SyntheticOptions, compare, make_cohort
from napari_cytosae.cohorts.classification import ClassificationOptions, classify
from napari_cytosae.concepts.naming.names import Names
from napari_cytosae.errors import RunError
from napari_cytosae.export.cohort import CohortReport, write_cohort_report
from napari_cytosae.export.cohort.comparison_figures import draw_scatter, draw_volcano
from napari_cytosae.export.cohort.style import new_figure, shorten

HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Collects tags, ids, links and what is not closed."""

    VOID = ("meta", "img", "br", "link", "path", "use", "rect", "image")

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.sources, self.tags = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        known = dict(attributes)
        self.ids += [known["id"]] if "id" in known else []
        self.links += [known["href"]] if tag == "a" and "href" in known else []
        self.sources += [known["src"]] if "src" in known else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def barcodes():
    made = make_cohort(
        SyntheticOptions(
            patients={"healthy": 9, "AML <M3>": 9, "ALL": 9}, n_concepts=80, log_odds=2.0,
            median_cells=60, n_sites=2,
        ),
        seed=3,
    )  # fmt: skip
    names = Names(dict.fromkeys(range(80), f"granules {HOSTILE}"), frozenset(range(0, 80, 2)))
    return replace(
        made.barcodes, stored_names=names, provenance={"cohort": "made", "bundle": "starter"}
    )


@pytest.fixture(scope="module")
def written(barcodes, tmp_path_factory):
    options = ComparisonOptions(n_permutations=50)
    comparisons = [compare(barcodes, name, options=options) for name in barcodes.diagnoses]
    classification = classify(
        barcodes,
        ClassificationOptions(
            folds=3, repeats=2, n_permutations=4, curve=(1e-6, 0.03), curve_repeats=1
        ),
    )
    folder = tmp_path_factory.mktemp("report")
    report = CohortReport(barcodes, comparisons, classification, title="Made & told")
    return write_cohort_report(report, folder), report


def test_the_page_is_whole_and_needs_nothing_else(written):
    text = written[0].read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert not page.open
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert all(source.startswith("data:") for source in page.sources)
    assert "script" not in page.tags
    assert not re.search(r'(src|href)="https?:', text)
    assert "url(http" not in text
    assert page.tags.count("svg") >= 14


def test_names_are_shown_and_run_no_code(written):
    text = written[0].read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "granules &lt;script&gt;" in text
    assert "AML &lt;M3&gt; against all others" in text
    assert "Made &amp; told" in text
    assert "(suggested)" in text


def test_the_figures_stand_alone(written):
    figures = sorted((written[0].parent / "figures").glob("*.svg"))
    names = {figure.stem for figure in figures}
    assert {"confusion", "calibration", "curve", "beside", "masking", "shuffles",
            "correlation_by_diagnosis", "correlation_clustered"} <= names  # fmt: skip
    for kind in ("scatter", "volcano", "heatmap"):
        assert sum(name.startswith(kind) for name in names) == 3
    for figure in figures:
        assert ElementTree.parse(figure).getroot().tag.endswith("svg")


def test_the_tables_hold_what_the_page_tells(written):
    page, report = written
    tables = page.parent / "tables"
    folds = pd.read_csv(tables / "classification_folds.csv")
    found = report.classification
    assert folds["weighted_f1"].mean() == pytest.approx(found.validation.mean("weighted_f1"))
    f1 = f"{found.validation.mean('weighted_f1'):.2f} ± {found.validation.sd('weighted_f1'):.2f}"
    text = page.read_text(encoding="utf-8")
    assert f1 in text
    confusion = pd.read_csv(tables / "classification_confusion.csv", index_col=0)
    assert confusion.to_numpy().sum() == pytest.approx(27)
    predictions = pd.read_csv(tables / "classification_predictions.csv")
    assert len(predictions) == 27
    explained = pd.read_csv(tables / "explanations.csv")
    assert explained["patient"].nunique() == 27
    comparison = pd.read_csv(tables / "comparison_1_ALL.csv")
    np.testing.assert_allclose(comparison["p"], report.comparisons[0].table["p"])
    table = anndata.read_h5ad(page.parent / "barcodes.h5ad")
    assert table.shape == (27, 80)


def test_the_methods_say_what_was_done(written):
    text = written[0].read_text(encoding="utf-8")
    methods = text[text.index('id="methods"') :]
    for words in (
        "27 patients", "bundle starter", "exceeds τ = 0.2", "Mann–Whitney", "50 permutations",
        "3-fold", "repeated 2 times", "4 shuffles", "scikit-learn", "SHA-256",
    ):  # fmt: skip
        assert words in methods, words


def test_without_classification_the_rest_is_told(barcodes, tmp_path):
    report = CohortReport(barcodes, [compare(barcodes, "ALL")], notes=["There is none."])
    text = write_cohort_report(report, tmp_path / "r").read_text(encoding="utf-8")
    assert "There is none." in text
    assert 'id="classification"' not in text
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        write_cohort_report(report, tmp_path / "file")


def test_figures_mark_the_most_different_concepts(barcodes):
    found = compare(barcodes, "ALL")
    for draw in (draw_scatter, draw_volcano):
        axes = new_figure(5, 4).subplots()
        draw(axes, found, k=6)
        words = [entry.get_text() for entry in axes.get_legend().get_texts()]
        assert len(words) == 6
        assert words[0].startswith(f"1  #{found.table['concept_id'][0]} ")


def test_long_names_are_cut_but_stay_suggestions():
    long = "#12 " + "lobed nucleus " * 5 + "(suggested)"
    assert len(shorten(long)) <= 39
    assert shorten(long).endswith("… (suggested)")
    assert shorten("#1 short") == "#1 short"
