"""`adaptkit list`: list the adapters in a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from adaptkit.adapters.card import TaskCard, existing_card
from adaptkit.errors import AdaptkitError, shorten
from adaptkit.tasks.registry import find_task, task_names
from adaptkit.utils.terminal import format_table, say

HELP = "list the adapters in a folder"
LONGEST, LONGEST_PROBLEM = 40, 200  # characters of a method, and of what is wrong


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default="runs")


def run(given: argparse.Namespace) -> None:
    """Print one row per adapter.

    Raises:
        AdaptkitError: the folder does not exist, or holds no adapter.
    """
    store = Path(given.folder)
    if not store.is_dir():
        raise AdaptkitError(f"there is no folder {store}.")
    rows = [_row(path.parent) for path in sorted(store.glob("*/task.json"))]
    if not rows and (store / "task.json").is_file():
        raise AdaptkitError(f"{store} is an adapter; see it with: adaptkit show {store}")
    if not rows:
        raise AdaptkitError(f"{store} holds no adapters (folders with a task.json).")
    say(format_table([("name", "task", "labels", "method", "kB", "score"), *rows]))


def _row(folder: Path) -> tuple[str, ...]:
    try:
        card = existing_card(folder)
        files = folder.glob("*model*.safetensors")  # of an adapter or a full model
        size = f"{sum(path.stat().st_size for path in files) / 1000:.0f}"
    except (AdaptkitError, OSError) as problem:  # one odd folder hides no other
        return folder.name, f"cannot be read: {shorten(str(problem), LONGEST_PROBLEM)}"
    method = card.method or "-"
    method = method if len(method) <= LONGEST else method[: LONGEST - 3] + "..."
    return folder.name, card.task or "-", str(len(card.labels)), method, size, _score(card)


def _score(card: TaskCard) -> str:
    """The task's main metric on the test rows, else on the validation rows."""
    main = find_task(card.task).reported if card.task in task_names() else ()
    for split in ("test_", "eval_"):
        others = (name for name in card.metrics if name.startswith(split))
        for name in (*(f"{split}{metric}" for metric in main), *others):
            if name in card.metrics:
                return f"{card.metrics[name]:.4f} {name}"
    return "-"
