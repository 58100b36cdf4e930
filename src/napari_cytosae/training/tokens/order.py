"""The order in which a training sees tokens: a function of the seed alone.

Shards are shuffled with each pass over the images; as many as fit in memory are read together (a
pool), and what is in a pool is shuffled again. Passes follow each other without a gap, so that step
s always gets the same tokens, however often the training was stopped before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Images that are in memory together, and the order of what they hold.

    Parameters
    ----------
    images
        (n,) rows.
    first
        Place of the pool's first item in the endless row of items.
    order
        (m,) items in the order in which they are used: places in `images`, or places of tokens,
        ``image · tokens + token``.
    """

    images: NDArray[np.int64]
    first: int
    order: NDArray[np.int64]

    def part(self, start: int, batch: int, share: slice) -> NDArray[np.int64]:
        """Keep the items from place `start` on that a process gets, in their order.

        Parameters
        ----------
        start
            Place in the endless row.
        batch
            Items per batch, over all processes.
        share
            Which places of every batch the process gets.
        """
        places = np.arange(self.first, self.first + len(self.order))
        within = places % batch
        mine = (places >= start) & (within >= share.start) & (within < share.stop)
        kept: NDArray[np.int64] = self.order[mine]
        return kept


def pools(
    shard_sizes: Sequence[int], items_per_image: int, pool_images: int, seed: int, start: int
) -> Iterator[Pool]:
    """Go through all images again and again, pool by pool.

    Parameters
    ----------
    shard_sizes
        Images of each shard.
    items_per_image
        1 where whole images are shuffled, else the tokens of an image.
    pool_images
        Images that may be in memory together; one shard at least.
    seed
        Of all orders.
    start
        Place in the endless row of items; pools that lie before it are left out.

    Yields
    ------
    Pool
    """
    sizes = np.asarray(shard_sizes, np.int64)
    begins = np.cumsum(sizes) - sizes
    per_pass = int(sizes.sum()) * items_per_image
    for epoch in count(start // per_pass):
        first = epoch * per_pass
        shards = np.random.default_rng((seed, 1, epoch)).permutation(len(sizes))
        for number, together in enumerate(_grouped(shards, sizes, pool_images)):
            images = np.concatenate([np.arange(begins[k], begins[k] + sizes[k]) for k in together])
            items = len(images) * items_per_image
            if first + items > start:
                rng = np.random.default_rng((seed, 2, epoch, number))
                yield Pool(images, first, rng.permutation(items))
            first += items


def _grouped(
    shards: NDArray[np.int64], sizes: NDArray[np.int64], pool_images: int
) -> Iterator[list[int]]:
    together: list[int] = []
    images = 0
    for shard in shards.tolist():
        if together and images + int(sizes[shard]) > pool_images:
            yield together
            together, images = [], 0
        together.append(shard)
        images += int(sizes[shard])
    yield together
