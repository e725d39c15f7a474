"""Metrics by slice agree with those computed by hand, and intervals hold what they say."""

import numpy as np
import pytest

from adaptkit import AdaptkitError, Predictor, TaskCard, adapt, load_base, save_adapter
from adaptkit.data.tables import Table
from adaptkit.inference.slices import ONE_LABEL, largest_gap, show, slices
from adaptkit.tasks.classify import Classify

TASK = Classify(labels=["bad", "good"])


def made(gold, said):
    rows = [{"text": str(i), "label": ("bad", "good")[g]} for i, g in enumerate(gold)]
    return [{"label": ("bad", "good")[s]} for s in said], Table(rows, "here")


def test_slices_are_metrics_by_hand():
    answers, table = made([1, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 1])
    found = slices(TASK, answers, table, ["x", "x", "x", "y", "y", "y"])
    assert [(one.name, one.rows) for one in found] == [("all", 6), ("x", 3), ("y", 3)]
    assert [one.metrics["accuracy"].value for one in found] == pytest.approx([3 / 6, 2 / 3, 1 / 3])
    for one, rows in zip(found[1:], ([0, 1, 2], [3, 4, 5]), strict=True):
        expected = TASK.score([answers[i] for i in rows], table.take(rows))
        assert {name: interval.value for name, interval in one.metrics.items()} == pytest.approx(
            expected
        )
    high, low = largest_gap(found, "accuracy")
    assert (high.name, low.name) == ("x", "y")
    assert "largest gap in accuracy: 0.3333, between x and y" in show(found, TASK.reported, "where")


def test_rows_of_one_label_have_no_metrics_over_labels():
    """Of rows that all are bad, macro F1 is halved by one mistake: good has F1 0 there."""
    answers, table = made([0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 0])
    found = slices(TASK, answers, table, ["bad", "bad", "bad", "bad", "good", "good", "mixed"])
    whole, bad, *_ = found
    assert whole.metrics.keys() == TASK.score(answers, table).keys()
    assert [(name, one.value) for name, one in bad.metrics.items()] == [("accuracy", 0.75)]
    shown = show(found, TASK.reported, "label")
    assert shown.splitlines()[2].split()[-4:] == ["-"] * 4
    assert f"\n\n{ONE_LABEL}\n" in shown
    several = Classify(labels=["bad", "good"], multi_label=True)
    rows = Table([{"text": "", "label": ["bad"]}] * 2 + [{"text": "", "label": []}], "here")
    _, same, _ = slices(several, [{"labels": ["bad"]}] * 3, rows, ["x", "x", "y"])
    assert set(same.metrics) == {"accuracy", "f1_micro"}


def test_groups_of_several_labels_keep_them_all():
    answers, table = made([0, 1, 0, 1], [0, 0, 0, 1])
    found = slices(TASK, answers, table, ["x", "x", "y", "y"])
    assert all(one.metrics.keys() == found[0].metrics.keys() for one in found)
    assert ONE_LABEL not in show(found, TASK.reported, "where")


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    random, truth, inside = np.random.default_rng(0), 0.8, 0
    for seed in range(8):
        right = random.random(100) < truth
        answers, table = made(np.ones(100, int), right.astype(int))
        accuracy = slices(TASK, answers, table, ["one"] * 100, seed)[1].metrics["accuracy"]
        assert accuracy.low <= accuracy.value <= accuracy.high
        inside += accuracy.low <= truth <= accuracy.high
    assert inside >= 6


def test_too_many_values_are_refused():
    answers, table = made([1] * 101, [1] * 101)
    with pytest.raises(AdaptkitError, match="101 different values"):
        slices(TASK, answers, table, [str(i) for i in range(101)])


def test_slices_of_vectors_have_both_texts(tmp_path):
    model = adapt(load_base("all-MiniLM-L6-v2", task="embed"), "ia3")
    save_adapter(
        model,
        tmp_path / "a",
        card=TaskCard(task="embed", columns={"text": "a", "text_pair": "b"}, max_length=32),
    )
    rows = [
        {"a": f"number {i}", "b": f"the number {i}", "kind": "even" if i % 2 == 0 else "odd"}
        for i in range(8)
    ]
    predictor = Predictor(tmp_path / "a")
    whole, *parts = predictor.slices(Table(rows, "here"), "kind")
    assert (
        whole.metrics["recall_at_1"].value == predictor.evaluate(Table(rows, "here"))["recall_at_1"]
    )
    assert {part.name: part.rows for part in parts} == {"even": 4, "odd": 4}


def test_too_many_values_are_refused_from_python_too():
    table = Table([{"text": "1", "label": "a"}], "here")
    with pytest.raises(AdaptkitError, match="101 different values"):
        slices(Classify(labels=["a", "b"]), [{"label": "a"}], table, [str(i) for i in range(101)])
