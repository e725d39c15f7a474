"""`adaptkit sources`: rank bases and stored adapters as starting points for a new task."""

from __future__ import annotations

import argparse

from adaptkit.commands.answer_arguments import positive
from adaptkit.errors import unknown
from adaptkit.utils.terminal import say

HELP = "rank bases and adapters as starting points for a new task"
DESCRIPTION = (
    "scores of frozen features, without training: LogME, H-score, a linear probe, nearest "
    "neighbours"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target", required=True, help="labelled texts, or pairs of texts, of the new task"
    )
    parser.add_argument("--store", help="folder of adapters; their bases are ranked too")
    parser.add_argument("--base", nargs="+", default=[], help="bases: folders or names")
    parser.add_argument("--text_column", help="column of the text (default: text)")
    parser.add_argument("--text_pair_column", help="column of a second text (default: none)")
    parser.add_argument("--label_column", help="column of the label (default: label)")
    parser.add_argument("--format", help="format of the file (default: detected)")
    parser.add_argument(
        "--rows", type=positive, default=1000, help="maximum number of rows to use (default: 1000)"
    )
    parser.add_argument(
        "--by", default="neighbours", help="sort by neighbours (default), probe, log_me or h_score"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampled rows")


def run(given: argparse.Namespace) -> None:
    """Rank the sources and print them.

    Raises:
        AdaptkitError: there are no sources, or the rows are too few or all alike.
    """
    from adaptkit.data.readers.options import Reading
    from adaptkit.data.readers.read import read
    from adaptkit.tasks.classify import Classify
    from adaptkit.transfer.rank_sources import rank, show
    from adaptkit.transfer.source_scores import SCORES

    if given.by not in SCORES:
        raise unknown("score", given.by, SCORES)
    named = {part: getattr(given, f"{part}_column") for part in Classify.parts}
    task = Classify(columns={part: name for part, name in named.items() if name})
    table = task.read(read(given.target, Reading(given.format, wanted=task.wanted())))
    say(show(rank(table, given.base, given.store, given.rows, given.seed), given.by))
