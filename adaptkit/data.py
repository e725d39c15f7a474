"""Rows from files, folders, the Hub, a DatasetDict or the embedded corpus; the validation split; where each row came from.

Files: .csv and .tsv with a header line (in .tsv a quote is just a character), .json (a list of objects), .jsonl (an object a
line), .parquet; or a folder with one subfolder of .txt files for each label. Text is UTF-8. A bad row is an error that names its
file and line.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptkit.errors import AdaptkitError, nearest, nearest_beside

EMBEDDED = "embedded"
VALIDATION_NAMES = ("validation", "valid", "dev", "val")


@dataclass
class Table:
    """Rows, and for each row where it stands, for error messages: `reviews.csv:17`."""

    rows: list[dict[str, Any]]
    source: str
    lines: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(key for row in self.rows[:100] for key in row))

    def where(self, index: int) -> str:
        """`file:line` of a row, or `source row n` where there are no lines."""
        return f"{self.source}:{self.lines[index]}" if self.lines else f"{self.source} row {index}"

    def take(self, indexes: Iterable[int]) -> Table:
        indexes = list(indexes)
        lines = [self.lines[i] for i in indexes] if self.lines else None
        return Table([self.rows[i] for i in indexes], self.source, lines)

    def need(self, column: str, flag: str) -> None:
        """Raise an AdaptkitError unless the table has `column`; `flag` is what the user can set."""
        if column not in self.columns:
            close = nearest(column, self.columns)
            guess = f" Did you mean --{flag} {close}?" if close else f" Name it with --{flag}."
            raise AdaptkitError(f"{self.source} has no column {column!r}; it has {', '.join(self.columns)}.{guess}")


@dataclass
class Splits:
    """Training rows and what goes with them. `notes`: what was decided and should be said aloud."""

    train: Table
    validation: Table | None = None
    test: Table | None = None
    notes: list[str] = field(default_factory=list)

    def items(self) -> list[tuple[str, Table]]:
        """(name, table) of the splits that there are."""
        found = (("train", self.train), ("validation", self.validation), ("test", self.test))
        return [(name, table) for name, table in found if table is not None]


def load_splits(
    train_file: str | None = None,
    validation_file: str | None = None,
    test_file: str | None = None,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
) -> Splits:
    """Read the splits that a recipe's flags name; the embedded corpus when none are given.

    Raises:
        AdaptkitError: a missing file, a bad row, or flags that contradict each other.
    """
    if train_file and dataset_name:
        raise AdaptkitError("give --train_file or --dataset_name, not both.")
    if train_file:
        files = (validation_file, test_file)
        validation, test = (read_table(file) if file else None for file in files)
        return Splits(read_table(train_file), validation, test)
    if validation_file or (test_file and not dataset_name):
        raise AdaptkitError("--validation_file and --test_file go with --train_file.")
    if dataset_name in (None, EMBEDDED):
        return _embedded()
    splits = from_datasets(_from_hub(dataset_name, dataset_config_name), dataset_name)
    if test_file:
        splits.test = read_table(test_file)
    return splits


def from_datasets(dataset: Any, name: str = "dataset") -> Splits:
    """Splits of a `datasets.DatasetDict`, or of one `Dataset`, which is taken as training data.

    Raises:
        AdaptkitError: there is no training split.
    """
    parts = dataset if isinstance(dataset, dict) else {"train": dataset}
    if "train" not in parts:
        raise AdaptkitError(f"{name} has the splits {', '.join(parts)} and no 'train'; give the files or rename the split.")
    validation = next((part for part in VALIDATION_NAMES if part in parts), None)
    tables = {part: _from_dataset(parts[part], f"{name}[{part}]") for part in ("train", validation, "test") if part in parts}
    return Splits(tables["train"], tables.get(validation or ""), tables.get("test"))


def read_table(path: str | Path) -> Table:
    """Read one file or text folder, by its ending.

    Raises:
        AdaptkitError: no such file (with the nearest name), an ending that is not known, a bad row, or no rows.
    """
    path = Path(path)
    if path.is_dir():
        table = _read_folder(path)
    elif not path.is_file():
        raise AdaptkitError(f"there is no file {path}.{nearest_beside(path)}")
    elif path.suffix.lower() not in _READERS:
        raise AdaptkitError(f"{path}: the ending {path.suffix!r} is not known; it is one of {', '.join(_READERS)}, or a folder.")
    else:
        table = _READERS[path.suffix.lower()](path)
    if not len(table):
        raise AdaptkitError(f"{path} holds no rows.")
    return table


def split_validation(table: Table, labels: Sequence[str], seed: int, share: float = 0.1) -> tuple[Table, Table]:
    """Cut a validation split: the same share of each label (at least one row of a label that has two), shuffled by `seed`.

    Returns:
        The remaining training rows and the validation rows, each in their old order.
    """
    by_label = defaultdict(list)
    for index, label in enumerate(labels):
        by_label[label].append(index)
    generator, chosen = random.Random(seed), set()
    for label in sorted(by_label):
        indexes = by_label[label]
        count = max(1, round(share * len(indexes))) if len(indexes) > 1 else 0
        chosen.update(generator.sample(indexes, count))
    kept = (i for i in range(len(table)) if i not in chosen)
    return table.take(kept), table.take(sorted(chosen))


def _embedded() -> Splits:
    from adaptkit.corpus import load_corpus

    tables = {split: Table(load_corpus(split), f"{EMBEDDED}[{split}]") for split in ("train", "validation", "test")}
    note = "no data given: using the embedded corpus of customer messages"
    return Splits(tables["train"], tables["validation"], tables["test"], [note])


def _from_hub(name: str, config: str | None) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, config)
    except Exception as problem:  # datasets raises its own, requests' and fsspec's errors here
        raise AdaptkitError(f"cannot load the dataset {name!r}: {problem}") from problem


def _from_dataset(dataset: Any, source: str) -> Table:
    """Rows of a `datasets.Dataset`, class numbers turned into their names."""
    names = {key: feature.names for key, feature in dataset.features.items() if hasattr(feature, "names")}
    rows = []
    for row in dataset:
        for key, known in names.items():
            if isinstance(row[key], int):
                row[key] = known[row[key]] if row[key] >= 0 else None
        rows.append(row)
    return Table(rows, source)


def _read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, line ends kept."""
    lines = []
    for number, raw in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        try:
            lines.append(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as problem:
            byte = raw[problem.start]
            raise AdaptkitError(
                f"{path}:{number}: byte 0x{byte:02x} at column {problem.start + 1} is not UTF-8; convert the file, as with "
                f"iconv -f latin1 -t utf-8 {path.name}"
            ) from None
    return lines


def _read_delimited(path: Path) -> Table:
    quoting = csv.QUOTE_NONE if path.suffix.lower() == ".tsv" else csv.QUOTE_MINIMAL
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO("".join(_read_lines(path)), newline=""), delimiter=delimiter, quoting=quoting)
    header = next(reader, None)
    if not header:
        raise AdaptkitError(f"{path} is empty: the first line should name the columns.")
    if double := [name for name in header if header.count(name) > 1]:
        raise AdaptkitError(f"{path}:1: the column {double[0]!r} is there twice.")
    rows, lines, start = [], [], reader.line_num + 1
    for fields in _csv_rows(reader, path):
        if fields and len(fields) != len(header):
            raise AdaptkitError(
                f"{path}:{start}: {len(fields)} fields where the header has {len(header)} ({', '.join(header)}); "
                "is a delimiter in a text not quoted?"
            )
        if fields:
            rows.append(dict(zip(header, fields, strict=True)))
            lines.append(start)
        start = reader.line_num + 1
    return Table(rows, str(path), lines)


def _csv_rows(reader: Any, path: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as problem:
        raise AdaptkitError(f"{path}:{reader.line_num}: {problem}; is a quote not closed?") from None


def _read_jsonl(path: Path) -> Table:
    rows, lines = [], []
    for number, line in enumerate(_read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as problem:
            raise AdaptkitError(f"{path}:{number}: not valid JSON: {problem.msg} at column {problem.colno}") from None
        if not isinstance(row, dict):
            raise AdaptkitError(f'{path}:{number}: expected an object, as in {{"text": ...}}; it is {type(row).__name__}')
        rows.append(row)
        lines.append(number)
    return Table(rows, str(path), lines)


def _read_json(path: Path) -> Table:
    try:
        rows = json.loads("".join(_read_lines(path)))
    except json.JSONDecodeError as problem:
        raise AdaptkitError(f"{path}:{problem.lineno}: not valid JSON: {problem.msg} (one object a line is .jsonl)") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise AdaptkitError(f'{path}: expected a list of objects, as in [{{"text": ...}}].')
    return Table(rows, str(path))


def _read_parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        return Table(pyarrow.parquet.read_table(path).to_pylist(), str(path))
    except pyarrow.ArrowException as problem:
        raise AdaptkitError(f"{path} is not a whole parquet file: {problem}") from problem


def _read_folder(path: Path) -> Table:
    files = sorted(path.glob("*/*.txt"))
    if not files:
        raise AdaptkitError(f"the folder {path} holds no LABEL/*.txt files.")
    rows = [{"text": "".join(_read_lines(file)).strip(), "label": file.parent.name} for file in files]
    return Table(rows, str(path))


_READERS = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
