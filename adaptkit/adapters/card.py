"""The task card of an adapter, `task.json`. Standard library only, so listing adapters is fast."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit.errors import AdaptkitError, nearest_beside, quoted, shorten
from adaptkit.tasks.registry import find_task
from adaptkit.utils.atomic_files import exists_in, read_together
from adaptkit.utils.json_files import parse_json
from adaptkit.utils.json_types import check_types

if TYPE_CHECKING:
    from adaptkit.tasks.base import Task

MOST_TOKENS = 1_000_000
LARGEST = 1e300  # of a setting that is a number

WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "task.json"


@dataclass
class TaskCard:
    """The content of `task.json`: what an adapter is for."""

    task: str | None = None
    model_class: str | None = None
    labels: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    max_length: int | None = None
    reading: dict[str, Any] = field(default_factory=dict)  # how the training file was read
    base: str | None = None
    origin: str | None = (
        # for a full model: the base whose weights were trained; revision and fingerprint belong to
        # that base
        None
    )
    revision: str | None = None
    fingerprint: str | None = None
    method: str | None = None
    quantize: str | dict[str, Any] | None = None  # how the base was quantized during training
    metrics: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    weights_sha256: str | None = None
    stopped: str | None = None  # by which signal its training was stopped, and at which step


def read_card(folder: str | Path) -> TaskCard | None:
    """The task card of an adapter, or None for adapters saved by PEFT."""
    try:
        found = read_together(folder, (CARD,))
    except OSError as problem:
        raise AdaptkitError(f"{Path(folder) / CARD} cannot be read: {problem}") from problem
    return parse_card(found[CARD], folder) if found else None


def parse_card(content: bytes, folder: str | Path) -> TaskCard:
    """The task card from the bytes of a file in `folder`."""
    return _card(parse_json(content, Path(folder) / CARD), folder)


def _card(content: dict, folder: str | Path) -> TaskCard:
    path, types = Path(folder) / CARD, _types()
    check_types(content, types, path)
    card = TaskCard(**{key: value for key, value in content.items() if key in types})
    _check(card, path)
    if card.base and card.base.startswith(
        "."
    ):  # a base that lies inside the adapter's folder moves with it
        card.base = str((Path(folder) / card.base).absolute())
    return card


@functools.cache
def _types() -> dict[str, Any]:
    """The fields of a card -> their types."""
    return typing.get_type_hints(TaskCard)


def _check(card: TaskCard, path: Path) -> None:
    """Refuse values that a card of ours cannot have; cards may come from anyone."""
    if len(set(card.labels)) < len(card.labels):
        raise AdaptkitError(f"{path}: labels should be different texts; {_repeated(card.labels)}.")
    if card.max_length is not None and not 0 < card.max_length <= MOST_TOKENS:
        raise AdaptkitError(
            f"{path}: max_length should be a number of tokens, 1 to {MOST_TOKENS:,}; it is "
            f"{card.max_length}."
        )
    for name in ("base", "origin", "revision"):
        value = getattr(card, name) or ""
        longest = max(len(part.encode()) for part in value.split("/"))
        if "\0" in value or longest > 255 or len(value.encode()) > 4000:
            raise AdaptkitError(f"{path}: {name} can be no name and no path: {quoted(value)}.")
    if not all(_reads(*item) for item in card.reading.items()):
        raise AdaptkitError(
            f"{path}: reading should be how a file is read; it is {quoted(card.reading)}."
        )


def _repeated(labels: list[str]) -> str:
    label, count = Counter(labels).most_common(1)[0]
    return f"{quoted(label)} is there {count} times"


def _reads(name: str, value: Any) -> bool:
    """Check the type of one setting of `TaskCard.reading`; other names are a newer version's."""
    if name == "column_names":
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if name == "tag_column":
        return type(value) is int and value > 0
    return isinstance(value, str) or name not in ("ending", "format", "encoding")


def existing_card(folder: Path) -> TaskCard:
    """The card of an existing adapter.

    Raises:
        AdaptkitError: the adapter does not exist (with the closest name) or has no card.
    """
    card = read_card(folder) if folder.is_dir() else None
    if card is None:
        existing_adapter(folder)
        raise AdaptkitError(f"{folder} has no task card ({CARD}): it was not made by adaptkit.")
    return card


def existing_adapter(folder: Path) -> Path:
    """The folder itself, if it holds an adapter.

    Raises:
        AdaptkitError: the folder does not exist (with the closest name) or holds no adapter.
    """
    if not folder.is_dir():
        raise AdaptkitError(f"there is no adapter folder {folder}.{nearest_beside(folder)}")
    if not exists_in(folder, CONFIG):
        raise AdaptkitError(f"{folder} is not an adapter: it has no {CONFIG}.")
    return folder


def task_of(card: TaskCard) -> Task:
    """The task of an adapter, with its columns, labels and settings.

    Raises:
        AdaptkitError: the card names no task, or has settings unknown to this version.
    """
    if card.task is None:
        raise AdaptkitError("the adapter has no task in its card (task.json).")
    kind = find_task(card.task)
    for item in dataclasses.fields(kind):
        if item.name in card.settings and not _fits(card.settings[item.name], item.default):
            raise AdaptkitError(
                f"task.json: {item.name} of {card.task} cannot be "
                f"{quoted(card.settings[item.name])}."
            )
    try:
        return kind(columns=card.columns, labels=card.labels, **card.settings)
    except TypeError as problem:
        raise AdaptkitError(
            f"task.json has settings of {card.task} that this version of adaptkit does not know: "
            f"{shorten(str(problem), 300)}"
        ) from None


def _fits(value: Any, default: Any) -> bool:
    """Check that a setting has the type of its default; counts must not be negative."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int):
        return type(value) is int and 0 <= value < 2**63
    if isinstance(default, float):
        return type(value) in (int, float) and abs(value) <= LARGEST
    return not isinstance(default, str) or isinstance(value, str)
