"""What can be asked of an adapter, by its slot or by its card in the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptkit.adapters.card import read_card, task_of
from adaptkit.host.manager import AdapterManager
from adaptkit.methods.grammar import describe_method
from adaptkit.tasks.base import Task


@dataclass(frozen=True)
class AdapterInfo:
    """Facts of an adapter of a host.

    task: None if it answers as the base does. inputs: the parts of a row that must be given.
    loaded: it is in a slot now. version: grows with each load; None if it is in no slot.
    folder: where its files are. weights: their SHA-256, if its card names it.
    """

    name: str
    task: Task | None
    method: str | None
    metrics: dict[str, float]
    version: int | None
    folder: Path
    weights: str | None = None

    @property
    def loaded(self) -> bool:
        return self.version is not None

    @property
    def task_name(self) -> str | None:
        return self.task.name if self.task is not None else None

    @property
    def inputs(self) -> list[str]:
        return self.task.input_fields() if self.task is not None else ["text"]

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON values."""
        return {
            "name": self.name,
            "task": self.task_name,
            "labels": self.task.labels if self.task is not None else [],
            "inputs": self.inputs,
            "method": self.method,
            "metrics": self.metrics,
            "loaded": self.loaded,
        }


@dataclass(frozen=True)
class BaseInfo:
    """Facts of a host's base. writes: it generates texts. draws: it samples unless told not to."""

    name: str
    writes: bool
    draws: bool


def describe(manager: AdapterManager, name: str) -> AdapterInfo:
    """The facts of an adapter.

    Raises:
        AdaptkitError: it does not exist, or its card cannot be read.
    """
    manager.check(name)
    loaded = manager.slots.find(name)
    if loaded is not None:
        card = loaded.adapter.card
        return AdapterInfo(
            name,
            loaded.adapter.task,
            loaded.method,
            card.metrics if card is not None else {},
            loaded.version,
            loaded.adapter.folder,
            card.weights_sha256 if card is not None else None,
        )
    assert manager.store is not None  # it is known, and in no slot
    folder = manager.store.path(name)
    card = read_card(folder)
    if card is None:  # written by PEFT: its weights tell
        parsed = manager.loader.read(folder)
        method = describe_method(parsed.layout.union)
        return AdapterInfo(name, parsed.task, method, {}, None, folder)
    task = task_of(card) if card.task is not None else None
    return AdapterInfo(name, task, card.method, card.metrics, None, folder, card.weights_sha256)
