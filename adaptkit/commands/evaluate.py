"""`adaptkit evaluate`: score an adapter on a labelled file, by group, or by kind of mistake."""

from __future__ import annotations

import argparse
import json

from adaptkit.commands.answer_arguments import add_row_arguments, positive, read_rows
from adaptkit.utils.terminal import say

HELP = "score an adapter on a labelled file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the adapter")
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
    add_row_arguments(parser, need_file=True)


def run(given: argparse.Namespace) -> None:
    """Print the metrics, a table of groups, or a table of mistakes."""
    from adaptkit.inference import confusions, slices
    from adaptkit.inference.predictor import Predictor

    table = read_rows(given, labelled=True, by=given.by, tag_column=given.tag_column)
    predictor = Predictor(given.folder, quantize=given.quantize)
    if given.by:
        groups = predictor.slices(table, given.by, given.columns, given.batch_size)
        say(slices.show(groups, predictor.task.reported, given.by))
    elif given.confusions:
        mistakes = predictor.confusions(table, given.columns, given.batch_size)
        say(confusions.show(mistakes, given.confusions, len(table)))
    else:
        metrics = predictor.evaluate(table, given.columns, given.batch_size)
        say(json.dumps({**metrics, "samples": len(table)}, indent=2))
