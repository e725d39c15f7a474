"""Which rows are chosen, in cases that can be told by eye."""

import math

import pytest
import torch

from adaptkit.labelling.kmeans import weighted_kmeans
from adaptkit.labelling.select import margins, select_rows


def _directions(*degrees):
    turns = torch.tensor([math.radians(angle) for angle in degrees])
    return torch.stack([turns.cos(), turns.sin()], dim=1)


# Groups of five, three and one row; rows 1, 6 and 8 are in the middle of theirs
GROUPS = _directions(0, 2, 1, 3, 4, 90, 91, 92, 200)


def test_without_labels_the_middle_of_each_group_the_largest_first():
    assert select_rows(GROUPS, 3) == [1, 6, 8]


def test_lengths_do_not_count():
    lengths = torch.arange(1, 10)[:, None]
    assert select_rows(GROUPS * lengths, 3) == [1, 6, 8]


def test_what_is_near_a_labelled_row_is_not_proposed():
    assert select_rows(GROUPS, 2, labelled=[3]) == [6, 8]
    assert select_rows(GROUPS, 1, labelled=[3, 8]) == [6]
    assert select_rows(GROUPS, 1, labelled=[3, 5]) == [8]


def test_with_probabilities_unsure_rows_that_differ():
    """Of 21 rows one is cut off as too sure; of the others the unsure ones weigh most."""
    features = _directions(*[0] * 18, 60, 62, 180)
    sure = torch.tensor([[0.98, 0.02]] * 18 + [[0.5, 0.5], [0.55, 0.45], [1.0, 0.0]])
    assert select_rows(features, 1, probabilities=sure) == [18]
    assert select_rows(features, 2, probabilities=sure)[0] == 18
    assert 20 not in select_rows(features, 1, probabilities=sure)


def test_labelled_rows_are_never_chosen_and_fewer_are_left():
    sure = torch.full((9, 2), 0.5)
    for probabilities in (None, sure):
        chosen = select_rows(GROUPS, 20, [0, 4], probabilities)
        assert sorted(chosen) == [1, 2, 3, 5, 6, 7, 8]
    assert select_rows(GROUPS, 0) == []
    assert select_rows(GROUPS, 3, range(9)) == []


def test_equal_rows_are_chosen_once_each():
    assert sorted(select_rows(_directions(5, 5, 5, 5), 4)) == [0, 1, 2, 3]


def test_the_same_seed_chooses_the_same():
    features = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    assert select_rows(features, 7, seed=4) == select_rows(features, 7, seed=4)
    assert select_rows(features, 7, seed=4) != select_rows(features, 7, seed=5)


def test_margins_of_probabilities():
    found = margins(torch.tensor([[0.2, 0.7, 0.1], [0.4, 0.2, 0.4]]))
    assert found.tolist() == pytest.approx([0.5, 0.0])


def test_weights_pull_a_centre():
    points, draw = torch.tensor([[0.0], [1.0], [10.0]]), torch.Generator().manual_seed(0)
    centres, masses = weighted_kmeans(points, torch.tensor([3.0, 1.0, 2.0]), 2, draw)
    assert sorted(zip(centres[:, 0].tolist(), masses.tolist(), strict=True)) == [(0.25, 4), (10, 2)]


def test_a_fixed_centre_keeps_what_is_near():
    points, draw = torch.tensor([[0.0], [1.0], [10.0], [12.0]]), torch.Generator().manual_seed(0)
    fixed = torch.tensor([[0.4]])
    centres, masses = weighted_kmeans(points, torch.ones(4), 1, draw, fixed)
    assert (centres.tolist(), masses.tolist()) == ([[11.0]], [2.0])
