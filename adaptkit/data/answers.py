"""Answers as parts of a context: read all common formats and check their places."""

from __future__ import annotations

from typing import Any

from adaptkit.data.tables import Table
from adaptkit.errors import quoted


def read_answers(
    table: Table, index: int, value: Any, context: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """The answers of a row with their places, and the texts of those without one.

    They come as [{"text", "start"}], as a single one, or as {"text": [...], "answer_start": [...]}.
    An answer without a start, or with -1 as in CMRC, gets its place if the context holds it once.

    Raises:
        AdaptkitError: a start is given, and the answer is not there.
    """
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        starts = value.get("answer_start", value.get("start", [-1] * len(value["text"])))
        if not isinstance(starts, list) or len(starts) != len(value["text"]):
            raise table.bad(
                index,
                f"answers have {len(value['text'])} texts and not as many starts: "
                f"{str(value)[:80]}.",
            )
        value = [
            {"text": text, "start": start}
            for text, start in zip(value["text"], starts, strict=True)
        ]
    found, unplaced = [], []
    for answer in [value] if isinstance(value, dict) else value or []:
        try:
            text, start = answer["text"], answer.get("start", answer.get("answer_start"))
            start = -1 if start is None else int(start)
            once = text != "" and context.count(text) == 1
        except (TypeError, KeyError, ValueError, AttributeError):
            raise table.bad(
                index,
                f'answers should be [{{"text": ..., "start": ...}}]; one is {quoted(answer)}.',
            ) from None
        if start == -1 and text:
            if not once:
                unplaced.append(text)
                continue
            start = context.index(text)
        if context[start : start + len(text)] != text or not text:
            there = context[max(0, start) : start + len(text)]
            near = context.find(text) if text else -1
            hint = f" It is at {near}." if near >= 0 else " It is nowhere in the context."
            raise table.bad(
                index,
                f"the answer {quoted(text)} is not at character {start}: there is "
                f"{quoted(there)}.{hint}",
            )
        found.append({"text": text, "start": start})
    return found, unplaced
