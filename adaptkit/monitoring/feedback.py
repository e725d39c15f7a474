"""What people say an answer should have been, checked and as training rows."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted, unknown
from adaptkit.tasks.base import Task
from adaptkit.tasks.classify import Classify

FARTHEST = 100  # spreads of the training's numbers
LEARNS = "classify, decide, relate, score, answer and tasks that write texts"


def label_part(task: Task) -> str:
    """The part of a row that feedback gives.

    Raises:
        AdaptkitError: the task learns from no such part.
    """
    if task.name in ("tag", "embed", "prefer") or len(task.label_parts) != 1:
        raise AdaptkitError(f"{task.name} does not learn from feedback so far; {LEARNS} do.")
    return task.label_parts[0]


def check_correct(task: Task, value: Any) -> Any:
    """What feedback says is right, if the task could say it.

    Raises:
        AdaptkitError: it could not; names the closest label.
    """
    label_part(task)
    if isinstance(task, Classify):
        if task.multi_label != isinstance(value, list):
            form = "a list of labels" if task.multi_label else "one label"
            raise AdaptkitError(f"{task.name} answers with {form}; it got {quoted(value)}.")
        for label in value if isinstance(value, list) else [value]:
            if label not in task.labels:
                raise unknown("label", str(label), task.labels)
        return value
    if task.name == "score":
        if type(value) not in (int, float) or not math.isfinite(value):
            raise AdaptkitError(f"score answers with a number; it got {quoted(value)}.")
        mean, spread = getattr(task, "mean", 0.0), getattr(task, "spread", 1.0)
        if abs(value - mean) > FARTHEST * max(spread, abs(mean), 1):
            raise AdaptkitError(f"{value:g} is far from every number that it was trained on.")
        return float(value)
    if not isinstance(value, str) or not value.strip():
        raise AdaptkitError(f"{task.name} answers with a text; it got {quoted(value)}.")
    if any("\ud800" <= sign <= "\udfff" for sign in value):
        raise AdaptkitError("the text that was right has half a character in it.")
    return value


def training_rows(
    task: Task, feedback: Sequence[dict[str, Any]], answers: Sequence[dict[str, Any]]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Training rows of logged feedback by `task.key`, and notes on what is left out.

    The last word on an input counts.

    Args:
        answers: the logged answers, which hold the inputs of feedback that only names an answer.
    """
    part = label_part(task)
    inputs = {row["id"]: row["input"] for row in answers}
    found: dict[str, dict[str, Any]] = {}
    without = wrong = 0
    for given in feedback:
        if (kept := given["input"] or inputs.get(given["id"])) is None:
            without += 1
            continue
        try:
            value = check_correct(task, json.loads(given["correct"] or "null"))
            parts = parts_of(task, json.loads(kept))
            row = _labelled(task, parts | {part: value}, value)
            key = task.key(task.read(Table([row], "feedback")).rows[0])
        except (AdaptkitError, ValueError):
            wrong += 1
            continue
        found.pop(key, None)
        found[key] = row
    notes = [
        f"{count} of {len(feedback)} rows of feedback are left out: {why}"
        for count, why in (
            (without, "their texts are not in the log (--log_texts plain keeps them)"),
            (wrong, "they do not fit the task"),
        )
        if count
    ]
    return found, notes


def _labelled(task: Task, parts: dict[str, Any], value: Any) -> dict[str, Any]:
    """A row as the training file has it.

    Raises:
        AdaptkitError: an extractive answer does not stand in its context.
    """
    if task.name == "answer":
        start = str(parts["context"]).find(value)
        if start < 0:
            raise AdaptkitError(f"{quoted(value)} does not stand in its context.")
        parts = parts | {"answers": [{"text": value, "start": start}]}
    row = {task.column(name) or name: one for name, one in parts.items()}
    return row | {name: int(name in value) for name in getattr(task, "label_columns", None) or ()}


def parts_of(task: Task, given: Any) -> dict[str, Any]:
    """An input as parts of a row.

    Raises:
        AdaptkitError: it is no input of the task.
    """
    asked = task.input_fields()
    parts = given if isinstance(given, dict) else {asked[0]: given} if asked else {}
    if not set(asked) <= set(parts) <= set(task.parts):
        raise AdaptkitError(f"{task.name} asks for {' and '.join(asked)}; it got {quoted(given)}.")
    row = {task.column(name) or name: value for name, value in parts.items()}
    task.read(Table([row], "the input"), labelled=False)
    return parts
