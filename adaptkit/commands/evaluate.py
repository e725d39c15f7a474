"""`adaptkit evaluate`: score an adapter on a labelled file, by group, or by kind of mistake; or
compare it with others.
"""

from __future__ import annotations

import argparse
import json
import sys

from adaptkit.commands.answer_arguments import add_row_arguments, positive, read_rows
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.utils.terminal import say

HELP = "score an adapter on a labelled file, or compare adapters"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="+", help="the adapter; of several, each is compared with the first"
    )
    parser.add_argument(
        "--tag_column",
        type=positive,
        help="in CoNLL files: the column of the tags (default: detected)",
    )
    view = parser.add_mutually_exclusive_group()
    view.add_argument(
        "--by",
        metavar="COLUMN",
        help="every metric for each value of a column, with 95 %% intervals",
    )
    view.add_argument(
        "--confusions",
        type=positive,
        metavar="N",
        help="the N most frequent mistakes, with examples",
    )
    parser.add_argument(
        "--resamples",
        type=positive,
        help="to compare adapters: how often rows are drawn, 100 or more (default: 1000)",
    )
    add_row_arguments(parser, need_file=True)


def run(given: argparse.Namespace) -> None:
    """Print the metrics, a table of groups or of mistakes, or how adapters differ.

    Raises:
        AdaptkitError: an option that is not for this number of adapters.
    """
    from adaptkit.inference import confusions, slices
    from adaptkit.inference.predictor import Predictor

    several = len(given.folder) > 1
    if several and given.confusions:
        raise AdaptkitError("--confusions is for one adapter.")
    if given.resamples and not several:
        raise AdaptkitError("--resamples is for two adapters or more.")
    table = read_rows(given, given.folder, labelled=True, by=given.by, tag_column=given.tag_column)
    if several:
        _compare(given, table)
        return
    predictor = Predictor(given.folder[0], quantize=given.quantize)
    if given.options:
        predictor.choose_among(given.options, table, given.columns)
    if given.by:
        groups = predictor.slices(table, given.by, given.columns, given.batch_size)
        say(slices.show(groups, predictor.task.reported, given.by))
    elif given.confusions:
        mistakes = predictor.confusions(table, given.columns, given.batch_size)
        say(confusions.show(mistakes, given.confusions, len(table)))
    else:
        metrics = predictor.evaluate(table, given.columns, given.batch_size)
        say(json.dumps({**metrics, "samples": len(table)}, indent=2))


def _compare(given: argparse.Namespace, table: Table) -> None:
    """Print how each further adapter differs from the first."""
    from adaptkit.inference.compare import RESAMPLES, compare, show

    found = compare(
        given.folder,
        table,
        given.columns,
        given.batch_size,
        by=given.by,
        resamples=given.resamples or RESAMPLES,
        options=given.options,
        quantize=given.quantize,
    )
    for note in dict.fromkeys(one.note for one in found if one.note):
        say(f"note: {note}", sys.stderr)
    say(show(found, given.by))
