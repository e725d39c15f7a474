"""Linear probes: against scikit-learn and closed forms."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from adaptkit.heads.linear_probe import SHARPNESS, STRENGTHS, LinearProbe, fit_linear_probe, soften


def _rows(count=300, width=12, labels=3, seed=0):
    """Features around a centre far from 0, and the labels of a random map with noise."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(count, width, generator=draw) * 3 + 10
    map_ = torch.randn(labels, width, generator=draw)
    scores = (features - 10) @ map_.T / 3 + torch.randn(count, labels, generator=draw)
    return features, scores


def test_labels_are_those_of_scikit_learn_with_the_same_strength():
    from sklearn.linear_model import LogisticRegression

    features, scores = _rows()
    targets = scores.argmax(1)
    probe = fit_linear_probe(features, targets, F.cross_entropy, 3)
    assert probe.strength in STRENGTHS
    assert probe.sharpness in SHARPNESS
    spread = float((features - features.mean(0)).std())
    scaled = ((features - features.mean(0)) / spread).numpy()
    theirs = LogisticRegression(C=1 / (probe.strength * len(features)), tol=1e-8, max_iter=5000)
    theirs.fit(scaled, targets.numpy())
    centre = probe(features.mean(0)[None])  # sharpness is around it
    shares = (centre + (probe(features) - centre) / probe.sharpness).softmax(-1).numpy()
    np.testing.assert_allclose(shares, theirs.predict_proba(scaled), atol=2e-3)


def test_numbers_are_a_ridge_regression():
    features, scores = _rows()
    targets = scores[:, 0]

    def loss(given, wanted):
        return F.mse_loss(given[:, 0], wanted) / 2

    probe = fit_linear_probe(features, targets, loss, 1)
    centre = features.mean(0)
    spread = float((features - centre).std())
    x, y = (features - centre) / spread, targets - targets.mean()
    ridge = torch.linalg.solve(
        x.T @ x / len(x) + probe.strength * torch.eye(x.shape[1]), x.T @ y / len(x)
    )
    expected = probe.sharpness * (x @ ridge) + targets.mean()
    torch.testing.assert_close(probe(features)[:, 0], expected, atol=2e-3, rtol=1e-3)


def test_several_labels_are_fitted_each_on_its_own():
    features, scores = _rows()
    targets = (scores > 0).float()

    def loss(given, wanted):
        return F.binary_cross_entropy_with_logits(given, wanted, reduction="sum") / len(wanted)

    probe = fit_linear_probe(features, targets, loss, 3)
    right = ((probe(features) > 0) == (targets > 0)).float().mean(0)
    assert right.min() > 0.85


def test_noise_is_regularised_away_and_what_is_clear_is_not():
    features, scores = _rows(width=60)
    noise = torch.randint(0, 3, (300,), generator=torch.Generator().manual_seed(1))
    weak = fit_linear_probe(features, scores.argmax(1), F.cross_entropy, 3)
    strong = fit_linear_probe(features, noise, F.cross_entropy, 3)
    assert strong.strength > 10 * weak.strength
    assert weak.held_out < strong.held_out
    assert strong.held_out == pytest.approx(np.log(3), rel=0.1)  # no better than guessing


def test_a_label_of_one_row_and_features_without_spread_are_no_trouble():
    features = torch.ones(5, 4)
    probe = fit_linear_probe(features, torch.tensor([0, 0, 0, 0, 1]), F.cross_entropy, 2)
    torch.testing.assert_close(
        probe(features)[0].softmax(-1), torch.tensor([0.8, 0.2]), atol=1e-3, rtol=0
    )
    assert isinstance(probe, LinearProbe)
    one = fit_linear_probe(torch.randn(1, 4), torch.tensor([1]), F.cross_entropy, 2)
    assert one.weight.isfinite().all()


def test_the_same_seed_gives_the_same_probe():
    features, scores = _rows()
    two = [fit_linear_probe(features, scores.argmax(1), F.cross_entropy, 3, seed=4) for _ in "ab"]
    assert torch.equal(two[0].weight, two[1].weight)
    assert two[0].held_out == two[1].held_out


def test_a_probe_of_few_rows_is_as_sure_as_it_is_right():
    """Twelve rows of a wide space: the mean of the largest probability is the accuracy."""
    draw = torch.Generator().manual_seed(0)
    means = torch.randn(3, 300, generator=draw) * 0.25
    targets = torch.arange(3).repeat(4)
    probe = fit_linear_probe(
        means[targets] + torch.randn(12, 300, generator=draw), targets, F.cross_entropy, 3
    )
    assert probe.sharpness > 2
    new = torch.arange(3).repeat(400)
    shares = probe(means[new] + torch.randn(1200, 300, generator=draw)).softmax(-1)
    right = (shares.argmax(1) == new).float().mean()
    assert right > 0.8
    assert abs(shares.amax(1).mean() - right) < 0.1


def test_a_softened_probe_is_the_same_map_with_the_loss_of_rows_left_out():
    features, scores = _rows(count=40, width=60)
    targets = scores.argmax(1)
    probe = fit_linear_probe(features, targets, F.cross_entropy, 3)
    soft = soften(probe, features, targets, F.cross_entropy)
    assert F.cross_entropy(probe(features), targets) < probe.held_out / 2
    assert F.cross_entropy(soft(features), targets) == pytest.approx(probe.held_out, rel=1e-3)
    centre = features.mean(0)[None]
    torch.testing.assert_close(soft(centre), probe(centre), atol=1e-3, rtol=1e-3)
    apart = (probe(features) - probe(centre)) / (soft(features) - soft(centre))
    torch.testing.assert_close(apart, apart.mean().expand(40, 3), atol=0, rtol=1e-2)


def test_a_probe_of_many_rows_is_hardly_softened():
    features, scores = _rows(count=3000)
    targets = scores.argmax(1)
    probe = fit_linear_probe(features, targets, F.cross_entropy, 3)
    soft = soften(probe, features, targets, F.cross_entropy)
    assert 0.7 < float(soft.weight.norm() / probe.weight.norm()) <= 1


def test_one_row_a_label_orders_labels_and_is_half_sure():
    """Left out, the only row of a label would say nothing but that it was left out."""
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(10, 64, generator=draw)
    features, targets = centres + 0.1 * torch.randn(10, 64, generator=draw), torch.arange(10)
    probe = fit_linear_probe(features, targets, F.cross_entropy, 10)
    half = math.log(10) / 2
    assert probe.held_out == pytest.approx(half, abs=1e-3)
    assert float(F.cross_entropy(probe(features), targets)) == pytest.approx(half, rel=0.4)
    others = centres + 0.1 * torch.randn(10, 64, generator=draw)
    assert probe(others).argmax(1).tolist() == targets.tolist()
    soft = soften(probe, features, targets, F.cross_entropy)
    assert float(soft.weight.norm()) > 0.5 * float(probe.weight.norm())


def test_the_only_row_of_a_label_is_not_left_out():
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(13, 64, generator=draw)
    targets = torch.cat([torch.arange(3).repeat(30), torch.arange(3, 13)])
    features = centres[targets] + 0.3 * torch.randn(100, 64, generator=draw)
    with_single = fit_linear_probe(features, targets, F.cross_entropy, 13)
    assert with_single.held_out < 0.05  # with the ten left out it is above 1


def test_a_head_that_knows_nothing_still_has_weights():
    draw = torch.Generator().manual_seed(0)
    features, targets = torch.randn(40, 64, generator=draw), torch.arange(40) % 4
    probe = fit_linear_probe(features, targets, F.cross_entropy, 4)
    soft = soften(probe, features, targets, F.cross_entropy)
    assert float(soft.weight.norm()) >= 0.049 * float(probe.weight.norm()) > 0


@pytest.mark.parametrize("count", [3, 5, 8])
def test_numbers_of_few_rows_start_no_further_off_than_their_mean(count):
    def loss(given, wanted):
        return F.mse_loss(given[:, 0], wanted)

    for seed in range(10):
        features, scores = _rows(count, width=64, seed=seed)
        targets = (scores[:, 0] - scores[:, 0].mean()) / scores[:, 0].std(correction=0)
        probe = fit_linear_probe(features, targets, loss, 1)
        assert probe.sharpness <= 1
        soft = soften(probe, features, targets, loss)
        assert float(loss(soft(features), targets)) < 1.05
