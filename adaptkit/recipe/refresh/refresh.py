"""Adapt an adapter anew from its training rows and feedback; promote it if it has become better."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adaptkit.adapters.card import TaskCard, read_card, task_of
from adaptkit.adapters.files import read_adapter
from adaptkit.data.readers.options import Reading
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, check_exists, escaped
from adaptkit.inference.compare import Comparison, compare
from adaptkit.inference.training_file import read_alike
from adaptkit.monitoring.feedback import training_rows
from adaptkit.monitoring.log import read_log
from adaptkit.recipe.main import recipe
from adaptkit.recipe.parser import as_words
from adaptkit.recipe.refresh.versions import (
    FOLDER,
    NEW,
    WITH_TEXTS,
    history,
    last_number,
    note,
    one_at_a_time,
    promote,
)
from adaptkit.recipe.report import RECIPE
from adaptkit.tasks.base import Task
from adaptkit.utils.atomic_files import without_parts
from adaptkit.utils.processes import log_main

SEED = 42  # of Trainer's defaults
FEWEST = 10  # rows of feedback
DECIDE = 50  # test rows; with fewer of them little can be seen
VERSION = "the new version"  # what a comparison calls it
# Flags of the first training that say where its rows were, or that make several adapters.
NOT_AGAIN = {
    *("train_file", "validation_file", "test_file", "dataset_name", "dataset_config_name"),
    *("format", "encoding", "column_names", "folds", "seeds"),
    *("max_train_samples", "max_predict_samples", "test_split_percentage"),
}


@dataclass(frozen=True)
class Refreshed:
    """What became of a refresh.

    promoted: the new version serves now. replaced: the number of the old one, if it does.
    compared: both on the test rows, by the adapter's name and `VERSION`.
    """

    promoted: bool
    why: str
    feedback: int
    compared: Comparison
    replaced: int | None = None


def refresh(
    folder: str | Path,
    log: str | Path,
    *,
    name: str | None = None,
    train_file: str | None = None,
    test_file: str | None = None,
    repeat: int = 1,
) -> Refreshed:
    """Train with feedback, compare with the old version on locked test rows, promote or keep.

    Promoted is what is better: 0 lies below the 95 % interval of the paired bootstrap and p is at
    most 0.05, see `adaptkit.inference.compare`. The test rows are never trained on, so feedback
    that is wrong, or was given to do harm, cannot promote what it has made. Feedback on a text that
    is a training row counts instead of that row. Reports with texts are not kept, which may be of
    a log that only few may read.

    Args:
        log: of `adaptkit serve --log`.
        name: of the adapter in the log, by default its folder's.
        train_file, test_file: by default those of the adapter's training. The test file should hold
            rows like those that are asked now.
        repeat: how often each row of feedback is trained on for a training row.

    Raises:
        AdaptkitError: a file is missing, there is too little feedback, or a refresh runs already.
    """
    folder = Path(folder)
    card, flags = _card(folder), _flags(folder)
    task = task_of(card)
    train, test = train_file or flags.get("train_file"), test_file or flags.get("test_file")
    for flag, file, what in (
        ("train_file", train, "the rows that it was trained on"),
        ("test_file", test, "labelled rows that no version is trained on"),
    ):
        if file is None:
            raise AdaptkitError(f"{folder} does not name {what}: give --{flag}.")
        check_exists(without_parts(file)[0])
    reading = Reading(
        flags.get("format"), column_names=tuple(flags.get("column_names") or ()) or None
    )
    tests = read_alike(str(test), card, reading, flags.get("encoding"))
    with one_at_a_time(folder):
        feedback = _feedback(task, log, name or folder.resolve().name, tests)
        rows = list(feedback.values())
        table = _few(read_alike(str(train), card, reading, flags.get("encoding")), flags)
        table = _without(task, _unlocked(task, table, tests), set(feedback))
        _say_of_tests(folder, tests)
        with tempfile.TemporaryDirectory(dir=folder / FOLDER, prefix=NEW) as place:
            files = {"train_file": _write(task, [*table.rows, *rows * repeat], place, "train")}
            if file := flags.get("validation_file"):
                judged = read_alike(file, card, reading, flags.get("encoding"))
                judged = _without(task, judged, set(feedback))
                files["validation_file"] = _write(task, judged.rows, place, "validation")
            new = _train(task, flags, files, Path(place) / folder.resolve().name)
            compared = _compare(folder, new, tests)
            better, why = compared.better == VERSION, str(compared)
            number = promote(folder, _own(new, folder, why, len(rows))) if better else None
        note(
            folder,
            promoted=better,
            why=why,
            feedback=len(rows),
            test_rows=len(tests),
            test_digest=_digest(tests),
            replaced=number,
        )
    return Refreshed(better, why, len(rows), compared, number)


def check_last(folder: Path) -> None:
    """Refuse to go back to a version that cannot be loaded.

    Raises:
        AdaptkitError: a file of it is missing or damaged.
    """
    if not (number := last_number(folder)):
        return
    try:
        read_adapter(folder / FOLDER / str(number)).tensors()
    except AdaptkitError as problem:
        raise AdaptkitError(
            f"version {number} is not whole, so the one that serves stays: {problem}"
        ) from None


def _card(folder: Path) -> TaskCard:
    card = read_card(folder) if folder.is_dir() else None
    if card is None or card.task is None:
        raise AdaptkitError(f"{folder} is no adapter with a task.")
    return card


def _flags(folder: Path) -> dict[str, Any]:
    """The flags of the adapter's training."""
    path = folder / RECIPE
    if not path.is_file():
        raise AdaptkitError(
            f"{folder} does not say how it was trained (no {RECIPE}): train it once with this "
            "version of adaptkit."
        )
    return yaml.safe_load(path.read_text("utf-8")) or {}


def _feedback(task: Task, log: str | Path, name: str, tests: Table) -> dict[str, dict[str, Any]]:
    """Training rows of the feedback by `task.key`, without those whose text is a test row's."""
    given = read_log(log, "feedback", name)
    rows, notes = training_rows(task, given, read_log(log, "answers", name))
    locked = _keys(task, tests)
    kept = {key: row for key, row in rows.items() if key not in locked}
    if len(kept) < len(rows):
        notes.append(
            f"{len(rows) - len(kept)} rows of feedback are test rows, and left out; a version that "
            "has learned from them looks better than it is"
        )
    for one in notes:
        log_main(f"note: {one}")
    if len(kept) < FEWEST:
        raise AdaptkitError(
            f"{log} has {len(kept)} rows of feedback for {name} that can be learned from; "
            f"{FEWEST} are the fewest."
        )
    return kept


def _unlocked(task: Task, train: Table, tests: Table) -> Table:
    """The training rows without those that are test rows, too.

    Raises:
        AdaptkitError: none is left.
    """
    task.read(train)  # whose labels must be readable, too
    kept = _without(task, train, _keys(task, tests))
    if lost := len(train) - len(kept):
        log_main(
            f"note: {lost} of {len(train)} training rows are test rows, and left out; the old "
            "version may have been trained on them, and looks better than it is"
        )
    if not kept:
        raise AdaptkitError(f"all rows of {train.source} are test rows: nothing is left to train.")
    return kept


def _without(task: Task, table: Table, keys: set[str]) -> Table:
    """The rows without those that have one of the keys."""
    rows = [row for row in table.rows if keys.isdisjoint(_keys(task, Table([row], table.source)))]
    return Table(rows, table.source)


def _few(train: Table, flags: dict[str, Any]) -> Table:
    """As many training rows as the first training used; feedback comes on top."""
    most = flags.get("max_train_samples")
    return Splits(train).at_most({"train": most}, flags.get("seed", SEED)).train


def _keys(task: Task, table: Table) -> set[str]:
    """What tells rows apart: their texts. A row of a file may be several (the pairs of a text)."""
    return {task.key(row) for row in task.read(table, labelled=False).rows}


def _write(task: Task, rows: list[dict[str, Any]], place: str, name: str) -> str:
    """A file of rows with the columns that the task reads."""
    file = Path(place) / f"{name}.jsonl"
    chosen = [{column: row.get(column) for column in task.wanted()} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in chosen), "utf-8")
    return str(file)


def _train(task: Task, flags: dict[str, Any], files: dict[str, str], new: Path) -> Path:
    """Train as before with other files; returns the new version's folder."""
    kept = {name: value for name, value in flags.items() if name not in NOT_AGAIN}
    recipe(task.name, as_words(kept | files | {"output_dir": str(new)}), None)
    return new


def _compare(folder: Path, new: Path, tests: Table) -> Comparison:
    """Both versions on the test rows, under names that tell them apart."""
    [found] = compare([folder, new], tests)
    return dataclasses.replace(found, first=folder.resolve().name, second=VERSION)


def _own(new: Path, folder: Path, why: str, feedback: int) -> Path:
    """The new version with the old one's flags and place: it is refreshed from the same files."""
    for name in WITH_TEXTS:
        (new / name).unlink(missing_ok=True)
    (new / RECIPE).write_bytes((folder / RECIPE).read_bytes())
    about = (new / "README.md").read_text("utf-8").replace(str(new), str(folder))
    about += (
        f"\n## Refreshed\n\nTrained with {feedback} rows of feedback besides the training rows of "
        f"`{RECIPE}`. It took the place of an earlier version because {escaped(why)}.\n"
    )
    (new / "README.md").write_text(about, "utf-8")
    return new


def _say_of_tests(folder: Path, tests: Table) -> None:
    """Say so if the test rows are few, or not those of the last refresh, which do not compare."""
    if len(tests) < DECIDE:
        log_main(f"warning: {len(tests)} test rows show only large differences; give {DECIDE}")
    past = history(folder)
    last = next((row for row in reversed(past) if "test_digest" in row), None)
    if last is not None and last["test_digest"] != _digest(tests):
        log_main("note: the test rows are not those of the last refresh")


def _digest(table: Table) -> str:
    content = json.dumps(table.rows, sort_keys=True, default=str)
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:16]
