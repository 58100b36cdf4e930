"""Trainings whose steps SAELens takes."""

import importlib
import json
import sys

import pytest
import torch

from napari_cytosae.errors import Cancelled, TrainingError
from napari_cytosae.models import load_sae
from napari_cytosae.training import SaeTrainingConfig, open_training, train_sae
from napari_cytosae.training.config import SAELENS_ARCHITECTURES

DIRECTIONS = torch.nn.functional.normalize(
    torch.randn(24, 16, generator=torch.Generator().manual_seed(1)), dim=1
)


def tokens(n=4000, scale=7.0):
    """Tokens of few of 24 directions each, away from the origin and far from norm √d."""
    draw = torch.Generator().manual_seed(2)
    active = torch.rand(n, 24, generator=draw) < 2 / 24
    return scale * ((active * torch.rand(n, 24, generator=draw)) @ DIRECTIONS + 0.3)


def config(steps=300, **saelens):
    return SaeTrainingConfig(
        d_sae=48, steps=steps, batch_tokens=400, lr=3e-3, warmup_steps=10, saelens=saelens
    )


@pytest.fixture(scope="module", autouse=True)
def installed():
    """SAELens brings a language model's library along, which warns when it is imported."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("sae_lens", reason="SAELens is not installed")
        importlib.import_module("sae_lens.training.sae_trainer")


CASES = {
    "standard": {"l1_coefficient": 0.3},
    "gated": {"l1_coefficient": 0.3},
    "jumprelu": {"l0_coefficient": 0.1, "jumprelu_bandwidth": 0.5},
    "batchtopk": {"k": 4},
    "matryoshka_batchtopk": {"k": 4, "matryoshka_widths": [16, 48]},
}


def test_every_architecture_is_tried():
    assert set(CASES) == set(SAELENS_ARCHITECTURES)


@pytest.mark.parametrize("architecture", CASES)
def test_what_comes_of_it_explains_the_tokens(architecture, tmp_path):
    made = train_sae(tokens(), config(architecture=architecture, **CASES[architecture]), block=3)
    assert (made.sae.block, made.sae.threshold is None) == (3, architecture == "standard")
    x = tokens()
    encoded = made.sae.encode(x)
    rebuilt = made.sae.decode(encoded)
    explained = 1 - (x - rebuilt).square().sum() / (x - x.mean(0)).square().sum()
    assert explained > 0.6
    assert 0.5 < (encoded > 0).sum(1).float().mean() < 24
    torch.testing.assert_close(made.sae.W_dec.norm(dim=1), torch.ones(48), atol=1e-4, rtol=0)
    # and it is the model that the last steps were taken of
    assert explained == pytest.approx(made.history[-1]["explained_variance"], abs=0.1)
    again = load_sae(made.save(tmp_path))
    torch.testing.assert_close(again.encode(x), encoded)


def test_stopped_and_gone_on_with_equals_uninterrupted(tmp_path):
    recipe = config(40, architecture="jumprelu", l0_coefficient=0.1)
    left = iter([False] * 24 + [True])
    with pytest.raises(Cancelled, match="after 25 steps"):
        train_sae(
            tokens(), recipe, out=tmp_path / "a", cancelled=lambda: next(left), checkpoint_every=10
        )
    # One checkpoint is kept, and a half-written one is passed over.
    assert [path.name for path in (tmp_path / "a/saelens").iterdir()] == ["000000025"]
    (tmp_path / "a/saelens/new").mkdir()
    train_sae(tokens(), recipe, out=tmp_path / "a", resume=True)
    train_sae(tokens(), recipe, out=tmp_path / "b")
    one, other = (open_training(tmp_path / name) for name in "ab")
    assert one.history == other.history
    for name, value in one.sae.state_dict().items():
        assert torch.equal(value, other.sae.state_dict()[name]), name
    content = json.loads((tmp_path / "a/training.json").read_text())
    assert content["config"]["saelens"] == {"architecture": "jumprelu", "l0_coefficient": 0.1}


def test_settings_that_do_not_exist_are_named():
    with pytest.raises(
        TrainingError, match=r"no setting l0_coeficient; there are .*l0_coefficient"
    ):
        train_sae(tokens(), config(architecture="jumprelu", l0_coeficient=1.0))
    with pytest.raises(TrainingError, match="no setting d_in"):
        train_sae(tokens(), config(architecture="jumprelu", d_in=3))
    with pytest.raises(TrainingError, match="refuses"):
        train_sae(
            tokens(), config(architecture="jumprelu", jumprelu_sparsity_loss_mode="quadratic")
        )
    with pytest.raises(TrainingError, match="standard, gated, jumprelu"):
        config(architecture="topk")


def test_tokens_that_are_no_numbers_stop_it():
    broken = tokens()
    broken[100] = torch.nan
    with pytest.raises(TrainingError, match="no number"):
        train_sae(broken, config(architecture="gated"))


def test_where_it_is_not_installed_it_says_how(monkeypatch):
    monkeypatch.setitem(sys.modules, "sae_lens.config", None)
    with pytest.raises(TrainingError, match=r"pip install 'napari-cytosae\[saelens\]'"):
        train_sae(tokens(), config(architecture="gated"))
