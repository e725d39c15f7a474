"""`adaptkit show`: print what an adapter is."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from adaptkit.adapters.card import existing_card
from adaptkit.utils.terminal import say

HELP = "print what an adapter is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder")


def run(given: argparse.Namespace) -> None:
    """Print the card, one line per field that is set."""
    for key, value in dataclasses.asdict(existing_card(Path(given.folder))).items():
        shown = _shown(key, value)
        if shown not in (None, ""):
            say(f"{key.ljust(14)} {shown}")


def _shown(key: str, value: Any) -> Any:
    if key == "fingerprint" and value:
        return value[:24] + "..."
    if isinstance(value, dict):
        return ", ".join(
            f"{name} {part:.4f}" if isinstance(part, float) else f"{name} {part}"
            for name, part in value.items()
        )
    return ", ".join(map(str, value)) if isinstance(value, list) else value
