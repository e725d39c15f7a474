"""doccano's JSONL exports with relations. Source: doccano.github.io/doccano

Its other rows, {"text", "label": [[0, 5, "person"]]} and {"text", "label": ["good"]}, are read as
they are.
"""

from __future__ import annotations

from typing import Any

from adaptkit.data.tables import Table


def wrote(row: dict[str, Any]) -> bool:
    """True for a row of entities with offsets and numbers."""
    entities = row.get("entities")
    return (
        isinstance(entities, list)
        and "relations" in row
        and all(isinstance(one, dict) and "start_offset" in one for one in entities)
    )


def convert(table: Table, labelled: bool) -> Table:
    """Rows of `text`, `entities` and `relations` by the number of the entity."""
    rows = table.each(lambda index, row: _row(table, index, row))
    note = f"{table.source} is an export of doccano"
    return Table(rows, table.source, table.lines, [*table.notes, note])


def _row(table: Table, index: int, row: dict[str, Any]) -> dict[str, Any]:
    try:
        entities = [
            {"start": one["start_offset"], "end": one["end_offset"], "label": one["label"]}
            for one in row["entities"]
        ]
        numbers = {one["id"]: number for number, one in enumerate(row["entities"])}
        relations = [
            {"head": numbers[one["from_id"]], "tail": numbers[one["to_id"]], "label": one["type"]}
            for one in row["relations"]
        ]
    except (KeyError, TypeError) as problem:
        raise table.bad(
            index, f"not as doccano writes it: {type(problem).__name__} {problem}."
        ) from None
    return {**row, "entities": entities, "relations": relations}
