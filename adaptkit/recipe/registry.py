"""The recipes by name, and the modules that hold them.

A task of `adaptkit.tasks` has a recipe of its own name.
"""

from __future__ import annotations

from adaptkit.tasks.registry import TASKS

TASK_RECIPES = tuple(TASKS)
RECIPES = (*TASK_RECIPES, "distill", "multitask")  # and those that bring knowledge from elsewhere


def module_of(name: str) -> str:
    """The module of a recipe; its `main(argv)` runs it."""
    return f"adaptkit.recipes.{name}"
