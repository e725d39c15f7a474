"""The task file of `recipes/multitask.py`: NAME: {recipe: RECIPE, FLAG: VALUE, ...}."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

from adaptkit.errors import AdaptkitError, quoted, unknown
from adaptkit.recipe.arguments import RecipeArguments
from adaptkit.recipe.parser import as_words
from adaptkit.tasks.flags import flags_of, task_flags
from adaptkit.tasks.registry import find_task, task_names

EMBEDDED = {
    "intent": {"recipe": "classify", "label_column": "intent"},
    "sentiment": {"recipe": "classify", "label_column": "sentiment"},
    "names": {"recipe": "tag"},
}

NOT_FLAGS = ("recipe", "task_weight")

ROWS = (  # the recipe flags about a task's own rows
    *(
        "train_file",
        "validation_file",
        "test_file",
        "dataset_name",
        "dataset_config_name",
        "format",
        "encoding",
        "column_names",
    ),
    *("validation_split_percentage", "test_split_percentage", "max_seq_length"),
    *("max_train_samples", "max_eval_samples", "max_predict_samples"),
    *("augment_copies", "word_dropout", "word_swap", "synonym_file"),
)

OWN_ADAPTER = ("method", "warm_start")  # also per task, if each task has an adapter


def read_tasks(file: str | None, own_adapters: bool = False) -> dict[str, dict[str, Any]]:
    """The tasks by name, each with its recipe and flags; by default those of the embedded corpus.

    Args:
        own_adapters: each task has its own adapter.

    Raises:
        AdaptkitError: the file is not a mapping of at least two tasks, repeats a name, or gives a
            task a flag that applies to all tasks.
    """
    if file is None:
        return EMBEDDED
    tasks = _content(file)
    if (
        not isinstance(tasks, dict)
        or len(tasks) < 2
        or not all(isinstance(one, dict) for one in tasks.values())
    ):
        raise AdaptkitError(
            f"{file} should name two tasks or more, each 'NAME: {{recipe: classify, train_file: "
            "rows.csv}'."
        )
    for name, settings in tasks.items():
        _check(file, name, settings, own_adapters)
    return tasks


def words_of(settings: dict[str, Any]) -> list[str]:
    """A task's flags as words of a command line."""
    return as_words({key: value for key, value in settings.items() if key not in NOT_FLAGS})


def _content(file: str) -> Any:
    import yaml

    class Once(yaml.SafeLoader):
        """A mapping without duplicate keys."""

        def construct_mapping(self, node, deep=False):
            names = [self.construct_object(key, deep=True) for key, _ in node.value]
            if twice := sorted({str(name) for name in names if names.count(name) > 1}):
                line = node.start_mark.line + 1
                raise AdaptkitError(
                    f"{file}:{line}: {', '.join(twice)} stands there twice; names are given once."
                )
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(Path(file).read_text("utf-8"), Once)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise AdaptkitError(f"--tasks {file} cannot be read: {problem}") from problem


def _check(file: str, name: Any, settings: dict[str, Any], own_adapters: bool) -> None:
    """Refuse an invalid task."""
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"[\w-]+", name)
        or name.startswith("checkpoint-")
    ):
        raise AdaptkitError(
            f"{file}: a task's name is of letters, digits, - and _, and no checkpoint-NUMBER; "
            f"{quoted(name)} is not."
        )
    recipe = settings.get("recipe")
    if recipe is None:
        raise AdaptkitError(f"{file}: the task {name} names no recipe, as in recipe: classify.")
    if recipe not in task_names():
        raise unknown(f"recipe of the task {name} in {file}", str(recipe), task_names())
    weight = settings.get("task_weight", 1.0)
    if (
        isinstance(weight, bool)
        or not isinstance(weight, (int, float))
        or not 0 < weight < math.inf
    ):
        raise AdaptkitError(
            f"{file}: the task_weight of {name} is a number above 0, not {quoted(weight)}."
        )
    every, own = set(flags_of(RecipeArguments)), set(task_flags(find_task(recipe)))
    allowed = own | {*ROWS, *NOT_FLAGS} | ({*OWN_ADAPTER} if own_adapters else set())
    for key in settings:
        if key not in allowed and (key in every or key in _training_flags()):
            raise AdaptkitError(
                f"{file}: {key} of the task {name} holds for all tasks: give it on the command "
                f"line, --{key}."
            )
        if key not in allowed:
            error = unknown(f"flag of the task {name} in {file}", str(key), allowed)
            raise AdaptkitError(str(error).partition(" Known: ")[0])


def _training_flags() -> set[str]:
    from transformers import TrainingArguments

    return {item.name for item in dataclasses.fields(TrainingArguments)}
