"""Reading rows as people have them, and naming file and line when one is bad."""

import json

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import AdaptkitError, from_datasets, load_splits, read_table
from adaptkit.data.splits import Splits, split_validation
from adaptkit.data.tables import Table
from adaptkit.recipe.data_checks import check_duplicates
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.relate import Relate


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_every_format_gives_the_same_rows(tmp_path):
    rows = [{"text": 'say "hi", now', "label": "a"}, {"text": "zwei\u00e4", "label": "b"}]
    files = [
        write(tmp_path / "a.csv", '\ufefftext,label\r\n"say ""hi"", now",a\r\nzwei\u00e4,b\r\n'),
        write(tmp_path / "a.tsv", 'text\tlabel\nsay "hi", now\ta\nzwei\u00e4\tb\n'),
        write(tmp_path / "a.json", json.dumps(rows)),
        write(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, rows))),
    ]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    for row in rows:
        (tmp_path / "folder" / row["label"]).mkdir(parents=True)
        write(tmp_path / "folder" / row["label"] / "1.txt", row["text"] + "\n")
    for file in [*files, tmp_path / "a.parquet", tmp_path / "folder"]:
        assert read_table(file).rows == rows, file


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.jsonl", '{"text": "a"}\n{"text": \n', r"a\.jsonl:2: not valid JSON"),
        ("a.jsonl", '{"text": "a"}\n[1]\n', r"a\.jsonl:2: expected an object"),
        ("a.json", '{"text": "a"}', "expected a list of objects"),
        ("a.json", '[{"text": \n "a"', r"a\.json:2: not valid JSON"),
        (
            "a.csv",
            b"text,label\nok,a\ncaf\xe9,b\n",
            r"a\.csv:3: byte 0xe9 at column 4 is not UTF-8",
        ),
        (
            "a.csv",
            'text,label\n"two\nlines",a\nx,y,z\n',
            r"a\.csv:4: 3 fields where the header has 2",
        ),
        ("a.csv", "", "is empty"),
        ("a.csv", "text,label\n", "holds no rows"),
        ("a.parquet", b"PAR1no", "not a whole parquet file"),
        ("a.xlsx", b"", "ending '.xlsx' is not known"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path, name, content, message):
    with pytest.raises(AdaptkitError, match=message):
        read_table(write(tmp_path / name, content))


def test_a_missing_file_names_the_nearest(tmp_path):
    write(tmp_path / "reviews.csv", "text,label\n")
    with pytest.raises(AdaptkitError, match=r"Did you mean .*reviews\.csv"):
        read_table(tmp_path / "review.csv")


@pytest.mark.parametrize(
    "content, message",
    [
        ("txt,label\na,b\n", "no column 'text'; it has txt, label. Did you mean --text_column txt"),
        ("text,label\na,b\n ,c\n", r"train\.csv:3: the text in column 'text' is empty"),
        ("text,label\na,b\nd,\n", r"train\.csv:3: the label in column 'label' is empty\.$"),
        (
            "text,label\na,\nb,x\nc,\nd, \n",
            r"csv:2: the label in .* is empty\. Nor can 2 more be used: \S*csv:4, \S*csv:5\.$",
        ),
        (
            "text,label\n" + ",x\n" * 9,
            r"csv:2: the text in .* is empty\. Nor can 8 more be used: \S*:3, .*csv:7, \.\.\.\.$",
        ),
        ("text,label\na,b\nc,b\n", "every row has the label 'b'"),
    ],
)
def test_bad_training_rows(tmp_path, content, message):
    splits = load_splits(str(write(tmp_path / "train.csv", content)))
    with pytest.raises(AdaptkitError, match=message):
        Classify().prepare(splits, seed=1)


def test_a_label_unknown_to_the_training_data(tmp_path):
    train = write(tmp_path / "train.csv", "text,label\na,good\nb,bad\n")
    dev = write(tmp_path / "dev.csv", "text,label\na,good\nb,godo\n")
    with pytest.raises(
        AdaptkitError,
        match=r"dev\.csv:3: the label 'godo' does not occur in the training data.*Did you mean "
        r"'good'",
    ):
        Classify().prepare(load_splits(str(train), str(dev)), seed=1)


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


def test_a_check_doubts_labels_that_look_like_slips():
    labels = [
        "Spam",
        "spam",
        "not  spam",
        "not spam",
        "N/A",
        "ham",
        "straße",
        "STRASSE",
        "none of these",
    ]
    splits, task = Classify().prepare(
        Splits(Table([{"text": f"t{i}", "label": labels[i % 9]} for i in range(90)], "rows")),
        seed=1,
    )
    doubts = [finding.text for finding in task.findings(splits) if finding.severity == "warn"]
    assert doubts == [
        "the labels 'STRASSE', 'straße' differ in nothing but case or blanks",
        "the labels 'Spam', 'spam' differ in nothing but case or blanks",
        "the labels 'not  spam', 'not spam' differ in nothing but case or blanks",
        "the label 'N/A' may stand for a missing one",
    ]


def test_texts_that_differ_in_blanks_are_one_text():
    rows = [
        {"text": text, "label": "ab"[i % 2]}
        for i in range(40)
        for text in (f"text {i}", f" Text  {i}")
    ]
    splits, task = Classify().prepare(Splits(Table(rows, "rows")), seed=1)
    train, validation = (
        {" ".join(row["text"].lower().split()) for row in part.rows} for _, part in splits.items()
    )
    assert not train & validation
    assert any(
        "4 of them repeat another" in str(finding) for finding in check_duplicates(task, splits)
    )


def test_relations_of_texts_that_differ_in_blanks_are_of_one_text():
    texts = [f"Ann of town {i}{blank}left" for i in range(40) for blank in (" ", "  ")]
    rows = [
        {"text": text, "head": [0, 3], "tail": [7, 11], "label": "ab"[i // 2 % 2]}
        for i, text in enumerate(texts)
    ]
    splits, _ = Relate().prepare(Splits(Table(rows, "rows")), seed=1)
    train, validation = (
        {" ".join(row["plain"].split()) for row in part.rows} for _, part in splits.items()
    )
    assert validation
    assert not train & validation


def test_pairs_that_are_cut_elsewhere_do_not_contradict_each_other():
    rows = [
        {"text": "a b", "text_pair": "c", "label": "x"},
        {"text": "a", "text_pair": "b c", "label": "y"},
    ] * 5
    splits, task = Classify(columns={"text_pair": "text_pair"}).prepare(
        Splits(Table(rows, "rows")), seed=1, validation=0
    )
    assert not [finding for finding in task.findings(splits) if "different labels" in finding.text]


def test_a_check_names_texts_with_several_labels():
    rows = [
        {"text": f"t{i % 30}", "label": "ab"[i % 2 if i < 32 else 1 - i % 2]} for i in range(36)
    ]
    splits, task = Classify().prepare(Splits(Table(rows, "rows")), seed=1, validation=0)
    doubts = [finding.text for finding in task.findings(splits) if finding.severity == "warn"]
    assert doubts == [
        "4 texts have different labels in different rows, as rows row 2 (a) and rows row 32 (b)"
    ]


def test_numeric_labels_are_in_numeric_order():
    rows = [{"text": f"x{i}", "label": n} for i, n in enumerate((10, 2, 1, 10))]
    assert Classify().prepare(from_datasets(datasets.Dataset.from_list(rows)), 0)[1].labels == [
        "1",
        "2",
        "10",
    ]
