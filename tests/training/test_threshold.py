"""The threshold that autoencoders of TopK and BatchTopK get."""

import pytest
import torch

from napari_cytosae.training import SaeTrainingConfig, train_sae

TOKENS = torch.randn(3000, 12, generator=torch.Generator().manual_seed(5)) + 0.3


def config(activation, steps=60, k=4):
    return SaeTrainingConfig(
        d_sae=40, activation=activation, k=k, steps=steps, batch_tokens=300, warmup_steps=5, lr=3e-3
    )


@pytest.mark.parametrize("activation", ["topk", "batchtopk"])
def test_as_many_concepts_are_active_as_were_asked_for(activation):
    sae = train_sae(TOKENS, config(activation)).sae
    assert sae.threshold is not None
    assert float(sae.threshold.min()) > 0
    active = (sae.encode(TOKENS) > 0).sum(1).float().mean()
    assert active == pytest.approx(4, abs=0.05)


def test_relu_has_none():
    made = train_sae(TOKENS, SaeTrainingConfig(d_sae=40, steps=5, batch_tokens=300))
    assert made.sae.threshold is None


def test_a_training_that_was_stopped_finds_the_same(tmp_path):
    whole = train_sae(TOKENS, config("batchtopk")).sae
    out = tmp_path / "half"
    with pytest.raises(Exception, match="stopped"):
        train_sae(TOKENS, config("batchtopk"), out=out, cancelled=Countdown(30))
    again = train_sae(TOKENS, config("batchtopk"), out=out, resume=True).sae
    assert torch.equal(again.threshold, whole.threshold)


class Countdown:
    """Says stop after so many questions."""

    def __init__(self, left):
        self.left = left

    def __call__(self):
        self.left -= 1
        return self.left < 0


def test_batches_that_can_be_gone_through_once():
    made = train_sae(iter(torch.split(TOKENS, 300)), config("topk", steps=10))
    assert float(made.sae.threshold.min()) > 0


def test_fewer_active_concepts_than_asked_for_need_no_threshold():
    made = train_sae(TOKENS, config("topk", steps=2, k=40))
    assert not made.sae.threshold.any()


def test_ghost_gradients_are_for_relu():
    assert SaeTrainingConfig().ghost_gradients is True
    assert config("topk").ghost_gradients is False
    forced = SaeTrainingConfig(activation="topk", k=4, ghost_gradients=True)
    assert SaeTrainingConfig.from_json(forced.to_json(), "x").ghost_gradients is True
