"""Scores of sources by hand, by their definitions, and against scikit-learn."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from adaptkit.transfer.source_scores import SCORES, h_score, log_me, neighbours, probe


def data(rows=40, width=6, apart=2.0, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    features = random.normal(size=(rows, width))
    features[:, 0] += apart * labels
    return features, labels


@pytest.mark.parametrize(("rows", "width"), [(40, 6), (12, 20)])
def test_log_me_is_the_maximum_of_the_evidence(rows, width):
    features, labels = data(rows, width)

    def negative(logs, wanted):
        alpha, beta = np.exp(logs)
        covariance = features @ features.T / alpha + np.eye(rows) / beta
        return -multivariate_normal.logpdf(wanted, np.zeros(rows), covariance)

    best = [
        -minimize(negative, [0.0, 0.0], (1.0 * (labels == label),), method="Nelder-Mead").fun / rows
        for label in (0, 1)
    ]
    assert log_me(features, labels) == pytest.approx(np.mean(best), abs=1e-4)


def test_h_score_of_one_feature_is_a_ratio_of_variances():
    features, labels = data(rows=400, width=1)
    means = np.where(labels == 1, features[labels == 1].mean(), features[labels == 0].mean())
    assert h_score(features, labels) == pytest.approx(means.var() / features.var(), rel=1e-6)


def test_h_score_shrinks_as_scikit_learn_does():
    covariance = pytest.importorskip("sklearn.covariance", reason="scikit-learn is not installed")
    features, labels = data(rows=30, width=20)
    spread, share = covariance.ledoit_wolf(features)
    means = np.stack([features[labels == label].mean(0) - features.mean(0) for label in labels])
    between = np.trace(np.linalg.pinv(spread) @ (means.T @ means / 30))
    assert 0.1 < share < 0.95
    assert h_score(features, labels) == pytest.approx((1 - share) * between, rel=1e-6)


@pytest.mark.parametrize("apart", [0.0, 1.0, 10.0])
def test_h_score_is_at_most_the_number_of_labels_less_one(apart):
    """More features than rows: the covariance is shrunk far, which must not count for a source."""
    labels = np.arange(60) % 3
    features = np.random.default_rng(0).normal(size=(60, 100)) + apart * np.eye(100)[labels]
    assert 0 <= h_score(features, labels) <= 2


def test_neighbours_by_hand():
    features = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [1.0, 0.9]])
    assert neighbours(features, np.array([0, 0, 1, 1, 1]), 1) == pytest.approx(
        4 / 5
    )  # the last one is nearest to the second


def test_a_draw_of_neighbours_goes_to_the_nearer():
    features = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.4], [-1.0, 0.0]])
    labels = np.array([0, 0, 1, 1, 0, 0])  # those of the four nearest of the first are 0 1 1 0
    assert (
        neighbours(features, labels, 4)
        == neighbours(features, 1 - labels, 4)
        == pytest.approx(2 / 6)
    )


def test_the_probe_is_held_out():
    features, _ = data(rows=60, width=200)
    noise = np.random.default_rng(1).integers(0, 2, 60)
    assert probe(features, noise) < 0.75
    features, labels = data(rows=60, apart=8.0)
    assert probe(features, labels) > 0.95


@pytest.mark.parametrize("name", SCORES)
def test_every_score_grows_with_what_sets_labels_apart(name):
    found = [
        np.mean([SCORES[name](*data(80, apart=apart, seed=seed)) for seed in range(5)])
        for apart in (0.0, 1.5, 4.0)
    ]
    assert found == sorted(found)
