import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit.monitoring.betting import Bets
from adaptkit.monitoring.scores import classifier, itself, mmd_witness
from adaptkit.monitoring.stream_test import LATER, RUNNING, StreamTest


def normal(seed, rows, width=1, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (rows, width))


def p_after(reference, stream, seed=0):
    bets = Bets(reference, seed)
    for value in stream:
        bets.add(value)
    return bets.p_value


def test_of_100_streams_without_a_change_few_ever_look_changed():
    found = [
        p_after(normal(seed, 60)[:, 0], normal(seed + 1000, 400)[:, 0], seed) for seed in range(100)
    ]
    assert 0 < sum(p <= 0.2 for p in found) <= 20
    assert sum(p <= 0.02 for p in found) <= 2


@pytest.mark.parametrize("shift", [-3.0, 3.0])
def test_a_change_in_either_direction_is_seen(shift):
    reference = normal(0, 100)[:, 0]
    assert p_after(reference, normal(1, 40)[:, 0] + shift) < 1e-4
    assert p_after(reference, normal(1, 40)[:, 0]) > 0.1


def test_a_change_of_the_spread_is_seen():
    reference = normal(0, 200)[:, 0]
    assert p_after(reference, 8 * normal(1, 200)[:, 0]) < 1e-3
    assert p_after(reference, normal(1, 300)[:, 0] / 10) < 1e-3


def test_equal_values_are_ranked_by_chance():
    """Labels are values, too: a mix that stays is no change, one that moves is."""
    random = np.random.default_rng(0)
    reference = random.choice(3, 300, p=[0.5, 0.3, 0.2])
    assert p_after(reference, random.choice(3, 500, p=[0.5, 0.3, 0.2])) > 0.02
    assert p_after(reference, random.choice(3, 500, p=[0.2, 0.3, 0.5])) < 1e-4
    assert p_after(np.zeros(5), np.zeros(500)) > 0.1


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(-1e6, 1e6))
def test_a_p_value_never_grows(stream, scale):
    bets, last = Bets(np.arange(5.0), 0), 1.0
    for value in stream:
        bets.add(value * scale)
        assert 0 < bets.p_value <= last
        last = bets.p_value


def test_how_often_the_stream_is_higher():
    bets = Bets(np.arange(99.0), 0)
    assert bets.higher == 0.5
    bets.add(1000.0)
    assert bets.higher > 0.98


@pytest.mark.parametrize("make_score", [classifier, mmd_witness])
def test_states_that_move_are_seen_whenever_they_do(make_score):
    reference = normal(0, 200, 8)
    moved = normal(2, 150, 8) + np.array([1.5] + [0] * 7)
    quiet = StreamTest(reference, make_score)
    for row in normal(1, 500, 8):
        quiet.add(row)
    assert quiet.p_value > 0.01
    assert 0.3 < quiet.higher < 0.7
    for row in moved:
        quiet.add(row)
    assert quiet.count == 650
    assert quiet.p_value < 0.01


def test_a_test_of_a_stream_keeps_only_the_last_bets():
    test = StreamTest(normal(0, 10), itself)
    for row in normal(1, LATER * (RUNNING + 3)):
        test.add(row)
    assert len(test._tests) == RUNNING
    assert test.p_value > 0.01


def test_scores_of_a_stream_that_is_short_are_distances():
    reference = normal(0, 400, 3)
    score = classifier(reference, normal(1, 5, 3))
    near, far = np.zeros((1, 3)), np.array([[5.0, 0, 0]])
    assert score(far)[0] > 20 > 1 > score(near)[0]
    learned = classifier(reference, normal(1, 50, 3) + np.array([2.0, 0, 0]))
    assert learned(far)[0] > 0 > learned(-far)[0]
    assert (
        mmd_witness(reference, np.zeros((0, 3)))(far)[0]
        > mmd_witness(reference, np.zeros((0, 3)))(near)[0]
    )
