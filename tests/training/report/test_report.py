"""The report is one file that says what was measured and shows concepts where they are."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_array

from napari_cytosae.errors import RunError
from napari_cytosae.models import SparseAutoencoder
from napari_cytosae.training.report import TrainingReport, pick_examples, write_report

IMAGES, SIDE, D, CONCEPTS = 12, 4, 6, 10


@pytest.fixture(scope="module")
def tokens():
    """Concept k < D is dimension k; it is on in patch k of the images from k on."""
    x = np.zeros((IMAGES, 1 + SIDE * SIDE, D), np.float32)
    for k in range(D):
        x[k:, 1 + k, k] = 1 + k + np.arange(IMAGES - k) / 10
    return x


@pytest.fixture(scope="module")
def sae():
    sae = SparseAutoencoder(D, CONCEPTS, -2)
    with torch.no_grad():
        sae.W_enc[:, :D] = torch.eye(D)
        sae.W_dec[:D] = torch.eye(D)
    return sae


@pytest.fixture(scope="module")
def profiles(tokens, sae):
    with torch.no_grad():
        return csr_array(sae.encode(torch.from_numpy(tokens)).mean(1).numpy())


@pytest.fixture(scope="module")
def examples(tokens, sae, profiles):
    return pick_examples(
        sae,
        tokens.__getitem__,
        profiles,
        monosemanticity=np.array([0.1, 0.9, 0.2, np.nan, 0.3, 0.4, *[np.nan] * 4]),
        labels=[f"kind <{row % 2}>" for row in range(IMAGES)],
        per_group=2,
        images=3,
    )


HISTORY = [
    {"step": s, "loss": 1 / s, "mse": 0.9 / s, "l0": 20.0, "dead": 0.0, "lr": 1e-3}
    for s in range(1, 120)
]
ROW = {
    "name": "SAE",
    "size": 10,
    "images": 12,
    "tokens": 204,
    "explained_variance": 0.87654,
    "l0_per_token": 3.21,
    "dead_share": None,
    "concepts_above": [9, 8, 7, 6, 5, 4, 0],
    "best_auroc": {"kind <0>": 0.912},
}


class Page(HTMLParser):
    """Tags that are open, what is linked, and the text."""

    VOID = ("meta", "img", "br", "link", "path", "use", "rect")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.images: list[str] = []
        self.said = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "xlink:href"):
                self.links.append(value)
            if name == "id":
                self.ids.append(value)
        if tag == "img":
            self.images.append(dict(attrs)["src"])

    def handle_startendtag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src", "xlink:href"):
                self.links.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said += data


@pytest.fixture(scope="module")
def page(tmp_path_factory, examples) -> Page:
    report = TrainingReport(
        title="Marrow <script>alert(1)</script>",
        facts={"tokens": "12 images & more"},
        settings={"l1": 8e-5},
        history=HISTORY,
        measured=[ROW, {**ROW, "name": "raw tokens"}],
        examples=examples,
        notes=["Held out: 3 images."],
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    crops = np.random.default_rng(0).integers(0, 255, (IMAGES, 50, 60, 3)).astype(np.uint8)
    write_report(report, path, crops.__getitem__)
    return Page(path.read_text(encoding="utf-8"))


class TestExamples:
    def test_there_are_good_ones_and_random_ones_and_none_twice(self, examples):
        groups = [example.group for example in examples]
        assert groups == ["strongest"] * 2 + ["most alike"] * 2 + ["drawn at random"] * 2
        assert len({example.concept for example in examples}) == 6
        assert [e.concept for e in examples[:4]] == [5, 4, 1, 2]

    def test_maps_lie_where_the_concept_is(self, examples):
        for example in examples:
            assert example.maps.shape == (3, SIDE, SIDE)
            for values in example.maps:
                assert np.flatnonzero(values.ravel()).tolist() == [example.concept]

    def test_images_are_the_strongest_with_their_labels(self, examples):
        for example in examples:
            assert example.images == (11, 10, 9)
            assert example.labels == ("kind <1>", "kind <0>", "kind <1>")
            assert example.share == pytest.approx((IMAGES - example.concept) / IMAGES)

    def test_concepts_that_are_hardly_active_are_left_out(self, tokens, sae, profiles):
        few = profiles.toarray()
        few[2:] = 0
        assert pick_examples(sae, tokens.__getitem__, csr_array(few)) == []

    def test_class_tokens_alone_have_maps_of_one_square(self, sae):
        x = np.ones((5, 1, D), np.float32)
        found = pick_examples(sae, x.__getitem__, csr_array(np.ones((5, CONCEPTS), np.float32)))
        assert found[0].maps.shape == (5, 1, 1)


class TestPage:
    def test_it_is_well_formed_and_alone(self, page):
        assert page.open == []
        assert page.links
        assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in page.links)
        assert len(page.ids) == len(set(page.ids))
        assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)

    def test_what_users_wrote_is_text(self, page):
        assert "Marrow <script>alert(1)</script>" in page.said
        assert "script" not in page.open
        assert "kind <1>" in page.said

    def test_figures_and_baselines_are_there(self, page):
        for said in ("0.877", "3.2", "raw tokens", "0.912", "12 images, 204 tokens", "Held out"):
            assert said in page.said

    def test_curves_are_there(self, page):
        for said in ("loss", "learning rate", "silent concepts", "concepts above"):
            assert said in page.said

    def test_pictures_show_the_crop_and_the_map(self, page):
        assert len(page.images) == 6 * 3
        data = base64.b64decode(page.images[0].split(",")[1])
        picture = np.asarray(Image.open(io.BytesIO(data)))
        assert picture.shape == (112, 227, 3)
        # Concept 5 is on in the second row's second patch: there the right half glows orange.
        right = picture[:, 115:].astype(int)
        orange = right[..., 0] - right[..., 2]
        y, x = np.unravel_index(orange.argmax(), orange.shape)
        assert (y // 28, x // 28) == (1, 1)


def test_a_report_of_nothing_is_a_page(tmp_path):
    path = write_report(TrainingReport(title="Empty"), tmp_path / "a.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert "Empty" in page.said


def test_numbers_that_are_none_are_dashes(tmp_path):
    row = {**ROW, "explained_variance": float("nan")}
    report = TrainingReport(title="x", measured=[row], history=[{"step": 1, "loss": 1.0}])
    text = write_report(report, tmp_path / "a.html").read_text(encoding="utf-8")
    assert "nan" not in re.sub(r"<style>.*?</style>", "", text, flags=re.S).lower()


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(RunError, match="cannot be written"):
        write_report(TrainingReport(title="x"), tmp_path / "no" / "a.html")
