"""`adaptkit drift`: is what an adapter is asked still like its training?"""

from __future__ import annotations

import argparse
from pathlib import Path

from adaptkit.errors import check_exists
from adaptkit.utils.terminal import say

DRIFT = 3  # status; of an error it is 2
HELP = "whether what a service is asked has drifted from an adapter's training"
DESCRIPTION = (
    f"{HELP}: tests of the base's hidden states, of the mix of answers and of their confidences, "
    "on the log of adaptkit serve --log. Their p-values hold however often one looks."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="an adapter")
    parser.add_argument("log", help="folder of a service's log")
    parser.add_argument("--name", help="the adapter's name in the log (default: its folder's)")
    parser.add_argument(
        "--train_file", help="the rows it was trained on, to make a reference if it has none"
    )
    parser.add_argument(
        "--exit_code", action="store_true", help=f"end with status {DRIFT} if there is a drift"
    )


def run(given: argparse.Namespace) -> None:
    """Print the tests, what has changed, and a verdict.

    Raises:
        AdaptkitError: the adapter has no reference, or the log no rows of it.
    """
    check_exists(Path(given.folder))
    from adaptkit.adapters.card import read_card
    from adaptkit.data.readers.options import Reading
    from adaptkit.host.api import Host
    from adaptkit.inference.training_file import read_alike
    from adaptkit.monitoring.reference import read_reference
    from adaptkit.monitoring.replay import make_reference, replay

    card = read_card(given.folder)

    def states(texts):
        return Host(card.base, slots=1).mean_states(texts)

    if given.train_file and read_reference(given.folder) is not None:
        say(f"{given.folder} has a reference already, which stays; --train_file is not read")
    elif given.train_file and card is not None:
        table = read_alike(given.train_file, card, Reading(), None)
        make_reference(given.folder, table, states)
    found = replay(given.folder, given.log, given.name, states)
    print(found)
    if given.exit_code and found.first_alarm is not None:
        raise SystemExit(DRIFT)
