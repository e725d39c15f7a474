"""Which layer of another network a layer comes from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit.models.layer_map import layer_map


@pytest.mark.parametrize(
    ("layers", "source", "target", "expected"),
    [
        ("every", 12, 6, [1, 3, 5, 7, 9, 11]),
        ("every", 6, 2, [2, 5]),
        ("every", 5, 3, [0, 2, 4]),
        ("every", 2, 4, [0, 0, 1, 1]),
        ("first", 6, 2, [0, 1]),
        ("last", 6, 2, [4, 5]),
        ("0,2,5", 6, 3, [0, 2, 5]),
        ([5, 5], 6, 2, [5, 5]),
    ],
)
def test_which_layer_comes_from_which(layers, source, target, expected):
    assert layer_map(layers, source, target) == expected


@given(source=st.integers(1, 40), target=st.integers(1, 40))
def test_every_keeps_the_order_and_the_last_layer(source, target):
    found = layer_map("every", source, target)
    assert found == sorted(found)
    assert found[-1] == source - 1
    assert len(found) == target
