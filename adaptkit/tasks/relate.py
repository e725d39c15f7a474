"""Relation classification: the relation between two marked entities of a text, with direction."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from adaptkit.data.tables import Table
from adaptkit.data.texts import normalize_text, text_at
from adaptkit.errors import AdaptkitError, quoted
from adaptkit.metrics.row_scores import RowScores
from adaptkit.tasks.base import Task
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.flags import flag
from adaptkit.tasks.labels.read import read_labels
from adaptkit.tasks.registry import register_task

# Typed punctuation around the entities, from tokens that the base already knows (Zhou and Chen
# 2021, "An Improved Baseline for Sentence-level Relation Extraction"): new tokens would need new
# rows in a frozen embedding.
MARKS = {"head": ("@ ", " @"), "tail": ("# ", " #")}


@register_task
@dataclass(frozen=True)
class Relate(Classify):
    """One of n relations between the entities `head` and `tail` of a text.

    (e1,e2) and (e2,e1) are two labels. no_relation: the label that the official score of
    SemEval-2010 task 8 leaves out.
    """

    no_relation: str = flag("Other", "the label that f1_semeval leaves out")

    name = "relate"
    parts = {"text": "text", "head": "head", "tail": "tail", "label": "label"}
    embedded = {"label": "relation"}
    not_flags = (
        "multi_label",
        "label_delimiter",
        "threshold",
        "threshold_per_label",
        "label_names",
        "label_columns",
    )
    column_helps = {
        "head": "column of the first entity: a span or its text (default: head)",
        "tail": "column of the second entity (default: tail)",
        "label": "column of the relation (default: label)",
    }
    how_split = Task.how_split
    best_metric = "f1"
    counted_by = ("multi_label", "no_relation")
    reported = ("f1_semeval", "f1", "accuracy", "majority_baseline", "precision", "recall")
    changeable = ()

    def read(self, table: Table, labelled: bool = True) -> Table:
        if (
            "relations" in table.columns
            and "entities" in table.columns
            and self.column("head") not in table.columns
        ):
            table = _pairs(table, self.column("label") or "label")
        parts = ("text", "head", "tail", *(self.label_parts if labelled else ()))
        for part in parts:
            table.need(self.column(part) or part, f"{part}_column")
        rows = []
        for index, given in enumerate(table.rows):
            text = text_at(table, index, given, self.column("text") or "text")
            spans = {
                part: _span(table, index, given.get(self.column(part) or part), text, part)
                for part in ("head", "tail")
            }
            row = {"plain": text, **spans, "text": mark(text, **spans)}
            if row["text"] is None:
                raise table.bad(index, "head and tail overlap.")
            rows.append(row)
        if not labelled:
            return table.with_rows(rows)
        labels, notes = read_labels(self, table)
        found = [row | {"label": label} for row, label in zip(rows, labels, strict=True)]
        return dataclasses.replace(table.with_rows(found), notes=notes)

    def row_scores(self, answers, table: Table) -> RowScores:
        from adaptkit.metrics.relations import relation_f1, relations_of

        relations = relations_of(self.labels, self.no_relation)

        def official(predictions, references, *_: Any) -> dict[str, float]:
            return {"f1_semeval": relation_f1(predictions, references, *relations)}

        plain = super().row_scores(answers, table)
        return plain.beside(RowScores(plain.parts, official))

    def split(self, table: Table, seed: int, share: float) -> tuple[Table, Table]:
        """Split by whole texts, which may hold several relations."""
        return Task.split(self, table, seed, share)

    def groups(self, table: Table) -> list[str]:
        return [normalize_text(row["plain"]) for row in table.rows]


def mark(text: str, head: dict[str, int], tail: dict[str, int]) -> str | None:
    """The text with marks around both entities, or None if they overlap."""
    if head["start"] < tail["end"] and tail["start"] < head["end"]:
        return None
    for part, span in sorted((("head", head), ("tail", tail)), key=lambda item: -item[1]["start"]):
        opening, closing = MARKS[part]
        start, end = span["start"], span["end"]
        text = f"{text[:start]}{opening}{text[start:end]}{closing}{text[end:]}"
    return text


def _span(table: Table, index: int, value: Any, text: str, part: str) -> dict[str, int]:
    """A span from {"start", "end"}, from [start, end], or from its text if that occurs once."""
    if isinstance(value, str):
        if text.count(value) != 1 or not value:
            raise table.bad(
                index,
                f"the {part} {quoted(value)} occurs {text.count(value)} times in the text; "
                "give its place.",
            )
        return {"start": text.index(value), "end": text.index(value) + len(value)}
    if isinstance(value, list) and len(value) == 2:
        value = dict(zip(("start", "end"), value, strict=True))
    try:
        start, end = int(value["start"]), int(value["end"])
    except (TypeError, KeyError, ValueError, OverflowError):
        raise table.bad(
            index,
            f'the {part} is {quoted(value)}; expected {{"start": ..., "end": ...}} or its text.',
        ) from None
    if not 0 <= start < end <= len(text):
        raise table.bad(
            index, f"the {part} reaches from {start} to {end}, the text has {len(text)} characters."
        )
    return {"start": start, "end": end}


def _pairs(table: Table, label_column: str) -> Table:
    """One row per relation, from rows with `entities` and `relations`.

    `relations`: {"head", "tail": entity indices, "label"}. The entity that comes first in the text
        is
    the head, and the label gives the direction: `costs(e2,e1)`.
    """
    rows, lines = [], []
    for index, row in enumerate(table.rows):
        for relation in row.get("relations") or []:
            try:
                numbers = [int(relation[side]) for side in ("head", "tail")]
                one, two = (row["entities"][number] for number in numbers if number >= 0)
                forward, kind = one["start"] <= two["start"], relation["label"]
            except (IndexError, KeyError, TypeError, ValueError, OverflowError):
                raise table.bad(
                    index, f"the relation {relation} names no label and two of the row's entities."
                ) from None
            first, second = (one, two) if forward else (two, one)
            label = f"{kind}({'e1,e2' if forward else 'e2,e1'})"
            rows.append(
                {"text": row.get("text"), "head": first, "tail": second, label_column: label}
            )
            lines.append(table.lines[index] if table.lines else index)
    if not rows:
        raise AdaptkitError(f"{table.source}: no row holds a relation.")
    return Table(rows, table.source, lines)
