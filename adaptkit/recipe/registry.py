"""The recipes by name, and how they are run. Every task has a recipe of its own name."""

from __future__ import annotations

import importlib

from adaptkit.errors import unknown
from adaptkit.recipe.main import recipe
from adaptkit.tasks.registry import RECIPES, TASKS, find_task, task_names

SCRIPTS = (*TASKS, *RECIPES)  # what lies in `recipes/`


def recipe_names() -> tuple[str, ...]:
    """All recipes: the scripts, and the tasks of plug-ins."""
    return (*SCRIPTS, *(name for name in task_names() if name not in TASKS))


def run_recipe(name: str, flags: list[str]) -> None:
    """Hand the flags to a recipe, which reads them itself.

    Raises:
        AdaptkitError: there is no such recipe (with the nearest name).
    """
    if name in SCRIPTS:
        importlib.import_module(f"adaptkit.recipes.{name}").main(flags)
    elif name in task_names():
        recipe(name, flags, find_task(name).__doc__)
    else:
        raise unknown("recipe", name, recipe_names())
