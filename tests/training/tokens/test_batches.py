"""The order of tokens: everything is seen once a pass, the same after a stop, and shared evenly."""

from itertools import islice

import numpy as np
import pytest
import torch

from napari_cytosae.errors import TrainingError
from napari_cytosae.training import SaeTrainingConfig
from napari_cytosae.training.processes import Processes
from napari_cytosae.training.tokens import TensorTokens
from napari_cytosae.training.tokens.batches import Batches, moved

TOKENS = 5


class Shards:
    """Images on a disk of the mind; each token knows its image and its place."""

    def __init__(self, *sizes: int) -> None:
        self.shard_sizes = sizes
        self.shape = (sum(sizes), TOKENS, 2)
        self.identity = "test"
        self.read_at_once: list[int] = []

    def read(self, images):
        assert (np.diff(images) > 0).all()
        self.read_at_once.append(len(images))
        found = torch.empty(len(images), TOKENS, 2)
        found[..., 0] = torch.from_numpy(images)[:, None].float()
        found[..., 1] = torch.arange(TOKENS).float()
        return found


def taken(source, config, steps, start=0, processes=None):
    batches = Batches(source, config, processes or Processes())
    generator = batches.after(start)
    found = list(islice(generator, steps))
    generator.close()
    return found


CONFIGS = [
    SaeTrainingConfig(batch_images=4, shuffle_images=12),
    SaeTrainingConfig(batch_tokens=4 * TOKENS, shuffle_images=12),
    SaeTrainingConfig(batch_images=4, shuffle_images=12, class_token_only=True),
    SaeTrainingConfig(batch_tokens=4 * TOKENS, shuffle_images=1),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_token_is_seen_once_in_each_pass(config):
    source = Shards(8, 8, 8, 8)
    per_batch = 4 if config.batch_images or not config.class_token_only else 1
    steps = 32 // per_batch
    for start in (0, steps):
        found = torch.cat([b.reshape(-1, 2) for b in taken(source, config, steps, start)])
        each = 1 if config.class_token_only else TOKENS
        assert len(found) == 32 * each
        assert len(torch.unique(found, dim=0)) == 32 * each
        images = found[:, 0]
        assert not torch.equal(images, images.sort().values)  # it is shuffled


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("sizes", [(7, 3, 9, 1), (20,)])
def test_a_start_in_the_middle_goes_on_the_same(config, sizes):
    whole = taken(Shards(*sizes), config, 23)
    for start in (1, 5, 6, 17):
        again = taken(Shards(*sizes), config, 23 - start, start)
        assert all(map(torch.equal, again, whole[start:]))


@pytest.mark.parametrize("config", CONFIGS)
def test_processes_share_each_batch(config):
    whole = taken(Shards(7, 3, 9, 1), config, 12)
    halves = [
        taken(Shards(7, 3, 9, 1), config, 12, processes=Processes(rank, 2)) for rank in (0, 1)
    ]
    for batch, first, second in zip(whole, *halves, strict=True):
        assert torch.equal(batch, torch.cat([first, second]))


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(TrainingError, match="multiple of 3"):
        Batches(Shards(9), SaeTrainingConfig(batch_images=4), Processes(0, 3))


def test_only_a_pool_is_in_memory():
    source = Shards(*[4] * 50)
    generator = Batches(source, SaeTrainingConfig(batch_images=4, shuffle_images=8)).after(0)
    next(generator)
    generator.close()
    assert sum(source.read_at_once) <= 3 * 8


def test_two_passes_and_two_seeds_differ():
    config = SaeTrainingConfig(batch_tokens=20, seed=1)
    tensor = TensorTokens(torch.arange(40.0).reshape(20, 2))
    first, second = (torch.cat(taken(tensor, config, 1, start)) for start in (0, 1))
    other = torch.cat(taken(tensor, SaeTrainingConfig(batch_tokens=20, seed=2), 1))
    assert sorted(first.tolist()) == sorted(second.tolist()) == sorted(other.tolist())
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def test_plain_tokens_have_no_images():
    with pytest.raises(TrainingError, match="batch_tokens"):
        Batches(TensorTokens(torch.ones(20, 2)), SaeTrainingConfig())
    with pytest.raises(TrainingError, match="no tokens"):
        Batches(TensorTokens(torch.ones(0, 2)), SaeTrainingConfig())


def test_a_batch_larger_than_the_data_goes_round():
    tensor = TensorTokens(torch.arange(6.0).reshape(3, 2))
    (batch,) = taken(tensor, SaeTrainingConfig(batch_tokens=7), 1)
    assert len(batch) == 7
    assert len(torch.unique(batch, dim=0)) == 3


def test_first_images_are_of_the_data():
    config = SaeTrainingConfig(batch_images=2, b_dec_images=4, shuffle_images=8)
    first = Batches(Shards(8, 8), config).first_images()
    assert first.shape == (4, TOKENS, 2)
    assert len(torch.unique(first[:, 0, 0])) == 4


def test_batches_travel_as_they_are_stored_and_arrive_as_float32():
    half = torch.randn(3, 2).half()
    for batch in (half, half.float(), half.double()):
        arrived = moved(batch, torch.device("cpu"))
        assert arrived.dtype == torch.float32
        assert torch.equal(arrived, half.float())
