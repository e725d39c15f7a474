"""Rows are cut where padding and the number of blocks cost least."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from adaptkit.compute.blocks import cut, visible
from adaptkit.compute.program import pack


def cost(lengths, parts, block):
    return sum(lengths[part.start] * (part.stop - part.start) + block for part in parts)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=7), st.integers(0, 40))
def test_no_other_cut_costs_less(lengths, block):
    lengths = sorted(lengths, reverse=True)
    parts = cut(lengths, block)
    assert [i for part in parts for i in range(len(lengths))[part]] == list(range(len(lengths)))
    places = range(1, len(lengths))
    every = itertools.chain.from_iterable(
        itertools.combinations(places, count) for count in range(len(lengths))
    )
    best = min(
        cost(
            lengths,
            list(itertools.starmap(slice, itertools.pairwise((0, *one, len(lengths))))),
            block,
        )
        for one in every
    )
    assert cost(lengths, parts, block) == best


def test_a_block_is_a_view_of_its_part():
    lengths = [5, 4, 2, 1]
    blocks = pack(lengths, [slice(0, 2), slice(2, 4)])
    x = torch.arange(14.0)[None, :, None].repeat(1, 1, 3)
    first, second = blocks.of(x)
    assert first.shape == (2, 5, 3)
    assert second[:, :, 0].tolist() == [[10, 11], [12, 13]]
    assert second.data_ptr() == x[0, 10].data_ptr()
    assert blocks.of(x)[0] is first
    assert blocks.blocks[1].visible[:, 0, 0].tolist() == [[True, True], [True, False]]
    assert visible([3, 3]) is None
