"""The log of a service: answers and feedback, in a journal that becomes a parquet file a day.

A day's rows are appended to `answers-2027-01-31-XXXX.jsonl` (and `feedback-...`), a line each. What
`write` was given survives a kill of the process. When the day or the service ends, the journal
becomes `answers-2027-01-31-XXXX.parquet`; one that a killed service has left does so when the next
starts. Several services may write to one folder.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from adaptkit.errors import AdaptkitError, nearest_beside
from adaptkit.utils.atomic_files import make_folder, new_file, sweep
from adaptkit.utils.locks import locked
from adaptkit.utils.writing import writing

Kind = Literal["answers", "feedback"]
NAME = re.compile(r"(answers|feedback)-(\d{4}-\d\d-\d\d)-(\w+)\.(jsonl|parquet)")
JSON = ("answer", "correct")  # columns that are written as JSON, besides the input
VERSION = 12  # signs of a version's name
KEY = "key"  # of the digests; who has it can try texts
SHORTEST = 32  # signs of a key
COLUMNS = {
    "time": "string",  # UTC, ISO 8601
    "id": "string",
    "adapter": "string",
    "version": "string",
    "task": "string",
    "input": "string",  # JSON
    "digest": "string",
    "answer": "string",  # JSON
    "number": "float64",
    "confidence": "float64",
    "state": "list<float>",
    "correct": "string",  # JSON
}


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
        self._journals: dict[Kind, _Journal] = {}
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
        given = as_json(row["input"])
        digest = hmac.new(self._key, given.encode(), hashlib.sha256).hexdigest()[:32]
        return {**kept, "input": given if self.plain else None, "digest": digest}

    def _journal(self, kind: Kind, day: str) -> _Journal:
        found = self._journals.get(kind)
        if found is None or found.day != day or found.deleted:
            if found is not None:
                found.close()
            make_folder(self.folder, private=True)
            found = self._journals[kind] = _Journal.begin(self.folder, kind, day)
        return found

    def close(self) -> None:
        """Make parquet files of the journals."""
        with self._lock, writing(self.folder):
            while self._journals:
                self._journals.popitem()[1].close()


@dataclass
class _Journal:
    """The journal of one writer, kind and day, locked while it is open."""

    path: Path
    day: str
    file: Any
    held: ExitStack

    @classmethod
    def begin(cls, folder: Path, kind: Kind, day: str) -> _Journal:
        path = folder / f"{kind}-{day}-{secrets.token_hex(4)}.jsonl"
        held = ExitStack()
        held.enter_context(locked(path))
        return cls(path, day, held.enter_context(open(path, "ab", buffering=0)), held)

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """All of these rows, or none.

        Raises:
            OSError: they cannot be written, as on a full disk.
        """
        lines = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        before = os.fstat(self.file.fileno()).st_size
        try:
            if self.file.write(lines) != len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(self.file.fileno(), before)
            raise

    @property
    def deleted(self) -> bool:
        """Its file was deleted, as with its folder."""
        return not os.fstat(self.file.fileno()).st_nlink

    def close(self) -> None:
        if not self.deleted:
            _to_parquet(self.path)
        self.held.close()


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


def close_journals(folder: Path) -> None:
    """Make parquet files of journals that nobody writes to any more."""
    for path in sorted(folder.glob("*.jsonl")):
        if NAME.fullmatch(path.name):
            with locked(path, without_locks=False) as ours:
                if ours:
                    _to_parquet(path)


def _to_parquet(journal: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(_lines(journal))
    if rows:
        kinds = {
            "string": pa.string(),
            "float64": pa.float64(),
            "list<float>": pa.list_(pa.float32()),
        }
        schema = pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
        table = pa.Table.from_pylist(rows, schema=schema)
        with new_file(journal.with_suffix(".parquet")) as path:
            pq.write_table(table, path, compression="zstd")
        os.chmod(journal.with_suffix(".parquet"), 0o600)
    journal.unlink()


def read_log(folder: str | Path, kind: Kind, adapter: str | None = None) -> list[dict[str, Any]]:
    """The rows of a log in the order of their times, of one adapter or of all.

    Raises:
        AdaptkitError: there is no such folder, or a file of it cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AdaptkitError(f"there is no folder {folder}.{nearest_beside(folder)}")
    rows = []
    for path in sorted(folder.iterdir()):
        match = NAME.fullmatch(path.name)
        if match and match[1] == kind and not _is_double(path):
            rows += [row for row in _rows(path) if adapter in (None, row.get("adapter"))]
    return sorted(rows, key=lambda row: row["time"])


def _is_double(path: Path) -> bool:
    """A journal whose parquet file exists already: its writer was killed between the two steps."""
    return path.suffix == ".jsonl" and path.with_suffix(".parquet").exists()


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return list(_lines(path))
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as problem:
        raise AdaptkitError(f"{path} cannot be read as parquet: {problem}") from None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal; the last may be cut, where a service was killed."""
    for line in path.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("time"), str):
            yield row


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
