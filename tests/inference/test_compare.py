"""Two adapters on the same rows: what differs, by how much, and who cannot be compared."""

import dataclasses

import pytest
import torch

from adaptkit import (
    AdaptkitError,
    Comparison,
    Predictor,
    TaskCard,
    adapt,
    compare,
    load_base,
    save_adapter,
)
from adaptkit.data.tables import Table
from adaptkit.inference.compare import show
from adaptkit.inference.slices import ONE_LABEL
from adaptkit.metrics.bootstrap import Difference
from adaptkit.models.untrained.scratch import make_model
from tests.helpers.constant import always


def rows(yes, no):
    """Labelled rows, the first ones with yes; each of a shop."""
    labels = ["yes"] * yes + ["no"] * no
    return Table(
        [{"text": f"row {i}", "label": v, "shop": "xy"[i % 2]} for i, v in enumerate(labels)],
        "rows.csv",
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory, bert):
    """Adapters that always say yes and no, over two bases, with labels in two orders."""
    folder = tmp_path_factory.mktemp("two")
    yes = always(folder / "yes", "yes")
    return yes, always(folder / "no", "no", ("yes", "no"), bert, "lora[r=2]")


def test_the_difference_is_that_of_what_each_scores(two):
    table = rows(70, 30)
    (found,) = compare(two, table, resamples=200)
    assert (found.first, found.second, found.group, found.rows) == (*two, "all", 100)
    for side, folder in (("first", two[0]), ("second", two[1])):
        scores = {name: getattr(one, side) for name, one in found.metrics.items()}
        assert scores == Predictor(folder).evaluate(table)
    assert found.metrics["accuracy"].value == pytest.approx(-0.4)
    assert -0.65 < found.metrics["accuracy"].low < -0.4 < found.metrics["accuracy"].high < -0.15
    assert (found.better, found.metric, found.p) == (two[0], "accuracy", 1 / 201)
    assert found.names == ("yes", "no")
    assert str(found).startswith("yes is better: its accuracy is higher by 40.00 points (")
    assert list(found.metrics)[:2] == ["accuracy", "f1"]  # in the task's order
    assert compare(two, table, resamples=200) == [found]
    assert compare(two, table, resamples=200, seed=1) != [found]


def test_a_difference_that_may_be_chance_is_no_difference(two):
    (found,) = compare(two, rows(22, 18), resamples=100)
    assert found.better is None
    assert found.metrics["accuracy"].low < 0 < found.metrics["accuracy"].high
    assert str(found).startswith(
        "no difference can be seen with 40 rows: accuracy of no is -10.00 points ("
    )


def test_groups_are_compared_one_by_one(two):
    table = rows(24, 8)
    found = compare(two, table, by="shop", resamples=100)
    assert [(one.group, one.rows) for one in found] == [("all", 32), ("x", 16), ("y", 16)]
    assert [one.metrics["accuracy"].value for one in found] == [-0.5] * 3
    table = show(found, "shop").splitlines()
    assert table[0].split()[:3] == ["shop", "rows", "accuracy"]
    assert table[2].split()[:5] == ["x", "16", "0.7500", "0.2500", "-0.5000"]
    assert table[-1] == str(found[0])


def test_each_further_adapter_is_compared_with_the_first(two, tmp_path):
    third = always(tmp_path / "third", "yes")
    found = compare([*two, third], rows(20, 10), resamples=100)
    assert [(one.first, one.second) for one in found] == [two, (two[0], third)]
    assert found[1].metrics["accuracy"] == Difference(0, 0, 0, 2 / 3, 2 / 3)
    assert (found[1].better, found[1].p) == (None, 1)
    assert len(show(found).split("\n\n")) == 4  # tables and sentences


def made(metric, low, high, p=0.01):
    found = Difference((low + high) / 2, low, high, 1.0, 1.0 + (low + high) / 2)
    return Comparison("a", "b", "all", 50, {metric: found}, p)


def test_less_is_better_where_it_is():
    assert [made("mae", -0.3, -0.1).better, made("mae", 0.1, 0.3).better] == ["b", "a"]
    assert str(made("mae", -0.3, -0.1)) == (
        "b is better: its mae is lower by 0.2000 (0.1000 to 0.3000), p = 0.010"
    )
    assert [made("f1", -0.3, -0.1).better, made("f1", 0.1, 0.3).better] == ["a", "b"]
    assert made("f1", 0.1, 0.3, p=0.06).better is None
    assert made("f1", -0.1, 0.3).better is None


@pytest.mark.parametrize(
    "metrics, p, said",
    [
        (
            {"f1": (0, 0, 0)},
            1,
            "no difference can be seen with 50 rows: f1 of b is that of a, 0.5000",
        ),
        (
            {"f1": (0.02, 0.001, 0.041)},
            0.0504,
            "no difference can be seen with 50 rows: f1 of b is +2.00 points (+0.10 to +4.10) from "
            "that of a, p = 0.0504 (the interval leaves out 0, but p is above 0.05)",
        ),
        (
            {"f1": (0.02, -0.001, 0.041)},
            0.03,
            "no difference can be seen with 50 rows: f1 of b is +2.00 points (-0.10 to +4.10) from "
            "that of a, p = 0.030 (p is at most 0.05, but the interval does not leave out 0)",
        ),
        (
            {"accuracy": (0.00002, 0.00001, 0.00003)},
            0.0001,
            "b is better: its accuracy is higher by 0.002 points (0.001 to 0.003), p < 0.001",
        ),
        (
            {
                "accuracy": (0.02, 0.01, 0.03),
                "f1": (-0.05, -0.07, -0.03),
                "recall": (0.1, 0.0, 0.2),
            },
            0.01,
            "b is better: its accuracy is higher by 2.00 points (1.00 to 3.00), p = 0.010. But f1 "
            "of b is lower by 5.00 points (3.00 to 7.00)",
        ),
        (
            {
                "accuracy": (-0.02, -0.03, -0.01),
                "mae": (-0.5, -0.7, -0.3),
                "f1": (-0.1, -0.2, -0.1),
            },
            0.01,
            "a is better: its accuracy is higher by 2.00 points (1.00 to 3.00), p = 0.010. But mae "
            "of a is higher by 0.5000 (0.3000 to 0.7000)",
        ),
        (
            {"accuracy": (0, -0.01, 0.01), "f1": (0.05, 0.03, 0.07), "mae": (0.2, 0.1, 0.3)},
            0.7,
            "no difference can be seen with 50 rows: accuracy of b is +0.00 points (-1.00 to "
            "+1.00) from that of a, p = 0.700. But f1 of b is higher by 5.00 points (3.00 to "
            "7.00), mae of b is higher by 0.2000 (0.1000 to 0.3000)",
        ),
    ],
)
def test_the_sentence_does_not_contradict_itself(metrics, p, said):
    found = {
        name: Difference(value, low, high, 0.5, 0.5 + value)
        for name, (value, low, high) in metrics.items()
    }
    assert str(Comparison("a", "b", "all", 50, found, p)) == said


def test_a_group_of_one_label_is_not_compared_by_a_metric_over_labels(two):
    whole = made("f1_semeval", 0.1, 0.3)
    part = dataclasses.replace(made("accuracy", 0.1, 0.3), group="Other")
    shown = show([whole, part], "label").split("\n\n")
    assert shown[0].splitlines()[2].split() == ["Other", "50", *["-"] * 5]
    assert shown[1:] == [ONE_LABEL, str(whole)]
    rows = Table([{"text": f"{i}", "label": ("yes", "no")[i > 5]} for i in range(9)], "rows")
    _, *parts = compare(two, rows, by="label", resamples=100)
    assert [list(one.metrics) for one in parts] == [["accuracy", "ece"]] * 2
    assert ONE_LABEL not in show(compare(two, rows, by="label", resamples=100), "label")


def test_rounding_is_no_difference():
    assert made("f1", 1e-17, 1e-16).better is None


def test_what_cannot_be_compared_is_refused(two, tmp_path):
    yes = two[0]
    table = rows(4, 4)
    refused = [
        ([yes], "give two adapters or more"),
        ([yes, f"{yes}/../yes"], "yes is given 2 times"),
        ([yes, str(tmp_path / "none")], "there is no adapter folder"),
        ([yes, always(tmp_path / "c", "yes", ("yes", "maybe"))], "only .*/yes has no; only .*/c h"),
        (
            [yes, always(tmp_path / "d", "yes", columns={"text": "text", "label": "kind"})],
            "the label from column 'label', the second from column 'kind'; name one for both with "
            "--label_column",
        ),
        (
            [yes, always(tmp_path / "e", "yes", settings={"multi_label": True})],
            "multi_label is False for the first and True for the second",
        ),
        (
            [yes, always(tmp_path / "f", "yes", task="relate", columns={})],
            "the task of the first is classify, that of the second relate",
        ),
    ]
    for folders, message in refused:
        with pytest.raises(AdaptkitError, match=message):
            compare(folders, table)
    with pytest.raises(AdaptkitError, match="99 resamples are too few"):
        compare(two, table, resamples=99)
    with pytest.raises(AdaptkitError, match="Did you mean --by shop"):
        compare(two, table, by="shp")
    named = compare([yes, str(tmp_path / "d")], table, {"label": "label"}, resamples=100)
    assert named[0].metrics["accuracy"].value == 0


def test_references_that_differ_are_refused_with_their_row(two, tmp_path):
    numbers = always(tmp_path / "n", "yes", settings={"label_names": ["yes", "no"]})
    named = always(tmp_path / "m", "yes", settings={"label_names": ["no", "yes"]})
    table = Table([{"text": "a", "label": i} for i in (0, 1)], "rows.csv")
    with pytest.raises(AdaptkitError, match="rows.csv row 0: the reference is .*'yes'.* to .*'no'"):
        compare([numbers, named], table, resamples=100)


@pytest.fixture(scope="module")
def writers(tmp_path_factory):
    """Language adapters over one base, and over another with fewer pieces."""
    folder = tmp_path_factory.mktemp("writers")
    texts = [f"number {i} and {i * i} more words" for i in range(60)]
    for name, size in (("base", 300), ("other", 150)):
        make_model("llama", texts, folder / name, vocab_size=size)
    made = {}
    for name, base in (("a", "base"), ("b", "base"), ("c", "other")):
        for task in ("chat", "pretrain"):
            torch.manual_seed(ord(name))
            model = adapt(load_base(str(folder / base), task="chat"), "lora[r=2]")
            for parameter in model.parameters():
                if parameter.requires_grad:
                    torch.nn.init.normal_(parameter, std=0.2)
            settings = {"chat": {"max_new_tokens": 2}, "pretrain": {"objective": "clm"}}[task]
            card = TaskCard(task=task, settings=settings, max_length=64)
            save_adapter(model, folder / f"{task}-{name}", card=card)
            made[task, name] = str(folder / f"{task}-{name}")
    return made


def test_perplexities_are_compared_where_the_tokens_are_equal(writers):
    talks = [{"prompt": f"number {i}", "completion": f"{i * i} more", "k": i % 2} for i in range(6)]
    table = Table(talks, "talks")
    one, two, other = (writers["chat", name] for name in "abc")
    whole, *parts = compare([one, two], table, by="k", resamples=100)
    assert list(whole.metrics) == ["perplexity", "rougeL", "exact_match", "rouge1", "rouge2"]
    for folder, side in ((one, "first"), (two, "second")):
        scores = Predictor(folder).evaluate(table)
        assert {name: getattr(v, side) for name, v in whole.metrics.items()} == scores
    assert whole.metrics["perplexity"].value != 0
    assert [part.metric for part in parts] == ["perplexity"] * 2
    (found,) = compare([one, other], table, resamples=100)
    assert "perplexity" not in found.metrics
    assert "as different tokens, so their perplexities cannot be compared" in found.note
    assert whole.note == ""


def test_blocks_of_text_are_compared_where_the_tokens_are_equal(writers):
    table = Table([{"text": f"number {i} and {i * i} more words"} for i in range(40)], "text")
    one, two, other = (writers["pretrain", name] for name in "abc")
    (found,) = compare([one, two], table, resamples=100)
    for folder, side in ((one, "first"), (two, "second")):
        wanted = Predictor(folder).evaluate(table)["perplexity"]
        assert getattr(found.metrics["perplexity"], side) == wanted
    with pytest.raises(AdaptkitError, match="as different tokens, so their perplexities"):
        compare([one, other], table, resamples=100)
    with pytest.raises(AdaptkitError, match="pretrain joins rows into blocks"):
        compare([one, two], table, by="text", resamples=100)
