"""The README of a shrunk adapter: what it was, what it is, and what is not known of it."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from adaptkit.adapters.card import TaskCard
from adaptkit.adapters.model_card import front_matter, what_for
from adaptkit.utils.atomic_files import new_file
from adaptkit.utils.versions import versions

if TYPE_CHECKING:
    from adaptkit.adapters.low_rank.shrink import Shrunk


def write_shrunk_card(folder: Path, source: Path, card: TaskCard, found: Shrunk) -> None:
    """Write `README.md`.

    Args:
        folder: the LoRA, and `source`, the adapter that it was made of.
        card: of the adapter before.
    """
    before, after = found.bytes
    site, least = min(found.kept.items(), key=lambda item: item[1])
    shares = (
        f"Of the variance of its change it keeps {mean(found.kept.values()):.4f} on average of "
        f"{len(found.kept)} maps, and {least:.4f} at least (`{site}`)."
    )
    text = front_matter(card, folder) + _CARD.format(
        what=what_for(card),
        source=source.name,
        method=card.method,
        before=found.before,
        after=found.after,
        sizes=f"{before / 1000:.0f} kB became {after / 1000:.0f}",
        shares=NOTHING if found.changes_nothing else shares,
        path=folder,
        versions=", ".join(f"{name} {number}" for name, number in versions().items()),
    )
    with new_file(folder / "README.md") as new:
        new.write_text(text, "utf-8")


NOTHING = "**Warning:** the adapter's change was zero at every map, so it changes nothing there."

_CARD = """A LoRA {what}

It was made of the adapter `{source}` (`{method}`) by `adaptkit shrink`: of rank {before} it has \
{after}, and {sizes}. {shares} A head is as it was.

No score of it is known: those of `{source}` are not its own. Measure it:

    adaptkit evaluate {path} --file test.csv

Made with {versions}.
"""
