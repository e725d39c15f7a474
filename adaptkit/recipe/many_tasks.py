"""Multi-task recipe: each task is prepared and loaded as usual, then all train together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from adaptkit.adapters.model_card import answer_command
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.recipe.arguments import MultitaskArguments
from adaptkit.recipe.encode import encode
from adaptkit.recipe.finish import finish
from adaptkit.recipe.load import load
from adaptkit.recipe.parser import flags_in, parse_recipe
from adaptkit.recipe.prepare import RESUME_HINT, asked_checkpoint, find_checkpoint, prepare
from adaptkit.recipe.report import write_results
from adaptkit.recipe.steps import Fitted, Loaded, Prepared, Shared
from adaptkit.recipe.task_file import read_tasks, words_of
from adaptkit.recipe.train import ending_if_stopped
from adaptkit.tasks.flags import flags_of
from adaptkit.tasks.registry import find_task
from adaptkit.training.fastest_attention import earlier_choice, keep_choice
from adaptkit.training.fit import TrainOutput, run_trainer
from adaptkit.transfer.many_tasks import (
    WEIGHTINGS,
    Job,
    ManyTasksTrainer,
    own_history,
    share_tensors,
)
from adaptkit.utils.atomic_files import new_file
from adaptkit.utils.output_folder import check_empty, check_writable
from adaptkit.utils.processes import is_main, log_main
from adaptkit.utils.terminal import format_table

NOT_TOGETHER = (
    *("search", "folds", "seeds", "check", "fuse", "quantize"),
    *("adversarial_epsilon", "early_stopping_patience", "max_tokens_per_batch"),
)
HEAD_FLAGS = {"head_start", "head_learning_rate"}
T = TypeVar("T")
Metrics = dict[str, Any]


def train_tasks(given: MultitaskArguments, flags: list[str]) -> Metrics:
    """Train, evaluate, save and report; returns the metrics of all tasks as `NAME_METRIC`.

    Args:
        given: the recipe's own flags.
        flags: command-line words for the tasks' recipes.

    Raises:
        AdaptkitError: there are no tasks, a recipe is unknown, or flags contradict each other.
    """
    _check_flags(given)
    folder, tasks = (
        Path(given.output_dir),
        read_tasks(given.tasks, own_adapters=given.share == "base"),
    )
    if is_main():
        _check_folder(given, folder)
    checkpoint = _checkpoint(given, folder)
    prepared = {
        name: _named(name, _prepare, name, settings, flags, folder, given)
        for name, settings in tasks.items()
    }
    _check_together(prepared)
    loaded = _load_all(prepared, resumed=checkpoint is not None)
    weights = [float(settings.get("task_weight", 1.0)) for settings in tasks.values()]
    trainer = _make_trainer(given, loaded, weights, checkpoint)
    output = run_trainer(trainer)
    with ending_if_stopped(output.stopped):
        found = _finish_each(loaded, trainer, output)
        if is_main():
            _report(folder, loaded, found, given)
    return _flat(found)


def _finish_each(
    loaded: dict[str, Loaded], trainer: ManyTasksTrainer, output: TrainOutput
) -> dict[str, Metrics]:
    """Evaluate, save and report every task; returns their metrics."""
    found = {}
    for (name, one), weight in zip(loaded.items(), trainer.weights(), strict=True):
        log_main(f"\n=== {name} ===")
        rows = len(one.encoded.splits["train"].encoded)
        metrics = output.metrics | {"train_samples": rows, "task_weight": weight}
        own = TrainOutput(metrics, own_history(output.history, name), output.stopped)
        found[name] = finish(Fitted(one.with_training(trainer.args), own))
    return found


def _check_folder(given: MultitaskArguments, folder: Path) -> None:
    if given.overwrite_output_dir or given.resume_from_checkpoint:
        check_writable(folder)
    else:
        check_empty(folder, RESUME_HINT)


def _check_flags(given: MultitaskArguments) -> None:
    if given.task_weighting not in WEIGHTINGS:
        raise unknown("--task_weighting", given.task_weighting, WEIGHTINGS)
    if given.share not in ("adapter", "base"):
        raise unknown("--share", given.share, ("adapter", "base"))
    if not given.sampling_temperature > 0:
        raise AdaptkitError(
            f"--sampling_temperature is more than 0, not {given.sampling_temperature}."
        )


def _load_all(prepared: dict[str, Prepared], resumed: bool) -> dict[str, Loaded]:
    """Load every task's model; all use the attention implementation of the first."""
    loaded: dict[str, Loaded] = {}
    shared: Shared | None = None
    for name, one in prepared.items():
        log_main(f"\n=== {name} ===")
        if resumed and shared is None and (earlier := earlier_choice(one.output_dir)):
            shared = Shared(earlier)
        loaded[name] = _named(name, _encode_and_load, one, shared)
        shared = loaded[name].shared
        if is_main() and shared.attention:
            keep_choice(one.output_dir, shared.attention)
    return loaded


def _encode_and_load(prepared: Prepared, shared: Shared | None) -> Loaded:
    return load(encode(prepared), shared)


def _make_trainer(
    given: MultitaskArguments,
    loaded: dict[str, Loaded],
    weights: list[float],
    checkpoint: str | None,
) -> ManyTasksTrainer:
    """One trainer for all tasks; their models share tensors from now on."""
    share_tensors([one.model for one in loaded.values()], adapter=given.share == "adapter")
    jobs = [
        Job(
            name,
            one.model,
            one.prepared.task,
            one.encoded.splits["train"],
            one.encoded.splits.get("validation"),
            one.encoded.tokenizer,
            weight,
        )
        for (name, one), weight in zip(loaded.items(), weights, strict=True)
    ]
    largest = max(loaded.values(), key=lambda one: len(one.prepared.splits.train))
    args = dataclasses.replace(
        largest.prepared.training,
        output_dir=given.output_dir,
        resume_from_checkpoint=checkpoint,
        **_best_model([one.prepared for one in loaded.values()]),
    )
    options = dataclasses.replace(largest.options(), cut_last_layer=False)
    trainer = ManyTasksTrainer(
        jobs, args, options, given.sampling_temperature, given.task_weighting
    )
    counts = zip(loaded, trainer.buckets().steps, strict=True)
    steps = ", ".join(f"{name} {count}" for name, count in counts)
    log_main(f"\n=== {len(jobs)} tasks, one {given.share} for all; steps in an epoch: {steps} ===")
    return trainer


def _best_model(tasks: list[Prepared]) -> dict[str, Any]:
    """Evaluate tasks with validation rows; choose the epoch by all tasks or not at all."""
    strategies = [one.training.eval_strategy for one in tasks if one.training.eval_strategy != "no"]
    best = all(one.training.load_best_model_at_end for one in tasks)
    if not best and any(one.training.load_best_model_at_end for one in tasks):
        log_main(
            "note: some tasks have too few validation rows to choose an epoch by: the last one "
            "is kept for all"
        )
    return {
        "eval_strategy": strategies[0] if strategies else "no",
        "load_best_model_at_end": best,
    }


def _prepare(
    name: str, settings: dict[str, Any], flags: list[str], folder: Path, given: MultitaskArguments
) -> Prepared:
    """A task's own rows, read and checked, and its folder; nothing is trained."""
    words = [
        *flags,
        *words_of(settings),
        "--output_dir",
        str(folder / name),
        "--frozen_trunk",
        "off",
    ]
    if given.overwrite_output_dir or given.resume_from_checkpoint:
        words.append("--overwrite_output_dir")
    parsed = parse_recipe(
        find_task(settings["recipe"]), words, "", others=flags_of(MultitaskArguments)
    )
    arguments = parsed.arguments
    for flag in NOT_TOGETHER:
        if getattr(arguments, flag):
            raise AdaptkitError(f"--{flag} does not go with many tasks at once.")
    if "metric_for_best_model" in flags_in(words):
        raise AdaptkitError(
            "--metric_for_best_model: the best epoch of many tasks is that of the highest mean "
            "of their own metrics."
        )
    if not arguments.model_name_or_path:
        recipe = settings["recipe"]
        raise AdaptkitError(
            f"{recipe} has no model by itself: give --model_name_or_path, one for all tasks."
        )
    if (
        arguments.train != "adapter"
        or arguments.method == "full"
        or "peft:" in (arguments.method or "")
    ):
        raise AdaptkitError(
            "many tasks at once share adapters: --train adapter with a method of adaptkit's own."
        )
    # what holds for all tasks need not be of use to each
    return prepare(dataclasses.replace(parsed, given=parsed.given - HEAD_FLAGS))


def _named(name: str, work: Callable[..., T], *given: Any) -> T:
    """The result of `work`; errors are prefixed with the task's name."""
    try:
        return work(*given)
    except AdaptkitError as problem:
        raise AdaptkitError(f"task {name}: {problem}") from problem


def _check_together(tasks: dict[str, Prepared]) -> None:
    """Refuse settings that tasks cannot have together, before a model is loaded."""
    bases = {str(one.arguments.model_name_or_path) for one in tasks.values()}
    if len(bases) > 1:
        raise AdaptkitError(
            f"tasks that are learned together have one base; these have {', '.join(sorted(bases))}."
        )
    training = next(iter(tasks.values())).training
    for flag in ("gradient_checkpointing", "neftune_noise_alpha", "torch_compile"):
        if getattr(training, flag):
            raise AdaptkitError(f"--{flag} does not go with many tasks at once.")


def _checkpoint(given: MultitaskArguments, folder: Path) -> str | None:
    found, notes = find_checkpoint(asked_checkpoint(given), folder)
    for note in notes:
        log_main(note)
    whole = ("trainer_state.json", "model.safetensors")
    if found and not all((Path(found) / file).is_file() for file in whole):
        raise AdaptkitError(
            f"--resume_from_checkpoint {found}: that is no checkpoint of many tasks; true takes "
            "the last."
        )
    return found


def _flat(found: dict[str, Metrics]) -> Metrics:
    return {
        f"{name}_{key}": value for name, metrics in found.items() for key, value in metrics.items()
    }


def _report(
    folder: Path, loaded: dict[str, Loaded], found: dict[str, Metrics], given: MultitaskArguments
) -> None:
    """Write `all_results.json`, and a card with a row per task."""
    write_results(folder, _flat(found))
    rows: list[tuple[str, ...]] = [
        ("task", "recipe", "rows", "metric", "validation", "test", "folder")
    ]
    rows += [_row(name, one.prepared, found[name]) for name, one in loaded.items()]
    first = next(iter(loaded.values())).prepared
    lines = ["|".join(("", *row, "")) for row in (rows[0], ("---",) * len(rows[0]), *rows[1:])]
    shared = (
        "one adapter, a head each" if given.share == "adapter" else "an adapter and a head each"
    )
    text = (
        f"# {len(loaded)} tasks over {first.base}\n\n"
        f"Trained at once with adaptkit: {shared}, method `{first.arguments.method}`, sampling "
        "temperature "
        f"{given.sampling_temperature:g}, task weights {given.task_weighting}. Each folder is an "
        "adapter of its own:\n"
        f"`{answer_command(first.task, first.output_dir)}`.\n\n" + "\n".join(lines) + "\n"
    )
    with new_file(folder / "README.md") as staged:
        staged.write_text(text, "utf-8")
    log_main(f"\n{format_table(rows)}")


def _row(name: str, prepared: Prepared, metrics: Metrics) -> tuple[str, ...]:
    metric = prepared.task.reported[0]
    keys = (f"eval_{metric}", f"test_{metric}")
    values = (f"{metrics[key]:.4f}" if key in metrics else "-" for key in keys)
    rows = f"{len(prepared.splits.train):,}"
    return name, prepared.task.name, rows, metric.replace("_", " "), *values, f"{name}/"
