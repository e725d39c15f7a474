"""`adaptkit label`: propose the rows to label next, and collect their labels."""

from __future__ import annotations

import argparse
import sys

from adaptkit.commands.answer_arguments import positive
from adaptkit.errors import AdaptkitError
from adaptkit.utils.terminal import say

HELP = "propose which rows to label next"
DESCRIPTION = (
    "write the rows whose labels would teach a classifier most, with an empty label to fill in; "
    "the same command proposes more once these are filled in"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="texts or pairs of texts, in any format that recipes read")
    parser.add_argument(
        "--output_file",
        required=True,
        help="where labels are collected, .jsonl or .csv; if it exists, its labels count and its "
        "rows without a label are replaced",
    )
    parser.add_argument("--labelled_file", help="further rows with labels")
    parser.add_argument(
        "--adapter",
        help="a classifier to find the rows that it is unsure of (default: a linear probe of the "
        "labels so far)",
    )
    parser.add_argument(
        "--model_name_or_path",
        help="base whose features tell texts apart (default: the adapter's, or all-MiniLM-L6-v2)",
    )
    parser.add_argument("--rows", type=positive, default=20, help="rows to propose (default: 20)")
    parser.add_argument("--ask", action="store_true", help="ask for the labels on the terminal")
    parser.add_argument("--text_column", help="column of the text (default: text)")
    parser.add_argument("--text_pair_column", help="column of a second text (default: none)")
    parser.add_argument("--label_column", help="column of the label (default: label)")
    parser.add_argument("--format", help="format of the file (default: detected)")
    parser.add_argument("--encoding", default="utf-8", help="its encoding (default: utf-8)")
    parser.add_argument("--column_names", nargs="+", help="its columns, if it has no header line")
    parser.add_argument("--seed", type=int, default=0, help="seed of the proposals (default: 0)")


def run(given: argparse.Namespace) -> None:
    """Write the proposals, or ask for their labels.

    Raises:
        AdaptkitError: no row is left, a file cannot be read, or --ask without a terminal.
    """
    from adaptkit.data.readers.options import Reading
    from adaptkit.data.readers.read import read
    from adaptkit.labelling.ask import ask_for_labels
    from adaptkit.labelling.label_file import LabelFile
    from adaptkit.labelling.pool import Pool, labelling_task
    from adaptkit.labelling.rows import Labelled
    from adaptkit.tasks.classify import Classify

    if given.ask and not sys.stdin.isatty():
        raise AdaptkitError("--ask needs a terminal to ask on; without it, the file is written.")
    named = {part: getattr(given, f"{part}_column") for part in Classify.parts}
    task = labelling_task(given.adapter, {part: name for part, name in named.items() if name})
    collected = LabelFile(given.output_file, task, given.file)
    names = tuple(given.column_names) if given.column_names else None
    reading = Reading(given.format, given.encoding, names, task.wanted(), labelled=False)
    table = read(given.file, reading)
    further = [table]
    if given.labelled_file:
        further.append(read(given.labelled_file, Reading(wanted=task.wanted())))
    known = Labelled.read(task, [*further, collected.table])
    pool = Pool(table, task, given.model_name_or_path, given.adapter, given.seed)
    for note in (*table.notes, *pool.notes, *collected.notes):
        say(f"note: {note}", sys.stderr)
    if given.ask:
        ask_for_labels(pool, further, collected, given.rows)
        say(f"{len(collected.rows)} rows with a label are in {given.output_file}")
        return
    proposals = pool.propose(known, given.rows)
    if not proposals:
        say("no row is left to label")
        return
    collected.propose(table, proposals)
    say(
        f"{given.output_file} holds {len(collected.rows)} rows with a label and {len(proposals)} "
        f"to label: fill in their {collected.label!r}. Then the same command proposes more."
    )
