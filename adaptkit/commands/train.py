"""`adaptkit train` and `adaptkit check`: run a recipe."""

from __future__ import annotations

import argparse
import importlib

from adaptkit.errors import unknown
from adaptkit.recipe.registry import RECIPES, module_of

HELP = {"train": "train an adapter with a recipe", "check": "check the data and try one step"}


def add_arguments(parser: argparse.ArgumentParser, recipes: tuple[str, ...]) -> None:
    parser.add_argument("recipe", choices=recipes)


def run(given: argparse.Namespace) -> None:
    """Run a recipe without flags."""
    run_recipe(given.command, given.recipe, [])


def run_recipe(command: str, name: str, flags: list[str]) -> None:
    """Pass the flags to a recipe, which parses them itself.

    Raises:
        AdaptkitError: the recipe does not exist (with the closest name).
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    recipe = importlib.import_module(module_of(name))
    recipe.main([*flags, "--check"] if command == "check" else flags)
