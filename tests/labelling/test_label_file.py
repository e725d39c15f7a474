"""The file of labels: what is kept, what is replaced, what is refused."""

import json

import pytest

from adaptkit import AdaptkitError, Table
from adaptkit.labelling.label_file import LabelFile
from adaptkit.labelling.pool import Proposal
from adaptkit.tasks.classify import Classify

TABLE = Table([{"text": "grün, ja", "id": 7}, {"text": 'a "b"\nc', "id": 8}], "rows")


def test_labels_are_kept_and_rows_without_one_replaced(tmp_path):
    path = tmp_path / "l.jsonl"
    path.write_text('{"text": "old", "label": "a", "more": [1]}\n{"text": "new", "label": ""}\n')
    file = LabelFile(path, Classify())
    assert file.notes == [f"{path}: rows without a label are replaced: 1"]
    file.propose(TABLE, [Proposal(1, "a", 0.7)])
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [
        {"text": "old", "label": "a", "more": [1]},
        {"text": 'a "b"\nc', "id": 8, "label": "", "guess": "a"},
    ]


def test_a_table_for_a_spreadsheet(tmp_path):
    path = tmp_path / "l.csv"
    LabelFile(path, Classify()).propose(TABLE, [Proposal(0), Proposal(1)])
    assert path.read_bytes().decode("utf-8") == (
        'text,id,label\r\n"grün, ja",7,\r\n"a ""b""\nc",8,\r\n'
    )
    file = LabelFile(path, Classify())
    assert file.rows == []
    file.add(TABLE, Proposal(1), "good")
    file.add(TABLE, Proposal(0), "bad")
    assert [row["label"] for row in LabelFile(path, Classify()).rows] == ["good", "bad"]
    file.take_back()
    (row,) = LabelFile(path, Classify()).rows
    assert (row["text"], row["label"]) == ('a "b"\nc', "good")


def test_a_table_that_a_spreadsheet_wrote_is_read_and_written_plainly(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text("\ufefftext,id,label\ngr\u00fcn,1,good\n", "utf-8")
    file = LabelFile(path, Classify())
    assert file.rows == [{"text": "gr\u00fcn", "id": "1", "label": "good"}]
    file.add(TABLE, Proposal(0), "bad")
    text = 'text,id,label\r\ngr\u00fcn,1,good\r\n"gr\u00fcn, ja",7,bad\r\n'
    assert path.read_bytes() == text.encode()


def test_the_label_has_the_column_that_was_asked_for(tmp_path):
    path = tmp_path / "l.jsonl"
    LabelFile(path, Classify(columns={"label": "kind"})).add(TABLE, Proposal(0), "x")
    assert json.loads(path.read_text("utf-8")) == {"text": "grün, ja", "id": 7, "kind": "x"}


def test_other_files_are_refused(tmp_path):
    with pytest.raises(AdaptkitError, match=r"ends in \.jsonl or \.csv"):
        LabelFile(tmp_path / "l.txt", Classify())
    (tmp_path / "rows.csv").write_text("text\na\n")
    with pytest.raises(AdaptkitError, match="the file of the texts"):
        LabelFile(tmp_path / "rows.csv", Classify(), tmp_path / "rows.csv")
    (tmp_path / "empty.csv").write_text("")
    assert LabelFile(tmp_path / "empty.csv", Classify()).rows == []
