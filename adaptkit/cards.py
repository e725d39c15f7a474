"""The task card of an adapter: what it is for, in `task.json`. Standard library only, so that listing adapters is quick."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptkit.errors import AdaptkitError, nearest_beside

MOST_TOKENS = 1_000_000
WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "task.json"


@dataclass
class TaskCard:
    """What an adapter is for: the content of `task.json`."""

    task: str | None = None
    model_class: str | None = None
    labels: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    max_length: int | None = None
    base: str | None = None
    origin: str | None = None  # of a whole model: the base whose weights were trained; revision and fingerprint are that one's
    revision: str | None = None
    fingerprint: str | None = None
    method: str | None = None
    quantize: str | None = None  # how the base was packed while the adapter was trained
    metrics: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    weights_sha256: str | None = None


def read_card(folder: str | Path) -> TaskCard | None:
    """The task card of an adapter, or None where there is none (adapters made by PEFT)."""
    path = Path(folder) / CARD
    return parse_card(path.read_bytes(), folder) if path.is_file() else None


def parse_card(content: bytes, folder: str | Path) -> TaskCard:
    """The task card in the bytes of a file in `folder`."""
    return _card(parse_json(content, Path(folder) / CARD), folder)


def _card(content: dict, folder: str | Path) -> TaskCard:
    known = {f.name for f in dataclasses.fields(TaskCard)}
    card = TaskCard(**{key: value for key, value in content.items() if key in known})
    _check(card, Path(folder) / CARD)
    if card.base and card.base.startswith("."):  # a base that lies in the adapter's folder moves with it
        card.base = str((Path(folder) / card.base).absolute())
    return card


def _check(card: TaskCard, path: Path) -> None:
    """Refuse a card whose values are not of their kind; it may come from anybody."""

    def need(right: bool, name: str, wanted: str) -> None:
        if not right:
            raise AdaptkitError(f"{path}: {name} should be {wanted}; it is {str(getattr(card, name))[:80]!r}.")

    for name in ("task", "model_class", "base", "origin", "revision", "fingerprint", "method", "quantize", "weights_sha256"):
        need(getattr(card, name) is None or isinstance(getattr(card, name), str), name, "a text")
    names = card.labels if isinstance(card.labels, list) else [None]
    need(all(isinstance(one, str) for one in names) and len(set(map(str, names))) == len(names), "labels", "different texts")
    for name in ("columns", "settings", "metrics", "versions"):
        need(isinstance(getattr(card, name), dict), name, "an object")
    need(all(isinstance(column, str) for column in card.columns.values()), "columns", "names of columns")
    length = card.max_length
    need(length is None or (type(length) is int and 0 < length <= MOST_TOKENS), "max_length", "a number of tokens")


def refuse_full(folder: str | Path) -> None:
    """Refuse to write into a folder that holds something: what lay there would stay beside the new files."""
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise AdaptkitError(f"--output_dir {folder} is not empty; give another one.")


def existing_card(folder: Path) -> TaskCard:
    """The card of an adapter that is there.

    Raises:
        AdaptkitError: no such adapter (with the nearest name), or one without a card.
    """
    card = read_card(folder) if folder.is_dir() else None
    if card is None:
        existing_adapter(folder)
        raise AdaptkitError(f"{folder} has no task card ({CARD}): it was not made by adaptkit.")
    return card


def existing_adapter(folder: Path) -> Path:
    """The folder itself, if it is an adapter.

    Raises:
        AdaptkitError: it does not exist (with the nearest name) or holds no adapter.
    """
    if not folder.is_dir():
        raise AdaptkitError(f"there is no adapter folder {folder}.{nearest_beside(folder)}")
    if not (folder / CONFIG).is_file():
        raise AdaptkitError(f"{folder} is not an adapter: it has no {CONFIG}.")
    return folder


def write_json(path: Path, content: dict) -> None:
    """Indented JSON, as people read it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_json(path: Path) -> dict:
    """The JSON object in a file, or an AdaptkitError."""
    return parse_json(path.read_bytes(), path)


def parse_json(content: bytes, path: Path) -> dict:
    """The JSON object in the bytes of a file, or an AdaptkitError; `path` is for the message."""
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise AdaptkitError(f"{path} is not valid JSON: {problem}") from problem
    if not isinstance(found, dict):
        raise AdaptkitError(f"{path} should hold a JSON object.")
    return found
