"""The recipes by name, and their modules.

A task of `adaptkit.tasks` has a recipe of the same name.
"""

from __future__ import annotations

from adaptkit.tasks.registry import TASKS

TASK_RECIPES = tuple(TASKS)
RECIPES = (*TASK_RECIPES, "distill", "multitask")  # and recipes that transfer knowledge


def module_of(name: str) -> str:
    """The module of a recipe; its `main(argv)` runs it."""
    return f"adaptkit.recipes.{name}"
