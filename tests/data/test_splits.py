"""Splits keep every row once, equal texts on one side, and the shares of labels."""

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import AdaptkitError, Reading, Table, from_datasets, load_splits
from adaptkit.data.splits import Splits, folds, split_groups, split_validation
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.translate import Translate
from tests.helpers.files import write


def test_validation_is_cut_from_train_and_never_from_test():
    rows = [{"text": f"t{i}", "label": "ab"[i % 2]} for i in range(40)]
    part = datasets.Dataset.from_list(rows)
    splits, task = Classify().prepare(
        from_datasets(datasets.DatasetDict({"train": part, "test": part})), seed=3
    )
    assert task.labels == ["a", "b"]
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (36, 4, 40)
    assert "4 of 40 training rows cut off" in splits.notes[-1]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=200), st.integers(0, 99))
def test_a_split_keeps_every_row_once_and_the_shares_of_labels(labels, seed):
    table = Table([{"n": i} for i in range(len(labels))], "x", list(range(len(labels))))
    train, validation = split_validation(table, labels, seed)
    assert sorted(row["n"] for row in train.rows + validation.rows) == list(range(len(labels)))
    assert all(
        table.where(row["n"]) == validation.where(i) for i, row in enumerate(validation.rows)
    )
    for label in set(labels):
        count = labels.count(label)
        cut = sum(labels[row["n"]] == label for row in validation.rows)
        assert cut == (max(1, round(0.1 * count)) if count > 1 else 0)
    assert split_validation(table, labels, seed)[1].rows == validation.rows


def test_one_text_never_stands_on_both_sides_of_a_cut(tmp_path):
    body = "".join(f"Hi {i // 3}.\thallo {i}\n" for i in range(60))
    splits = load_splits(
        str(write(tmp_path / "a.tsv", body)), reading=Reading(wanted=("source", "target"))
    )
    splits, _ = Translate().prepare(splits, seed=1, test=0.2)
    sides = [{row["source"] for row in table.rows} for _, table in splits.items()]
    assert [len(side) for side in sides] == [14, 2, 4]
    assert len(set.union(*sides)) == 20


def test_folds_hold_every_row_once_and_keep_groups_together():
    table = Table([{"n": i} for i in range(50)], "x")
    parts = folds(table, [str(i // 4) for i in range(50)], 5, seed=1)
    held = [row["n"] for _, fold in parts for row in fold.rows]
    assert sorted(held) == list(range(50))
    assert all(
        {row["n"] // 4 for row in rest.rows}.isdisjoint(row["n"] // 4 for row in fold.rows)
        for rest, fold in parts
    )
    assert max(len(fold) for _, fold in parts) - min(len(fold) for _, fold in parts) <= 4
    with pytest.raises(AdaptkitError, match="5 folds need 5 different rows"):
        folds(table.take([0, 1]), ["a", "b"], 5, seed=1)


def test_rows_are_drawn_by_the_seed_and_stay_in_order():
    table = Table([{"n": n} for n in range(100)], "rows", list(range(2, 102)))
    splits = Splits(table, test=table, notes=["as before"])
    one, again, other = (
        splits.at_most({"train": 20, "validation": 3, "test": None}, seed) for seed in (1, 1, 2)
    )
    assert one.train.rows == again.train.rows != other.train.rows
    assert [row["n"] for row in one.train.rows] == sorted({row["n"] for row in one.train.rows})
    assert one.train.where(0) == f"rows:{one.train.rows[0]['n'] + 2}"
    assert len(one.train) == 20
    assert (one.validation, one.test) == (None, table)
    assert one.notes == ["as before", "20 of 100 train rows are used (seed 1)"]


def test_splits_of_labels_keep_their_size_and_texts_on_one_side():
    several = Table([{"text": f"t{i}", "label": [f"a{i % 7}", f"b{i}"]} for i in range(200)], "x")
    rest, cut = Classify(multi_label=True).split(several, 1, 0.1)
    assert (len(rest), len(cut)) == (180, 20)
    pairs = Table([{"text": f"t{i}", "label": str(i // 2)} for i in range(400)], "x")
    assert len(Classify().split(pairs, 1, 0.1)[1]) == 40
    double = Table([{"text": f"t{i % 50}", "label": "ab"[i % 2]} for i in range(400)], "x")
    rest, cut = Classify().split(double, 1, 0.1)
    assert not {row["text"] for row in rest.rows} & {row["text"] for row in cut.rows}
    assert 30 <= len(cut) <= 60
    articles = Table([{"n": i} for i in range(1010)], "x")
    for seed in range(4):
        assert len(split_groups(articles, ["long"] * 1000 + ["short"] * 10, seed)[1]) == 10
