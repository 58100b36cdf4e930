"""Packed or as they lie, weights give the same products."""

import pytest
import torch
import torch.nn.functional as F

from napari_cytosae.models import product as module
from napari_cytosae.models.product import Product, packs, product

GENERATOR = torch.Generator().manual_seed(0)
X, WEIGHT, BIAS = (torch.randn(*s, generator=GENERATOR) for s in ((3, 7, 48), (80, 48), (80,)))
RESIDUAL = torch.randn(3, 7, 80, generator=GENERATOR)


@pytest.fixture(params=["as this machine has it", "unpacked"])
def way(request, monkeypatch):
    if request.param == "unpacked":
        monkeypatch.setattr(module, "packs", lambda _: False)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_products_with_bias_and_activation(dtype, most, activation):
    x, weight = X.to(dtype), WEIGHT.to(dtype)
    sums = x.float() @ weight.float().t() + BIAS
    expected = F.gelu(sums) if activation == "gelu" else sums
    out = Product(weight, BIAS, activation)(x)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, rtol=0.01, atol=most)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_a_residual_is_added_in_float32_and_stays_as_it_is(dtype, most):
    x, weight = X.to(dtype), WEIGHT.to(dtype)
    before = RESIDUAL.clone()
    out = Product(weight, BIAS).added(x, RESIDUAL)
    assert out.dtype == torch.float32
    expected = x.float() @ weight.float().t() + BIAS + RESIDUAL
    torch.testing.assert_close(out, expected, rtol=0, atol=most)
    assert torch.equal(RESIDUAL, before)


@pytest.mark.usefixtures("way")
def test_a_bias_is_not_rounded_with_the_sums():
    # Every bit of a float32 bias reaches the residual stream.
    weight = torch.zeros(4, 32, dtype=torch.bfloat16)
    bias = torch.tensor([1.0009765625, -3.14159265, 1e-5, 0.0])
    out = Product(weight, bias).added(torch.ones(2, 32, dtype=torch.bfloat16), torch.zeros(2, 4))
    assert torch.equal(out, bias.expand(2, 4))


def test_a_release_without_these_operators_does_without(monkeypatch):
    class Gone:
        def __getattr__(self, name):
            raise AttributeError(name)

    monkeypatch.setattr(module, "_mkldnn", Gone)
    packs.cache_clear()
    try:
        assert not packs(torch.float32)
        out = Product(WEIGHT, BIAS)(X)
    finally:
        packs.cache_clear()
    torch.testing.assert_close(out, X @ WEIGHT.t() + BIAS, rtol=0, atol=1e-4)


def test_operators_that_compute_something_else_are_not_used(monkeypatch):
    class Wrong:
        @staticmethod
        def _reorder_linear_weight(weight, _):
            return weight

        @staticmethod
        def _linear_pointwise(x, weight, *_):
            return x @ weight.t()

    monkeypatch.setattr(module, "_ONEDNN", True)
    monkeypatch.setattr(module, "_mkldnn", Wrong)
    packs.cache_clear()
    try:
        assert not packs(torch.float32)
    finally:
        packs.cache_clear()


def test_products_of_loose_weights():
    torch.testing.assert_close(product(X, WEIGHT, BIAS), F.linear(X, WEIGHT, BIAS))
