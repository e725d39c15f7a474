"""`adaptkit forgetting`: how much language a model has forgotten while learning its task."""

from __future__ import annotations

import argparse

from adaptkit.commands.answer_arguments import positive
from adaptkit.utils.terminal import format_table, say

HELP = "measure how much language a model has forgotten"
DESCRIPTION = "the loss on general text under the base's language head, before and after training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="+", help="adapters, or models whose own weights were trained"
    )
    parser.add_argument(
        "--file", required=True, help="general text that the model was not trained on"
    )
    parser.add_argument("--format", help="format of the file (default: detected)")
    parser.add_argument("--text_column", help="column of the text (default: text)")
    parser.add_argument(
        "--head", help="model of the same base with a language head (default: the base)"
    )
    parser.add_argument(
        "--max_seq_length",
        type=positive,
        default=128,
        help="maximum length in tokens (default: 128)",
    )
    parser.add_argument("--batch_size", type=positive, default=16, help="batch size (default: 16)")


def run(given: argparse.Namespace) -> None:
    """Measure and print a table."""
    from adaptkit.transfer.forgetting import base_and_card, forgetting

    for folder in given.folder:
        base_and_card(folder, given.head)  # check every folder before measuring one
    rows = [("folder", "trained", "loss before", "loss after", "rise")]
    for folder in given.folder:
        found = forgetting(
            folder,
            given.file,
            given.head,
            given.max_seq_length,
            given.batch_size,
            given.format,
            given.text_column,
        )
        losses = (found["before"], found["after"], found["after"] - found["before"])
        rows.append((folder, found["method"], *(f"{loss:.4f}" for loss in losses)))
    say(format_table(rows))
