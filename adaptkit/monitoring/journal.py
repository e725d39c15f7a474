"""The files of a log: a journal of lines, which becomes a parquet file when its day ends."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adaptkit.errors import AdaptkitError, listed
from adaptkit.utils.atomic_files import new_file
from adaptkit.utils.locks import locked
from adaptkit.utils.terminal import say

Kind = Literal["answers", "feedback"]
NAME = re.compile(r"(answers|feedback)-(\d{4}-\d\d-\d\d)-(\w+)\.(jsonl|parquet)")
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
GROUP = 10_000  # rows that are in memory while a journal becomes a parquet file
DAMAGED = ".damaged"  # ends the name of a journal that is kept for its lines that cannot be read


@dataclass
class Journal:
    """The journal of one writer, kind and day, locked while it is open."""

    path: Path
    day: str
    file: Any
    held: ExitStack

    @classmethod
    def begin(cls, folder: Path, kind: Kind, day: str) -> Journal:
        """A new one.

        Raises:
            OSError: it cannot be written.
        """
        while True:
            path, held = folder / f"{kind}-{day}-{secrets.token_hex(4)}.jsonl", ExitStack()
            if held.enter_context(locked(path)):
                return cls(path, day, held.enter_context(open(path, "ab", buffering=0)), held)
            held.close()  # whoever swept the folder just then took it for a left one
            if not folder.is_dir():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))

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
        """Make a parquet file of it."""
        with self.held:
            if not self.deleted:
                _to_parquet(self.path)


def close_journals(folder: Path) -> None:
    """Make parquet files of journals that nobody writes to any more."""
    for path in sorted(folder.glob("*.jsonl")):
        if NAME.fullmatch(path.name):
            with locked(path, without_locks=False) as ours:
                if ours:
                    _to_parquet(path)


def names_of(folder: Path, kind: Kind) -> list[str]:
    """The names of a kind's files, without their endings."""
    found = (NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted({match[0].rpartition(".")[0] for match in found if match and match[1] == kind})


def read_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a file, which may become a parquet file meanwhile.

    Raises:
        AdaptkitError: it is no file of a log.
    """
    journal, parquet = folder / f"{name}.jsonl", folder / f"{name}.parquet"
    for read, path in (
        (_read_parquet, parquet),
        (_read_journal, journal),
        (_read_parquet, parquet),
    ):
        with suppress(FileNotFoundError):
            return read(path)
    return []  # deleted


def _to_parquet(journal: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines, damaged = _rows(journal), 0
    if group := list(itertools.islice(lines, GROUP)):
        parquet = journal.with_suffix(".parquet")
        with new_file(parquet, private=True) as path, pq.ParquetWriter(path, _schema()) as writer:
            while group:
                rows = [row for row in group if row is not None]
                damaged += len(group) - len(rows)
                writer.write_table(pa.Table.from_pylist(rows, schema=_schema()))
                group = list(itertools.islice(lines, GROUP))
    if damaged:
        kept = journal.replace(f"{journal}{DAMAGED}")
        say(f"warning: {damaged} lines of {journal} are no rows of a log; they are kept in {kept}")
    else:
        journal.unlink()


def _read_journal(path: Path) -> list[dict[str, Any]]:
    return [row for row in _rows(path) if row is not None]


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        if missing := [name for name in COLUMNS if name not in table.column_names]:
            raise AdaptkitError(f"{path} is no file of a log: it has no column {listed(missing)}.")
        return table.select(list(COLUMNS)).cast(_schema()).to_pylist()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as problem:
        raise AdaptkitError(f"{path} cannot be read as a file of a log: {problem}") from None


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"string": pa.string(), "float64": pa.float64(), "list<float>": pa.list_(pa.float32())}
    return pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])


def _rows(path: Path) -> Iterator[dict[str, Any] | None]:
    """The rows of a journal; None for a line that is none.

    The last line may be cut, where a service was killed: that row was never acknowledged.
    """
    with open(path, "rb") as file:
        for line in file:
            row = _row(line)
            if row is not None or line.endswith(b"\n"):
                yield row


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("time"), str):
        return None
    found = {name: row.get(name) for name in COLUMNS}
    return found if all(_fits(found[name], kind) for name, kind in COLUMNS.items()) else None


def _fits(value: Any, kind: str) -> bool:
    """A value can stand in a column."""
    if value is None:
        return True
    if kind == "string":
        return isinstance(value, str) and not any("\ud800" <= sign <= "\udfff" for sign in value)
    numbers = value if kind == "list<float>" and isinstance(value, list) else [value]
    return all(type(one) in (int, float) for one in numbers) and (
        isinstance(value, list) == (kind == "list<float>")
    )
