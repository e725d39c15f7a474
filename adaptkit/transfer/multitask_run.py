"""What `recipes/multitask.py` does: a run for each task, one training for all, a report for each and one for all."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptkit import report
from adaptkit.aligned import aligned
from adaptkit.arguments import RecipeArguments, parse
from adaptkit.cli import RECIPES
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.files import new_file
from adaptkit.launch import IS_MAIN, say
from adaptkit.run import Run, finish, load, start, task_from
from adaptkit.training import drive, last_whole_checkpoint
from adaptkit.transfer.multitask import WEIGHTINGS, Job, ManyTasksTrainer, own_history, share

EMBEDDED = {
    "intent": {"recipe": "classify", "label_column": "intent"},
    "sentiment": {"recipe": "classify", "label_column": "sentiment"},
    "names": {"recipe": "tag"},
}
OWN = ("recipe", "task_weight")  # keys of a task that are no flags of its recipe
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
    if given.sampling_temperature <= 0:
        raise AdaptkitError(f"--sampling_temperature is more than 0, not {given.sampling_temperature}.")
    folder, tasks = Path(given.output_dir), read_tasks(given.tasks)
    runs = {}
    for name, settings in tasks.items():
        say(f"\n=== {name} ===")
        runs[name] = _start(name, settings, flags, folder, given)
        load(runs[name])
    if len(bases := {run.base for run in runs.values()}) > 1:
        raise AdaptkitError(f"tasks that are learned together have one base; these have {', '.join(sorted(bases))}.")
    weights = [float(settings.get("task_weight", 1.0)) for settings in tasks.values()]
    share([run.model for run in runs.values()], adapter=given.share == "adapter")
    jobs = [
        Job(name, run.model, run.task, run.parts["train"], run.parts["validation"], run.tokenizer, weight)
        for (name, run), weight in zip(runs.items(), weights, strict=True)
    ]
    largest = max(runs.values(), key=lambda run: len(run.splits.train))
    args = dataclasses.replace(largest.training, output_dir=str(folder), resume_from_checkpoint=_checkpoint(given, folder))
    if args.gradient_checkpointing:
        raise AdaptkitError("--gradient_checkpointing does not go with many tasks at once.")
    extras = dataclasses.replace(largest.extras(), cut_last_layer=False)
    trainer = ManyTasksTrainer(jobs, args, extras, given.sampling_temperature, given.task_weighting)
    shares = ", ".join(f"{name} {steps}" for name, steps in zip(runs, trainer.buckets().steps, strict=True))
    say(f"\n=== {len(jobs)} tasks, one {given.share} for all; steps in an epoch: {shares} ===")
    fitted = drive(trainer)
    found = {}
    for name, run in runs.items():
        say(f"\n=== {name} ===")
        found[name] = finish(run, dataclasses.replace(fitted, history=own_history(fitted.history, name)))
    if IS_MAIN:
        _report(folder, runs, found, given)
    return {f"{name}_{key}": value for name, metrics in found.items() for key, value in metrics.items()}


def read_tasks(file: str | None) -> dict[str, dict[str, Any]]:
    """The tasks by name, each with its recipe and flags.

    Raises:
        AdaptkitError: the file is not a mapping of two tasks or more, or a recipe is unknown.
    """
    if file is None:
        return EMBEDDED
    import yaml

    try:
        tasks = yaml.safe_load(Path(file).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise AdaptkitError(f"--tasks {file} cannot be read: {problem}") from problem
    if not isinstance(tasks, dict) or len(tasks) < 2 or not all(isinstance(one, dict) for one in tasks.values()):
        raise AdaptkitError(f"{file} should name two tasks or more, each 'NAME: {{recipe: classify, train_file: rows.csv}}'.")
    for name, settings in tasks.items():
        if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
            raise AdaptkitError(f"{file}: a task's name is of letters, digits, - and _; {name!r} is not.")
        if settings.get("recipe") not in RECIPES:
            raise unknown(f"recipe of the task {name} in {file}", str(settings.get("recipe")), RECIPES)
        weight = settings.get("task_weight", 1.0)
        if not isinstance(weight, (int, float)) or weight <= 0:
            raise AdaptkitError(f"{file}: the task_weight of {name} is a number above 0, not {weight!r}.")
    return tasks


def _start(name: str, settings: dict[str, Any], flags: list[str], folder: Path, given: Any) -> Run:
    """A task's own run: its rows read and checked, its folder, nothing trained."""
    recipe = settings["recipe"]
    kind = _arguments_of(recipe)
    words = [*flags, *_as_words(settings), "--output_dir", str(folder / name), "--frozen_trunk", "off"]
    words += ["--overwrite_output_dir"] if given.overwrite_output_dir or given.resume_from_checkpoint else []
    arguments, make_training = parse(kind, words, "")
    for flag in NOT_TOGETHER:
        if getattr(arguments, flag):
            raise AdaptkitError(f"--{flag} does not go with many tasks at once.")
    if arguments.train != "adapter" or arguments.method == "full" or "peft:" in arguments.method:
        raise AdaptkitError("many tasks at once share adapters: --train adapter with a method of adaptkit's own.")
    return start(task_from(recipe, arguments), arguments, make_training)


def _arguments_of(recipe: str) -> type[RecipeArguments]:
    module = importlib.import_module(f"adaptkit.recipes.{recipe}")
    return getattr(module, f"{recipe.capitalize()}Arguments")


def _as_words(settings: dict[str, Any]) -> Iterator[str]:
    for key, value in settings.items():
        if key not in OWN and value is not None:
            yield f"--{key}"
            yield from map(str, value if isinstance(value, list) else [value])


def _checkpoint(given: Any, folder: Path) -> str | None:
    wanted = given.resume_from_checkpoint
    if wanted is None or wanted.lower() in ("false", "no", "0"):
        return None
    if wanted.lower() != "true":
        if not Path(wanted).is_dir():
            raise AdaptkitError(f"--resume_from_checkpoint {wanted}: there is no such folder; true takes the last.")
        return wanted
    found = last_whole_checkpoint(folder)
    say(f"going on from {found}" if found else f"no whole checkpoint in {folder}: starting from the beginning")
    return str(found) if found else None


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
