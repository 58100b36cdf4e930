"""An SAE restricted to some concepts gives those concepts as the whole one does, and no others."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cytosae.errors import FocusError
from napari_cytosae.models import (
    Backbone,
    Bundle,
    SparseAutoencoder,
    as_focus,
    focus_digest,
    save_sae,
)
from napari_cytosae.models.layouts import BackboneShape

D_MODEL, D_SAE = 64, 96
TOKENS = torch.randn(40, D_MODEL, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def sae():
    torch.manual_seed(0)
    sae = SparseAutoencoder(D_MODEL, D_SAE, block=0)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_(std=0.3)
        sae.b_enc.sub_(3.0)
    return sae


@pytest.fixture(scope="module")
def bundle(sae):
    backbone = Backbone(BackboneShape(d_model=D_MODEL, depth=1, d_mlp=128, gated=False), block=0)
    torch.manual_seed(0)
    for parameter in backbone.parameters():
        parameter.normal_(std=0.2)
    return Bundle("made", backbone, sae)


@settings(max_examples=25, deadline=None)
@given(ids=st.lists(st.integers(0, D_SAE - 1), min_size=1), precision=st.sampled_from([0, 1]))
def test_concepts_in_focus_are_as_in_the_whole_and_the_rest_is_zero(sae, ids, precision):
    sae = sae.configured(torch.device("cpu"), ("float32", "bfloat16")[precision])
    whole = sae.encode(TOKENS).detach().numpy()
    expected = np.zeros_like(whole)
    expected[:, ids] = whole[:, ids]
    focused = sae.focused(ids)
    np.testing.assert_allclose(focused.encode(TOKENS).detach(), expected, atol=1e-5)
    sparse = focused.encode_sparse(TOKENS)
    assert sparse.shape == (40, D_SAE)
    np.testing.assert_allclose(sparse.to_dense(), expected, atol=1e-5)
    for row in range(40):  # ascending in every row, as everything that reads them expects
        row_ids = sparse.indices[sparse.indptr[row] : sparse.indptr[row + 1]]
        assert (np.diff(row_ids) > 0).all()


def test_the_whole_sae_stays_as_it_is(sae):
    before = sae.encode_sparse(TOKENS)
    focused = sae.focused([3, 1])
    assert sae.focus is None
    assert focused.focus.tolist() == [1, 3]
    assert focused.W_enc.data_ptr() == sae.W_enc.data_ptr()
    np.testing.assert_array_equal(sae.encode_sparse(TOKENS).values, before.values)
    again = focused.focused(None)
    np.testing.assert_array_equal(again.encode_sparse(TOKENS).values, before.values)


def test_a_focus_on_all_concepts_is_none(sae):
    assert sae.focused(range(D_SAE)).focus is None


def test_digests_are_those_of_the_whole_bundle(bundle):
    focused = bundle.focused([5, 9, 5])
    assert (focused.digest, focused.sae_digest) == (bundle.digest, bundle.sae_digest)
    assert focused.d_sae == D_SAE
    assert bundle.focus_digest is None
    assert focused.focus_digest == focus_digest(np.array([5, 9]))
    assert focused.focus_digest != bundle.focused([5, 8]).focus_digest


def test_a_focused_bundle_keeps_its_focus_wherever_it_goes(bundle):
    rounded = bundle.focused([5, 9]).to("cpu", "bfloat16")
    assert rounded.precision == "bfloat16"
    assert rounded.focus.tolist() == [5, 9]
    refocused = rounded.focused([7])
    assert (refocused.precision, refocused.focus.tolist()) == ("bfloat16", [7])
    assert refocused.to("cpu", "float32").focus.tolist() == [7]
    assert refocused.focused(None).focus is None


def test_focusing_rounds_no_backbone_twice(bundle):
    rounded = bundle.to("cpu", "bfloat16")
    assert bundle.to("cpu", "bfloat16") is rounded
    assert rounded.focused([1]).backbone is rounded.backbone


def test_a_focused_sae_is_written_whole(sae, tmp_path):
    from safetensors.torch import load_file

    save_sae(sae.focused([1, 2]), tmp_path / "sae")
    written = load_file(tmp_path / "sae" / "sae.safetensors")
    assert torch.equal(written["W_dec"], sae.W_dec.detach())


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ([], "at least one"),
        ([D_SAE], "no concept 96.*0 to 95.*another bundle"),
        ([-1], "no concept -1"),
        ([1.5], "whole numbers"),
        (["3"], "whole numbers"),
        ([[1, 2]], "whole numbers"),
        (np.ones(D_SAE, bool), "whole numbers"),
        ([float("nan")], "whole numbers"),
    ],
)
def test_what_is_no_list_of_this_saes_concepts_is_refused(sae, ids, says):
    with pytest.raises(FocusError, match=rf"(?s){says}"):
        sae.focused(ids)


def test_ids_come_out_ascending_and_once():
    assert as_focus(np.array([4.0, 2.0, 4.0]), 5).tolist() == [2, 4]
    assert as_focus((n for n in (3, 0)), 5).tolist() == [0, 3]
