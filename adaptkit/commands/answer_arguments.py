"""Arguments shared by `predict` and `evaluate`, and reading rows according to the card."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from adaptkit.adapters.card import existing_card
from adaptkit.data.readers.options import Reading
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted
from adaptkit.inference.training_file import read_alike
from adaptkit.utils.terminal import say


def positive(text: str) -> int:
    """argparse type for an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number, 1 or more, not {quoted(text)}")
    return int(text)


def add_row_arguments(parser: argparse.ArgumentParser, need_file: bool) -> None:
    """Add the arguments about rows and about the model that answers them."""
    parser.add_argument(
        "--file",
        required=need_file,
        help="rows, in any format that recipes read; --PART_column NAME names the column of a part",
    )
    parser.add_argument(
        "--format",
        help="format of the file (default: that of the training file if it looks alike, else "
        "detected)",
    )
    parser.add_argument(
        "--encoding", help="encoding of the file (default: that of the training file, or utf-8)"
    )
    parser.add_argument(
        "--column_names",
        nargs="+",
        metavar="NAME",
        help="column names, for tables without a header line (default: as in training)",
    )
    parser.add_argument(
        "--options",
        nargs="+",
        metavar="OPTION",
        help="for decide: the options of rows without any (default: as in training)",
    )
    parser.add_argument("--batch_size", type=positive, default=64, help="batch size (default: 64)")
    parser.add_argument(
        "--quantize", help="load the base in int8, nf4 or none (default: as in training)"
    )


def read_rows(
    given: argparse.Namespace,
    folders: Sequence[str],
    labelled: bool,
    by: str | None = None,
    tag_column: int | None = None,
) -> Table:
    """The rows of --file, read as the first adapter's training file was.

    The cards of all adapters give the possible column names.
    """
    card, *others = (existing_card(Path(folder)) for folder in folders)
    columns = [
        column for one in (card, *others) for column in (one.columns | given.columns).values()
    ]
    wanted = (*dict.fromkeys(columns), *([by] if by else []))
    source, target = card.settings.get("source_lang"), card.settings.get("target_lang")
    reading = Reading(
        format=given.format,
        column_names=tuple(given.column_names) if given.column_names else None,
        wanted=wanted,
        tag_column=tag_column,
        languages=(source, target) if source and target else None,
        labelled=labelled,
    )
    table = read_alike(given.file, card, reading, given.encoding)
    if table.blank and not labelled:
        raise AdaptkitError(
            f"{table.source}:{table.blank[0]}: the line is empty, so its answer would be missing "
            "among the others. Take empty lines out, or give each a text."
        )
    for note in table.notes:
        say(f"note: {note}", sys.stderr)
    return table
