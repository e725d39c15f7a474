"""From a command line to prepared rows: check flags, read rows, settle settings.

No model is loaded.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adaptkit.adapters.full import FULL, check_part
from adaptkit.data.readers.options import Reading
from adaptkit.data.sources import load_splits
from adaptkit.data.splits import Splits
from adaptkit.errors import AdaptkitError, quoted
from adaptkit.models.objective import language_objective, settings_of_kind
from adaptkit.recipe.arguments import RecipeArguments
from adaptkit.recipe.auto import check_compares, choose_method, with_base
from adaptkit.recipe.data_checks import check_one_text, check_overlap
from adaptkit.recipe.head import check_head_flags, trains_beside_probe
from adaptkit.recipe.parser import Parsed
from adaptkit.recipe.steps import Prepared
from adaptkit.recipe.unlabelled import read_unlabelled
from adaptkit.tasks.base import Task
from adaptkit.tasks.language import Language
from adaptkit.training.checkpoints import STATE, is_whole, last_whole_checkpoint
from adaptkit.training.defaults import (
    DEFAULTS,
    HEAD_FACTOR,
    data_defaults,
    few_pairs,
    machine_defaults,
    machine_notes,
    small_data_defaults,
)
from adaptkit.training.options import check_token_budget
from adaptkit.training.regularization import check_lora_plus
from adaptkit.training.sharding import leave_out_fsdp
from adaptkit.utils.output_folder import check_empty, check_writable
from adaptkit.utils.processes import is_main, log_main, start_all_processes

POSITIVE = (
    "learning_rate",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "num_train_epochs",
)
MOST = {
    "train": "max_train_samples",
    "validation": "max_eval_samples",
    "test": "max_predict_samples",
}


def prepare(parsed: Parsed) -> Prepared:
    """Check the flags and read the data. Nothing is written.

    Raises:
        AdaptkitError: for any error that the user can correct.
    """
    start_all_processes()
    arguments = _checked(parsed)
    task = make_task(parsed, arguments)
    output_dir = Path(arguments.output_dir or f"runs/{task.name}")
    rate = {"learning_rate": arguments.default_rate()}
    defaults = DEFAULTS | rate | task.defaults | machine_defaults()
    defaults["output_dir"] = str(output_dir)
    # the rest is settled once the rows are counted
    training = parsed.make_training(**(defaults | {"load_best_model_at_end": False}))
    _check_training(training, task, arguments)
    check_head_flags(parsed.given, arguments, task)
    checkpoint = asked_checkpoint(training)
    if is_main() and not arguments.check:
        if arguments.overwrite_output_dir or checkpoint:
            check_writable(output_dir)
        else:
            check_empty(output_dir, RESUME_HINT)
    splits, task = _read(task, arguments, training.seed)
    unlabelled = read_unlabelled(task, arguments, splits, reading_for(task, arguments))
    choose = task.lower_is_better or bool(training.metric_for_best_model)
    training, notes = _settle(parsed, arguments, splits, defaults, task, choose)
    arguments = _with_head_rate(arguments, task, len(splits.train), training.learning_rate)
    training.resume_from_checkpoint, resume_notes = find_checkpoint(checkpoint, output_dir)
    notes += [*leave_out_fsdp(training), *machine_notes(training)]
    for note in (*splits.notes, *notes, *resume_notes):
        log_main(f"note: {note}")
    if not arguments.check:  # which prints all findings
        findings = [*task.findings(splits), *check_overlap(task, splits)]
        for finding in [*findings, *check_one_text(task, splits)]:
            if finding.severity != "good":
                log_main(f"warning: {finding.text}")
    return Prepared(
        task,
        arguments,
        training,
        splits,
        output_dir,
        given=parsed.given,
        unlabelled=unlabelled,
    )


RESUME_HINT = (
    "or --overwrite_output_dir, or --resume_from_checkpoint true to go on from its last checkpoint"
)


def make_task(parsed: Parsed, arguments: RecipeArguments) -> Task:
    """The task with the columns and settings from the flags."""
    columns = dict(parsed.task.embedded) if arguments.embedded() else {}
    settings = _for_model(parsed, arguments)
    task = parsed.task(columns=columns | parsed.columns, **settings)
    part_of: dict[str, str] = {}
    for part in task.parts:
        if (column := task.column(part)) and (other := part_of.setdefault(column, part)) != part:
            raise AdaptkitError(f"--{other}_column and --{part}_column are both {quoted(column)}.")
    return task


def _for_model(parsed: Parsed, arguments: RecipeArguments) -> dict[str, Any]:
    """The task's settings, with those that the model decides."""
    settings, model = dict(parsed.settings), arguments.model_name_or_path
    if "objective" in settings and settings["objective"] is None:
        kind = settings.get("model_type", "")
        settings["objective"] = arguments.default_objective() or language_objective(model, kind)
    if "model_kind" in settings:
        settings |= settings_of_kind(settings, parsed.given, arguments.default_kind(), model)
    return settings


def _checked(parsed: Parsed) -> RecipeArguments:
    """The arguments with their method; refuses flags that cannot work with any data."""
    arguments = with_base(parsed.arguments, parsed.settings.get("objective"), parsed.given)
    if arguments.max_seq_length < 8:
        raise AdaptkitError(
            f"--max_seq_length {arguments.max_seq_length} leaves no room for a text."
        )
    for name in ("validation_split_percentage", "test_split_percentage"):
        if not 0 <= getattr(arguments, name) <= 50:
            raise AdaptkitError(f"--{name} is 0 to 50, not {getattr(arguments, name)}.")
    for name in MOST.values():
        if (count := getattr(arguments, name)) is not None and count < 1:
            raise AdaptkitError(f"--{name} is 1 or more, not {count}.")
    if arguments.folds and arguments.max_eval_samples:
        raise AdaptkitError(
            "--max_eval_samples does not go with --folds: each fold is evaluated on its own rows."
        )
    check_part(arguments.train)
    method = choose_method(arguments, parsed.task.from_nothing)
    check_lora_plus(arguments.lora_plus_ratio, method)
    regularized = (
        arguments.l2_sp or arguments.gradual_unfreezing or arguments.layerwise_lr_decay != 1
    )
    if regularized and (method != FULL or arguments.search):
        flags = "--layerwise_lr_decay, --l2_sp and --gradual_unfreezing"
        raise AdaptkitError(f"{flags} are for --train full or last[k], and not for --search.")
    if parsed.task.compares:
        check_compares(parsed.task.name, method, arguments)
    if method == FULL and arguments.quantize:
        raise AdaptkitError(
            f"--method full trains all weights, and those of --quantize {arguments.quantize} "
            "cannot be trained."
        )
    return dataclasses.replace(arguments, method=method)


def _check_training(training: Any, task: Task, arguments: RecipeArguments) -> None:
    """Refuse invalid Trainer flags, and those that do not fit the task or the machine."""
    for name in POSITIVE:
        unused = name == "num_train_epochs" and training.max_steps > 0
        if (value := getattr(training, name)) is not None and not unused and not value > 0:
            raise AdaptkitError(f"--{name} is more than 0; it got {value:g}.")
    for item in dataclasses.fields(training):
        value = getattr(training, item.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise AdaptkitError(f"--{item.name} is a finite number; it got {value:g}.")
    if training.fp16 and training.device.type == "cpu":
        raise AdaptkitError(
            "--fp16 needs a GPU; leave it out here, and the precision is chosen for this CPU."
        )
    if training.max_steps != -1 and training.max_steps < 1:
        raise AdaptkitError(
            f"--max_steps is 1 or more, or -1 for all epochs; it got {training.max_steps}."
        )
    for name in training.report_to:
        if name in ("tensorboard", "wandb", "mlflow") and find_spec(name) is None:
            raise AdaptkitError(
                f"--report_to {name}: the package {name} is not installed; pip install {name}"
            )
    if training.push_to_hub:
        _check_hub(training.output_dir)
    if arguments.gradual_unfreezing and (training.world_size > 1 or training.n_gpu > 1):
        raise AdaptkitError("--gradual_unfreezing works in one process on one device.")
    check_token_budget(training, arguments.max_tokens_per_batch)
    if training.label_smoothing_factor and not task.smooths:
        raise AdaptkitError(f"--label_smoothing_factor does not go with {task.name}.")


def _check_hub(folder: str) -> None:
    """Refuse --push_to_hub where the Hub cannot be reached, or does not know the user."""
    import huggingface_hub

    try:
        huggingface_hub.whoami()
    except Exception as problem:
        raise AdaptkitError(
            f"--push_to_hub: {str(problem).strip().splitlines()[0][:200]} Train without it; "
            f"hf upload NAME {folder} publishes the folder at any time later."
        ) from problem


def _settle(
    parsed: Parsed,
    arguments: RecipeArguments,
    splits: Splits,
    defaults: dict[str, Any],
    task: Task,
    choose: bool,
) -> tuple[Any, list[str]]:
    """Trainer's arguments for this number of rows, and notes on what few rows change.

    Args:
        choose: keep the best epoch, however few the validation rows are. This also holds for
            perplexity, which counts tokens, of which a row may have many, and if a flag names a way
            to choose.
    """
    judged = len(splits.validation or ())
    if arguments.folds > 1:
        judged = (judged + len(splits.train)) // arguments.folds
    choose = choose or bool(arguments.early_stopping_patience)
    given = parsed.given | ({"num_train_epochs"} if "max_steps" in parsed.given else set())
    probed = trains_beside_probe(arguments, task)
    writes = isinstance(task, Language)  # and has no head of its own
    pretrained = writes and arguments.method != FULL and bool(arguments.model_name_or_path)
    by_data, notes = data_defaults(len(splits.train), judged, choose, given, probed, pretrained)
    by_data |= few_pairs(len(splits.train), notes) if task.compares else {}
    by_data["metric_for_best_model"] = task.best_metric
    training = parsed.make_training(**(defaults | by_data))
    if (
        training.metric_for_best_model == "loss"
    ):  # set by the user; without a default Trainer reports it too
        training.metric_for_best_model = "eval_loss"
    _check_best_metric(judged, training, arguments)
    if arguments.search and not splits.validation:
        raise AdaptkitError(
            "--search scores trials by validation rows, besides the folds: give --validation_file."
        )
    if judged and training.save_strategy == "no":
        notes.append("nothing is saved while training (--save_strategy no): the last epoch is kept")
    return training, notes


def _with_head_rate(
    arguments: RecipeArguments, task: Task, rows: int, rate: float
) -> RecipeArguments:
    """The arguments with the default rate of a head that starts from a probe of few rows."""
    few = trains_beside_probe(arguments, task) and small_data_defaults(rows, True)
    if not few or arguments.head_learning_rate is not None:
        return arguments
    return dataclasses.replace(arguments, head_learning_rate=HEAD_FACTOR * rate)


def _check_best_metric(judged: int, training: Any, arguments: RecipeArguments) -> None:
    """Refuse settings that need validation rows if there are none."""
    evaluates = training.eval_strategy != "no" or training.eval_on_start
    evaluates = evaluates or training.load_best_model_at_end
    if not judged and (arguments.search or arguments.early_stopping_patience or evaluates):
        raise AdaptkitError(
            "--search, --early_stopping_patience, --load_best_model_at_end and --eval_strategy "
            "need validation rows: "
            "give --validation_file, or cut some off with --validation_split_percentage."
        )


def _read(task: Task, arguments: RecipeArguments, seed: int) -> tuple[Splits, Task]:
    """The checked rows, and the task with its labels."""
    splits = load_splits(
        arguments.train_file,
        arguments.validation_file,
        arguments.test_file,
        arguments.dataset_name,
        arguments.dataset_config_name,
        reading=reading_for(task, arguments),
    )
    shares = (arguments.validation_split_percentage / 100, arguments.test_split_percentage / 100)
    splits, task = task.prepare(splits, seed, *shares)
    most = {split: getattr(arguments, name) for split, name in MOST.items()}
    unused = [split for split in MOST if most[split] and getattr(splits, split) is None]
    splits.notes += [f"--{MOST[split]}: there are no {split} rows" for split in unused]
    return splits.at_most(most, seed), task


def reading_for(task: Task, arguments: RecipeArguments) -> Reading:
    """How to read files according to the flags."""
    source, target = getattr(task, "source_lang", None), getattr(task, "target_lang", None)
    return Reading(
        format=arguments.format,
        encoding=arguments.encoding,
        column_names=_as_tuple(arguments.column_names),
        wanted=task.wanted(),
        tag_column=getattr(task, "tag_column", None),
        languages=(source, target) if source and target else None,
    )


def _as_tuple(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return tuple(names) if names else None


def asked_checkpoint(training: Any) -> str | None:
    """A folder, "true" for the last one, or None."""
    asked = training.resume_from_checkpoint
    return None if str(asked).lower() in ("none", "false", "no", "0") else asked


def find_checkpoint(asked: str | None, output_dir: Path) -> tuple[str | None, list[str]]:
    """The checkpoint to resume from, and a note about it.

    Raises:
        AdaptkitError: the folder does not exist.
    """
    if asked is None:
        return None, []
    if str(asked).lower() != "true":
        if not Path(asked).is_dir():
            raise AdaptkitError(
                f"--resume_from_checkpoint {asked}: there is no such folder; true takes the last."
            )
        if not is_whole(Path(asked)):
            last = last_whole_checkpoint(Path(asked))
            hint = f" Did you mean {last}?" if last else ""
            raise AdaptkitError(
                f"--resume_from_checkpoint {asked} is no whole checkpoint: it has no readable "
                f"{STATE}.{hint}"
            )
        return asked, []
    found = last_whole_checkpoint(output_dir)
    if found is None:
        return None, [f"no whole checkpoint in {output_dir}: starting from the beginning"]
    return str(found), [f"going on from {found}"]
