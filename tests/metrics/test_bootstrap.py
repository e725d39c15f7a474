"""Intervals and p-values against scipy, and how often intervals hold the truth."""

import numpy as np
import pytest
import scipy.stats

from adaptkit.metrics.bootstrap import differences, intervals, swap_p
from adaptkit.metrics.regression import regression_rows
from adaptkit.metrics.row_scores import RowScores, Sums, mean_rows

SIMULATED = 300


def right(values):
    return mean_rows({"accuracy": values})


def test_the_interval_of_a_difference_is_scipys():
    random = np.random.default_rng(1)
    one = random.random(150) < 0.7
    two = one ^ (random.random(150) < 0.2)
    found = differences(right(one), right(two), 4000)["accuracy"]
    wanted = scipy.stats.bootstrap(
        (one.astype(float), two.astype(float)),
        lambda a, b, axis: b.mean(axis) - a.mean(axis),
        n_resamples=4000,
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert (found.first, found.second) == (one.mean(), two.mean())
    assert found.value == two.mean() - one.mean()
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.007)


def test_the_interval_of_one_value_is_scipys():
    values = np.random.default_rng(3).normal(size=80)
    found = intervals(mean_rows({"mean": values}), 4000)["mean"]
    wanted = scipy.stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile")
    ends = wanted.confidence_interval
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=0.03)


@pytest.mark.parametrize("better, worse", [(4, 0), (9, 1), (15, 6)])
def test_the_p_value_is_that_of_the_sign_test(better, worse):
    """Of a mean, swapping the answers of a row turns the sign of its difference."""
    one, two = np.zeros(50, dtype=bool), np.zeros(50, dtype=bool)
    two[:better] = True
    one[better : better + worse] = True
    exact = scipy.stats.binomtest(worse, better + worse).pvalue
    assert swap_p(right(one), right(two), "accuracy", 4000) == pytest.approx(exact, abs=0.02)
    assert swap_p(right(one), right(one), "accuracy", 100) == 1


def test_four_rows_alone_show_an_interval_and_no_difference():
    """Few drawn sets leave out all four, but four coins fall alike in one of eight cases."""
    one, two = np.zeros(50), np.zeros(50)
    two[:4] = 1
    assert differences(right(one), right(two), 1000)["accuracy"].low > 0
    assert swap_p(right(one), right(two), "accuracy", 1000) > 0.05


def test_equal_seeds_draw_equal_rows():
    random = np.random.default_rng(0)
    one, two = (right(random.random(40) < 0.5) for _ in range(2))
    assert differences(one, two, 200, seed=3) == differences(one, two, 200, seed=3)
    assert differences(one, two, 200, seed=3) != differences(one, two, 200, seed=4)
    assert swap_p(one, two, "accuracy", 200, 3) == swap_p(one, two, "accuracy", 200, 3)


def test_a_single_row_has_no_interval():
    found = differences(right([0.0]), right([1.0]), 500)["accuracy"]
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert swap_p(right([0.0]), right([1.0]), "accuracy", 100) == 1


def test_a_metric_that_some_draws_lack_is_judged_by_the_others():
    def combine(values, asked):
        return {"mean": float(values.mean())} | ({"rare": 1.0} if asked.any() else {})

    scores = RowScores((np.arange(3.0), np.asarray([True, False, False])), combine)
    assert differences(scores, scores, 200).keys() == {"mean", "rare"}
    assert intervals(scores, 200)["rare"].low == 1


def test_pairing_narrows_the_interval_of_answers_that_agree():
    random = np.random.default_rng(0)
    easy = random.random(400) < 0.8
    one, two = easy ^ (random.random(400) < 0.05), easy ^ (random.random(400) < 0.03)
    paired = differences(right(one), right(two), 500)["accuracy"]
    apart = differences(right(one), right(random.permutation(two)), 500)["accuracy"]
    assert paired.value == pytest.approx(apart.value)
    assert paired.high - paired.low < 0.75 * (apart.high - apart.low)


def covered(draw, truth, metric):
    """How often the interval holds the true difference, in simulated data sets."""
    random = np.random.default_rng(0)
    found = [differences(*draw(random), 400, seed)[metric] for seed in range(SIMULATED)]
    return sum(one.low <= truth <= one.high for one in found) / SIMULATED


def test_intervals_of_accuracy_hold_the_truth_95_times_of_100():
    def draw(random):
        hard = random.random(250)
        return [right(hard + random.normal(size=250) * 0.2 < edge) for edge in (0.7, 0.8)]

    many = np.random.default_rng(9)
    noise = many.random(4_000_000) + many.normal(size=4_000_000) * 0.2
    truth = (noise < 0.8).mean() - (noise < 0.7).mean()
    assert 0.93 <= covered(draw, truth, "accuracy") <= 0.97


def f1(totals):
    hits, predictions, references = totals
    return {"f1": 2 * hits / (predictions + references)}


def test_intervals_of_f1_hold_the_truth_95_times_of_100():
    def counts(predicted, wanted):
        return RowScores((Sums(np.stack([predicted & wanted, predicted, wanted], 1) + 0.0),), f1)

    def draw(random):
        wanted = random.random(300) < 0.3
        false = random.random(300) < 0.05
        return [
            counts(np.where(wanted, random.random(300) < hit, false), wanted) for hit in (0.7, 0.8)
        ]

    one, two = (2 * 0.3 * hit / (0.3 * hit + 0.7 * 0.05 + 0.3) for hit in (0.7, 0.8))
    assert 0.93 <= covered(draw, two - one, "f1") <= 0.97


def test_swapped_correlations_do_not_depend_on_scales():
    """A model whose numbers are a hundred times as large is as good, and is found as good."""
    random = np.random.default_rng(0)
    wanted = random.normal(size=60)
    one, two = wanted + random.normal(size=60) * 2, wanted + random.normal(size=60) * 0.5
    plain = swap_p(*(regression_rows(v, wanted) for v in (one, two)), "spearmanr", 500)
    scaled = swap_p(*(regression_rows(v, wanted) for v in (one, 100 * two)), "spearmanr", 500)
    assert plain == scaled < 0.01
