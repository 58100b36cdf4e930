"""From tokens to a page, as the command does it."""

import numpy as np
import pytest
import torch

from napari_cytosae.errors import Cancelled, TrainingError
from napari_cytosae.training import SaeTrainingConfig, train_sae
from napari_cytosae.training.report import report_on

IMAGES, TOKENS, D = 40, 17, 12


@pytest.fixture(scope="module")
def tokens():
    rng = np.random.default_rng(0)
    x = rng.normal(1, 1, (IMAGES, TOKENS, D)).astype(np.float32)
    x[::2, :, 0] += 3
    return x


@pytest.fixture(scope="module")
def trained(tokens):
    config = SaeTrainingConfig(
        d_sae=24, steps=150, batch_tokens=128, lr=5e-3, warmup_steps=10, l1=1e-3
    )
    return train_sae(torch.from_numpy(tokens[:30]), config)


def test_held_out_images_are_measured_and_shown(tmp_path, tokens, trained):
    asked = []

    def crop_of(row):
        asked.append(row)
        return np.zeros((8, 8, 3), np.uint8)

    report = report_on(
        trained,
        tokens,
        tmp_path / "report.html",
        rows=range(30, 40),
        labels=["even", "odd"] * (IMAGES // 2),
        crop_of=crop_of,
        title="Made tokens",
        baseline_steps=10,
    )
    names = [row["name"] for row in report.measured]
    assert names[:2] == ["SAE", "raw tokens"]
    assert names[2].startswith("PCA, ")
    assert names[3] == "random frozen decoder"
    assert {row["images"] for row in report.measured} == {10}
    assert report.measured[0]["best_auroc"].keys() == {"even", "odd"}
    assert asked
    assert set(asked) <= set(range(30, 40))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Made tokens" in text
    assert "With 10 images, most figures are rough" in text
    assert "flatter" not in text


def test_pca_has_as_many_components_as_there_are_active_concepts(tmp_path, tokens, trained):
    report = report_on(trained, tokens, tmp_path / "report.html", baseline_steps=1)
    sae, _, pca, _ = report.measured
    components = int(pca["name"].removeprefix("PCA, ").removesuffix(" components"))
    assert components == pytest.approx(min(max(sae["l0_per_token"], 1), D), abs=0.6)
    assert "flatter" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_class_tokens_alone_are_measured_alone(tmp_path, tokens):
    config = SaeTrainingConfig(d_sae=24, steps=5, batch_images=8, class_token_only=True)
    only = train_sae(torch.from_numpy(tokens), config)
    report = report_on(only, tokens, tmp_path / "report.html", baseline_steps=1)
    assert report.measured[0]["tokens"] == IMAGES


def test_other_tokens_and_none_are_refused(tmp_path, tokens, trained):
    with pytest.raises(TrainingError, match="12 wide"):
        report_on(trained, tokens[..., :5], tmp_path / "a.html")
    with pytest.raises(TrainingError, match="no images"):
        report_on(trained, tokens, tmp_path / "a.html", rows=[])
    with pytest.raises(Cancelled):
        report_on(trained, tokens, tmp_path / "a.html", baseline_steps=1, cancelled=lambda: True)
    assert not (tmp_path / "a.html").exists()
