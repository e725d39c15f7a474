"""The drift of an adapter by a log: the tests of a `Watch`, row by row, and what has changed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.adapters.card import TaskCard, read_card, task_of
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, listed, quoted
from adaptkit.monitoring.log import read_log, version_of
from adaptkit.monitoring.reference import Reference, States, read_reference
from adaptkit.monitoring.rows import text_of
from adaptkit.monitoring.watch import ALPHA, Drift, Watch
from adaptkit.tasks.base import Task
from adaptkit.utils.terminal import format_table

LAST = 500  # rows that the second half of the tables is about
MOST = 10  # labels that are shown
KEY = (
    f"A p-value of {ALPHA} or less is a drift, however often one looks. higher: how often a late "
    "row's score is above that of a training row; 50 % without a drift."
)


@dataclass(frozen=True)
class Replayed:
    """What a log says of an adapter.

    first_alarm: how many rows there were until a test first saw a drift. rows: of this version.
    others: of other versions. labels: the share of each label, in the reference and late.
    confidence: the mean, in the reference and late; None if the task has none.
    """

    drifts: list[Drift]
    first_alarm: int | None
    rows: int
    others: int
    labels: dict[str, tuple[float, float]]
    confidence: tuple[float, float] | None

    def __str__(self) -> str:
        head = ("test", "rows", "p-value", "higher", "")
        lines = [
            (one.test, f"{one.rows:,}", _p(one.p_value), f"{one.higher:.0%}", _word(one))
            for one in self.drifts
        ]
        parts = [format_table([head, *lines]), KEY]
        moved = sorted(self.labels.items(), key=lambda one: -abs(one[1][1] - one[1][0]))[:MOST]
        if moved:
            rows = [(name, f"{then:.1%}", f"{now:.1%}") for name, (then, now) in moved]
            parts.append(format_table([("label", "before", f"last {LAST}"), *rows]))
        if self.confidence is not None:
            then, now = self.confidence
            parts.append(f"mean confidence: {then:.3f} before, {now:.3f} in the last {LAST}")
        parts.append(self.verdict)
        return "\n\n".join(parts)

    @property
    def verdict(self) -> str:
        """One sentence."""
        seen = [one.test for one in self.drifts if one.alarm]
        if seen:
            return f"drift: seen by {listed(seen)}, first after {self.first_alarm:,} rows"
        return f"no drift can be seen in {self.rows:,} rows"


def replay(
    folder: str | Path, log: str | Path, name: str | None = None, states: States | None = None
) -> Replayed:
    """The drift of an adapter by the rows of a log that its current version has answered.

    Args:
        name: of the adapter in the log, by default its folder's.
        states: what the base makes of texts, for rows whose state the log does not hold.

    Raises:
        AdaptkitError: the adapter keeps no reference, or the log has no rows of it.
    """
    folder = Path(folder)
    card, reference = _card(folder), read_reference(folder)
    if reference is None:
        raise AdaptkitError(
            f"{folder} keeps no reference to compare with: train it again, or --train_file FILE "
            "makes one of the rows that it was trained on."
        )
    name = name or folder.resolve().name
    rows = read_log(log, "answers", name)
    version = version_of(card.weights_sha256)
    own = [row for row in rows if row["version"] == version]
    if not own:
        known = sorted({row["adapter"] or "the base" for row in read_log(log, "answers")})
        raise AdaptkitError(
            f"{log} has no answer of this version of {quoted(name)} ({len(rows)} of other "
            f"versions); it has {f'answers of {listed(known)}' if known else 'no answers'}."
        )
    task = task_of(card)
    watch, first = Watch(reference), None
    found = _states(own, reference, task, states)
    for count, (row, state) in enumerate(zip(own, found, strict=True), 1):
        watch.add(state, row["number"], row["confidence"])
        if first is None and watch.alarm:
            first = count
    if not any(one.rows for one in watch.drifts()):
        raise AdaptkitError(
            f"nothing in {log} can be tested: its {len(own)} answers of {quoted(name)} have no "
            "labels or scores, their texts are not kept (--log_texts plain), and no states were "
            "logged while they were answered."
        )
    late = own[-LAST:]
    return Replayed(
        watch.drifts(),
        first,
        len(own),
        len(rows) - len(own),
        _labels(task, reference, late),
        _confidence(reference, late),
    )


def make_reference(folder: str | Path, table: Table, states: States) -> Reference:
    """A reference of an adapter without one, of the rows that it was trained on; it is saved.

    Raises:
        AdaptkitError: they are too few, or cannot be read.
    """
    task = task_of(_card(Path(folder)))
    found = Reference.make(task, task.read(table, labelled=False).rows, [], states)
    if found is None:
        raise AdaptkitError(f"{table.source} has too few rows for a reference.")
    found.save(Path(folder))
    return found


def _card(folder: Path) -> TaskCard:
    card = read_card(folder)
    if card is None or card.task is None:
        raise AdaptkitError(f"{folder} has no task in its card (task.json).")
    return card


def _states(
    rows: Sequence[dict[str, Any]], reference: Reference, task: Task, states: States | None
) -> list[np.ndarray | None]:
    """The logged states; if there are none, those of the logged texts."""
    logged = [None if row["state"] is None else np.array(row["state"], float) for row in rows]
    width = reference.directions.shape[1]
    logged = [state if state is not None and state.shape == (width,) else None for state in logged]
    kept = [index for index, row in enumerate(rows) if row["input"] is not None]
    if states is None or not kept or any(state is not None for state in logged):
        return logged
    parts = task.input_fields()
    texts = [text_of(json.loads(rows[index]["input"]), parts) for index in kept]
    for index, state in zip(kept, reference.project(states(texts)), strict=True):
        logged[index] = state
    return logged


def _labels(
    task: Task, reference: Reference, rows: Sequence[dict[str, Any]]
) -> dict[str, tuple[float, float]]:
    numbers = [int(row["number"]) for row in rows if row["number"] is not None]
    if task.name == "score" or not task.labels or not len(reference.numbers) or not numbers:
        return {}
    then, now = Counter(reference.numbers.astype(int).tolist()), Counter(numbers)
    return {
        label: (then[i] / then.total(), now[i] / now.total()) for i, label in enumerate(task.labels)
    }


def _confidence(reference: Reference, rows: Sequence[dict[str, Any]]) -> tuple[float, float] | None:
    now = [row["confidence"] for row in rows if row["confidence"] is not None]
    if not now or not len(reference.confidences):
        return None
    return float(reference.confidences.mean()), float(np.mean(now))


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _word(drift: Drift) -> str:
    return "drift" if drift.alarm else ""
