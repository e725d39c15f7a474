"""The log of a service: answers and feedback, in a journal that becomes a parquet file a day.

A day's rows are appended to `answers-2027-01-31-XXXX.jsonl` (and `feedback-...`), a line each. What
`write` was given survives a kill of the process. When the day or the service ends, the journal
becomes `answers-2027-01-31-XXXX.parquet`; one that a killed service has left does so when the next
starts. Several services may write to one folder.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adaptkit.errors import AdaptkitError, nearest_beside
from adaptkit.monitoring.journal import Journal, Kind, close_journals, names_of, read_rows
from adaptkit.utils.atomic_files import make_folder, sweep
from adaptkit.utils.terminal import say
from adaptkit.utils.writing import writing

JSON = ("answer", "correct")  # columns that are written as JSON, besides the input
VERSION = 12  # signs of a version's name
KEY = "key"  # of the digests; who has it can try texts
SHORTEST = 32  # signs of a key


class LogWriter:
    """Appends rows to the log of a folder. Thread-safe.

    Args:
        folder: created if missing, readable by its owner only.
        plain: keep texts as they are; else only a digest of each, with a key of the folder.

    Raises:
        AdaptkitError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, plain: bool):
        self.folder, self.plain = make_folder(folder, private=True), plain
        with writing(self.folder):
            self._key = _key(self.folder)
        self._lock = threading.Lock()
        self._journals: dict[Kind, Journal] = {}
        self._ending: list[threading.Thread] = []
        sweep(self.folder)
        close_journals(self.folder)

    def write(
        self, kind: Kind, rows: Sequence[dict[str, Any]], now: datetime | None = None
    ) -> None:
        """Append rows, with the time and what may be kept of their `input`."""
        now = now or datetime.now(UTC)
        kept = [{"time": now.isoformat(timespec="milliseconds"), **self._kept(row)} for row in rows]
        with self._lock, writing(self.folder):
            self._journal(kind, f"{now:%Y-%m-%d}").append(kept)

    def _kept(self, row: dict[str, Any]) -> dict[str, Any]:
        values = {name: row[name] for name in JSON if row.get(name) is not None}
        if not self.plain:
            values = {name: without_texts(value) for name, value in values.items()}
        kept = {**row, **{name: as_json(value) for name, value in values.items()}}
        if row["input"] is None:
            return kept
        ordered = json.dumps(row["input"], sort_keys=True)
        digest = hmac.new(self._key, ordered.encode(), hashlib.sha256).hexdigest()[:32]
        return {**kept, "input": as_json(row["input"]) if self.plain else None, "digest": digest}

    def _journal(self, kind: Kind, day: str) -> Journal:
        found = self._journals.get(kind)
        if found is None or found.day != day or found.deleted:
            make_folder(self.folder, private=True)
            self._journals[kind] = Journal.begin(self.folder, kind, day)
            if found is not None:  # no row waits for the parquet file of a whole day
                self._ending.append(threading.Thread(target=_end, args=(found,)))
                self._ending[-1].start()
        return self._journals[kind]

    def close(self) -> None:
        """Make parquet files of the journals."""
        with self._lock, writing(self.folder):
            for thread in self._ending:
                thread.join()
            while self._journals:
                self._journals.popitem()[1].close()


def _end(journal: Journal) -> None:
    """Make a parquet file of a journal; one that cannot be is read as it is."""
    try:
        journal.close()
    except (AdaptkitError, OSError) as problem:
        say(f"warning: {journal.path} did not become a parquet file: {problem}")


def version_of(weights: str | None) -> str | None:
    """How a log names a version of an adapter: the first signs of its weights' digest.

    >>> version_of("0123456789abcdef")
    '0123456789ab'
    """
    return weights[:VERSION] if weights else None


def as_json(value: Any) -> str:
    """A value as JSON that can be written: halves of surrogate pairs stay escaped.

    >>> as_json({"text": "größer"}), as_json("\\ud800")
    ('{"text": "größer"}', '"\\\\ud800"')
    """
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def without_texts(value: Any) -> Any:
    """An answer without the texts in it.

    >>> without_texts({"entities": [{"label": "place", "text": "Lagos", "start": 3}]})
    {'entities': [{'label': 'place', 'start': 3}]}
    """
    if isinstance(value, dict):
        return {key: without_texts(one) for key, one in value.items() if key != "text"}
    return [without_texts(one) for one in value] if isinstance(value, list) else value


def read_log(folder: str | Path, kind: Kind, adapter: str | None = None) -> list[dict[str, Any]]:
    """The rows of a log in the order of their times, of one adapter or of all.

    Raises:
        AdaptkitError: there is no such folder, or a file of it cannot be read.
    """
    folder, rows = Path(folder), []
    if folder.is_file():
        raise AdaptkitError(f"{folder} is a file; a log is the folder of adaptkit serve --log.")
    if not folder.is_dir():
        raise AdaptkitError(f"there is no folder {folder}.{nearest_beside(folder)}")
    for name in names_of(folder, kind):
        rows += [row for row in read_rows(folder, name) if adapter in (None, row["adapter"])]
    return sorted(rows, key=lambda row: row["time"])


def _key(folder: Path) -> bytes:
    """The key of a folder's digests, made when it is first needed."""
    path = folder / KEY
    if not path.exists():
        new = folder / f".{KEY}-{secrets.token_hex(4)}"
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32))
            with suppress(FileExistsError):  # another service was first
                os.link(new, path)
        finally:
            new.unlink()
    found = path.read_bytes()
    if len(found) < SHORTEST:
        raise AdaptkitError(f"{path} is no key of a log: take it away, and a new one is made.")
    return found
