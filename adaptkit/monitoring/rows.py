"""What is watched of a row and its answer: one text, and two numbers."""

from __future__ import annotations

from typing import Any

from adaptkit.host.answers import Answer, Entities, Label, Labels, Score, Span, Text, Written
from adaptkit.tasks.base import Task


def text_of(given: Any, parts: list[str] | None = None) -> str:
    """All texts in a row, a text, a conversation, or a list of words.

    parts: the parts of a row that count, in their order; default: all.
    """
    if isinstance(given, dict):
        return "\n".join(text for part in parts or given if (text := text_of(given.get(part, ""))))
    if isinstance(given, (list, tuple)):
        return " ".join(map(text_of, given))
    return given if isinstance(given, str) else ""


def characters(value: Any) -> int:
    """Of all texts in a value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(characters(one) for one in value.values())
    return sum(map(characters, value)) if isinstance(value, (list, tuple)) else 0


def numbers_of(task: Task | None, answer: Answer | Written) -> tuple[float | None, float | None]:
    """What an answer is as a number, and how sure it is; None for what it does not say.

    A label is its index, entities are counted, a text has its length in words.
    """
    labels = {label: index for index, label in enumerate(task.labels if task else ())}
    if isinstance(answer, Label):
        return labels.get(answer.likeliest or answer.label), answer.score
    if isinstance(answer, Labels):
        likeliest = max(answer.scores, key=answer.scores.__getitem__, default="")
        return labels.get(likeliest), answer.scores.get(likeliest)
    if isinstance(answer, Score):
        return answer.score, None
    if isinstance(answer, Entities):
        return len(answer.entities), None
    if isinstance(answer, Span):
        return len(answer.text.split()), answer.score
    if isinstance(answer, (Text, Written)):
        return len(answer.text.split()), None
    return None, None
