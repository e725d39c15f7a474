"""Checks of the labels in rows: rare, odd or contradictory ones, and the majority baseline."""

from __future__ import annotations

from collections import Counter
from typing import Any

from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.data.texts import normalize_text
from adaptkit.tasks.base import Task
from adaptkit.tasks.finding import Finding

RARE = 5

NOTHING = {"n/a", "na", "nan", "none", "null", "nil", "-", "--", "?", "#n/a"}


def labels_of(row: dict[str, Any]) -> list[str]:
    """The labels of a row, which has one or a list of them."""
    label = row["label"]
    return label if isinstance(label, list) else [label]


def label_findings(task: Task, splits: Splits) -> list[Finding]:
    """What `--check` says about the labels of the training rows."""
    train = splits.train
    counts = Counter(name for row in train.rows for name in labels_of(row))
    shown = ", ".join(f"{label} {counts[label]}" for label in task.labels[:12])
    more = ", ..." if len(task.labels) > 12 else ""
    found = [
        Finding("good", f"{len(task.labels)} labels in {len(train)} training rows: {shown}{more}")
    ]
    warnings = [*odd_labels(task.labels), *_contradictions(task, train)]
    if rare := [label for label in task.labels if counts[label] < RARE]:
        listed = ", ".join(rare[:10])
        warnings.insert(0, f"{len(rare)} labels have fewer than {RARE} training rows: {listed}")
    found += [Finding("warn", text) for text in warnings]
    guess, share = majority(task, train)
    always = f"always answering {repr(guess) if guess else 'no label'}"
    severity = "warn" if share > 0.8 else "good"
    return [*found, Finding(severity, f"{always} would be right on {share:.1%} of them")]


def _contradictions(task: Task, table: Table) -> list[str]:
    """The number of texts that occur with different labels, and where the first one is."""
    rows: dict[str, dict[str, int]] = {}
    for index, row in enumerate(table.rows):
        rows.setdefault(task.key(row), {}).setdefault(task.reference_text(row), index)
    found = [list(by_label.items()) for by_label in rows.values() if len(by_label) > 1]
    if not found:
        return []
    (one, here), (other, there) = found[0][:2]
    places = f"{table.where(here)} ({one}) and {table.where(there)} ({other})"
    return [f"{len(found)} texts have different labels in different rows, as {places}"]


def odd_labels(labels: list[str]) -> list[str]:
    """Messages about suspicious label names: equal but for case or blanks, or missing values."""
    same: dict[str, list[str]] = {}
    for label in labels:
        same.setdefault(normalize_text(label), []).append(label)
    found = [
        f"the labels {', '.join(map(repr, names))} differ in nothing but case or blanks"
        for names in same.values()
        if names[1:]
    ]
    return found + [
        f"the label {label!r} may stand for a missing one"
        for label in labels
        if label.casefold() in NOTHING
    ]


def majority(task: Task, table: Table) -> tuple[str, float]:
    """The most frequent reference and its share, which is the accuracy of always predicting it."""
    answer, count = Counter(task.reference_text(row) for row in table.rows).most_common(1)[0]
    return answer, count / len(table)
