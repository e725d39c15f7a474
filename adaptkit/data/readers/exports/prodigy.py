"""Prodigy's exports (`prodigy db-out`). Source: prodi.gy/docs/api-interfaces

`answer` is accept, reject or ignore: only accepted rows are right as they stand.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted


def wrote(row: dict[str, Any]) -> bool:
    """True for a row with Prodigy's hashes, or with its answer beside what was annotated."""
    annotated = {"spans", "options", "label", "relations"} & row.keys()
    return "_task_hash" in row or (
        bool(annotated) and row.get("answer") in ("accept", "reject", "ignore")
    )


def convert(table: Table, labelled: bool) -> Table:
    """Rows of `text` with `entities` and `relations`, or `label`, of the accepted answers."""
    if not labelled:
        return table.with_rows([{"text": row.get("text")} for row in table.rows])
    kept, left = [], Counter[str]()
    for index, row in enumerate(table.rows):
        if (answer := row.get("answer", "accept")) == "accept":
            kept.append(index)
        else:
            left[str(answer)] += 1
    if not kept:
        raise AdaptkitError(f"{table.source}: no row of this Prodigy export is accepted.")
    accepted = table.take(kept)
    for index, row in enumerate(accepted.rows):
        for name in ("spans", "relations", "accept"):
            if not isinstance(row.get(name, []), list):
                raise accepted.bad(index, f"{name!r} is no list, as Prodigy writes it.")
    several = any(len(row.get("accept", ())) > 1 for row in accepted.rows)
    rows = [_row(accepted, index, row, several) for index, row in enumerate(accepted.rows)]
    notes = [*table.notes, f"{table.source} is an export of Prodigy: read are its accepted rows"]
    if left:
        counts = ", ".join(f"{count} {answer}" for answer, count in left.items())
        notes.append(f"{left.total()} rows that were not accepted are left out ({counts})")
    return Table(rows, table.source, accepted.lines, notes)


def _row(table: Table, index: int, row: dict[str, Any], several: bool) -> dict[str, Any]:
    found: dict[str, Any] = {name: row[name] for name in ("text", "label", "meta") if name in row}
    if "spans" in row:
        found["entities"] = [_place(table, index, span) for span in row["spans"]]
    if "relations" in row:
        _relate(table, index, row["relations"], found)
    if "options" in row and "accept" in row:
        chosen = [str(name) for name in row["accept"]]
        found["label"] = chosen if several or len(chosen) != 1 else chosen[0]
    return found


def _relate(table: Table, index: int, relations: list, found: dict[str, Any]) -> None:
    """Add `relations` between `entities`, and the entities that only a relation names."""
    entities = found.setdefault("entities", [])
    found["relations"] = []
    for relation in relations:
        numbers = []
        if not isinstance(relation, dict):
            raise table.bad(index, f"a relation is {quoted(relation)}.")
        for side in ("head_span", "child_span"):
            place = _place(table, index, relation.get(side))
            if place not in entities:
                entities.append(place)
            numbers.append(entities.index(place))
        found["relations"].append(
            {"head": numbers[0], "tail": numbers[1], "label": relation.get("label")}
        )


def _place(table: Table, index: int, span: Any) -> dict[str, Any]:
    try:
        return {"start": span["start"], "end": span["end"], "label": span["label"]}
    except (KeyError, TypeError):
        raise table.bad(index, f"a span has no start, end and label: {str(span)[:80]}.") from None
