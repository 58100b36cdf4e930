"""The reference implementation's training steps, reproduced from its own numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_cytosae.models import SparseAutoencoder, load_sae
from napari_cytosae.training import SaeTrainingConfig
from napari_cytosae.training.initialise import initial_decoder_bias
from napari_cytosae.training.recipe import (
    Losses,
    losses,
    normalise_decoder,
    remove_parallel_gradient,
)

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "golden" / "sae.npz"))


@pytest.fixture
def sae(shared: Path) -> SparseAutoencoder:
    path = shared / "golden" / "final_sparse_autoencoder_dinov2_vitb14_-2_resid_1024.pt"
    return load_sae(path).requires_grad_(True)


def difference(found: torch.Tensor, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest value."""
    return float(np.abs(found.detach().numpy() - expected).max() / np.abs(expected).max())


def test_losses_without_silent_concepts(golden, sae):
    found = losses(
        torch.from_numpy(golden["tokens"]), sae, torch.zeros(1024, dtype=bool), SaeTrainingConfig()
    )
    check_losses(found, golden["eval_mse_loss"], golden["eval_l1_loss"], 0, golden["eval_loss"])
    assert golden["eval_mse_loss_ghost_resid"] == 0


def check_losses(found: Losses, mse, l1, ghost, total) -> None:
    expected = {"mse": mse, "l1": l1, "ghost": ghost, "loss": total}
    for name, value in expected.items():
        assert found.numbers()[name] == pytest.approx(float(value), rel=1e-5), name


def test_three_training_steps(golden, sae):
    config = SaeTrainingConfig()
    x, dead = torch.from_numpy(golden["tokens"]), torch.from_numpy(golden["dead_mask"])
    before = {name: getattr(sae, name).detach().clone().numpy() for name in NAMES}
    adam = torch.optim.Adam(sae.parameters(), lr=config.lr)
    for step, expected in enumerate(json.loads(str(golden["train_losses"]))):
        normalise_decoder(sae.W_dec)
        found = losses(x, sae, dead, config)
        names = ("mse_loss", "l1_loss", "mse_loss_ghost_resid", "loss")
        check_losses(found, *(expected[name] for name in names))
        adam.zero_grad()
        found.total.backward()
        remove_parallel_gradient(sae.W_dec, sae.W_dec.grad)
        if step == 0:
            check_gradients(golden, sae, ~golden["dead_mask"])
        rate = config.learning_rate(step)
        assert rate == pytest.approx(float(golden["lrs"][step]), rel=1e-5)
        adam.param_groups[0]["lr"] = rate
        adam.step()
    for name in NAMES:
        assert difference(getattr(sae, name), golden[f"after3_{name}"]) < 1e-5, name
        # The steps are small: what they changed must agree too, not only where they began.
        change = golden[f"after3_{name}"] - before[name]
        found = getattr(sae, name).detach().numpy() - before[name]
        assert np.linalg.norm(found - change) < 2e-3 * np.linalg.norm(change), name


def check_gradients(golden, sae, alive) -> None:
    """Compare projected gradients.

    Silent concepts' come through a division by ``(g − r)² + 1e-6``, which makes a rounding error of
    the last bit in x̂ a hundred times as large: the reference itself is 2e-4 from float64's answer.
    """
    everything = np.ones_like(alive)
    for concepts, allowed in ((alive, 1e-5), (everything, 4e-4)):
        rows = sae.W_dec.grad[concepts]
        assert difference(rows, golden["grad0_W_dec"][concepts]) < allowed
        columns = sae.W_enc.grad[:, concepts]
        assert difference(columns, golden["grad0_W_enc"][:, concepts]) < allowed
        assert difference(sae.b_enc.grad[concepts], golden["grad0_b_enc"][concepts]) < allowed
    assert difference(sae.b_dec.grad, golden["grad0_b_dec"]) < 1e-4


def test_geometric_median(golden):
    found = initial_decoder_bias(torch.from_numpy(golden["tokens"]), "geometric_median")
    assert difference(found, golden["b_dec_geometric_median"]) < 1e-5
