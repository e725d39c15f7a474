"""Several references of one text."""

import json

from adaptkit import read_table
from adaptkit.tasks.summarize import Summarize
from tests.helpers.files import write


def test_several_references(tmp_path):
    rows = [
        {"dialogue": "x y", "summary1": "one", "summary2": "two"},
        {"dialogue": "z", "summary1": "three", "summary2": "four"},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    read_rows = Summarize(columns={"text": "dialogue"}).read(read_table(path)).rows
    assert [row["references"] for row in read_rows] == [["one", "two"], ["three", "four"]]
    path = write(tmp_path / "b.jsonl", json.dumps({"text": "x", "summary": ["p", "q"]}))
    assert Summarize().read(read_table(path)).rows[0] == {
        "source": "x",
        "references": ["p", "q"],
        "target": "p",
    }
