"""The versions of an adapter: a new one takes its place at once, and old ones can come back.

Earlier versions lie in `versions/1`, `versions/2`, ... inside the adapter's folder, one that was
taken back in `versions/2-taken-back`, and what was decided in `versions/history.jsonl`. Files that
a training does not write are the user's, and stay where they are.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adaptkit.adapters.card import CARD, CONFIG, WEIGHTS
from adaptkit.errors import AdaptkitError
from adaptkit.utils.atomic_files import exists_in, finish_replacing, make_folder, new_version
from adaptkit.utils.locks import locked
from adaptkit.utils.writing import writing

FOLDER, HISTORY, LOCK = "versions", "history.jsonl", "lock"
NEW = ".new-"  # begins the name of a folder where a version is trained
# What a training writes, of which another one may write only some.
WITH_TEXTS = {
    *("predictions_train.tsv", "predictions_validation.tsv", "predictions_test.tsv"),
    "confusions.tsv",
}
WRITTEN = WITH_TEXTS | {
    *(CONFIG, WEIGHTS, CARD, "README.md", "recipe.yaml", "all_results.json"),
    *("reference.safetensors", "attention.json"),
    *("per_label.tsv", "confusion.png", "reliability.png", "curves.png"),
}


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Refuse a second refresh of an adapter while one runs; sweep what a killed one has left.

    Raises:
        AdaptkitError: one runs already, or what is decided could not be written.
    """
    with writing(path := make_folder(folder / FOLDER) / HISTORY):
        open(path, "ab").close()
    with locked(folder / FOLDER / LOCK) as ours:
        if not ours:
            raise AdaptkitError(f"{folder} is being refreshed already.")
        for left in (folder / FOLDER).glob(f"{NEW}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def promote(folder: Path, new: Path) -> int:
    """Put the files of `new` in the place of an adapter's, all at once; the old ones are kept.

    Returns:
        The number of the version that was replaced.
    """
    finish_replacing(folder)
    number = last_number(folder) + 1
    _keep(folder, _names(new), folder / FOLDER / str(number))
    _replace(folder, new)
    return number


def roll_back(folder: Path) -> int:
    """Bring the last replaced version back, all at once; see `taken_back` for the current one.

    Returns:
        Its number.

    Raises:
        AdaptkitError: no version was replaced.
    """
    finish_replacing(folder)
    number = last_number(folder)
    if not number:
        raise AdaptkitError(f"{folder} has no earlier version to go back to.")
    old = folder / FOLDER / str(number)
    _keep(folder, _names(old), taken_back(folder, number))
    _replace(folder, old)
    with writing(old):
        gone = old.rename(old.with_name(f"{NEW}{number}"))
        shutil.rmtree(gone)
    return number


def taken_back(folder: Path, number: int) -> Path:
    """Where the version lies that was taken back when version `number` came again."""
    return folder / FOLDER / f"{number + 1}-taken-back"


def note(folder: Path, **what: Any) -> None:
    """Add a line to the history."""
    row = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **what}
    path = make_folder(folder / FOLDER) / HISTORY
    with writing(path), open(path, "ab+") as file:
        if file.tell():  # the last line may be cut
            file.seek(-1, os.SEEK_END)
            file.write(b"\n" * (file.read() != b"\n"))
        file.write(json.dumps(row).encode() + b"\n")


def history(folder: Path) -> list[dict[str, Any]]:
    """All that was decided, oldest first."""
    path = folder / FOLDER / HISTORY
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().split(b"\n"):
        with suppress(ValueError):  # one may be cut
            found.append(json.loads(line))
    return [row for row in found if isinstance(row, dict)]


def last_number(folder: Path) -> int:
    """The number of the version that was replaced last; 0 if none was."""
    return max(
        (
            int(path.name)
            for path in (folder / FOLDER).glob("*")
            if path.name.isdigit() and exists_in(path, CONFIG)
        ),
        default=0,
    )


def _keep(folder: Path, names: set[str], at: Path) -> None:
    """Copy the version that serves; names: of the files of the one that takes its place."""
    with new_version(at) as staged:
        for name in _names(folder) & (names | WRITTEN):
            shutil.copy2(folder / name, staged / name)


def _replace(folder: Path, by: Path) -> None:
    names = _names(by)
    with new_version(folder, without=sorted((_names(folder) & WRITTEN) - names)) as staged:
        for name in names:
            shutil.copy2(by / name, staged / name)


def _names(folder: Path) -> set[str]:
    """Of the files; folders are checkpoints, a made base, and versions."""
    return {path.name for path in folder.iterdir() if path.is_file() and path.name[0] != "."}
