"""What people say an answer should have been, checked and as training rows."""

from __future__ import annotations

import json
import math
from collections import Counter
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
        labels = value if isinstance(value, list) else [value]
        for label in labels:
            if label not in task.labels:
                raise unknown("label", str(label), task.labels)
        if len(set(labels)) < len(labels):
            raise AdaptkitError(f"a label is named twice in {quoted(value)}.")
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
    inputs = {row["id"]: row["input"] for row in answers}
    found: dict[str, dict[str, Any]] = {}
    left_out: Counter[str] = Counter()
    for given in feedback:
        if given["input"] is None and given["id"] not in inputs:
            left_out["the log does not have their answers"] += 1
            continue
        if (kept := given["input"] or inputs[given["id"]]) is None:
            left_out["their texts are not in the log (--log_texts plain keeps them)"] += 1
            continue
        try:
            value = json.loads(given["correct"] or "null")
            key, row = training_row(task, json.loads(kept), value)
        except (AdaptkitError, ValueError):
            left_out["they do not fit the task"] += 1
            continue
        if found.pop(key, None) is not None:
            left_out["later ones are about the same input"] += 1
        found[key] = row
    of = f"of {len(feedback)} rows of feedback are left out"
    return found, [f"{count} {of}: {why}" for why, count in left_out.items()]


def training_row(task: Task, given: Any, value: Any) -> tuple[str, dict[str, Any]]:
    """An input and what was right about it as a row of a training file, and its `task.key`.

    Raises:
        AdaptkitError: the task could not learn from it.
    """
    part = label_part(task)
    value = check_correct(task, value)
    row = _labelled(task, parts_of(task, given) | {part: value}, value)
    return task.key(task.read(Table([row], "feedback")).rows[0]), row


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
