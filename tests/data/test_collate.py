"""Batches are rows filled up."""

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import AdaptkitError
from adaptkit.data.collate import Pad
from adaptkit.data.encoded import Encoded

numbers = st.one_of(st.integers(-9, 9), st.floats(-9, 9, width=32))


@given(
    st.lists(st.lists(numbers, max_size=12), min_size=1, max_size=8),
    st.lists(st.integers(0, 1), min_size=8, max_size=8),
)
def test_a_batch_is_what_torch_makes_of_filled_lists(lists, marks):
    width = max(map(len, lists))
    filled = [one + [5] * (width - len(one)) for one in lists]
    batch = Pad({"a": 5})(
        [{"a": one, "b": mark, "_c": "x"} for one, mark in zip(lists, marks, strict=False)]
    )
    assert batch.keys() == {"a", "b"}
    expected = torch.tensor(filled)
    assert torch.equal(batch["a"], expected if width else expected.long())
    assert batch["a"].dtype == (expected.dtype if width else torch.int64)
    assert batch["b"].tolist() == marks[: len(lists)]


def test_lists_of_lists_are_filled_with_lists():
    batch = Pad({"a": [7.0, 8.0]})(
        [{"a": [[1.0, 2.0]]}, {"a": [[3.0, 4.0], [5.0, 6.0]]}, {"a": []}]
    )
    assert batch["a"].tolist() == [[[1, 2], [7, 8]], [[3, 4], [5, 6]], [[7, 8], [7, 8]]]


def test_texts_are_filled_up_to_a_multiple_and_nothing_else_is():
    lengths = [3, 9, 13, 8]
    rows = Dataset.from_list(
        [{"input_ids": [1] * n, "labels": [0.0, 1.0, 0.0], "length": n} for n in lengths]
    )
    pad = Pad({"input_ids": 0}).in_few_shapes(Encoded(rows))
    assert pad == Pad({"input_ids": 0}).in_few_shapes(rows)
    widths = [
        pad([rows[i] for i in batch])["input_ids"].shape[1]
        for batch in ([0], [0, 1], [2], [3], [0, 1, 2])
    ]
    assert widths == [8, 13, 13, 8, 13]  # 16 would be longer than any text
    assert pad([rows[0]])["input_ids"].tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]]
    assert pad([rows[1]])["labels"].tolist() == [[0, 1, 0]]
    assert pad.in_few_shapes(rows.select([0, 0])) == pad  # one shape is few


def test_a_tokenizer_without_padding_pads_nothing_or_says_so():
    assert Pad({"a": None})([{"a": [1, 2]}, {"a": [3, 4]}])["a"].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(AdaptkitError, match="need a padding token for a"):
        Pad({"a": None})([{"a": [1, 2]}, {"a": [3]}])
