"""`adaptkit combine`: combine several adapters into one."""

from __future__ import annotations

import argparse

from adaptkit.errors import AdaptkitError, unknown
from adaptkit.utils.output_folder import check_empty

HELP = "combine several adapters into one"
DESCRIPTION = (
    "average: all weights, any method; stack: one after the other; cat: LoRA, the weighted sum "
    "exactly; else PEFT's "
    "merges of LoRA"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="+", help="adapters of one base with the same labels")
    parser.add_argument(
        "--how",
        default="average",
        help="average (default), cat, stack, magnitude_prune, ties, dare_linear, dare_ties",
    )
    parser.add_argument(
        "--weights", nargs="+", type=float, help="weight of each adapter (default: equal)"
    )
    parser.add_argument(
        "--density",
        type=float,
        default=0.5,
        help="share of the values that pruning, TIES and DARE keep (default: 0.5)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the values that DARE drops")
    parser.add_argument("--output_dir", required=True, help="folder for the adapter")


def run(given: argparse.Namespace) -> None:
    """Write the combined adapter.

    Raises:
        AdaptkitError: the way to combine is unknown, or the adapters are incompatible.
    """
    from adaptkit.adapters.combine import HOW, combine
    from adaptkit.adapters.stack import stack_adapters

    if given.how not in (*HOW, "stack"):
        raise unknown("way to combine", given.how, (*HOW, "stack"))
    check_empty(given.output_dir)
    if given.how == "stack" and given.weights:
        raise AdaptkitError("--how stack takes no --weights: each adapter acts in full.")
    if given.how == "stack":
        stack_adapters(given.folder, given.output_dir)
    else:
        combine(given.folder, given.output_dir, given.how, given.weights, given.density, given.seed)
    print(f"{given.how} of {len(given.folder)} adapters is in {given.output_dir}")
