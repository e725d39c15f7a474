"""`adaptkit convert`: make an adapter of adaptkit's from one of AdapterHub's library."""

from __future__ import annotations

import argparse

HELP = "convert an adapter of AdapterHub's library"
DESCRIPTION = (
    "a folder from the library adapters (or adapter-transformers): bottlenecks, LoRA, (IA)3, "
    "prefixes and linear heads; converted exactly, or refused with the reason"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the adapter, with its adapter_config.json")
    parser.add_argument(
        "--base", help="the model it was trained on (default: the one that its folder names)"
    )
    parser.add_argument("--output_dir", required=True, help="folder for the adapter")


def run(given: argparse.Namespace) -> None:
    """Write the converted adapter, and print what it is.

    Raises:
        AdaptkitError: the folder is broken, or holds what adaptkit does not compute.
    """
    from adaptkit.adapters.adapterhub.convert import convert

    converted = convert(given.folder, given.output_dir, given.base)
    for note in converted.notes:
        print(f"note: {note}")
    task = f" for {converted.task}" if converted.task else " without a head"
    labels = f" ({', '.join(converted.labels)})" if converted.labels else ""
    print(f"{converted.method}{task}{labels} is in {given.output_dir}")
