"""`adaptkit train` and `adaptkit check`: run a recipe."""

from __future__ import annotations

import argparse

from adaptkit.recipe.registry import recipe_names, run_recipe

HELP = {"train": "train an adapter with a recipe", "check": "look at the data and try one step"}
NOT_CHECKED = ("distill", "multitask")


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    names = [name for name in recipe_names() if command == "train" or name not in NOT_CHECKED]
    parser.add_argument("recipe", choices=names)


def run(given: argparse.Namespace) -> None:
    """A recipe without flags."""
    run_with_flags(given.command, given.recipe, [])


def run_with_flags(command: str, name: str, flags: list[str]) -> None:
    """A recipe, which reads its flags itself.

    Raises:
        AdaptkitError: the recipe does not exist (with the closest name).
    """
    run_recipe(name, [*flags, "--check"] if command == "check" else flags)
