"""The model card: what an adapter is, how to use it, its training data and its scores."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

from adaptkit.adapters.card import TaskCard
from adaptkit.errors import escaped, shorten
from adaptkit.tasks.base import Task
from adaptkit.tasks.decide import Decide
from adaptkit.utils.atomic_files import new_file

MOST_LABELS = 100
SHARES = ("accuracy", "f1")  # scores from 0 to 1 that are, about, a share of the rows


# Flags that say where things lie, and not how an adapter was trained.
PLACES = {
    *("output_dir", "overwrite_output_dir", "config", "check", "resume_from_checkpoint"),
    *("report_to", "run_name", "logging_dir", "disable_tqdm"),
    *("model_name_or_path", "model_revision", "method"),  # the card has them elsewhere
}


def shown_metrics(task: Task) -> tuple[str, ...]:
    """The metrics to show people, the most important first."""
    return (*task.reported, f"probe_{task.best_metric}")


def training_settings(
    training: Any, arguments: Any, task: Task, given: Collection[str]
) -> dict[str, Any]:
    """The settings that the model card lists: the usual ones, and all flags that the user set.

    Args:
        training: Trainer's arguments. arguments: the recipe's. task: has settings, too.
        given: the names of the flags that the user set.
    """
    names = (
        "learning_rate",
        "num_train_epochs",
        "train_batch_size",
        "warmup_steps",
        "weight_decay",
    )
    more = ("load_best_model_at_end", "seed", "bf16")
    settings = {name: getattr(training, name) for name in (*names, *more)}
    if arguments.head_learning_rate is not None:
        settings["head_learning_rate"] = arguments.head_learning_rate
    for name in sorted(set(given) - PLACES - settings.keys()):
        if name.endswith("_file") and name != "unlabelled_file":
            continue
        for holder in (arguments, task, training):
            if hasattr(holder, name):
                settings[name] = getattr(holder, name)
                break
    return settings


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
        for name in shown_metrics(task)
        if f"{short}_{name}" in metrics
    ]
    trained = "All weights" if card.method == "full" else "An adapter"
    text = front_matter(card, folder) + _CARD.format(
        what=f"{trained} {what_for(card)}",
        method=card.method,
        command=answer_command(task, folder),
        warnings="".join(f"\n> **Warning:** {escaped(warning)}.\n" for warning in warnings),
        rows="\n".join(rows),
        sizes=", ".join(f"{count} {name}" for name, count in sizes.items()),
        kept=_kept(settings, "test" in sizes),
        chance=_chance(task, metrics),
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


def short_card(card: TaskCard, folder: Path) -> str:
    """The text of a README for an adapter of which only its card is known."""
    return front_matter(card, folder) + _SHORT_CARD.format(
        method=card.method,
        what=what_for(card),
        kind="Predictor" if card.task else "load_adapter",
        path=json.dumps(str(folder)),
        versions=", ".join(f"{name} {number}" for name, number in card.versions.items()),
    )


def front_matter(card: TaskCard, folder: Path) -> str:
    """How a README begins: what the Hub reads of it, and its title."""
    tags = ", ".join(["adaptkit", "peft", *([card.task] if card.task else [])])
    return (
        f"---\nlibrary_name: adaptkit\nbase_model: {card.base}\ntags: [{tags}]\n---\n"
        f"# {folder.name}\n\n"
    )


def what_for(card: TaskCard) -> str:
    """`for **classify** over the model `B`. Labels: ...`"""
    task = f"for **{card.task}** " if card.task else ""
    return f"{task}over the model `{card.base}`.{_labels(card.labels)}"


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


def _chance(task: Task, metrics: dict[str, Any]) -> str:
    """How far a score may be off by chance: two standard errors of a share of these rows."""
    split = "test" if "test_samples" in metrics else "eval"
    rows, score = metrics.get(f"{split}_samples"), metrics.get(f"{split}_{task.best_metric}")
    if not rows or score is None or task.best_metric not in SHARES:
        return "One run with one seed: another one scores a little differently."
    points = max(1, round(200 * (score * (1 - score) / rows) ** 0.5))
    return (
        f"One run with one seed, scored on {rows} rows: {points} points more or less may be chance."
    )


_SHORT_CARD = """An adapter (`{method}`) {what} Its scores are not known here.

    from adaptkit import {kind}

    adapter = {kind}({path})

Made with {versions}.
"""

_CARD = """{what}
{warnings}
    {command}

| split | metric | value |
|---|---|---|
{rows}

A baseline is what the simplest guess scores on the same rows, and a probe a linear map on the
frozen base's features. {kept}

Trained on {sizes} rows with {trained:,} trainable parameters in {seconds:.0f} s; \
the file has {kilobytes:.0f} kB. Texts of more
than {max_length} tokens {long_texts}. {chance}

| setting | value |
|---|---|
| method | `{method}` |
{settings}

Made with {versions} on {machine}.
"""
