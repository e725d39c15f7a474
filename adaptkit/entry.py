"""Where recipes begin. Light, so that their --help is quick."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adaptkit.arguments import parse
from adaptkit.errors import check_exists, without_parts

if TYPE_CHECKING:
    from adaptkit.run import Run


def recipe(
    name: str, kind: type, argv: list[str] | None, description: str | None, prepare: Callable[[Run], None] | None = None
) -> None:
    """What a recipe does: read the flags, then check, or search, or train, evaluate, save and report.

    Args:
        name: of the task.
        kind: the recipe's arguments.
        prepare: changes the run before it trains.

    Raises:
        AdaptkitError: whatever the user can mend.
    """
    arguments, make_training = parse(kind, argv, description or "")
    for file in (arguments.train_file, arguments.validation_file, arguments.test_file):
        if file:
            check_exists(without_parts(file)[0])  # before the imports, which take seconds

    from adaptkit import checks, run, search, series, start

    task = start.task_from(name, arguments)
    if arguments.check and prepare:
        from adaptkit.errors import AdaptkitError

        raise AdaptkitError(f"--check judges rows: adaptkit check {name} does it, with the same flags for them.")
    if arguments.check:
        checks.check(task, arguments, make_training)
        return
    started = start.start(task, arguments, make_training)
    if prepare:
        prepare(started)
    if arguments.search:
        search.search(started)
    if arguments.folds or arguments.seeds:
        series.train_each(started)
    else:
        run.train_whole(started)
