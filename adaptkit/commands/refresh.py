"""`adaptkit refresh`: adapt anew with feedback, and keep the better version."""

from __future__ import annotations

import argparse
from pathlib import Path

from adaptkit.commands.answer_arguments import positive
from adaptkit.errors import AdaptkitError, check_exists
from adaptkit.utils.terminal import say

KEPT = 3  # status; of an error it is 2
HELP = "adapt anew with the feedback of a service, and keep the better version"
DESCRIPTION = (
    f"{HELP}: trains as before on the training rows and the feedback, compares both versions on "
    "test rows that no version was trained on (paired bootstrap), and puts the new one in the old "
    "one's place if it is better. A running service takes it by itself."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="an adapter that a recipe has trained")
    parser.add_argument("--log", help="folder of the service's log")
    parser.add_argument("--name", help="the adapter's name in the log (default: its folder's)")
    parser.add_argument("--train_file", help="the rows it was trained on (default: as it says)")
    parser.add_argument(
        "--test_file",
        help="rows to decide by, like those that are asked now (default: the test rows of its "
        "training)",
    )
    parser.add_argument(
        "--repeat", type=positive, default=1, help="times that feedback counts (%(default)s)"
    )
    parser.add_argument(
        "--rollback", action="store_true", help="bring the version before the last one back"
    )
    parser.add_argument(
        "--exit_code", action="store_true", help=f"end with status {KEPT} if the old one is kept"
    )


def run(given: argparse.Namespace) -> None:
    """Refresh or roll back, and say what was decided and why.

    Raises:
        AdaptkitError: a file is missing, or there is too little feedback.
    """
    folder = Path(given.folder)
    check_exists(folder)
    if given.rollback:
        from adaptkit.recipe.refresh.refresh import check_last
        from adaptkit.recipe.refresh.versions import note, one_at_a_time, roll_back, taken_back

        with one_at_a_time(folder):
            check_last(folder)
            number = roll_back(folder)
            note(folder, rolled_back_to=number)
        say(
            f"{folder} is version {number} again; the one that served until now is kept in "
            f"{taken_back(folder, number)}"
        )
        return
    if given.log is None:
        raise AdaptkitError("refresh learns from a service's log: give --log, or --rollback.")
    check_exists(Path(given.log))
    from adaptkit.recipe.refresh.refresh import refresh

    done = refresh(
        folder,
        given.log,
        name=given.name,
        train_file=given.train_file,
        test_file=given.test_file,
        repeat=given.repeat,
    )
    say(f"\n{done.why}")
    if done.promoted:
        say(
            f"promoted: {folder} is the new version, trained with {done.feedback} rows of "
            f"feedback; the old one is {folder}/versions/{done.replaced} (--rollback brings it "
            "back)"
        )
    else:
        say(f"kept: {folder} is as it was")
        if given.exit_code:
            raise SystemExit(KEPT)
