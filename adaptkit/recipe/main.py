"""Entry point of all recipes. Imports little, so that `--help` is fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adaptkit.errors import AdaptkitError, check_exists
from adaptkit.recipe.arguments import RecipeArguments
from adaptkit.recipe.parser import parse_recipe
from adaptkit.tasks.registry import find_task
from adaptkit.utils.atomic_files import without_parts

if TYPE_CHECKING:
    from adaptkit.recipe.steps import Prepared


def recipe(
    name: str,
    argv: list[str] | None,
    description: str | None,
    kind: type[RecipeArguments] = RecipeArguments,
    change: Callable[[Prepared], Prepared] | None = None,
) -> None:
    """Run a recipe: parse the flags, then check, search, or train, evaluate, save and report.

    Args:
        name: the task's name.
        kind: the class of the recipe's arguments, for recipes with additional ones.
        change: turns the prepared training into another one before anything is encoded.

    Raises:
        AdaptkitError: for any error that the user can correct.
    """
    parsed = parse_recipe(find_task(name), argv, description or "", kind)
    arguments = parsed.arguments
    for file in (arguments.train_file, arguments.validation_file, arguments.test_file):
        if file:
            check_exists(without_parts(file)[0])  # before the imports, which take seconds
    if arguments.check and change:
        raise AdaptkitError(
            f"--check looks at rows: adaptkit check {name} does it, with the same flags for them."
        )

    from adaptkit.recipe.dry_run import dry_run
    from adaptkit.recipe.encode import encode
    from adaptkit.recipe.prepare import prepare
    from adaptkit.recipe.train import train_and_report
    from adaptkit.recipe.trials.cross_validation import train_each
    from adaptkit.recipe.trials.search import search

    if arguments.check:
        dry_run(parsed)
        return
    prepared = prepare(parsed)
    prepared = change(prepared) if change else prepared
    encoded, shared = None, None
    if arguments.search:
        encoded, shared = search(encode(prepared))
        prepared = encoded.prepared
    if arguments.folds or arguments.seeds:
        train_each(prepared, shared)
    else:
        train_and_report(encoded or prepared, shared)
