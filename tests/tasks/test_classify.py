"""Labels: one a row, several, numbers, unknown ones, and what a check doubts."""

import json

import datasets
import pytest
import torch
from adaptkit.recipes import classify
from torch.nn import functional

from adaptkit import AdaptkitError, from_datasets, load_splits
from adaptkit.data.corpus import load_corpus
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.tasks.classify import Classify
from tests.helpers.files import write
from tests.tasks.outputs import Outputs


def test_several_labels_a_row(tokenizer):
    rows = [
        {"text": "a", "label": "x|z"},
        {"text": "b", "label": ""},
        {"text": "c", "label": ["y", "x"]},
    ]
    task = Classify(multi_label=True)
    table = task.read(Table(rows, "x"))
    task = task.fit_labels(table)
    encoded = task.encode(table, tokenizer, 8)
    assert encoded["labels"] == [[1, 0, 1], [0, 0, 0], [1, 1, 0]]
    logits = torch.tensor([[3.0, -3, 0.5], [-1, -1, -1], [2, -2, -2]])
    labels = torch.tensor(encoded["labels"])
    loss = task.loss(Outputs(logits=logits), {}, labels, labels.numel())
    assert loss == pytest.approx(functional.binary_cross_entropy_with_logits(logits, labels).item())
    answers = task.decode(logits.numpy(), encoded, table)
    assert [answer["labels"] for answer in answers] == [["x", "z"], [], ["x"]]
    assert task.score(answers, table)["accuracy"] == pytest.approx(2 / 3)
    assert [row["support"] for row in task.details(answers, table)] == [2, 1, 1]


def test_class_weights_make_labels_count_alike():
    rows = Table([{"text": str(i), "label": "a" if i else "b"} for i in range(8)], "x")
    task = Classify(class_weights=True).fit_labels(Classify(class_weights=True).read(rows))
    assert task.weights == pytest.approx([8 / 14, 4.0])
    assert sum(
        task.weights[task.labels.index(row["label"])] for row in rows.rows
    ) / 8 == pytest.approx(1)
    logits, labels = torch.randn(8, 2), torch.tensor([1, *[0] * 7])
    wanted = (
        functional.cross_entropy(logits, labels, torch.tensor(task.weights), reduction="sum") / 8
    )
    assert task.loss(Outputs(logits=logits), {}, labels, 8).item() == pytest.approx(wanted.item())


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


def test_multi_label_rows_train_and_answer(tmp_path, small):
    rows = [
        {"text": row["text"], "kinds": sorted({entity["label"] for entity in row["entities"]})}
        for row in load_corpus("train")[:48]
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = [
        "--train_file",
        str(tmp_path / "rows.jsonl"),
        "--label_column",
        "kinds",
        "--multi_label",
        "--max_steps",
        "3",
    ]
    words += [
        "--model_name_or_path",
        str(small / "bert"),
        "--output_dir",
        str(tmp_path / "out"),
        "--disable_tqdm",
        "true",
    ]
    classify.main(words)
    results = json.loads((tmp_path / "out/all_results.json").read_text())
    assert {"eval_f1_micro", "eval_f1", "eval_accuracy"} <= results.keys()
    head, *lines = (tmp_path / "out/per_label.tsv").read_text().splitlines()
    assert head.split("\t") == ["label", "precision", "recall", "f1", "support"]
    assert len(lines) == len({kind for row in rows for kind in row["kinds"]})
