"""`adaptkit sources`: rank bases and stored adapters as starting points for a new task."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from adaptkit.adapters.card import existing_card
from adaptkit.adapters.inject import adapt
from adaptkit.adapters.store import Store
from adaptkit.adapters.warm_start import warm_start
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.heads.text_features import task_model, text_features
from adaptkit.models.names import full_name
from adaptkit.models.tokenizer import align_padding, load_tokenizer
from adaptkit.tasks.classify import Classify
from adaptkit.transfer.source_scores import SCORES
from adaptkit.utils.terminal import format_table, say


def rank(
    table: Table, bases: list[str], store: str | None, rows: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """One row of scores per source, with the seconds that it took.

    Args:
        table: rows of the target as `Classify.read` returns them; at most `rows` of them are used,
            sampled with `seed`.
        bases: bare bases; those of the stored adapters are added.
        store: a folder of adapters.
    """
    chosen = np.random.default_rng(seed).permutation(len(table))[:rows]
    texts = [
        tuple(table.rows[index][part] for part in Classify.changeable if part in table.columns)
        for index in chosen
    ]
    labels = np.asarray([table.rows[index]["label"] for index in chosen])
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or len(labels) < 10:
        raise AdaptkitError(
            f"{table.source}: {len(labels)} rows with {len(counts)} labels are too few to tell "
            "sources apart."
        )
    stored = Store(store) if store else None
    adapters = stored.cards() if stored else {}
    asked = {full_name(base) for base in bases}
    by_base: dict[str, list[str | None]] = {base: [None] for base in sorted(asked)}
    for name, card in adapters.items():
        if card.base and (card.method or "").partition(":")[0] not in ("full", "peft"):
            by_base.setdefault(card.base, [None]).append(name)
    if not by_base:
        raise AdaptkitError(
            "no sources: name some with --base, or a folder of adapters with --store."
        )
    found = []
    sources = [(base, name) for base, names in by_base.items() for name in names]
    bar = tqdm(sources, desc="sources", disable=not sys.stderr.isatty(), leave=False)
    for base, adapters_of_base in by_base.items():
        try:
            tokenizer, model = load_tokenizer(base), task_model(base)
        except AdaptkitError as problem:
            if base in asked:
                raise
            say(f"note: adapters of {base} are left out: {problem}", sys.stderr)
            continue
        align_padding(model, tokenizer)
        for adapter in adapters_of_base:
            began = time.perf_counter()
            with started_from(model, stored.path(adapter) if stored and adapter else None):
                vectors = text_features(model, tokenizer, texts)
            scores = {score: function(vectors, labels) for score, function in SCORES.items()}
            found.append(
                {
                    "source": adapter or Path(base).name,
                    "adapter": adapter,
                    "base": base,
                    **scores,
                    "seconds": time.perf_counter() - began,
                }
            )
            bar.update()
    bar.close()
    if not found:
        raise AdaptkitError("no source is left; the notes say why.")
    return found


@contextmanager
def started_from(model: Any, folder: Path | None) -> Iterator[None]:
    """In the block, start a task model as a `--warm_start` training does; None: unchanged."""
    if folder is None:
        yield
        return
    adapted = adapt(model, existing_card(folder).method or "", head=[])
    try:
        warm_start(adapted, folder)
        adapted.requires_grad_(False)
        yield
    finally:
        adapted.unload()


def sort_key(row: dict[str, Any], by: str) -> tuple[float, float]:
    """The sort key of a source's row of scores."""
    return row[by], row["log_me"]


def show(found: list[dict[str, Any]], by: str) -> str:
    """A table, the best source first; ties (an accuracy counts whole rows) go by evidence."""
    found = sorted(found, key=lambda row: sort_key(row, by), reverse=True)
    rows = [("source", *SCORES, "seconds")]
    rows += [
        (row["source"], *(f"{row[score]:.4f}" for score in SCORES), f"{row['seconds']:.1f}")
        for row in found
    ]
    best = found[0]
    advice = (
        "start from it with --warm_start"
        if best["adapter"]
        else "start from the base, without --warm_start"
    )
    return "\n".join([format_table(rows), f"\nbest by {by}: {best['source']}; {advice}"])
