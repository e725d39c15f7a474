"""The order of training rows: batches of like lengths, the same on every process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


class LengthBuckets(Sampler[int]):
    """Rows in batches of like lengths, the batches in random order; the same on every process.

    Args:
        lengths: tokens of each row.
        batch_size: rows in one optimizer step over all processes, so that the order does not depend on their number.
        seed: of the order; each epoch has its own.
        pool: how many batches are sorted together: more means less padding and less chance.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, pool: int = 50):
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.pool = pool
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.lengths))
        step = self.batch_size * max(1, min(self.pool, len(order) // (4 * self.batch_size)))
        pools = [order[i : i + step] for i in range(0, len(order), step)]
        order = np.concatenate([pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools])
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        short = batches.pop() if len(batches[-1]) < self.batch_size else None  # an incomplete batch must come last
        generator.shuffle(batches)
        return iter(np.concatenate([*batches, short] if short is not None else batches).tolist())


def padding_share(sampler: LengthBuckets, batch_size: int) -> float:
    """The share of the tokens of one epoch that are padding, in batches of `batch_size` rows."""
    ordered = sampler.lengths[list(sampler)]
    batches = [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
    return 1 - ordered.sum() / sum(len(batch) * batch.max() for batch in batches)
