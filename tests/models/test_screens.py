"""Screens find every concept that is active, and not many more."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cytosae.models import screens
from napari_cytosae.models.screens import Bfloat16Screen, Int8Screen, Scratch, has_int8

# 8-bit products overflow on processors that do not have them in hardware.
KINDS = [Bfloat16Screen, *([Int8Screen] if has_int8() else [])]


def active(tokens, weight, b_enc):
    return tokens.double() @ weight.double().t() + b_enc.double()


def found(screen, tokens, n_concepts, threshold=0.0):
    mask = torch.zeros(len(tokens), n_concepts, dtype=torch.bool)
    mask[screen.candidates(tokens, threshold, Scratch())] = True
    return mask


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    d_model=st.sampled_from([3, 40, 192, 768]),
    token_scale=st.sampled_from([1e-6, 1.0, 1e4]),
    row_spread=st.sampled_from([0.0, 1.0, 4.0]),
    bias=st.sampled_from(["none", "negative", "both", "positive", "one huge", "one huge below"]),
    outliers=st.booleans(),
)
def test_a_strict_screen_is_strict(kind, seed, d_model, token_scale, row_spread, bias, outliers):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    tokens, weight = normal(12, d_model) * token_scale, normal(40, d_model)
    if outliers:
        tokens[:, 0] *= 200.0
        weight[::5, 1] *= 50.0
    weight *= torch.exp(row_spread * normal(40, 1))
    tokens[0] = weight[3] = 0.0
    pre = tokens @ weight.t()
    # Half of the concepts sit as near to their threshold as float32 allows at one of the tokens.
    b_enc = -pre[torch.arange(40) % 12, torch.arange(40)]
    match bias:
        case "none":
            b_enc = torch.zeros(40)
        case "negative":
            b_enc = -b_enc.abs()
        case "positive":
            b_enc = b_enc.abs()
        case "one huge":
            b_enc[7] = 1e3 * b_enc.abs().max()
        case "one huge below":
            b_enc[7] = -1e3 * b_enc.abs().max()
    screen = kind.build(weight, b_enc, strict=True)
    exact = active(tokens, weight, b_enc)
    slack = 1e-6 * (tokens.norm(dim=1)[:, None] * weight.norm(dim=1) + b_enc.abs())
    assert not ((exact > slack) & ~found(screen, tokens, 40)).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strict", [True, False])
def test_few_others_are_found(kind, strict):
    # As in an SAE: of 4,096 concepts, one in a thousand is active.
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(64, 768, generator=generator)
    tokens[:, :4] *= 30.0  # DINOv2 has dimensions as large as that
    weight = torch.nn.functional.normalize(torch.randn(4096, 768, generator=generator))
    pre = tokens @ weight.t()
    b_enc = torch.full((4096,), -float(pre.flatten().kthvalue(int(0.999 * pre.numel())).values))
    mask = found(kind.build(weight, b_enc, strict=strict), tokens, 4096)
    exact = active(tokens, weight, b_enc) > 0
    assert exact.float().mean() == pytest.approx(0.001, rel=0.01)
    assert not (exact & ~mask).any()
    # 8 bits are coarse beside dimensions that large; encoding goes on to the next screen then.
    most = 0.004 if not strict else 0.04 if kind is Int8Screen else 0.02
    assert mask.float().mean() < most


@pytest.mark.parametrize("kind", KINDS)
def test_places_come_row_by_row(kind):
    generator = torch.Generator().manual_seed(0)
    tokens, weight = (torch.randn(n, 32, generator=generator) for n in (5, 70))
    rows, columns = kind.build(weight, torch.zeros(70), strict=True).candidates(
        tokens, 0.0, Scratch()
    )
    flat = rows * 70 + columns
    assert len(flat) > 100
    assert (flat.diff() > 0).all()


def test_a_processor_or_release_without_8_bit_products_does_without(monkeypatch):
    try:
        has_int8.cache_clear()
        for name in ("_is_vnni_supported", "_is_avx512_vnni_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
        assert not has_int8()
        has_int8.cache_clear()
        monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True, raising=False)

        class Overflowing:
            def __init__(self, table):
                self.table = table

            def positive(self, digits):
                sums = digits.to(torch.int16) @ self.table.to(torch.int16).t()
                return torch.nonzero(sums > 0, as_tuple=True)

        monkeypatch.setattr(screens, "_Packed", Overflowing)
        assert not has_int8()
    finally:
        has_int8.cache_clear()
