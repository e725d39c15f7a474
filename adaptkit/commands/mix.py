"""`adaptkit mix`: initialize a network from the weights of others."""

from __future__ import annotations

import argparse

from adaptkit.commands.answer_arguments import positive

HELP = "initialize a network from the weights of others"
DESCRIPTION = (
    "W = beta * W_source + (1 - beta) * W_target, tensor by tensor; the result is a base, or a "
    "model that answers"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="+",
        help="networks to take weights from: folders or names; several are averaged",
    )
    parser.add_argument("--target", help="network to mix them into")
    parser.add_argument(
        "--num_hidden_layers",
        type=positive,
        help="instead of a target: a new network of the source's kind with this many layers",
    )
    parser.add_argument(
        "--config_overrides",
        help="other settings of the new network: hidden_size=192,num_attention_heads=6",
    )
    parser.add_argument(
        "--beta",
        nargs="+",
        type=float,
        default=[0.5],
        help="the source's share, 0 to 1 (default: 0.5); with several, each is tried",
    )
    parser.add_argument(
        "--layers",
        default="every",
        help="layers to take from the source: every (default), first, last, or indices: 0,2,5",
    )
    parser.add_argument(
        "--leave_unmapped",
        action="store_true",
        help="leave tensors without a counterpart as they are",
    )
    parser.add_argument("--validation_file", help="labelled rows to choose the best beta on")
    parser.add_argument("--seed", type=int, default=0, help="seed of random weights")
    parser.add_argument("--output_dir", required=True, help="folder for the network")


def run(given: argparse.Namespace) -> None:
    """Write the mixed network."""
    from adaptkit.transfer.mix_models import mix_models

    mix_models(given)
