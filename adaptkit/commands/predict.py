"""`adaptkit predict`: answer texts or a file, one JSON line each."""

from __future__ import annotations

import argparse
import json

from adaptkit.commands.answer_arguments import add_row_arguments, read_rows
from adaptkit.errors import AdaptkitError

HELP = "answer texts or a file, one JSON line each"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the adapter")
    parser.add_argument("text", nargs="*", help="texts to answer")
    add_row_arguments(parser, need_file=False)


def run(given: argparse.Namespace) -> None:
    """Print the answers.

    Raises:
        AdaptkitError: neither texts nor a file are given, or both.
    """
    if bool(given.text) == bool(given.file):
        raise AdaptkitError("give texts, or --file with rows (one of the two).")
    from adaptkit.inference.predictor import Predictor

    table = read_rows(given, labelled=False) if given.file else None
    predictor = Predictor(given.folder, quantize=given.quantize)
    if table is None:
        answers = predictor(*given.text)
    else:
        answers = predictor.answer(table, given.columns, given.batch_size)
    for answer in answers:
        print(json.dumps(answer, ensure_ascii=False))
