"""What `recipes/multitask.py` does: a run for each task, one training for all, a report for each and one for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adaptkit import report
from adaptkit.aligned import aligned
from adaptkit.arguments import flags_in, names_of, parse
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.fastest import earlier_choice, keep_choice
from adaptkit.files import new_file
from adaptkit.launch import IS_MAIN, say
from adaptkit.run import Run, finish, load
from adaptkit.start import asked_checkpoint, find_checkpoint, refuse_full, start, task_from
from adaptkit.training import Fit, drive
from adaptkit.transfer.multitask import WEIGHTINGS, Job, ManyTasksTrainer, own_history, share
from adaptkit.transfer.task_file import arguments_of, read_tasks, words_of

NOT_TOGETHER = ("search", "folds", "seeds", "check", "fuse", "quantize", "adversarial_epsilon", "early_stopping_patience")


def train_tasks(given: Any, flags: list[str]) -> dict[str, Any]:
    """Train, evaluate, save and report; the numbers of all tasks as `NAME_METRIC`.

    Args:
        given: the recipe's own flags.
        flags: words for the recipes of the tasks.

    Raises:
        AdaptkitError: no tasks, an unknown recipe, or flags that do not go together.
    """
    if given.task_weighting not in WEIGHTINGS:
        raise unknown("--task_weighting", given.task_weighting, WEIGHTINGS)
    if given.share not in ("adapter", "base"):
        raise unknown("--share", given.share, ("adapter", "base"))
    if not given.sampling_temperature > 0:
        raise AdaptkitError(f"--sampling_temperature is more than 0, not {given.sampling_temperature}.")
    folder, tasks = Path(given.output_dir), read_tasks(given.tasks, own_adapters=given.share == "base")
    if IS_MAIN and not (given.overwrite_output_dir or given.resume_from_checkpoint):
        refuse_full(folder)
    checkpoint = _checkpoint(given, folder)
    runs = {name: _named(name, _start, name, settings, flags, folder, given) for name, settings in tasks.items()}
    _check_together(runs)
    for name, run in runs.items():
        say(f"\n=== {name} ===")
        run.attention = next(iter(runs.values())).attention or (earlier_choice(run.output_dir) if checkpoint else {})
        _named(name, load, run)
        if IS_MAIN and run.attention:
            keep_choice(run.output_dir, run.attention)
    weights = [float(settings.get("task_weight", 1.0)) for settings in tasks.values()]
    share([run.model for run in runs.values()], adapter=given.share == "adapter")
    jobs = [
        Job(name, run.model, run.task, run.parts["train"], run.parts.get("validation"), run.tokenizer, weight)
        for (name, run), weight in zip(runs.items(), weights, strict=True)
    ]
    largest = max(runs.values(), key=lambda run: len(run.splits.train))
    args = dataclasses.replace(
        largest.training, output_dir=str(folder), resume_from_checkpoint=checkpoint, **_judging(list(runs.values()))
    )
    extras = dataclasses.replace(largest.extras(), cut_last_layer=False)
    trainer = ManyTasksTrainer(jobs, args, extras, given.sampling_temperature, given.task_weighting)
    shares = ", ".join(f"{name} {steps}" for name, steps in zip(runs, trainer.buckets().steps, strict=True))
    say(f"\n=== {len(jobs)} tasks, one {given.share} for all; steps in an epoch: {shares} ===")
    fitted = drive(trainer)
    found = {}
    for (name, run), weight in zip(runs.items(), trainer.weights(), strict=True):
        say(f"\n=== {name} ===")
        run.training = args  # what trained it
        metrics = fitted.metrics | {"train_samples": len(run.parts["train"].encoded), "task_weight": weight}
        found[name] = finish(run, Fit(metrics, own_history(fitted.history, name)))
    if IS_MAIN:
        _report(folder, runs, found, given)
    return {f"{name}_{key}": value for name, metrics in found.items() for key, value in metrics.items()}


def _judging(runs: list[Run]) -> dict[str, Any]:
    """The epoch is chosen by all tasks or not at all; those that have validation rows are judged."""
    strategies = [run.training.eval_strategy for run in runs if run.training.eval_strategy != "no"]
    best = all(run.training.load_best_model_at_end for run in runs)
    if not best and any(run.training.load_best_model_at_end for run in runs):
        say("note: some tasks have too few validation rows to choose an epoch by: the last one is kept for all")
    return {"eval_strategy": strategies[0] if strategies else "no", "load_best_model_at_end": best}


def _start(name: str, settings: dict[str, Any], flags: list[str], folder: Path, given: Any) -> Run:
    """A task's own run: its rows read and checked, its folder, nothing trained."""
    recipe = settings["recipe"]
    kind = arguments_of(recipe)
    words = [*flags, *words_of(settings), "--output_dir", str(folder / name), "--frozen_trunk", "off"]
    words += ["--overwrite_output_dir"] if given.overwrite_output_dir or given.resume_from_checkpoint else []
    arguments, make_training = parse(kind, words, "", names_of(type(given)))
    for flag in NOT_TOGETHER:
        if getattr(arguments, flag):
            raise AdaptkitError(f"--{flag} does not go with many tasks at once.")
    if "metric_for_best_model" in flags_in(words):
        raise AdaptkitError(
            "--metric_for_best_model: the best epoch of many tasks is that of the highest mean of their own metrics."
        )
    if not arguments.model_name_or_path:
        raise AdaptkitError(f"{recipe} has no model by itself: give --model_name_or_path, one for all tasks.")
    if arguments.train != "adapter" or arguments.method == "full" or "peft:" in (arguments.method or ""):
        raise AdaptkitError("many tasks at once share adapters: --train adapter with a method of adaptkit's own.")
    return start(task_from(recipe, arguments), arguments, make_training)


def _named(name: str, work: Callable[..., Any], *given: Any) -> Any:
    """What `work` gives; the name of the task before what it complains of."""
    try:
        return work(*given)
    except AdaptkitError as problem:
        raise AdaptkitError(f"task {name}: {problem}") from problem


def _check_together(runs: dict[str, Run]) -> None:
    """Refuse what no tasks can have together, before a model is loaded."""
    if len(bases := {run.arguments.model_name_or_path for run in runs.values()}) > 1:
        raise AdaptkitError(f"tasks that are learned together have one base; these have {', '.join(sorted(bases))}.")
    training = next(iter(runs.values())).training
    for flag in ("gradient_checkpointing", "neftune_noise_alpha", "torch_compile"):
        if getattr(training, flag):
            raise AdaptkitError(f"--{flag} does not go with many tasks at once.")


def _checkpoint(given: Any, folder: Path) -> str | None:
    found, notes = find_checkpoint(asked_checkpoint(given), folder)
    for note in notes:
        say(note)
    if found and not all((Path(found) / file).is_file() for file in ("trainer_state.json", "model.safetensors")):
        raise AdaptkitError(f"--resume_from_checkpoint {found}: that is no checkpoint of many tasks; true takes the last.")
    return found


def _report(folder: Path, runs: dict[str, Run], found: dict[str, dict[str, Any]], given: Any) -> None:
    """`all_results.json`, and a card with a row for each task."""
    report.write_results(folder, {f"{name}_{key}": value for name, metrics in found.items() for key, value in metrics.items()})
    rows = [("task", "recipe", "rows", "metric", "validation", "test", "folder")]
    for name, run in runs.items():
        metric = run.task.reported[0]
        values = [f"{found[name][key]:.4f}" if (key := f"{short}_{metric}") in found[name] else "-" for short in ("eval", "test")]
        rows.append((name, run.task.name, f"{len(run.splits.train):,}", metric.replace("_", " "), *values, f"{name}/"))
    first = next(iter(runs.values()))
    lines = ["|".join(("", *row, "")) for row in (rows[0], ("---",) * len(rows[0]), *rows[1:])]
    shared = "one adapter, a head each" if given.share == "adapter" else "an adapter and a head each"
    text = (
        f"# {len(runs)} tasks over {first.base}\n\n"
        f"Trained at once with adaptkit: {shared}, method `{first.arguments.method}`, sampling temperature "
        f"{given.sampling_temperature:g}, task weights {given.task_weighting}. Each folder is an adapter of its own:\n"
        f'`adaptkit predict {folder.name}/{rows[1][0]} "..."`.\n\n' + "\n".join(lines) + "\n"
    )
    with new_file(folder / "README.md") as staged:
        staged.write_text(text, "utf-8")
    say(f"\n{aligned(rows)}")
