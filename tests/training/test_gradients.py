"""Gradients by hand against automatic differentiation of the recipe."""

import numpy as np
import pytest
import torch

from napari_cytosae.training import SaeTrainingConfig
from napari_cytosae.training.adam import Adam
from napari_cytosae.training.gradients import Gradients
from napari_cytosae.training.recipe import losses
from napari_cytosae.training.weights import NAMES, SaeWeights

N, D_MODEL, D_SAE = 100, 24, 96


def weights(seed: int = 0, shift: float = -0.5) -> SaeWeights:
    rng = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(D_SAE, D_MODEL, generator=rng), dim=1)
    encoder = rows + 0.1 * torch.randn(D_SAE, D_MODEL, generator=rng)
    bias = shift + 0.1 * torch.randn(D_SAE, generator=rng)
    return SaeWeights(encoder, bias, rows, 0.1 * torch.randn(D_MODEL, generator=rng))


def tokens(seed: int = 1) -> torch.Tensor:
    return torch.randn(N, D_MODEL, generator=torch.Generator().manual_seed(seed))


def by_autograd(x, weights, dead, config):
    """The recipe's losses and gradients, in float64."""
    exact = SaeWeights(*(part.double().requires_grad_() for part in weights.tensors()))
    found = losses(x.double(), exact, dead, config)
    found.total.backward()
    return found, [part.grad for part in exact.tensors()]


CONFIGS = {
    "plain": {},
    "strong l1": {"l1": 0.1},
    "no ghosts": {"ghost_gradients": False},
    "prefixes": {"prefixes": (10, 40), "l1": 0.01},
    "topk": {"activation": "topk", "k": 5},
    "batchtopk": {"activation": "batchtopk", "k": 5},
}


@pytest.mark.parametrize("sparse_below", [0.0, 1.0], ids=["dense", "sparse"])
@pytest.mark.parametrize("n_dead", [0, 30])
@pytest.mark.parametrize("fields", CONFIGS.values(), ids=CONFIGS)
def test_float32_agrees_with_automatic_differentiation(fields, n_dead, sparse_below):
    config = SaeTrainingConfig(**fields)
    made = weights()
    dead = torch.arange(D_SAE) % 3 == 0 if n_dead else torch.zeros(D_SAE, dtype=bool)
    x = tokens()
    expected, slopes = by_autograd(x, made, dead, config)
    maker = Gradients(made, config, torch.float32, chunk_entries=0)  # 64 tokens, then 36
    maker.sparse_below = sparse_below
    sums = maker.compute(x, dead, N)
    assert float(sums.mse) / x.numel() == pytest.approx(float(expected.mse.detach()), rel=1e-5)
    assert float(sums.ghost) / x.numel() == pytest.approx(float(expected.ghost.detach()), rel=1e-3)
    assert float(sums.active) / N == pytest.approx(float(expected.l0))
    assert torch.equal(sums.fired > 0, expected.fired)
    if config.activation == "relu":
        assert config.l1 * float(sums.l1) / N == pytest.approx(
            float(expected.l1.detach()), rel=1e-5
        )
    for name, found, slope in zip(NAMES, maker.gradient.tensors(), slopes, strict=True):
        # A rounding error of (g − r)² + 1e-6 becomes a hundred times as large in a ghost's slope.
        allowed = 1e-3 if n_dead and config.ghost_gradients else 1e-5
        torch.testing.assert_close(
            found.double(), slope, rtol=0, atol=allowed * float(slope.abs().max()), msg=name
        )


@pytest.mark.parametrize("sparse_below", [0.0, 1.0], ids=["dense", "sparse"])
@pytest.mark.parametrize("fields", CONFIGS.values(), ids=CONFIGS)
def test_bfloat16_stays_near(fields, sparse_below):
    config = SaeTrainingConfig(**fields)
    made, x, dead = weights(), tokens(), torch.zeros(D_SAE, dtype=bool)
    expected, slopes = by_autograd(x, made, dead, config)
    maker = Gradients(made, config, torch.bfloat16, chunk_entries=0)
    maker.sparse_below = sparse_below
    sums = maker.compute(x, dead, N)
    assert float(sums.mse) / x.numel() == pytest.approx(float(expected.mse.detach()), rel=0.01)
    for name, found, slope in zip(NAMES, maker.gradient.tensors(), slopes, strict=True):
        error = float((found - slope).norm() / slope.norm())
        # Rounding now and then makes TopK choose another concept.
        assert error < (0.05 if config.k is None else 0.2), (name, error)


def test_halves_of_a_batch_add_up():
    config = SaeTrainingConfig(l1=0.01)
    made, x, dead = weights(), tokens(), torch.zeros(D_SAE, dtype=bool)
    whole = Gradients(made, config, torch.float32)
    whole.compute(x, dead, N)
    halves = [Gradients(made, config, torch.float32) for _ in range(2)]
    for half, rows in zip(halves, x.split(N // 2), strict=True):
        half.compute(rows, dead, N)
    first, second = (half.gradient.tensors() for half in halves)
    for both, one, other in zip(whole.gradient.tensors(), first, second, strict=True):
        torch.testing.assert_close(one + other, both, rtol=1e-4, atol=1e-8)


def test_overflowing_ghosts_stay_finite():
    made = weights()
    made.b_enc.fill_(1000.0)
    dead = torch.ones(D_SAE, dtype=bool)
    config = SaeTrainingConfig(activation="topk", k=2)
    maker = Gradients(made, config, torch.float32)
    sums = maker.compute(tokens(), dead, N)
    assert np.isfinite(float(sums.ghost))
    assert all(bool(part.isfinite().all()) for part in maker.gradient.tensors())


def test_adam_is_pytorchs():
    made = weights()
    theirs = [part.clone().requires_grad_() for part in made.tensors()]
    reference = torch.optim.Adam(theirs, lr=1e-2)
    ours = Adam.over(made)
    for step in range(5):
        with torch.no_grad():
            made.dec_rows.div_(made.dec_rows.norm(dim=1, keepdim=True))
            theirs[2].div_(theirs[2].norm(dim=1, keepdim=True))
        slopes = [part.clone() for part in weights(seed=step + 7).tensors()]
        along = (slopes[2] * theirs[2]).sum(1, keepdim=True) * theirs[2]
        for part, slope in zip(theirs, slopes, strict=True):
            part.grad = slope.clone()
        theirs[2].grad -= along.detach()
        reference.step()
        ours.update(made, SaeWeights(*slopes), step, 1e-2)
        for found, part in zip(made.tensors(), theirs, strict=True):
            torch.testing.assert_close(found, part.detach(), rtol=1e-5, atol=1e-6)
