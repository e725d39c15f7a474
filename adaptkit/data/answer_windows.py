"""Questions with their contexts in windows, and answers as tokens of these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adaptkit.data.alignment import (
    Offsets,
    encode_windows,
    held_characters,
    held_part,
    tokens_of,
)
from adaptkit.data.tables import Table
from adaptkit.data.texts import visible_part
from adaptkit.errors import AdaptkitError


def held_answers(table: Table, columns: dict[str, list]) -> list[tuple[int, int] | None]:
    """The first answer of each row, from its first to its last character that tokens hold.

    Raises:
        AdaptkitError: the tokenizer drops every visible character of an answer.
    """
    held = held_characters(columns, [row["context"] for row in table.rows])

    def span(index: int, row: dict[str, Any]) -> tuple[int, int] | None:
        if not row["answers"]:
            return None
        text, start = row["answers"][0]["text"], row["answers"][0]["start"]
        part = held_part(held[index], *visible_part(row["context"], start, start + len(text)))
        part = visible_part(row["context"], *part)
        if part[0] == part[1]:
            raise table.bad(
                index,
                f"the tokenizer keeps no visible character of the answer {text!r}, so it cannot "
                "be found. Correct the answer, or take a base whose tokenizer knows its script.",
            )
        return part

    return table.each(span)


def target_tokens(span: tuple[int, int] | None, offsets: Offsets, nothing: int) -> list[int]:
    """First and last token of an answer that is complete in this window, else of no answer."""
    if span is None:
        return [nothing, nothing]
    start, end = span
    inside = [i for i, (one, two) in enumerate(offsets) if one >= 0 and one < end and start < two]
    whole = inside and offsets[inside[0]][0] <= start and offsets[inside[-1]][1] >= end
    return [inside[0], inside[-1]] if whole else [nothing, nothing]


def windows_of(
    table: Table,
    pairs: list[tuple[str, str]],
    rows: list[int],
    tokenizer: Any,
    max_length: int,
    stride: int,
) -> Iterator[dict[str, Any]]:
    """The windows of some rows; neighbours share `stride` tokens."""

    def bad(index: int, problem: str) -> AdaptkitError:
        return table.bad(rows[index], problem)

    encoded = encode_windows(tokenizer, [pairs[row] for row in rows], max_length, stride, bad)
    for window, owner in enumerate(encoded["_row"]):
        yield {**{name: encoded[name][window] for name in encoded}, "_row": rows[owner]}


def shorten(question: str, tokenizer: Any, tokens: int) -> str:
    """A question truncated to this many tokens."""
    ids, offsets = tokens_of(tokenizer, question)
    return question[: offsets[tokens - 1][1]] if len(ids) > tokens else question
