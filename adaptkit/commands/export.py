"""`adaptkit export`: merge an adapter into its base, for other tools."""

from __future__ import annotations

import argparse

from adaptkit.utils.terminal import say

HELP = "merge an adapter into its base, for other tools"
DESCRIPTION = (
    "an ordinary transformers model, which from_pretrained loads; adaptkit answers with it as "
    "with the adapter"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the adapter")
    parser.add_argument(
        "--dtype",
        default="auto",
        help="dtype of the weights: auto (the base's; default), float32, float16, bfloat16",
    )
    parser.add_argument("--output_dir", required=True, help="folder for the model")


def run(given: argparse.Namespace) -> None:
    """Write the merged model."""
    from adaptkit.adapters.export import export
    from adaptkit.models.pooled import PooledClassifier

    whole = export(given.folder, given.output_dir, given.dtype)
    say(f"{type(whole).__name__} in {str(whole.dtype)[6:]} is in {given.output_dir}")
    if isinstance(whole, PooledClassifier):
        say("it pools, which no class of transformers does: load it with trust_remote_code=True")
