"""Students made of some layers of their teacher's base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from adaptkit.models.shallow import fresh
from adaptkit.transfer.mix import Mixed, mix
from adaptkit.utils.atomic_files import new_version

if TYPE_CHECKING:
    from collections.abc import Sequence


def make_shallow(
    source: str,
    num_layers: int,
    folder: Path,
    layers: str | Sequence[int] = "every",
    seed: int = 0,
    head: str | None = None,
    decoder_layers: int | None = None,
) -> Mixed:
    """Write the network of a base with fewer layers, and its tokenizer.

    `layers`: as for `mix`; other arguments as for `fresh`.

    Raises:
        AdaptkitError: the base has no such layers.
    """
    from adaptkit.models.load import load_base
    from adaptkit.models.tokenizer import load_tokenizer

    base = load_base(source, task=head, dtype="float32", base_dropout=True)
    target = fresh(base, num_layers, layers, seed, head, decoder_layers=decoder_layers)
    mixed = mix(target, base, 1.0, layers)
    tokenizer = load_tokenizer(source)
    with new_version(folder) as staged:
        target.save_pretrained(staged)
        tokenizer.save_pretrained(staged)
    return mixed
