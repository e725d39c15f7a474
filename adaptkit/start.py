"""From flags to a run that can train: flags are checked, rows are read, settings are settled. No model is loaded yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adaptkit import tasks
from adaptkit.arguments import RecipeArguments
from adaptkit.choices import choose_method
from adaptkit.data import load_splits, reading_from
from adaptkit.defaults import DEFAULTS, data_defaults, machine_defaults, machine_notes
from adaptkit.errors import AdaptkitError
from adaptkit.full import FULL, check_part
from adaptkit.launch import IS_MAIN, say, start_all_processes
from adaptkit.run import Run
from adaptkit.tables import Splits
from adaptkit.tasks.base import Task
from adaptkit.training import last_whole_checkpoint

POSITIVE = (
    *("learning_rate", "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
    "num_train_epochs",
)
MOST = {"train": "max_train_samples", "validation": "max_eval_samples", "test": "max_predict_samples"}


def task_from(name: str, arguments: RecipeArguments) -> Task:
    """The task with the columns and settings that the flags give."""
    kind = tasks.find(name)
    columns = dict(kind.embedded) if arguments.embedded() else {}
    columns |= {part: value for part in kind.parts if (value := getattr(arguments, f"{part}_column", None))}
    names = {item.name for item in dataclasses.fields(kind)} - {"columns", "labels"}
    return kind(columns=columns, **{name: getattr(arguments, name) for name in names if hasattr(arguments, name)})


def start(task: Task, arguments: RecipeArguments, make_training: Callable[..., Any]) -> Run:
    """Check the flags, read the data. Nothing is written and no model is loaded yet.

    Args:
        make_training: defaults -> `transformers.TrainingArguments`, in which what the user gave comes before them.

    Raises:
        AdaptkitError: whatever the user can mend.
    """
    start_all_processes()
    _check_flags(arguments)
    output_dir = Path(arguments.output_dir or f"runs/{task.name}")
    defaults = DEFAULTS | task.defaults | machine_defaults()
    defaults |= {"output_dir": str(output_dir), "learning_rate": arguments.default_rate()}
    training = make_training(**(defaults | {"load_best_model_at_end": False}))  # the rest is settled when the rows are counted
    _check_training(training, task, arguments)
    checkpoint = asked_checkpoint(training)
    if IS_MAIN and not (arguments.overwrite_output_dir or checkpoint or arguments.check):
        refuse_full(output_dir)
    splits, task = _read(task, arguments, training.seed)
    judged = len(splits.validation or ())
    if arguments.folds > 1:
        judged = (judged + len(splits.train)) // arguments.folds
    # A perplexity counts tokens, of which a row may have many; and who names a way to choose wants a choice.
    choose = task.lower_is_better or bool(arguments.early_stopping_patience or training.metric_for_best_model)
    by_data, said = data_defaults(len(splits.train), judged, choose)
    training = make_training(**(defaults | by_data | {"metric_for_best_model": task.best_metric}))
    if training.metric_for_best_model == "loss":  # so the user said; without a default Trainer says it by itself, too
        training.metric_for_best_model = "eval_loss"
    _check_judged(judged, training, arguments)
    if arguments.search and not splits.validation:
        raise AdaptkitError("--search judges by validation rows beside those of --folds: give --validation_file.")
    training.resume_from_checkpoint, going_on = find_checkpoint(checkpoint, output_dir)
    if judged and training.save_strategy == "no":
        said.append("nothing is saved while training (--save_strategy no): the last epoch is kept")
    splits.notes += [*said, *machine_notes(training), *going_on]
    for note in splits.notes:
        say(f"note: {note}")
    return Run(task, arguments, training, splits, output_dir, max_length=arguments.max_seq_length)


def _check_flags(arguments: RecipeArguments) -> None:
    """Refuse flags that cannot work, whatever the data; the method is chosen on the way."""
    if arguments.max_seq_length < 8:
        raise AdaptkitError(f"--max_seq_length {arguments.max_seq_length} leaves no room for a text.")
    for name in ("validation_split_percentage", "test_split_percentage"):
        if not 0 <= getattr(arguments, name) <= 50:
            raise AdaptkitError(f"--{name} is 0 to 50, not {getattr(arguments, name)}.")
    for name in MOST.values():
        if (count := getattr(arguments, name)) is not None and count < 1:
            raise AdaptkitError(f"--{name} is 1 or more, not {count}.")
    if arguments.folds and arguments.max_eval_samples:
        raise AdaptkitError("--max_eval_samples does not go with --folds, each of which is judged by its own rows.")
    check_part(arguments.train)
    arguments.method = choose_method(arguments)
    careful = arguments.l2_sp or arguments.gradual_unfreezing or arguments.layerwise_lr_decay != 1
    if careful and (arguments.method != FULL or arguments.search):
        flags = "--layerwise_lr_decay, --l2_sp and --gradual_unfreezing"
        raise AdaptkitError(f"{flags} are for --train full or last[k], and not for --search.")
    if arguments.method == FULL and arguments.quantize:
        raise AdaptkitError(f"--method full trains all weights, and those of --quantize {arguments.quantize} cannot be trained.")


def _check_training(training: Any, task: Task, arguments: RecipeArguments) -> None:
    """Refuse flags of Trainer's that cannot be, or do not go with the task or the machine."""
    for name in POSITIVE:
        idle = name == "num_train_epochs" and training.max_steps > 0
        if (value := getattr(training, name)) is not None and not idle and not value > 0:
            raise AdaptkitError(f"--{name} is more than 0; it got {value:g}.")
    for name in training.report_to:
        if name in ("tensorboard", "wandb", "mlflow") and find_spec(name) is None:
            raise AdaptkitError(f"--report_to {name}: the package {name} is not installed; pip install {name}")
    if arguments.gradual_unfreezing and (training.world_size > 1 or training.n_gpu > 1):
        raise AdaptkitError("--gradual_unfreezing works in one process on one device.")
    if training.label_smoothing_factor and not task.smooths:
        raise AdaptkitError(f"--label_smoothing_factor does not go with {task.name}.")


def _check_judged(judged: int, training: Any, arguments: RecipeArguments) -> None:
    """Refuse what judges by validation rows where there are none."""
    evaluates = training.eval_strategy != "no" or training.eval_on_start or training.load_best_model_at_end
    if not judged and (arguments.search or arguments.early_stopping_patience or evaluates):
        raise AdaptkitError(
            "--search, --early_stopping_patience, --load_best_model_at_end and --eval_strategy judge by validation rows: give "
            "--validation_file, or cut some off with --validation_split_percentage."
        )


def _read(task: Task, arguments: RecipeArguments, seed: int) -> tuple[Splits, Task]:
    """The checked rows, and the task with its labels."""
    splits = load_splits(
        *(arguments.train_file, arguments.validation_file, arguments.test_file),
        *(arguments.dataset_name, arguments.dataset_config_name),
        reading=reading_from(arguments, task.wanted()),
    )
    shares = (arguments.validation_split_percentage / 100, arguments.test_split_percentage / 100)
    splits, task = task.prepare(splits, seed, *shares)
    most = {split: getattr(arguments, name) for split, name in MOST.items()}
    splits.notes += [
        f"--{MOST[split]}: there are no {split} rows" for split in MOST if most[split] and getattr(splits, split) is None
    ]
    return splits.at_most(most, seed), task


def asked_checkpoint(training: Any) -> str | None:
    """A folder, "true" for the last one, or None."""
    asked = training.resume_from_checkpoint
    return None if str(asked).lower() in ("none", "false", "no", "0") else asked


def find_checkpoint(asked: str | None, output_dir: Path) -> tuple[str | None, list[str]]:
    """The checkpoint to go on from, and a note that says so.

    Raises:
        AdaptkitError: there is no such folder.
    """
    if asked is None:
        return None, []
    if str(asked).lower() != "true":
        if not Path(asked).is_dir():
            raise AdaptkitError(f"--resume_from_checkpoint {asked}: there is no such folder; true takes the last.")
        return asked, []
    found = last_whole_checkpoint(output_dir)
    if found is None:
        return None, [f"no whole checkpoint in {output_dir}: starting from the beginning"]
    return str(found), [f"going on from {found}"]


def refuse_full(folder: Path) -> None:
    """Refuse to write into a folder that holds something, unless it is said that it may be."""
    if folder.is_file():
        raise AdaptkitError(f"--output_dir {folder} is a file.")
    if folder.is_dir() and any(folder.iterdir()):
        raise AdaptkitError(
            f"--output_dir {folder} is not empty; give another one, or --overwrite_output_dir, or --resume_from_checkpoint true "
            "to go on from its last checkpoint."
        )
