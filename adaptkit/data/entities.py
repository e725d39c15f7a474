"""Entities as character spans and as tags of units: read all common formats and convert.

A unit carries one tag: a word given by the data, or a word, a punctuation mark or a Chinese
character of a plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import regex

from adaptkit.data.labels import NotALabelError, settle, settled_notes, spell
from adaptkit.data.tables import Table
from adaptkit.data.texts import MARKS, visible_part
from adaptkit.errors import quoted
from adaptkit.metrics.iob import chunks
from adaptkit.metrics.scripts import UNSPACED

# Marks and joiners continue a unit; invisible characters alone are none.
_UNITS = regex.compile(
    rf"(?:[{UNSPACED}]|[^\W{UNSPACED}](?:[^\W{UNSPACED}]|[{MARKS}])*"
    rf"|[^\w\s\p{{Default_Ignorable_Code_Point}}]|_)[{MARKS}]*"
)

_UNSPACED = re.compile(rf"[{UNSPACED}]")

_SIDES = ("start", "end")  # doccano calls them start_offset and end_offset
Entity = dict[str, Any]  # {"start", "end", "label"}: characters, end exclusive


def units_of(text: str) -> list[tuple[int, int]]:
    """The positions of a plain text's units."""
    return [match.span() for match in _UNITS.finditer(text)]


def join_tokens(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The text of these tokens, and the position of each, without blanks around it.

    Blanks separate them, except between two unspaced characters.
    """
    text, places = "", []
    for token in tokens:
        if text and not (_UNSPACED.match(text[-1]) and _UNSPACED.match(token[:1])):
            text += " "
        first, last = len(text), len(text) + len(token)
        text += token
        places.append(trimmed(text, first, last))
    return text, places


def entities_from_tags(tags: Sequence[str], places: Sequence[tuple[int, int]]) -> list[Entity]:
    """Convert tags of units to character spans."""
    return [
        {"start": places[one][0], "end": places[last][1], "label": kind}
        for one, last, kind in chunks(tags)
    ]


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The visible part of a span, or all of it if nothing in it is visible."""
    one, two = visible_part(text, start, end)
    return (one, two) if one < two else (start, end)


def tags_from_entities(entities: Iterable[Entity], places: Sequence[tuple[int, int]]) -> list[str]:
    """Convert entities to BIO tags of units.

    An entity includes every unit that it touches; of overlapping entities the longest is kept.
    """
    tags = ["O"] * len(places)
    for entity in sorted(entities, key=lambda e: (e["start"] - e["end"], e["start"])):
        inside = [
            i
            for i, (start, end) in enumerate(places)
            if start < entity["end"] and entity["start"] < end
        ]
        if inside and all(tags[i] == "O" for i in inside):
            for i in inside:
                tags[i] = f"{'B' if i == inside[0] else 'I'}-{entity['label']}"
    return tags


def read_entities(
    table: Table, index: int, text: str, value: Any, span_end: str | None
) -> list[Entity]:
    """The entities of a row, from any of three formats.

    [{"start", "end", "label"}], [[start, end, label]] or {label: {surface: [[start, end]]}}.

    Args:
        span_end: exclusive or inclusive; None: detected if the data give the surface, else
            exclusive.

    Raises:
        AdaptkitError: a span is outside the text, or does not hold the surface given with it.
    """
    found = []
    for start, end, label, surface in _listed(table, index, value):
        inclusive = span_end == "inclusive"
        if surface is not None and span_end is None:
            inclusive = text[start:end] != surface and text[start : end + 1] == surface
        end += inclusive
        if not 0 <= start < end <= len(text):
            hint = " Are the ends inclusive (--span_end inclusive)?" if start == end else ""
            raise table.bad(
                index,
                f"an entity reaches from {start} to {end}, the text has {len(text)} "
                f"characters.{hint}",
            )
        if surface is not None and text[start:end] != surface:
            raise table.bad(
                index,
                f"the entity {surface!r} is not at {start}: the text there is {text[start:end]!r}.",
            )
        start, end = visible_part(text, start, end)
        if start == end:
            raise table.bad(
                index, f"an entity {label!r} holds blanks or invisible characters only."
            )
        found.append({"start": start, "end": end, "label": label})
    return found


def _listed(table: Table, index: int, value: Any) -> Iterable[tuple[int, int, str, str | None]]:
    """(start, end, label, surface or None) of each entity, in any of the formats."""
    try:
        if isinstance(value, dict):
            for label, surfaces in value.items():
                for surface, spans in surfaces.items():
                    yield from (
                        (int(start), int(end), spell(label), surface) for start, end in spans
                    )
            return
        for item in value:
            if isinstance(item, dict):
                label = item["label"] if "label" in item else item["type"]
                start, end = (
                    item[side] if side in item else item[f"{side}_offset"] for side in _SIDES
                )
                if not label:
                    raise ValueError("an entity has no label")
                yield (
                    int(start),
                    int(end),
                    spell(label),
                    item.get("text", item.get("word")),
                )
            else:
                start, end, label = item
                yield int(start), int(end), spell(label), None
    except (TypeError, KeyError, ValueError, AttributeError) as problem:
        raise table.bad(
            index,
            'entities should be [{"start": 0, "end": 5, "label": "person"}]; they are '
            f"{quoted(value)} ({_reason(problem)}).",
        ) from None


def _reason(problem: Exception) -> str:
    return f"a label {problem}" if isinstance(problem, NotALabelError) else quoted(str(problem))


def name_labels(rows: Iterable[dict[str, Any]], known: Sequence[str]) -> list[str]:
    """Give the entities of rows one name for each label, in place; notes on those with several.

    known: the labels of a trained task.
    """
    entities = [entity for row in rows for entity in row["entities"]]
    names = settle((entity["label"] for entity in entities), known)
    for entity in entities:
        entity["label"] = names[entity["label"]]
    return settled_notes(names)


def overlapping(entities: Sequence[Entity]) -> int:
    """How many entities overlap an earlier one."""
    ordered = sorted(entities, key=lambda e: (e["start"], -e["end"]))
    return sum(
        any(before["end"] > entity["start"] for before in ordered[:i])
        for i, entity in enumerate(ordered)
    )
