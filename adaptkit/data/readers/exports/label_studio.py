"""Label Studio's exports, JSON and JSON-MIN. Source: labelstud.io/guide/export"""

from __future__ import annotations

from typing import Any

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, listed

Places = list[dict[str, Any]]


def wrote(row: dict[str, Any]) -> bool:
    """True for a task with its data and annotations (JSON), or with an annotation id (JSON-MIN)."""
    whole = isinstance(row.get("data"), dict) and isinstance(_annotations(row), list)
    return whole or {"annotation_id", "annotator", "lead_time"} <= row.keys()


def convert(table: Table) -> Table:
    """Rows of the tasks' data, with `entities`, `relations` and `label` from their annotations.

    Of several annotations of a task, the first that was not cancelled counts.
    """
    if isinstance(table.rows[0].get("data"), dict):
        return _from_json(table)
    rows = table.each(lambda index, row: _from_min(table, index, row))
    return Table(rows, table.source, table.lines, [*table.notes, _note(table)])


def _note(table: Table) -> str:
    return f"{table.source} is an export of Label Studio"


def _annotations(row: dict[str, Any]) -> Any:
    return row.get("annotations", row.get("completions"))


def _from_json(table: Table) -> Table:
    kept, rows, several = [], [], 0
    for index, row in enumerate(table.rows):
        done = [
            one
            for one in _annotations(row) or []
            if isinstance(one, dict) and not one.get("was_cancelled")
        ]
        if done:
            several += len(done) > 1
            kept.append(index)
            rows.append(_row(table, index, row.get("data"), done[0].get("result")))
    if not rows:
        raise AdaptkitError(f"{table.source}: no task of this Label Studio export is annotated.")
    notes = [*table.notes, _note(table)]
    if left := len(table) - len(rows):
        notes.append(f"{left} tasks without an annotation are left out")
    if several:
        notes.append(f"{several} tasks have several annotations: the first of each is read")
    lines = table.take(kept).lines
    return Table(rows, table.source, lines or [f"task {index}" for index in kept], notes)


def _row(table: Table, index: int, data: Any, result: Any) -> dict[str, Any]:
    try:
        row = {name: value for name, value in data.items() if name != "label"}
        return _with_text(row, result) | _marked(result) | _chosen(result)
    except (KeyError, TypeError, AttributeError, IndexError) as problem:
        raise table.bad(
            index, f"not as Label Studio writes it: {type(problem).__name__} {problem}."
        ) from None


def _with_text(row: dict[str, Any], result: list) -> dict[str, Any]:
    """The data with a column `text`: what was annotated, whatever its name."""
    names = {item.get("to_name") for item in result}
    strings = [name for name, value in row.items() if isinstance(value, str)]
    if "text" in row or len(strings) != 1 or not names:
        return row
    return {**row, "text": row[strings[0]]}


def _marked(result: list) -> dict[str, Any]:
    """`entities` and `relations` of an annotation; nothing if its result is of choices only."""
    places: dict[str, int] = {}
    entities: Places = []
    for item in result:
        if item.get("type") in ("labels", "hypertextlabels"):
            value = item["value"]
            places[item.get("id", str(len(places)))] = len(entities)
            entities.append(_place(value))
    relations = [
        {
            "head": places[item["from_id"]],
            "tail": places[item["to_id"]],
            "label": (item.get("labels") or ["related"])[0],
        }
        for item in result
        if item.get("type") == "relation"
    ]
    if not entities and any(item.get("type") == "choices" for item in result):
        return {}
    return {"entities": entities} | ({"relations": relations} if relations else {})


def _chosen(result: list) -> dict[str, Any]:
    """The chosen labels, under the name of their control; `label` if there is one control."""
    found = {}
    for item in result:
        if item.get("type") == "choices":
            names = item["value"]["choices"]
            found[str(item.get("from_name"))] = names[0] if len(names) == 1 else names
    return found | ({"label": next(iter(found.values()))} if len(found) == 1 else {})


def _place(value: dict[str, Any]) -> dict[str, Any]:
    found = {"start": value["start"], "end": value["end"], "label": value["labels"][0]}
    return found | ({"text": value["text"]} if isinstance(value.get("text"), str) else {})


def _from_min(table: Table, index: int, row: dict[str, Any]) -> dict[str, Any]:
    """A row of JSON-MIN: a control's column holds places, choices or one choice."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, list) and value and isinstance(value[0], dict) and "start" in value[0]:
            try:
                found["entities"] = [_place(one) for one in value]
            except (KeyError, TypeError, IndexError):
                raise table.bad(
                    index, f"column {name!r} holds no places of labels: {listed(value, 1)}."
                ) from None
        elif isinstance(value, dict) and isinstance(value.get("choices"), list):
            found[name] = value["choices"]
        else:
            found[name] = value
    return found
