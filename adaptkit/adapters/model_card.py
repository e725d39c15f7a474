"""The model card: what an adapter is, how to use it, its training data and its scores."""

from __future__ import annotations

import platform
import shlex
from pathlib import Path
from typing import Any

from adaptkit.adapters.card import TaskCard
from adaptkit.errors import escaped, shorten
from adaptkit.tasks.base import Task
from adaptkit.tasks.decide import Decide
from adaptkit.utils.atomic_files import new_file

MOST_LABELS = 100


def training_settings(training: Any, quantize: str | None) -> dict[str, Any]:
    """The settings that the model card lists."""
    names = (
        "learning_rate",
        "num_train_epochs",
        "train_batch_size",
        "warmup_steps",
        "weight_decay",
    )
    more = ("load_best_model_at_end", "seed", "bf16")
    settings = {name: getattr(training, name) for name in (*names, *more)}
    return settings | ({"quantize": quantize} if quantize else {})


def write_model_card(
    folder: Path,
    task: Task,
    card: TaskCard,
    metrics: dict[str, Any],
    settings: dict[str, Any],
    sizes: dict[str, int],
    warnings: list[str],
) -> None:
    """Write `README.md`: what the adapter is, how to use it, its training data and its scores."""
    rows = [
        f"| {title} | {name.replace('_', ' ')} | {metrics[f'{short}_{name}']:.4f} |"
        for short, title in (("eval", "validation"), ("test", "test"))
        for name in task.reported
        if f"{short}_{name}" in metrics
    ]
    text = _CARD.format(
        base=card.base,
        what="All weights" if card.method == "full" else "An adapter",
        task=card.task,
        method=card.method,
        labels=_labels(card.labels),
        folder=folder.name,
        command=answer_command(task, folder),
        warnings="".join(f"\n> **Warning:** {escaped(warning)}.\n" for warning in warnings),
        rows="\n".join(rows),
        sizes=", ".join(f"{count} {name}" for name, count in sizes.items()),
        kept=_kept(settings, "test" in sizes),
        settings="\n".join(f"| {key} | `{value}` |" for key, value in settings.items()),
        trained=metrics.get("trainable_parameters", 0),
        kilobytes=metrics["adapter_bytes"] / 1000,
        seconds=metrics.get("train_runtime", 0.0),
        machine=f"{platform.machine()}, Python {platform.python_version()}",
        versions=", ".join(f"{name} {number}" for name, number in card.versions.items()),
        max_length=card.max_length,
        long_texts=task.long_texts,
    )
    with new_file(folder / "README.md") as new:
        new.write_text(text, "utf-8")


def answer_command(task: Task, folder: Path) -> str:
    """A command that answers with an adapter, or a call in Python where none does."""
    if not task.answers:
        return f"adaptkit.pipeline({str(folder)!r})  # in Python"
    command = f"adaptkit predict {shlex.quote(str(folder))}"
    columns = [task.column(part) or part for part in task.input_fields()]
    if len(columns) > 1:
        return f"{command} --file rows.jsonl  # with the columns {', '.join(columns)}"
    options = isinstance(task, Decide) and not task.options
    return f'{command} "your text"' + ' --options "an option" "another"' * options


def _labels(labels: list[str]) -> str:
    """The first labels, each as code on one line, in which nothing is markup."""
    if not labels:
        return ""
    shown = ", ".join(f"`{shorten(label).replace('`', chr(39))}`" for label in labels[:MOST_LABELS])
    more = f" and {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else ""
    return f" Labels: {shown}{more}."


def _kept(settings: dict[str, Any], tested: bool) -> str:
    """Which epoch was kept, and what the test rows were used for."""
    best = settings["load_best_model_at_end"]
    kept = "The best epoch on the validation rows was kept." if best else "The last epoch was kept."
    return kept + " Test rows were used once, after training." * tested


_CARD = """---
library_name: adaptkit
base_model: {base}
tags: [adaptkit, peft, {task}]
---
# {folder}

{what} for **{task}** over the model `{base}`.{labels}
{warnings}
    {command}

| split | metric | value |
|---|---|---|
{rows}

A baseline is what the simplest guess scores on the same rows. {kept}

Trained on {sizes} rows with {trained:,} trainable parameters in {seconds:.0f} s; \
the file has {kilobytes:.0f} kB. Texts of more
than {max_length} tokens {long_texts}. One run with one seed: \
expect a point or two of difference with another.

| setting | value |
|---|---|
| method | `{method}` |
{settings}

Made with {versions} on {machine}.
"""
