"""Readers of objects: .json, .jsonl, .parquet, and the JSON of SQuAD."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit.data.readers.decoding import decode, lines_of
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, nearest

if TYPE_CHECKING:
    from adaptkit.data.readers.options import Reading

SPLIT_KEYS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test",),
}


def read_jsonl(path: Path, reading: Reading) -> Table:
    """Rows from one JSON object per line."""
    rows, lines = [], []
    for number, line in lines_of(decode(path, reading.encoding)):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as problem:
            raise AdaptkitError(
                f"{path}:{number}: not valid JSON: {problem.msg} at column {problem.colno}"
            ) from None
        if not isinstance(row, dict):
            raise AdaptkitError(
                f'{path}:{number}: expected an object, as in {{"text": ...}}; it is '
                f"{type(row).__name__}"
            )
        rows.append(row)
        lines.append(number)
    return Table(rows, str(path), lines)


def read_json(path: Path, reading: Reading) -> Table:
    """Rows from a list of objects, or the training rows of an object of such lists."""
    content = _parse(path, reading)
    if isinstance(content, dict) and (keys := split_keys(content)).get("train"):
        table = read_parts(path, [keys["train"]], reading)
        if others := [name for name in keys.values() if name != keys["train"]]:
            table.notes.append(
                f"{path.name} has several splits: read is {keys['train']!r} "
                f"({path.name}#{others[-1]} reads another)"
            )
        return table
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise AdaptkitError(
            f'{path}: expected a list of objects, as in [{{"text": ...}}], or an object of lists '
            'such as {"train": [...]}.'
        )
    return Table(content, str(path))


def read_parts(path: Path, parts: list[str], reading: Reading) -> Table:
    """The lists under these keys of a JSON object, concatenated.

    A row may be an object or a list of fields.
    """
    content = _parse(path, reading)
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
                f"{path} has no list {part!r}; it has {', '.join(keys) or 'none'}.{guess}"
            )
        for number, row in enumerate(content[part]):
            rows.append(_named(row, f"{path}:{part}[{number}]", reading))
            lines.append(f"{part}[{number}]")
    return Table(rows, str(path), lines)


def split_keys(content: Any) -> dict[str, str]:
    """The keys of a JSON object that are splits: train, validation, test -> key."""
    if not isinstance(content, dict):
        return {}
    found = {
        split: next((n for n in names if isinstance(content.get(n), list)), None)
        for split, names in SPLIT_KEYS.items()
    }
    return {split: name for split, name in found.items() if name}


def parts_of(path: Path, reading: Reading) -> tuple[dict[str, str], list[str]]:
    """The splits inside one JSON file, and the keys of its other lists."""
    content = _parse(path, reading)
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
            f"{str(row)[:80]}"
        )
    return dict(zip(names, row, strict=True))


def _parse(path: Path, reading: Reading) -> Any:
    try:
        return json.loads(decode(path, reading.encoding))
    except json.JSONDecodeError as problem:
        raise AdaptkitError(
            f"{path}:{problem.lineno}: not valid JSON: {problem.msg} (one object a line is .jsonl)"
        ) from None


def read_parquet(path: Path, reading: Reading) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        return Table(pyarrow.parquet.read_table(path).to_pylist(), str(path))
    except pyarrow.ArrowException as problem:
        raise AdaptkitError(f"{path} is not a whole parquet file: {problem}") from problem


def looks_like_lines(path: Path) -> bool:
    """True if a .json file holds one object per line."""
    first, _, rest = path.read_bytes().strip().partition(b"\n")
    try:
        return isinstance(json.loads(first), dict) and rest.lstrip().startswith(b"{")
    except ValueError:
        return False


def looks_like_squad(path: Path) -> bool:
    """True if a JSON file holds paragraphs with questions."""
    head = path.read_bytes()[:4096]
    return b'"paragraphs"' in head and b'"data"' in path.read_bytes()


def read_squad(path: Path, reading: Reading) -> Table:
    """Rows of `id`, `question`, `context`, `answers` and `article`.

    `answers`: [{"text", "start"}], empty for unanswerable questions.
    """
    content = _parse(path, reading)
    rows, lines = [], []
    try:
        for number, article in enumerate(content["data"]):
            title = str(article.get("title") or f"article {number}")
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    given = [] if question.get("is_impossible") else question.get("answers") or []
                    answers = [
                        {"text": answer["text"], "start": answer["answer_start"]}
                        for answer in given
                    ]
                    row = {
                        "id": str(question["id"]),
                        "question": question["question"],
                        "context": paragraph["context"],
                    }
                    rows.append(row | {"answers": answers, "article": title})
                    lines.append(str(question["id"]))
    except (KeyError, TypeError) as problem:
        after = f" after question {lines[-1]}" if lines else ""
        raise AdaptkitError(
            f"{path}: not as SQuAD writes it{after}: {type(problem).__name__} {problem}"
        ) from None
    return Table(rows, str(path), lines)
