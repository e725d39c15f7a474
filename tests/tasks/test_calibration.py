"""Temperatures and thresholds from validation rows, and answers that are withheld."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import AdaptkitError
from adaptkit.metrics.calibration import expected_calibration_error, reliability
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.labels.calibration import abstain_threshold, fit_temperature, fit_thresholds
from adaptkit.tasks.relate import Relate


def drawn(rows: int, temperature: float, several: bool = False, seed: int = 0):
    """Logits, and targets that are drawn by them after division by a temperature."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(rows, 4)) * 3
    if several:
        return logits, (draw.random(logits.shape) < 1 / (1 + np.exp(-logits / temperature))) * 1.0
    shares = np.exp(logits / temperature)
    shares /= shares.sum(1, keepdims=True)
    return logits, np.array([draw.choice(4, p=row) for row in shares])


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_of_drawn_targets_is_found(temperature, several):
    found = fit_temperature(*drawn(6000, temperature, several))
    assert found == pytest.approx(temperature, rel=0.05)


def test_few_rows_move_the_temperature_little():
    """Two right answers are no proof that all will be: without a prior it would go to 0."""
    sure = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert 0.5 < fit_temperature(sure, np.array([0, 1])) < 1
    assert 1 < fit_temperature(sure, np.array([1, 0])) < 3


@given(st.integers(1, 40), st.floats(-50, 50), st.integers(0, 10**6))
def test_any_logits_have_a_temperature(rows, shift, seed):
    logits, targets = drawn(rows, 1.0, seed=seed)
    assert 0.05 <= fit_temperature(logits * abs(shift) + shift, targets) <= 20


def test_calibration_errors_are_those_of_the_paper():
    """Two bins of two: 0.95 and all right, 0.65 and half right."""
    assert expected_calibration_error([0.9, 1.0, 0.62, 0.66], [1, 1, 1, 0]) == pytest.approx(
        (2 * 0.05 + 2 * 0.14) / 4
    ), reliability([0.9, 1.0, 0.62, 0.66], [1, 1, 1, 0])
    assert expected_calibration_error([1.0, 0.0], [1, 0]) == 0
    assert expected_calibration_error([], []) == 0


def test_thresholds_have_the_best_f1_of_each_label():
    shares = np.array([[0.9, 0.2, 0.1], [0.4, 0.3, 0.2], [0.3, 0.1, 0.3], [0.1, 0.1, 0.4]])
    targets = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]])
    found = fit_thresholds(shares, targets)
    assert found == pytest.approx([0.35, 0.15, 0.5])  # 0.5 where no row has the label
    for column, threshold in enumerate(found[:2]):
        assert ((shares[:, column] >= threshold) == targets[:, column]).all()


@given(st.integers(1, 30), st.integers(0, 10**6))
def test_no_other_threshold_is_better(rows, seed):
    draw = np.random.default_rng(seed)
    shares = draw.integers(0, 8, (rows, 1)) / 8
    targets = draw.integers(0, 2, (rows, 1))

    def f1(threshold: float) -> float:
        given_rows = shares[:, 0] >= threshold
        hits = (given_rows & (targets[:, 0] == 1)).sum()
        return 2 * hits / max(given_rows.sum() + targets.sum(), 1)

    [found] = fit_thresholds(shares, targets)
    if targets.any():
        assert f1(found) >= max(f1(step / 16) for step in range(1, 17)) - 1e-9


def test_a_threshold_for_a_wished_precision_or_coverage():
    confidences = np.array([0.9, 0.8, 0.8, 0.7, 0.6])
    right = np.array([1, 1, 0, 1, 0])
    assert abstain_threshold(confidences, right, precision=0.75) == pytest.approx((0.65, 0.75, 0.8))
    assert abstain_threshold(confidences, right, precision=0.9) == pytest.approx((0.85, 1.0, 0.2))
    assert abstain_threshold(confidences, right, coverage=0.5) == pytest.approx((0.75, 2 / 3, 0.6))
    assert abstain_threshold(confidences, right, coverage=1.0) == pytest.approx((0.3, 0.6, 1.0))
    assert abstain_threshold(confidences, 1 - right, precision=0.9)[1] == pytest.approx(0.4)


def test_an_uncertain_answer_is_withheld_and_says_what_it_would_be():
    task = Classify(labels=["a", "b"], abstain_below=0.7)
    sure, unsure = task.decode(np.log([[0.9, 0.1], [0.4, 0.6]]), None, None)
    assert task.hand_over(sure) == {"label": "a", "score": 0.9}
    withheld = {"label": "none of these", "score": 0.6, "likeliest": "b"}
    assert task.hand_over(unsure) == withheld
    assert Classify(labels=["a", "b"]).hand_over(unsure)["label"] == "b"


def test_each_label_has_its_threshold():
    task = Classify(labels=["a", "b"], multi_label=True, thresholds=[0.2, 0.9])
    logits = np.array([[math.log(0.3 / 0.7), math.log(0.8 / 0.2)]])
    assert task.decode(logits, None, None)[0]["labels"] == ["a"]


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({"abstain_below": 1.5}, "abstain_below is a share"),
        ({"abstain_precision": 0.0}, "abstain_precision is a share"),
        ({"abstain_precision": 0.9, "abstain_coverage": 0.9}, "give one of --abstain_precision"),
        ({"abstain_below": 0.5, "multi_label": True}, "is for one label a text"),
        ({"threshold_per_label": True}, "goes with --multi_label"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, problem):
    with pytest.raises(AdaptkitError, match=problem):
        Classify(**settings)


def test_relations_are_calibrated_too():
    assert Relate().calibrate
