"""The versions of an adapter: a new one takes its place at once, and old ones can come back.

Earlier versions lie in `versions/1`, `versions/2`, ... inside the adapter's folder, and what was
decided in `versions/history.jsonl`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adaptkit.adapters.card import CONFIG
from adaptkit.errors import AdaptkitError
from adaptkit.utils.atomic_files import exists_in, finish_replacing, make_folder, new_version
from adaptkit.utils.locks import locked
from adaptkit.utils.writing import writing

FOLDER, HISTORY, LOCK = "versions", "history.jsonl", "lock"
NEW = ".new-"  # begins the name of a folder where a version is trained


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Refuse a second refresh of an adapter while one runs; sweep what a killed one has left.

    Raises:
        AdaptkitError: one runs already.
    """
    make_folder(folder / FOLDER)
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
    _keep(folder, folder / FOLDER / str(number))
    _replace(folder, new)
    return number


def roll_back(folder: Path) -> int:
    """Bring the last replaced version back, all at once; the current one is dropped.

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
    _replace(folder, old)
    with writing(old):
        gone = old.rename(old.with_name(f"{NEW}{number}"))
        shutil.rmtree(gone)
    return number


def note(folder: Path, **what: Any) -> None:
    """Add a line to the history."""
    row = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **what}
    path = make_folder(folder / FOLDER) / HISTORY
    with writing(path), open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def history(folder: Path) -> list[dict[str, Any]]:
    """All that was decided, oldest first."""
    path = folder / FOLDER / HISTORY
    if not path.exists():
        return []
    found = []
    for line in path.read_text("utf-8").splitlines():
        with suppress(ValueError):  # the last may be cut
            found.append(json.loads(line))
    return found


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


def _keep(folder: Path, at: Path) -> None:
    with new_version(at) as staged:
        for file in _files(folder):
            shutil.copy2(file, staged / file.name)


def _replace(folder: Path, by: Path) -> None:
    names = {file.name for file in _files(by)}
    gone = [file.name for file in _files(folder) if file.name not in names]
    with new_version(folder, without=gone) as staged:
        for file in _files(by):
            shutil.copy2(file, staged / file.name)


def _files(folder: Path) -> list[Path]:
    """The files of a version; folders are checkpoints, a made base, and versions."""
    return sorted(
        path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")
    )
