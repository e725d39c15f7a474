"""Labels of rows from files, data sets and tables: read right, refused or doubted."""

import dataclasses
import json
import math

import datasets
import numpy as np
import pandas as pd
import pytest

from adaptkit import AdaptkitError, TaskCard, from_datasets, load_splits
from adaptkit.adapters.card import task_of
from adaptkit.data.readers.options import Reading
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.labels.checks import label_findings
from adaptkit.tasks.relate import Relate
from adaptkit.tasks.tag import Tag
from tests.helpers.files import write

TEXTS = [{"text": f"text {i}"} for i in range(4)]


def table(*labels, column="label"):
    return Table([{"text": f"text {i}", column: one} for i, one in enumerate(labels)], "rows")


def fitted(*labels, **settings):
    """The labels of rows, and the label of each row."""
    task = Classify(**settings)
    splits, task = task.prepare(Splits(table(*labels)), seed=1, validation=0)
    return task.labels, [row["label"] for row in splits.train.rows], splits.notes


def doubts(*labels, **settings):
    splits, task = Classify(**settings).prepare(Splits(table(*labels * 5)), seed=1, validation=0)
    return [one.text for one in label_findings(task, splits) if one.severity == "warn"]


def test_whole_numbers_are_one_label_however_they_are_written():
    labels, rows, notes = fitted(1, 1.0, "1", "1.0", 2, np.int64(2), np.float32(2), "02")
    assert labels == ["1", "2"]
    assert rows == ["1"] * 4 + ["2"] * 4
    assert notes == [
        "the label '1' is written '1' and '1.0': these are read as one label",
        "the label '2' is written '2' and '02': these are read as one label",
    ]


def test_truth_values_are_one_label_however_they_are_written():
    labels, rows, _ = fitted(True, "true", "TRUE", False, "false", np.bool_(False))
    assert (labels, rows) == (["false", "true"], ["true"] * 3 + ["false"] * 3)


MISSING = [math.nan, None, np.float64("nan"), pd.NA]


@pytest.mark.parametrize(
    "missing, several",
    [*((one, False) for one in (*MISSING, "", "\u200b")), *((one, True) for one in MISSING)],
)
def test_a_missing_label_is_refused(missing, several):
    with pytest.raises(
        AdaptkitError, match=r"^rows row 2: the label in column 'label' is (empty|mis)"
    ):
        fitted("a", "b", missing, multi_label=several)


def test_nan_among_numbers_is_a_missing_label_and_among_words_is_doubted():
    with pytest.raises(AdaptkitError, match="^rows row 1: the label is missing: all other labels"):
        fitted("1.0", "nan", "2.0")
    assert fitted("cmn", "nan", "yue")[0] == ["cmn", "nan", "yue"]  # languages
    assert doubts("cmn", "nan") == ["the label 'nan' may stand for a missing one"]


def test_a_column_that_pandas_made_floats_reads_as_the_numbers_it_was_made_of(tmp_path):
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(5)], "label": [1, 2, None, 1, 2]})
    frame.dropna().to_csv(tmp_path / "floats.csv", index=False)
    assert "text 0,1.0" in (tmp_path / "floats.csv").read_text()
    _, task = Classify().prepare(load_splits(str(tmp_path / "floats.csv")), seed=1, validation=0)
    assert task.labels == ["1", "2"]
    whole = task.read(Table(frame.dropna().astype({"label": int}).to_dict("records"), "frame"))
    assert [row["label"] for row in whole.rows] == ["1", "2", "1", "2"]
    kept = from_datasets(datasets.Dataset.from_pandas(frame.dropna(), preserve_index=False))
    assert Classify().prepare(kept, seed=1, validation=0)[1].labels == ["1", "2"]
    with pytest.raises(AdaptkitError, match="row 2: the label in column 'label' is missing"):
        Classify().read(from_datasets(datasets.Dataset.from_pandas(frame)).train)


def test_classes_of_a_data_set_are_its_names():
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = [{"text": "a", "label": 0}, {"text": "b", "label": 1}]
    splits = from_datasets(datasets.Dataset.from_list(rows, features=features))
    assert Classify().prepare(splits, seed=1, validation=0)[1].labels == ["no", "yes"]


def test_rows_in_another_spelling_are_read_as_the_labels_of_training():
    splits, _ = Classify().prepare(
        Splits(table("1", "2", "1", "2"), table(1.0, 2.0), table("02", "+1")), seed=1
    )
    assert [row["label"] for row in splits.validation.rows] == ["1", "2"]
    assert [row["label"] for row in splits.test.rows] == ["2", "1"]


def test_labels_that_an_earlier_version_saved_keep_their_names_and_places():
    saved = {"labels": ["True", "1.0", "caf\u00e9", "007"], "settings": {}}
    task = task_of(TaskCard(task="classify", **json.loads(json.dumps(saved))))
    rows = task.read(table(True, "true", 1, 1.0, "1", "cafe\u0301", "7", "007")).rows
    assert [task.labels.index(row["label"]) for row in rows] == [0, 0, 1, 1, 1, 2, 3, 3]


def test_twins_that_nobody_can_see_are_one_label():
    labels, rows, notes = fitted("caf\u00e9", "cafe\u0301", "good", "go\u200bod", "\ufeffgood")
    assert labels == ["caf\u00e9", "good"]
    assert rows == ["caf\u00e9"] * 2 + ["good"] * 3
    assert len(notes) == 2


def test_a_label_in_order_of_numbers_is_not_confused_by_names_that_python_reads_as_numbers():
    assert fitted("10", "nan", "2", "infinity", "x")[0] == ["2", "10", "infinity", "nan", "x"]


def test_names_are_found_for_numbers_of_all_spellings():
    labels, rows, _ = fitted(0, 1.0, "1", "0.0", "yes", label_names=["no", "yes"])
    assert (labels, rows) == (["no", "yes"], ["no", "yes", "yes", "no", "yes"])
    with pytest.raises(AdaptkitError, match="row 0: the label is '2': --label_names has 2 names"):
        fitted(2.0, label_names=["no", "yes"])
    with pytest.raises(AdaptkitError, match="the label is '9{20,}.*--label_names has 2"):
        fitted("9" * 6000, label_names=["no", "yes"])


# Several labels a row


@pytest.mark.parametrize(
    "one, two",
    [
        (["a", "b"], ["a"]),
        (("a", "b"), ("a",)),
        ({"a", "b"}, {"a"}),
        (np.array(["a", "b"]), np.array(["a"])),
        ("['a', 'b']", "['a']"),
        ('["a", "b"]', '["a"]'),
        ("['a' 'b']", "['a']"),
        ("a|b", "a"),
        ({"a": 1, "b": 1.0, "c": 0}, {"a": True, "b": False}),
    ],
)
def test_several_labels_a_row_are_a_list_in_any_form(one, two):
    labels, rows, _ = fitted(one, two, multi_label=True)
    assert (labels, rows) == (["a", "b"], [["a", "b"], ["a"]])
    if two != "a":
        with pytest.raises(AdaptkitError, match="is not one label. Give --multi_label for rows"):
            Classify().read(table(one))


def test_numbers_in_lists_are_one_label_however_they_are_written():
    assert fitted([1, 2.0], ["1", "2"], "[3, 1]", "1|2", multi_label=True)[1] == [
        ["1", "2"],
        ["1", "2"],
        ["1", "3"],
        ["1", "2"],
    ]


@pytest.mark.parametrize(
    "rows",
    [
        ([1, 0, 0], [0, 1, 1]),
        ([1.0, 0.0, 0.0], [False, True, True]),
        (np.array([1, 0, 0]), np.array([0.0, 1.0, 1.0])),
        ("[1, 0, 0]", "[0 1 1]"),
    ],
)
def test_a_number_for_each_label_needs_their_names(rows):
    with pytest.raises(AdaptkitError, match="row 0: .* a 0 or 1 for each of 3 labels. Name the 3"):
        fitted(*rows, multi_label=True)
    with pytest.raises(AdaptkitError, match="in this order; it has 2 names"):
        fitted(*rows, multi_label=True, label_names=["a", "b"])
    labels, found, _ = fitted(*rows, multi_label=True, label_names=["c", "a", "b"])
    assert (labels, found) == (["a", "b", "c"], [["c"], ["a", "b"]])


def test_lists_of_numbers_that_name_labels_are_still_names():
    assert fitted([0, 1], [1], [0], multi_label=True)[0] == ["0", "1"]
    assert fitted([0, 1], [1], multi_label=True, label_names=["no", "yes"])[1] == [
        ["no", "yes"],
        ["yes"],
    ]


def test_lists_with_what_is_no_label_are_refused():
    for value in (["a", None], [["a"]], [{"a": 1}], {"a": 0.3}, ["a", math.nan]):
        with pytest.raises(AdaptkitError, match="^rows row 0: "):
            fitted(value, ["b"], multi_label=True)


# A column for each label

TOXIC = """id,text,toxic,severe_toxic,obscene,threat
1,you are fine,0,0,0,0
2,you are not,1,0,0,0
3,you are worse,1,1,1,0
4,"you, again",1,0,1,0
"""


def test_columns_of_0_and_1_are_labels(tmp_path):
    path = str(write(tmp_path / "train.csv", TOXIC))
    for columns in (None, ["toxic", "severe_toxic", "obscene", "threat"]):
        task = Classify(multi_label=True, label_columns=columns)
        splits, task = task.prepare(load_splits(path), seed=1, validation=0)
        assert task.labels == ["obscene", "severe_toxic", "threat", "toxic"]  # also the one unseen
        assert [row["label"] for row in splits.train.rows] == [
            [],
            ["toxic"],
            ["obscene", "severe_toxic", "toxic"],
            ["obscene", "toxic"],
        ]
        assert splits.notes == [
            "the labels are the columns toxic, severe_toxic, obscene, threat, which hold 1 or 0"
        ]
        saved = task_of(
            TaskCard(task="classify", labels=task.labels, columns={}, settings=task.settings())
        )
        again = saved.read(load_splits(path).train)
        assert [row["label"] for row in again.rows] == [row["label"] for row in splits.train.rows]


def test_some_columns_as_one_word_and_a_header_that_only_they_tell():
    rows = [row | {"a": "1", "b": 0, "c": "?"} for row in TEXTS] + [{"text": "z", "a": 0, "b": 1}]
    task = Classify(label_columns=["a,b"])
    splits, task = task.prepare(Splits(Table(rows, "rows")), seed=1, validation=0)
    assert (task.labels, task.label_columns) == (["a", "b"], ["a", "b"])
    assert splits.train.rows[0] == {"text": "text 0", "label": "a"}
    assert "toxic" in Classify(label_columns=["toxic", "threat"]).wanted()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({}, "has no column 'label'. Are a, b the labels, which .* --label_columns a b .and --mul"),
        (
            {"label_columns": ["a", "b"]},
            "row 1: {'a': 1, 'b': 1} in the label columns is not one label. Give",
        ),
        ({"label_columns": ["a", "B"], "multi_label": True}, "Did you mean --label_columns b"),
        ({"label_columns": ["a"], "multi_label": True}, "takes two or more different columns"),
        ({"label_columns": ["a", "c"], "multi_label": True}, "row 0: .* 'c' is -1; expected 1 or"),
        (
            {"label_columns": ["a", "b"], "columns": {"label": "c"}},
            "give --label_column or --label_columns, not both",
        ),
    ],
)
def test_columns_that_are_no_labels_are_refused(settings, message):
    rows = [
        {"text": "x", "a": 1, "b": 0, "c": -1},
        {"text": "y", "a": 1, "b": 1, "c": 0},
        {"text": "z", "a": 0, "b": 1, "c": 1},
    ]
    with pytest.raises(AdaptkitError, match=message):
        Classify(**settings).prepare(Splits(Table(rows, "rows")), seed=1, validation=0)


# Doubts


@pytest.mark.parametrize(
    "labels, settings, message",
    [
        (("a|b", "a", "c"), {}, "1 of 3 labels hold '|', as 'a|b': if they are several labels "
         "each, give --multi_label"),
        (("a;b", "a", "b", "c"), {}, "1 of 4 labels hold ';', as 'a;b': if they are several labels "
         "each, give --multi_label --label_delimiter ';'"),
        (("good,blue", "good", "bad"), {"multi_label": True}, "1 of 3 labels hold ',', as "
         "'good,blue': if they are several labels each, give --label_delimiter ','"),
        (("a, b", "a", "b"), {"multi_label": True}, "1 of 3 labels hold ',', as 'a, b': if they "
         "are several labels each, give --label_delimiter ','"),
        ((1, 2, 2.5), {}, "labels are whole numbers beside fractions, as 2.5: is this the column "
         "of the labels? adaptkit train score learns numbers"),
        (("1.1", "1.10"), {}, "the labels '1.1', '1.10' are one number"),
        (("Good", "good"), {}, "the labels 'Good', 'good' differ in nothing but case or blanks"),
        (("red", "\x1b[31mred"), {}, "the label '\\x1b[31mred' holds characters that are not "
         "printed"),
    ],
)  # fmt: skip
def test_odd_labels_are_doubted(labels, settings, message):
    assert doubts(*labels, **settings) == [message]


@pytest.mark.parametrize(
    "labels", [("food, drinks", "rest"), ("a;b", "a"), ("p(e1,e2)", "p(e2,e1)", "q(e1,e2)")]
)
def test_labels_with_a_comma_in_their_name_are_not_doubted(labels):
    assert not doubts(*labels)


# Other tasks


def test_relations_and_entities_have_one_name_for_each_label():
    spans = {"head": [0, 1], "tail": [2, 3]}
    rows = [{"text": "a b", "label": label, **spans} for label in (1, 1.0, "1", "2")]
    read = Relate().read(Table(rows, "rows"))
    assert [row["label"] for row in read.rows] == ["1", "1", "1", "2"]
    with pytest.raises(AdaptkitError, match="row 0: the label in column 'label' is missing"):
        Relate().read(Table([{"text": "a b", "label": math.nan, **spans}], "rows"))
    labels = ("caf\u00e9", "cafe\u0301", 7, "7.0")
    rows = [
        {"text": "one", "entities": [{"start": 0, "end": 3, "label": label}]} for label in labels
    ]
    task = Tag().fit_labels(Tag().read(Table(rows, "rows")))
    assert task.labels == ["O", "B-7", "I-7", "B-caf\u00e9", "I-caf\u00e9"]
    old = dataclasses.replace(task, labels=["O", "B-7.0", "I-7.0"])
    (row,) = old.read(Table(rows[2:3], "rows")).rows
    assert row["entities"][0]["label"] == "7.0"
    rows[0]["entities"][0]["label"] = 0
    assert Tag().read(Table(rows[:1], "rows")).rows[0]["entities"][0]["label"] == "0"
    rows[0]["entities"][0]["label"] = math.nan
    with pytest.raises(AdaptkitError, match=r"row 0: entities should be .*a label is missing"):
        Tag().read(Table(rows, "rows"))


def test_a_header_of_label_columns_is_told_from_a_row(tmp_path):
    task = Classify(multi_label=True, label_columns=["1", "0"])
    path = write(tmp_path / "train.csv", "words,1,0\nsome,0,1\nothers,1,0\n")
    train = load_splits(str(path), reading=Reading(wanted=task.wanted())).train
    assert train.columns == ["words", "1", "0"]
