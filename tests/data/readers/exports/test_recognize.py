"""Rows of annotation tools that are not as the tool writes them are refused with their place."""

import json

import pytest

from adaptkit import Reading
from adaptkit.data.readers.read import read
from tests.helpers.files import refused, write

PRODIGY = {"text": "a", "_input_hash": 1, "_task_hash": 1, "answer": "accept"}
STUDIO = {"data": {"text": "a"}, "annotations": [{"result": [{"type": "labels", "value": 3}]}]}
DOCCANO = {"text": "a", "entities": [{"id": 1, "start_offset": 0}], "relations": []}


@pytest.mark.parametrize(
    "row, message",
    [
        ({**PRODIGY, "spans": [{"start": 0}]}, r"a\.jsonl:1: a span has no start, end and label"),
        ({**PRODIGY, "options": [], "accept": None}, r"a\.jsonl:1: 'accept' is no list"),
        ({**PRODIGY, "spans": [], "relations": [3]}, r"a\.jsonl:1: a relation is 3"),
        ({**PRODIGY, "answer": "reject"}, "no row of this Prodigy export is accepted"),
        (STUDIO, "not as Label Studio writes it: TypeError"),
        ({"data": {"text": "a"}, "annotations": []}, "no task of this Label Studio export is ann"),
        (DOCCANO, r"a\.jsonl:1: not as doccano writes it: KeyError"),
    ],
)
def test_an_odd_row_is_refused(tmp_path, row, message):
    refused(write(tmp_path / "a.jsonl", json.dumps(row)), message)


def test_rows_to_be_answered_are_all_there(tmp_path):
    rejected = {**PRODIGY, "answer": "reject", "tokens": [{"text": "a"}]}
    path = write(tmp_path / "a.jsonl", f"{json.dumps(PRODIGY)}\n{json.dumps(rejected)}\n")
    assert read(path, Reading(labelled=False)).rows == [{"text": "a"}, {"text": "a"}]
    tasks = [{"data": {"review": "a"}, "annotations": []}, {"data": {"review": "b"}}]
    path = write(tmp_path / "b.json", json.dumps(tasks))
    assert [row["text"] for row in read(path, Reading(labelled=False)).rows] == ["a", "b"]
    path = write(tmp_path / "c.csv", "Sentence #,Word\nSentence: 1,It\n,hums\nSentence: 2,No\n")
    asked = Reading(wanted=("text", "entities", "tokens", "tags"), labelled=False)
    assert read(path, asked).rows == [{"tokens": ["It", "hums"]}, {"tokens": ["No"]}]
