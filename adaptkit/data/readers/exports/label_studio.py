"""Label Studio's exports, JSON and JSON-MIN. Source: labelstud.io/guide/export"""

from __future__ import annotations

from typing import Any

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError

Places = list[dict[str, Any]]


def wrote(row: dict[str, Any]) -> bool:
    """True for a task with its data and annotations (JSON), or with an annotation id (JSON-MIN)."""
    whole = isinstance(row.get("data"), dict) and isinstance(_annotations(row), list)
    return whole or {"annotation_id", "annotator", "lead_time"} <= row.keys()


def convert(table: Table, labelled: bool) -> Table:
    """Rows of the tasks' data, with `entities`, `relations` and `label` from their annotations.

    Of several annotations of a task, the first that was not cancelled counts.
    """
    if isinstance(table.rows[0].get("data"), dict):
        return _from_json(table) if labelled else _unlabelled(table)
    marked = {name for row in table.rows for name, value in row.items() if _are_places(value)}
    rows = table.each(lambda index, row: _from_min(table, index, row, marked))
    return Table(rows, table.source, table.lines, [*table.notes, _note(table)])


def _unlabelled(table: Table) -> Table:
    return table.with_rows([_with_text(dict(row.get("data") or {})) for row in table.rows])


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
    for name in ("entities", "relations"):
        if any(name in row for row in rows):  # a task with nothing marked may have choices
            rows = [{name: []} | row for row in rows]
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
        return _with_text(row) | _marked(result) | _chosen(result)
    except (KeyError, TypeError, AttributeError, IndexError) as problem:
        raise table.bad(
            index, f"not as Label Studio writes it: {type(problem).__name__} {problem}."
        ) from None


def _with_text(row: dict[str, Any]) -> dict[str, Any]:
    """The data with a column `text`, if one text is all that could be annotated."""
    texts = [value for value in row.values() if isinstance(value, str)]
    return row if "text" in row or len(texts) != 1 else {**row, "text": texts[0]}


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


def _are_places(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _from_min(table: Table, index: int, row: dict[str, Any], marked: set[str]) -> dict[str, Any]:
    """A row of JSON-MIN: a control's column holds places, choices or one choice.

    marked: the columns of places in any row. They are missing where nothing was marked.
    """
    found: dict[str, Any] = {
        name: value["choices"] if isinstance(value, dict) and "choices" in value else value
        for name, value in row.items()
        if name not in marked
    }
    try:
        places = [_place(one) for name in sorted(marked) for one in row.get(name) or []]
    except (KeyError, TypeError, IndexError) as problem:
        raise table.bad(
            index, f"not as Label Studio writes it: {type(problem).__name__} {problem}."
        ) from None
    return found | ({"entities": places} if marked else {})
