"""Splits from files and from datasets."""

import datasets
import pytest

from adaptkit import AdaptkitError, from_datasets, load_splits
from adaptkit.tasks.classify import Classify
from tests.helpers.files import write


def test_flags_that_contradict_each_other(tmp_path):
    file = str(write(tmp_path / "a.csv", "text,label\na,b\n"))
    with pytest.raises(AdaptkitError, match="not both"):
        load_splits(file, dataset_name="x")
    with pytest.raises(AdaptkitError, match="go with --train_file"):
        load_splits(validation_file=file)


def test_datasets_and_their_class_names():
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    part = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    splits = from_datasets(datasets.DatasetDict({"train": part, "dev": part, "test": part}))
    assert [row["label"] for row in splits.train.rows] == ["yes", "no"]
    assert splits.validation is not None
    with pytest.raises(AdaptkitError, match="no 'train'"):
        from_datasets(datasets.DatasetDict({"test": part}))


@pytest.mark.parametrize(
    "kind", [datasets.ClassLabel(names=["no", "yes"]), datasets.Value("float32")]
)
def test_a_test_split_whose_labels_are_not_told_is_left_out(kind):
    features = datasets.Features({"text": datasets.Value("string"), "label": kind})
    train, test = (
        datasets.Dataset.from_dict({"text": ["a", "b"], "label": labels}, features=features)
        for labels in ([1, 0], [-1, -1])
    )
    splits = from_datasets(
        datasets.DatasetDict({"train": train, "validation": train, "test": test}), "glue"
    )
    assert splits.test is None
    assert len(splits.train) == len(splits.validation) == 2
    assert splits.notes == [
        "glue[test] is left out: label is -1 in every row, so its labels are not told"
    ]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "text,label\nhello,a\nbye,b\n", "too few to cut a validation split"),
        ("a.csv", "text,label,text\nA,a,z\nB,b,z\n", r"a\.csv:1: the column 'text' is there twice"),
        (
            "a.csv",
            'text,label\n"hello,a\n' + "foo,b\n" * 10_000,
            r"a\.csv:2: a field of 10001 lines; is a quote not closed",
        ),
        (
            "a.jsonl",
            '{"text": "a\\ud800", "label": "x"}\n{"text": "b", "label": "y"}\n',
            r"a\.jsonl:1: .*half of a surrogate pair",
        ),
    ],
)
def test_odd_files_are_explained(tmp_path, name, content, message):
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(AdaptkitError, match=message):
        Classify().prepare(load_splits(str(tmp_path / name)), seed=1)


def test_a_stream_is_read_to_its_end_and_a_long_one_is_refused(monkeypatch):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    part = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    hidden = part.map(lambda row: {"label": -1}).to_iterable_dataset()
    whole = datasets.IterableDatasetDict({"train": part.to_iterable_dataset(), "test": hidden})
    splits = from_datasets(whole, "reviews")
    assert splits.train.rows == [{"text": "a", "label": "yes"}, {"text": "b", "label": "no"}]
    assert splits.test is None
    unknown = datasets.IterableDataset.from_generator(lambda: iter([{"text": "a", "label": 1}]))
    assert from_datasets(unknown).train.rows == [{"text": "a", "label": 1}]
    monkeypatch.setattr("adaptkit.data.sources.MOST_STREAMED", 1)
    with pytest.raises(AdaptkitError, match=r"more than 1 rows.*dataset\.take"):
        from_datasets(part.to_iterable_dataset(), "reviews")


def test_json_lines_in_a_json_file_train(tmp_path):
    body = '{"text": "warm", "label": "good"}\n{"text": "cold", "label": "bad"}\n'
    splits = load_splits(str(write(tmp_path / "a.json", body)))
    assert [row["label"] for row in splits.train.rows] == ["good", "bad"]
