"""Label Studio's exports with spans, relations and choices in one project."""

import json

import pytest

from adaptkit import AdaptkitError, read_table
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.relate import Relate
from adaptkit.tasks.tag import Tag

TEXT = "Mara met Jonas"


def _span(name: str, start: int, end: int, label: str = "PER") -> dict:
    value = {"start": start, "end": end, "text": TEXT[start:end], "labels": [label]}
    return {"id": name, "type": "labels", "from_name": "who", "to_name": "text", "value": value}


CHOICE = {"type": "choices", "from_name": "mood", "to_name": "text", "value": {"choices": ["good"]}}
MET = {"type": "relation", "from_id": "a", "to_id": "b", "labels": ["met"]}


def _export(tmp_path, *results):
    tasks = [{"id": 1, "data": {"text": TEXT}, "annotations": [{"result": one}]} for one in results]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    return read_table(tmp_path / "export.json")


def test_a_task_with_a_choice_and_no_span_has_no_entity(tmp_path):
    table = _export(tmp_path, [_span("a", 0, 4), CHOICE], [CHOICE], [])
    rows = Tag().read(table).rows
    assert [len(row["entities"]) for row in rows] == [1, 0, 0]
    assert [row.get("label") for row in table.rows] == ["good", "good", None]


def test_relations_beside_a_choice_are_relations(tmp_path):
    both = [_span("a", 0, 4), _span("b", 9, 14), MET, CHOICE]
    table = _export(tmp_path, both, [CHOICE])
    found = Relate().read(table).rows
    assert [row["label"] for row in found] == ["met(e1,e2)"]


def test_a_project_of_choices_alone_has_no_entities(tmp_path):
    table = _export(tmp_path, [CHOICE], [CHOICE])
    assert "entities" not in table.columns
    assert [row["label"] for row in Classify().read(table).rows] == ["good", "good"]
    with pytest.raises(AdaptkitError, match="entities"):
        Tag().read(table)
