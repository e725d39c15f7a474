"""Rows of annotation tools that are not as the tool writes them are refused with their place."""

import json

import pytest

from tests.helpers.files import refused, write

PRODIGY = {"text": "a", "_input_hash": 1, "_task_hash": 1, "answer": "accept"}
STUDIO = {"data": {"text": "a"}, "annotations": [{"result": [{"type": "labels", "value": 3}]}]}
DOCCANO = {"text": "a", "entities": [{"id": 1, "start_offset": 0}], "relations": []}


@pytest.mark.parametrize(
    "row, message",
    [
        ({**PRODIGY, "spans": [{"start": 0}]}, r"a\.jsonl:1: a span has no start, end and label"),
        ({**PRODIGY, "answer": "reject"}, "no row of this Prodigy export is accepted"),
        (STUDIO, "not as Label Studio writes it: TypeError"),
        ({"data": {"text": "a"}, "annotations": []}, "no task of this Label Studio export is ann"),
        (DOCCANO, r"a\.jsonl:1: not as doccano writes it: KeyError"),
    ],
)
def test_an_odd_row_is_refused(tmp_path, row, message):
    refused(write(tmp_path / "a.jsonl", json.dumps(row)), message)
