"""Samplers for training rows: batches of similar lengths, in the same order on every process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Sampler

from adaptkit.errors import AdaptkitError

if TYPE_CHECKING:
    from datasets import Dataset


def lengths_of(encoded: Dataset) -> list[int]:
    """Tokens of each row, read as a whole column: a hundred times faster than row by row."""
    return encoded["length"][:]


class LengthBuckets(Sampler[int]):
    """Batches of rows of similar lengths, in random order; the same on every process.

    Args:
        lengths: tokens of each row.
        batch_size: rows in one optimizer step over all processes, so that the order does not depend
            on their number.
        seed: seed of the order; each epoch has its own order.
        pool: how many batches are sorted together; more means less padding and less randomness.
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
        order = np.concatenate(
            [pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools]
        )
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        short = (
            batches.pop() if len(batches[-1]) < self.batch_size else None
        )  # an incomplete batch must come last
        generator.shuffle(batches)
        return iter(np.concatenate([*batches, short] if short is not None else batches).tolist())


class TokenBatches(Sampler[list[int]]):
    """Batches of rows of similar lengths with a budget of tokens, padding included.

    Batches are cut from all rows in the order of their lengths, so that every epoch has the same
    number; rows of one length change places, and batches come in random order.

    Args:
        lengths: tokens of each row.
        tokens: the most tokens of a batch, rows times the longest of them.
        seed: seed of the order; each epoch has its own order.

    Raises:
        AdaptkitError: a row alone is longer.
    """

    def __init__(self, lengths: Sequence[int], tokens: int, seed: int):
        self.lengths, self.seed, self.epoch = np.asarray(lengths), seed, 0
        if (longest := int(self.lengths.max())) > tokens:
            raise AdaptkitError(
                f"--max_tokens_per_batch {tokens}: the longest row has {longest} tokens; give as "
                "many or more, or a smaller --max_seq_length."
            )
        self.ends = [0]
        for place, length in enumerate(np.sort(self.lengths).tolist()):
            if (place + 1 - self.ends[-1]) * length > tokens:
                self.ends.append(place)
        self.ends.append(len(self.lengths))

    @property
    def sampler(self) -> TokenBatches:
        """Itself: accelerate sets the epoch of a batch sampler's sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.lengths))
        order = order[np.argsort(self.lengths[order], kind="stable")].tolist()
        batches = [order[start:end] for start, end in zip(self.ends, self.ends[1:], strict=False)]
        generator.shuffle(batches)
        return iter(batches)


def batches_of(sampler: Iterable[int], size: int) -> Iterator[list[int]]:
    """The rows of one epoch, so many at a time."""
    rows = list(sampler)
    return (rows[start : start + size] for start in range(0, len(rows), size))


def padding_share(
    lengths: np.ndarray, batches: Iterable[Sequence[int]], width: Callable[[int], int] = int
) -> float:
    """The share of padding in the tokens of batches of row numbers.

    `width`: the padded length of a batch, from its longest row.
    """
    read = padded = 0
    for batch in batches:
        own = lengths[np.asarray(batch)]
        read += int(own.sum())
        padded += len(own) * width(int(own.max()))
    return 1 - read / padded


class TaskBuckets(Sampler[int]):
    """Rows of several tasks, one task per step, steps in random order, each as in `LengthBuckets`.

    Args:
        lengths: tokens of each row, for each task; row numbers continue from one task to the next.
        step: rows in one optimizer step over all processes.
        seed: seed of the order; each epoch has its own order.
        temperature: a task's share of the steps is proportional to its number of rows to the power
            of 1 / temperature. 1 is proportional to size; higher values are more even.
    """

    def __init__(
        self, lengths: Sequence[Sequence[int]], step: int, seed: int, temperature: float = 1.0
    ):
        self.lengths = np.concatenate([np.asarray(one) for one in lengths])
        self.starts = np.cumsum([0, *map(len, lengths)])
        self.buckets = [LengthBuckets(one, step, seed + index) for index, one in enumerate(lengths)]
        self.step, self.seed, self.epoch = step, seed, 0
        shares = (np.asarray([len(one) for one in lengths]) / max(map(len, lengths))) ** (
            1 / temperature
        )
        total = sum(-(-len(one) // step) for one in lengths)
        self.steps = np.maximum(1, np.rint(total * shares / shares.sum())).astype(int)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return int(self.steps.sum()) * self.step

    def __iter__(self) -> Iterator[int]:
        groups = [group for task in range(len(self.buckets)) for group in self._of_task(task)]
        np.random.default_rng((self.seed, self.epoch)).shuffle(groups)
        return iter(np.concatenate(groups).tolist())

    def _of_task(self, task: int) -> list[np.ndarray]:
        """The task's steps of one epoch, from as many passes over its rows as that takes."""
        buckets, wanted = self.buckets[task], int(self.steps[task])
        in_pass = -(-len(buckets) // self.step)
        passes = -(-wanted // in_pass)
        found: list[np.ndarray] = []
        for one in range(passes):
            buckets.set_epoch(self.epoch * passes + one)
            rows = np.fromiter(buckets, int)
            rows = (
                np.resize(rows, in_pass * self.step) + self.starts[task]
            )  # the last step is filled up with the first rows
            found += list(rows.reshape(in_pass, self.step))
        return found[:wanted]
