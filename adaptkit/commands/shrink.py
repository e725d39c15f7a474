"""`adaptkit shrink`: an adapter as a LoRA of lower rank."""

from __future__ import annotations

import argparse
from statistics import mean

from adaptkit.utils.terminal import format_table, say

HELP = "cut an adapter down to a LoRA of lower rank"
DESCRIPTION = (
    "by singular values: any LoRA, and other methods that add a linear map of the input (miss, "
    "vera, unions of them); the head stays as it is"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the adapter")
    parser.add_argument("--rank", type=int, help="the largest rank")
    parser.add_argument(
        "--variance",
        type=float,
        help="share of the change to keep at every map, in squares (default: 0.95; with --rank: 1)",
    )
    parser.add_argument("--output_dir", required=True, help="folder for the LoRA")


def run(given: argparse.Namespace) -> None:
    """Write the LoRA, and print what became of the adapter."""
    from adaptkit.adapters.low_rank.shrink import plan
    from adaptkit.utils.output_folder import check_empty

    check_empty(given.output_dir)
    planned = plan(given.folder, given.rank, given.variance)
    if planned.grows:
        before, after = (f"{size / 1000:,.0f} kB" for size in planned.bytes)
        say(
            f"warning: the adapter grows from {before} to {after}: {planned.files.card.method} "
            f"holds less than a LoRA of rank {planned.lora.r}"
        )
    found = planned.write(given.output_dir)
    before, after = (f"{size / 1000:.0f}" for size in found.bytes)
    rows = [
        ("", "before", "after"),
        ("rank", str(found.before), str(found.after)),
        ("kB", before, after),
    ]
    say(format_table(rows))
    if found.changes_nothing:
        say(
            f"warning: the change of {given.folder} is zero at all of its {len(found.kept)} maps: "
            "it leaves the base as it is, and so does the LoRA. A head of its own is kept"
        )
        return
    site, least = min(found.kept.items(), key=lambda item: item[1])
    say(
        f"variance kept: {mean(found.kept.values()):.4f} on average of {len(found.kept)} maps, "
        f"{least:.4f} at least ({site})"
    )
    if below := [one for path, one in found.wanted.items() if found.kept[path] < found.share < 1]:
        say(
            f"--rank {found.after} keeps less than {found.share:g} at {len(below)} maps; they need "
            f"a rank of {min(below)} to {max(below)}"
        )
    say(
        f"the scores in the card were those of {given.folder} and are left out; measure it with "
        f"adaptkit evaluate {given.output_dir} --file test.csv"
    )
