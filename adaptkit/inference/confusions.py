"""How often each label is mistaken for which other, with the most confident mistake of each."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from adaptkit.data.tables import Table
from adaptkit.tasks.base import Task
from adaptkit.utils.terminal import format_table

SHOWN = 70  # characters per example


def confusions(task: Task, answers: list[dict[str, Any]], table: Table) -> list[dict[str, Any]]:
    """One row per pair of reference and different answer, the most frequent pair first.

    Each row has the count, and the score, location and text of the most confident of these
    mistakes.

    Args:
        answers: one per row of the table, from a task that gives each row one label.
    """
    mistakes: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, (answer, row) in enumerate(zip(answers, table.rows, strict=True)):
        if (reference := task.reference_text(row)) != (answered := task.answer_text(answer)):
            mistakes[reference, answered].append(index)
    found = []
    for (reference, answered), indexes in sorted(
        mistakes.items(), key=lambda one: (-len(one[1]), one[0])
    ):
        surest = max(indexes, key=lambda index: answers[index]["score"])
        text = " ".join(task.text(table.rows[surest]).split())
        example = {
            "score": float(answers[surest]["score"]),
            "where": table.where(surest),
            "text": text,
        }
        found.append({"gold": reference, "answer": answered, "count": len(indexes), **example})
    return found


def show(found: list[dict[str, Any]], most: int, rows: int) -> str:
    """The most frequent confusions as a table for a terminal; `rows`: number of answered rows."""
    wrong = sum(one["count"] for one in found)
    lines = [("gold", "answer", "count", "surest", "example")]
    for one in found[:most]:
        text = one["text"] if len(one["text"]) <= SHOWN else f"{one['text'][: SHOWN - 1]}…"
        lines.append(
            (
                one["gold"],
                one["answer"],
                str(one["count"]),
                f"{one['score']:.3f}",
                f"{one['where']}  {text}",
            )
        )
    head = (
        f"{wrong} of {rows} answers are wrong; {len(found)} kind{'s' * (len(found) != 1)} of "
        "mistakes"
    )
    return f"{head}\n{format_table(lines)}" if found else head
