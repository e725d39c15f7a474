"""Readers of objects: .json and .jsonl."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from adaptkit.data.readers.exports.recognize import objects_of
from adaptkit.data.readers.parse_json import parse_json
from adaptkit.data.tables import Table, between
from adaptkit.errors import AdaptkitError, listed, nearest, quoted

if TYPE_CHECKING:
    from adaptkit.data.readers.file import File
    from adaptkit.data.readers.options import Reading

_LIST = re.compile(r"\s*\[\s*(\{|\[\s*\")")

SPLIT_KEYS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test",),
}


def read_jsonl(file: File, reading: Reading) -> Table:
    """Rows from one JSON object per line."""
    rows, lines = [], []
    for number, line in file.lines():
        if not line.strip():
            continue
        row = parse_json(line, f"{file}:{number}")
        if not isinstance(row, dict):
            raise AdaptkitError(
                f'{file}:{number}: expected an object, as in {{"text": ...}}; it is '
                f"{type(row).__name__}"
            )
        rows.append(row)
        lines.append(number)
    return Table(rows, str(file), lines, blank=between(lines))


def read_json(file: File, reading: Reading) -> Table:
    """Rows from a list of objects, or the training rows of an object of such lists."""
    content = objects_of(_parse(file))
    if isinstance(content, dict) and (keys := split_keys(content)).get("train"):
        table = read_parts(file, [keys["train"]], reading)
        if others := [name for name in keys.values() if name != keys["train"]]:
            table.notes.append(
                f"{file.path.name} has several splits: read is {keys['train']!r} "
                f"({file.path.name}#{others[-1]} reads another)"
            )
        return table
    if rows := _by_columns(content):
        return Table(rows, str(file), notes=[f"{file.path.name}: JSON by columns"])
    if isinstance(content, dict) and (name := _only_list(content)):
        table = Table(content[name], str(file), _places(name, content[name]))
        table.notes.append(f"{file.path.name}: the rows are its list {name!r}")
        return table
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise AdaptkitError(
            f'{file}: expected a list of objects, as in [{{"text": ...}}], or an object of lists '
            f'such as {{"train": [...]}}; it is {shape_of(content)}.'
        )
    return Table(content, str(file))


def _by_columns(content: Any) -> list[dict[str, Any]]:
    """The rows of {"text": {"0": ...}, "label": {"0": ...}}, as pandas writes, or of such lists."""
    if not isinstance(content, dict) or len(content) < 2:
        return []
    columns = list(content.values())
    if all(isinstance(column, dict) and column.keys() == columns[0].keys() for column in columns):
        columns = [list(column.values()) for column in columns]
    elif not all(
        isinstance(column, list)
        and len(column) == len(columns[0])
        and not any(isinstance(value, dict) for value in column)
        for column in columns
    ):
        return []
    return [dict(zip(content, row, strict=True)) for row in zip(*columns, strict=True)]


def _only_list(content: dict[str, Any]) -> str | None:
    """The key of the only list of objects in an object, as in {"version": 1, "data": [...]}."""
    lists = [
        key
        for key, value in content.items()
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
    ]
    return lists[0] if len(lists) == 1 else None


def _places(name: str, rows: list[Any]) -> list[str]:
    return [f"{name}[{number}]" for number in range(len(rows))]


def shape_of(content: Any) -> str:
    if isinstance(content, dict):
        return f"an object with {listed(content, 8)}"
    if isinstance(content, list):
        odd = next((row for row in content if not isinstance(row, dict)), None)
        return f"a list with {quoted(odd)} in it"
    return quoted(content)


def read_parts(file: File, parts: list[str], reading: Reading) -> Table:
    """The lists under these keys of a JSON object, concatenated.

    A row may be an object or a list of fields.
    """
    content = _parse(file)
    rows, lines = [], []
    for part in parts:
        if not isinstance(content, dict) or not isinstance(content.get(part), list):
            keys = (
                [key for key, value in content.items() if isinstance(value, list)]
                if isinstance(content, dict)
                else []
            )
            close = nearest(part, keys)
            guess = f" Did you mean {close!r}?" if close else ""
            raise AdaptkitError(
                f"{file} has no list {quoted(part)}; it has {listed(keys) or 'none'}.{guess}"
            )
        for number, row in enumerate(content[part]):
            rows.append(_named(row, f"{file}:{part}[{number}]", reading))
            lines.append(f"{part}[{number}]")
    return Table(rows, str(file), lines)


def split_keys(content: Any) -> dict[str, str]:
    """The keys of a JSON object that are splits: train, validation, test -> key."""
    if not isinstance(content, dict):
        return {}
    found = {
        split: next((n for n in names if isinstance(content.get(n), list)), None)
        for split, names in SPLIT_KEYS.items()
    }
    return {split: name for split, name in found.items() if name}


def parts_of(file: File) -> tuple[dict[str, str], list[str]]:
    """The splits inside one JSON file, and the keys of its other lists."""
    content = _parse(file)
    keys = split_keys(content)
    others = (
        [
            key
            for key, value in content.items()
            if isinstance(value, list) and key not in keys.values()
        ]
        if keys
        else []
    )
    return keys, others


def _named(row: Any, where: str, reading: Reading) -> dict[str, Any]:
    if isinstance(row, dict):
        return row
    names = reading.column_names or reading.wanted
    if not isinstance(row, list) or len(row) != len(names):
        raise AdaptkitError(
            f"{where}: expected an object or a list of {len(names)} fields ({', '.join(names)}): "
            f"{quoted(row)}"
        )
    return dict(zip(names, row, strict=True))


def _parse(file: File) -> Any:
    return parse_json(file.text, str(file), " (one object a line is .jsonl)")


def holds_lines(file: File) -> bool:
    """True if a file holds one object per line, the first of them whole."""
    first, _, rest = file.text.lstrip().partition("\n")
    if not first.startswith("{") or not rest[:1000].lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def holds_list(file: File) -> bool:
    """True if a file begins and ends as a list of objects, or of lists that begin with a text."""
    return bool(_LIST.match(file.text)) and file.raw[-1000:].rstrip().endswith(b"]")
