"""`adaptkit predict`: answer texts, standard input or a file, a JSON line each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from adaptkit.commands.answer_arguments import add_row_arguments, positive, read_rows
from adaptkit.errors import AdaptkitError, check_exists
from adaptkit.utils.terminal import say

HELP = "answer texts or a file, one JSON line each"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the adapter")
    parser.add_argument("text", nargs="*", help="texts to answer; - reads them from standard input")
    add_row_arguments(parser, need_file=False)
    parser.add_argument(
        "--top_k", type=positive, help="the K most probable labels, for tasks that give one label"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        help="the probability from which a label is given, for several labels a text",
    )
    parser.add_argument(
        "--abstain_below",
        type=float,
        help="answer 'none of these' where the likeliest label has a lower probability",
    )
    parser.add_argument(
        "--with_input", action="store_true", help="put each row's number and fields into its answer"
    )
    parser.add_argument(
        "--ray",
        action="store_true",
        help="a --file of any size (jsonl, parquet, csv, tsv, or a folder of these), by processes "
        "of Ray's with a model each",
    )
    parser.add_argument("--replicas", type=positive, help="with --ray: processes (1)")


def run(given: argparse.Namespace) -> None:
    """Print the answers.

    Raises:
        AdaptkitError: neither texts nor a file, or both; an option that the task does not have.
    """
    if bool(given.text) == bool(given.file):
        raise AdaptkitError(
            "give texts, or - for standard input, or --file with rows (one of them)."
        )
    if given.ray:
        _run_with_ray(given)
        return
    if given.replicas:
        raise AdaptkitError("--replicas goes with --ray.")
    from adaptkit.data.tables import Table
    from adaptkit.inference.predictor import Predictor

    if "-" in given.text and given.text != ["-"]:
        raise AdaptkitError("- reads the texts from standard input; it stands alone.")
    table = read_rows(given, [given.folder], labelled=False) if given.file else None
    predictor = Predictor(given.folder, quantize=given.quantize)
    if given.options:
        predictor.choose_among(given.options, table, given.columns)
    if table is None:
        texts = _lines(sys.stdin) if given.text == ["-"] else given.text
        first, *others = predictor.task.input_fields()
        if others:
            raise AdaptkitError(
                f"this adapter was trained on {' and '.join([first, *others])}, not on {first} "
                "alone; give --file with these columns."
            )
        column = predictor.task.column(first) or first
        table = Table([{column: text} for text in texts], "text")
    answers = predictor.answer(
        table,
        given.columns,
        given.batch_size,
        **_settings(given),
    )
    _print(given, zip(table.rows, answers, strict=True))


def _settings(given: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(given, name) for name in ("top_k", "threshold", "abstain_below")}


def _print(
    given: argparse.Namespace, pairs: Iterable[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    """A line of JSON for each answer."""
    for index, (row, answer) in enumerate(pairs):
        shown: dict[str, Any] = {"row": index, "input": row} if given.with_input else {}
        say(json.dumps(shown | answer, ensure_ascii=False, default=str))


def _run_with_ray(given: argparse.Namespace) -> None:
    if not given.file:
        raise AdaptkitError("--ray answers a --file.")
    check_exists(Path(given.file))
    try:
        from adaptkit.inference.ray_data import answer_file
    except ImportError as problem:
        raise AdaptkitError(f"--ray needs {problem.name}: pip install 'adaptkit[ray]'.") from None
    pairs = answer_file(
        given.folder,
        given.file,
        given.replicas or 1,
        given.options,
        given.quantize,
        columns=given.columns,
        batch_size=given.batch_size,
        **_settings(given),
    )
    _print(given, pairs)


def _lines(stream: Any) -> list[str]:
    """A text a line; empty lines at the end are left out.

    Raises:
        AdaptkitError: a line is empty (its answer would be missing among the others), or all are.
    """
    lines = [line.strip() for line in stream]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise AdaptkitError("standard input holds no text: give a text a line.")
    if "" in lines:
        number = lines.index("") + 1
        raise AdaptkitError(f"line {number} of standard input is empty; every line is one text.")
    return lines
