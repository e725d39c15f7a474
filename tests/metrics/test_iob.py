"""Every scheme of tags says the same, and the best valid tags are the best of all."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit.metrics.iob import best_tags, chunks

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def test_every_scheme_says_the_same():
    wanted = [(0, 1, "x"), (2, 2, "x"), (4, 6, "y")]
    for tags in (
        "B-x I-x B-x O B-y I-y I-y",  # BIO
        "I-x I-x B-x O I-y I-y I-y",  # IOB1
        "B-x E-x S-x O B-y I-y E-y",  # BIOES
        "B-x E-x S-x O B-y M-y E-y",  # BMES
        "B-x L-x U-x O B-y I-y L-y",  # BILOU
    ):
        assert chunks(tags.split()) == wanted


def _valid(tags, labels):
    return all(
        tag[:2] != "I-" or f"B-{tag[2:]}" not in labels or before[1:] == tag[1:]
        for before, tag in zip(["O", *tags], tags, strict=False)
    )


@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.sampled_from(["O B-x I-x", "O B-x I-x B-y I-y"]),
)
def test_the_best_tags_are_the_best_of_all_valid_ones(seed, units, labels):
    labels = labels.split()
    scores = np.random.default_rng(seed).normal(size=(units, len(labels)))
    found = best_tags(scores, labels)
    paths = [
        (sum(scores[unit, number] for unit, number in enumerate(path)), list(path))
        for path in product(range(len(labels)), repeat=units)
        if _valid([labels[number] for number in path], labels)
    ]
    assert found == max(paths)[1]


def test_valid_tags_stay_as_they_are():
    labels = ["O", "B-x", "I-x"]
    tags = [0, 1, 2, 2, 0, 1, 1, 2]
    assert best_tags(np.eye(3)[tags], labels) == tags
    assert best_tags(np.log([[0.5, 0.4, 0.1], [0.2, 0.1, 0.7]]), labels) == [1, 2]


def test_labels_of_another_scheme_are_each_the_likeliest():
    for labels in ("O I-x B-x", "O B-x E-x", "I-x O", "B-x I-x O"):
        assert best_tags(np.eye(3)[[2, 1, 0]], labels.split()) == [2, 1, 0]


def test_a_unit_without_a_number_says_nothing():
    scores = np.log([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])
    for unit, expected in ((0, [1, 2, 0]), (2, [1, 2])):
        broken = scores.copy()
        broken[unit, 1] = np.nan
        assert best_tags(broken, ["O", "B-x", "I-x"])[: len(expected)] == expected
