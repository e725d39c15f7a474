"""The order of rows: every row once, texts of like lengths together, tasks in turn."""

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit import AdaptkitError
from adaptkit.data.collate import Pad
from adaptkit.data.samplers import (
    LengthBuckets,
    TaskBuckets,
    TokenBatches,
    batches_of,
    padding_share,
)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=300), st.integers(1, 32), st.integers(0, 5)
)
def test_buckets_hold_every_row_once_and_change_with_the_epoch(lengths, batch, epoch):
    sampler = LengthBuckets(lengths, batch, seed=1)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert sorted(order) == list(range(len(lengths)))
    assert list(sampler) == order
    assert 0 <= padding_share(sampler.lengths, batches_of(sampler, batch)) < 1


@given(st.lists(st.integers(1, 50), min_size=1, max_size=300), st.integers(50, 400))
def test_batches_keep_their_budget_of_tokens(lengths, tokens):
    batches, epochs = TokenBatches(lengths, tokens, seed=1), []
    for epoch in range(3):
        batches.set_epoch(epoch)
        epochs.append(list(batches))
        assert sorted(row for batch in epochs[-1] for row in batch) == list(range(len(lengths)))
        assert all(len(one) * max(lengths[row] for row in one) <= tokens for one in epochs[-1])
        assert len(epochs[-1]) == len(batches)
        assert list(batches) == epochs[-1]
    if len(batches) > 20:
        assert epochs[0] != epochs[1] != epochs[2]
    assert TokenBatches(sorted(lengths), tokens, seed=1).ends == batches.ends


def test_a_row_that_is_longer_than_the_budget_is_refused():
    with pytest.raises(AdaptkitError, match="the longest row has 60 tokens"):
        TokenBatches([3, 60], 50, seed=1)


def test_padding_is_counted_as_it_is_filled():
    lengths = [3, 4, 9, 10, 17, 18]
    rows = Dataset.from_list([{"input_ids": [1] * n, "length": n} for n in lengths])
    pad, sampler = Pad({"input_ids": 0}).in_few_shapes(rows), LengthBuckets(lengths, 2, 1)
    order = list(sampler)
    batches = [pad([rows[i] for i in order[start : start + 2]])["input_ids"] for start in (0, 2, 4)]
    tokens = sum(batch.numel() for batch in batches)
    assert padding_share(sampler.lengths, batches_of(sampler, 2), pad.width) == pytest.approx(
        1 - sum(lengths) / tokens
    )
    assert padding_share(sampler.lengths, batches_of(sampler, 2)) < padding_share(
        sampler.lengths, batches_of(sampler, 2), pad.width
    )


def test_buckets_waste_little():
    lengths = np.random.default_rng(0).integers(5, 60, 5000)
    sampler, plain = LengthBuckets(lengths, 32, seed=1), LengthBuckets(lengths, 32, seed=1, pool=1)
    assert (
        padding_share(sampler.lengths, batches_of(sampler, 32))
        < 0.03
        < 0.3
        < padding_share(plain.lengths, batches_of(plain, 32))
    )
    first_batches = [lengths[list(sampler)[i : i + 32]].max() for i in range(0, 640, 32)]
    assert first_batches != sorted(first_batches)
    assert first_batches != sorted(first_batches, reverse=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 70), min_size=2, max_size=4),
    st.integers(1, 9),
    st.integers(0, 99),
    st.floats(1, 8),
)
def test_each_step_is_of_one_task_and_by_size_every_row_comes(sizes, step, seed, temperature):
    generator = np.random.default_rng(seed)
    lengths = [generator.integers(1, 40, size).tolist() for size in sizes]
    for heat in (1.0, temperature):
        order = TaskBuckets(lengths, step, seed, heat)
        order.set_epoch(3)
        rows_ = list(order)
        assert rows_ == list(order)
        assert len(rows_) == len(order)
        owner = np.searchsorted(order.starts, rows_, "right") - 1
        groups = owner.reshape(-1, step)
        assert (groups == groups[:, :1]).all()
        shares = (np.asarray(sizes) / max(sizes)) ** (1 / heat)
        total = sum(-(-size // step) for size in sizes)
        assert (
            np.bincount(groups[:, 0], minlength=len(sizes)).tolist()
            == np.maximum(1, np.rint(total * shares / shares.sum())).astype(int).tolist()
        )
    whole = [-(-size // step) * step for size in sizes]
    if all(size == full for size, full in zip(sizes, whole, strict=True)):
        assert sorted(TaskBuckets(lengths, step, seed)) == list(range(sum(sizes)))


def test_a_temperature_near_nothing_leaves_each_task_a_step():
    assert TaskBuckets([[5] * 40, [5] * 10], 4, 0, 1e-9).steps.tolist() == [13, 1]
