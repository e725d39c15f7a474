"""Checks of the labels in rows: rare, odd or contradictory ones, and the majority baseline.

`--check` prints all of them, and training prints the warnings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adaptkit.data.labels import is_whole
from adaptkit.data.readers.decoding import is_number
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.data.texts import normalize_text
from adaptkit.errors import quoted, shorten
from adaptkit.tasks.base import Task
from adaptkit.tasks.finding import Finding

if TYPE_CHECKING:
    from adaptkit.tasks.classify import Classify

RARE = 5
MOST_WARNINGS = 12

DELIMITERS = ("|", ";", ",")

NOTHING = {"n/a", "na", "nan", "none", "null", "nil", "-", "--", "?", "#n/a"}


def labels_of(row: dict[str, Any]) -> list[str]:
    """The labels of a row, which has one or a list of them."""
    label = row["label"]
    return label if isinstance(label, list) else [label]


def label_findings(task: Classify, splits: Splits) -> list[Finding]:
    """What `--check` says about the labels of the training rows."""
    train = splits.train
    counts = Counter(name for row in train.rows for name in labels_of(row))
    shown = ", ".join(f"{shorten(label)} {counts[label]}" for label in task.labels[:12])
    more = ", ..." if len(task.labels) > 12 else ""
    found = [
        Finding("good", f"{len(task.labels)} labels in {len(train)} training rows: {shown}{more}")
    ]
    warnings = [*odd_labels(task.labels), *joined_labels(task), *_contradictions(task, train)]
    if rare := [label for label in task.labels if counts[label] < RARE]:
        listed = ", ".join(map(shorten, rare[:10]))
        warnings.insert(0, f"{len(rare)} labels have fewer than {RARE} training rows: {listed}")
    found += [Finding("warn", text) for text in warnings[:MOST_WARNINGS]]
    if len(warnings) > MOST_WARNINGS:
        found.append(Finding("warn", f"and {len(warnings) - MOST_WARNINGS} more of this kind"))
    guess, share = majority(task, train)
    always = f"always answering {quoted(guess) if guess else 'no label'}"
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
    places = f"{table.where(here)} ({shorten(one)}) and {table.where(there)} ({shorten(other)})"
    return [f"{len(found)} texts have different labels in different rows, as {places}"]


def odd_labels(labels: list[str]) -> list[str]:
    """Messages about suspicious label names.

    Equal but for case, blanks or zeros behind the point; missing values; whole numbers beside
    fractions; what a terminal does not print.
    """
    found = [
        f"the labels {names} differ in nothing but case or blanks"
        for names in _twins(labels, normalize_text)
    ]
    numbers = [label for label in labels if is_number(label) and label.casefold() not in NOTHING]
    found += [f"the labels {names} are one number" for names in _twins(numbers, float)]
    fractions = [label for label in numbers if not is_whole(label)]
    if len(numbers) == len(labels) and 0 < len(fractions) < len(numbers):
        found.append(
            f"labels are whole numbers beside fractions, as {fractions[0]}: is this the column of "
            "the labels? adaptkit train score learns numbers"
        )
    if odd := [label for label in labels if not label.isprintable()]:
        found.append(f"the label {quoted(odd[0])} holds characters that are not printed")
    return found + [
        f"the label {quoted(label)} may stand for a missing one"
        for label in labels
        if label.casefold() in NOTHING
    ]


def _twins(labels: list[str], key: Callable[[str], Any]) -> list[str]:
    """The labels that are equal by `key`, each group as a list for a message."""
    same: dict[Any, list[str]] = {}
    for label in labels:
        same.setdefault(key(label), []).append(label)
    return [", ".join(map(quoted, names[:5])) for names in same.values() if names[1:]]


def joined_labels(task: Classify) -> list[str]:
    """A message about labels that look like several, joined by a delimiter.

    A bar joins labels; a semicolon or comma does if all that it joins occurs in other labels too,
    or, with `multi_label`, if some of it is a label.
    """
    if "multi_label" in task.not_flags:
        return []
    for mark in DELIMITERS:
        if task.multi_label and mark == task.label_delimiter:
            continue
        parts = {label: [part.strip() for part in label.split(mark)] for label in task.labels}
        counts = Counter(part for several in parts.values() for part in several)
        joined = [
            label
            for label, several in parts.items()
            if len(several) > 1
            and (
                mark == "|"
                or all(counts[part] > 1 for part in several)
                or (task.multi_label and any(part in parts for part in several))
            )
        ]
        if joined:
            flags = "" if task.multi_label else " --multi_label"
            flags += "" if mark == "|" and not task.multi_label else f" --label_delimiter '{mark}'"
            return [
                f"{len(joined)} of {len(task.labels)} labels hold {mark!r}, as "
                f"{quoted(joined[0])}: if they are several labels each, give{flags}"
            ]
    return []


def majority(task: Task, table: Table) -> tuple[str, float]:
    """The most frequent reference and its share, which is the accuracy of always predicting it."""
    answer, count = Counter(task.reference_text(row) for row in table.rows).most_common(1)[0]
    return answer, count / len(table)
