"""Kinds of mistakes, counted by hand, the surest one the example; refused where there are none."""

import json

import pytest
from adaptkit.recipes import classify

from adaptkit import AdaptkitError, Predictor
from adaptkit.data.tables import Table
from adaptkit.inference.confusions import confusions, show
from adaptkit.tasks.classify import Classify

TASK = Classify(labels=["a", "b", "c"])
GOLD = ["a", "a", "b", "a", "c", "b"]
SAID = [("b", 0.6), ("b", 0.9), ("b", 0.8), ("c", 0.5), ("c", 0.7), ("a", 0.4)]
ROWS = Table(
    [{"text": f"text\t{i}\nhere", "label": label} for i, label in enumerate(GOLD)],
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
    shown = show(found, 1, len(GOLD)).splitlines()
    assert shown[0] == "4 of 6 answers are wrong; 3 kinds of mistakes"
    assert shown[2:] == ["a       b         2        0.900     rows.csv:3  text 1 here"]
    pairs = Table([{"text": "a day", "text_pair": "a night", "label": "a"}], "rows.csv", [2])
    assert confusions(TASK, ANSWERS[:1], pairs)[0]["text"] == "a day | a night"
    assert show([], 5, 6) == "0 of 6 answers are wrong; 0 kinds of mistakes"


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
