"""Kinds of mistakes, counted by hand, the surest one the example; shown, written by recipes,
refused where there are none.
"""

import csv
import json

import pytest
from adaptkit.recipes import classify

from adaptkit import AdaptkitError, Predictor
from adaptkit.cli import main
from adaptkit.data.tables import Table
from adaptkit.inference.confusions import confusions, show
from adaptkit.tasks.classify import Classify

TASK = Classify(labels=["a", "b", "c"])
PLACEHOLDERS = ["a", "a", "b", "a", "c", "b"]
SAID = [("b", 0.6), ("b", 0.9), ("b", 0.8), ("c", 0.5), ("c", 0.7), ("a", 0.4)]
ROWS = Table(
    [{"text": f"text\t{i}\nhere", "label": label} for i, label in enumerate(PLACEHOLDERS)],
    "rows.csv",
    [2, 3, 4, 5, 6, 7],
)
ANSWERS = [{"label": label, "score": score} for label, score in SAID]


def test_mistakes_are_counted_by_kind_with_the_surest_as_example():
    found = confusions(TASK, ANSWERS, ROWS)
    assert found == [
        {
            "gold": "a",
            "answer": "b",
            "count": 2,
            "score": 0.9,
            "where": "rows.csv:3",
            "text": "text 1 here",
        },
        {
            "gold": "a",
            "answer": "c",
            "count": 1,
            "score": 0.5,
            "where": "rows.csv:5",
            "text": "text 3 here",
        },
        {
            "gold": "b",
            "answer": "a",
            "count": 1,
            "score": 0.4,
            "where": "rows.csv:7",
            "text": "text 5 here",
        },
    ]
    shown = show(found, 1, len(PLACEHOLDERS)).splitlines()
    assert shown[0] == "4 of 6 answers are wrong; 3 kinds of mistakes"
    assert shown[2:] == ["a     b       2      0.900   rows.csv:3  text 1 here"]
    pairs = Table([{"text": "a day", "text_pair": "a night", "label": "a"}], "rows.csv", [2])
    assert confusions(TASK, ANSWERS[:1], pairs)[0]["text"] == "a day | a night"
    assert show([], 5, 6) == "0 of 6 answers are wrong; 0 kinds of mistakes"


def test_recipes_write_them_and_the_command_line_shows_them(tmp_path, capsys):
    rows = [
        {"text": f"a {word} day {i}", "label": label}
        for i in range(9)
        for word, label in (("warm", "x"), ("cold", "y"))
    ]
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    wrong = [row | {"label": "y" if row["label"] == "x" else "x"} for row in rows]
    (tmp_path / "wrong.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wrong))
    flags = [
        "--train_file",
        str(tmp_path / "train.jsonl"),
        "--test_file",
        str(tmp_path / "wrong.jsonl"),
        "--disable_tqdm",
        "true",
    ]
    classify.main(
        [
            *flags,
            "--output_dir",
            str(tmp_path / "out"),
            "--num_train_epochs",
            "5",
            "--learning_rate",
            "5e-3",
        ]
    )
    with (tmp_path / "out/confusions.tsv").open() as file:
        written = list(csv.DictReader(file, delimiter="\t"))
    right = Predictor(tmp_path / "out").evaluate(Table(rows, "rows"))["accuracy"]
    assert sum(int(row["count"]) for row in written) == round(right * len(rows))
    assert right > 0.9
    predictor, texts = Predictor(tmp_path / "out"), [row["text"] for row in rows[:3]]
    assert predictor(texts) == predictor(*texts)
    with pytest.raises(
        AdaptkitError, match=r"text row 1: column 'text' holds \[.*is not a text"
    ) as raised:
        predictor("fine", ["not"] * 9000)
    assert len(str(raised.value)) < 700
    capsys.readouterr()
    main(
        [
            "evaluate",
            str(tmp_path / "out"),
            "--file",
            str(tmp_path / "wrong.jsonl"),
            "--confusions",
            "1",
        ]
    )
    head, _, line = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{round(right * len(rows))} of {len(rows)} answers are wrong")
    assert line.split()[:2] == [written[0]["gold"], written[0]["answer"]]


def test_labels_with_white_space_take_one_field_and_old_mistakes_go(tmp_path, capsys):
    rows = [
        {"text": f"a {word} day {i}", "label": label}
        for i in range(9)
        for word, label in (("warm", "x\ty"), ("cold", "z\nq"))
    ]
    wrong = [row | {"label": "z\nq" if row["label"] == "x\ty" else "x\ty"} for row in rows]
    for name, found in (("right", rows), ("wrong", wrong)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    flags = [
        "--train_file",
        str(tmp_path / "right.jsonl"),
        "--disable_tqdm",
        "true",
        "--num_train_epochs",
        "5",
    ]
    flags += [
        "--learning_rate",
        "5e-3",
        "--output_dir",
        str(tmp_path / "out"),
        "--overwrite_output_dir",
    ]
    classify.main([*flags, "--test_file", str(tmp_path / "wrong.jsonl")])
    for name in ("confusions", "per_label"):
        with (tmp_path / f"out/{name}.tsv").open() as file:
            assert {
                row["gold" if name == "confusions" else "label"]
                for row in csv.DictReader(file, delimiter="\t")
            } >= {
                "x y",
                "z q",
            }
    capsys.readouterr()
    main(
        [
            "evaluate",
            str(tmp_path / "out"),
            "--file",
            str(tmp_path / "wrong.jsonl"),
            "--confusions",
            "9",
        ]
    )
    assert len(capsys.readouterr().out.splitlines()) == 4
    classify.main([*flags, "--test_file", str(tmp_path / "right.jsonl")])
    assert not (tmp_path / "out/confusions.tsv").exists()


def test_tasks_without_one_label_a_row_have_none(tmp_path):
    rows = [{"text": f"day {i}", "label": f"{i % 2}|{i % 3}"} for i in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [
        "--train_file",
        str(tmp_path / "rows.jsonl"),
        "--multi_label",
        "--max_steps",
        "1",
        "--disable_tqdm",
        "true",
    ]
    classify.main([*flags, "--output_dir", str(tmp_path / "out"), "--method", "lora[r=2]"])
    assert not (tmp_path / "out/confusions.tsv").exists()
    with pytest.raises(AdaptkitError, match="one label a row"):
        Predictor(tmp_path / "out").confusions(Table(rows, "rows"))
