"""`adaptkit sources`: which base and which stored adapter a new task is best started from, in a table."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from adaptkit.aligned import aligned
from adaptkit.base import full_name, load_tokenizer
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.host import Host
from adaptkit.host.store import Store
from adaptkit.readers import Reading, read
from adaptkit.tables import Table
from adaptkit.tasks.classify import Classify
from adaptkit.transfer.sources import SCORES


def run(given: argparse.Namespace) -> None:
    """Rank and print.

    Raises:
        AdaptkitError: no sources, or rows that are too few or all alike.
    """
    if given.by not in SCORES:
        raise unknown("score", given.by, SCORES)
    task = Classify(columns={part: name for part in Classify.parts if (name := getattr(given, f"{part}_column"))})
    table = task.read(read(given.target, Reading(given.format, wanted=task.wanted())))
    found = rank(table, given.base, given.store, given.rows, given.seed)
    print(show(found, given.by))


def rank(table: Table, bases: list[str], store: str | None, rows: int = 1000, seed: int = 0) -> list[dict[str, Any]]:
    """A row of scores for each source, with the seconds that it took.

    Args:
        table: rows of the target as `Classify.read` gives them; at most `rows` of them are looked at, drawn by `seed`.
        bases: bare bases; those of the stored adapters come by themselves.
        store: a folder of adapters.
    """
    chosen = np.random.default_rng(seed).permutation(len(table))[:rows]
    texts = [tuple(table.rows[index][part] for part in Classify.changeable if part in table.columns) for index in chosen]
    labels = np.asarray([table.rows[index]["label"] for index in chosen])
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or len(labels) < 10:
        raise AdaptkitError(f"{table.source}: {len(labels)} rows with {len(counts)} labels are too few to tell sources apart.")
    adapters = Store(store).cards() if store else {}
    by_base: dict[str, list[str | None]] = {full_name(base): [None] for base in bases}
    for name, card in adapters.items():
        if card.base and (card.method or "").partition(":")[0] not in ("full", "peft"):
            by_base.setdefault(card.base, [None]).append(name)
    if not by_base:
        raise AdaptkitError("no sources: name some with --base, or a folder of adapters with --store.")
    found = []
    sources = [(base, name) for base, names in by_base.items() for name in names]
    bar = tqdm(sources, desc="sources", disable=not sys.stderr.isatty(), leave=False)
    for base, names in by_base.items():
        tokenizer = load_tokenizer(base)
        host = Host(base) if len(names) == 1 else Host.from_store(str(store), base=base, slots=2)
        with host:
            for name in names:
                began = time.perf_counter()
                vectors = features(host, tokenizer, texts, name)
                scores = {score: function(vectors, labels) for score, function in SCORES.items()}
                found.append({"source": name or Path(base).name, "base": base, **scores, "seconds": time.perf_counter() - began})
                bar.update()
    bar.close()
    return found


@torch.no_grad()
def features(host: Host, tokenizer: Any, texts: list[tuple[str, ...]], adapter: str | None, batch_size: int = 64) -> np.ndarray:
    """The mean of the last hidden states of each text or pair, `(texts, width)`, from the base with an adapter or without."""
    order = sorted(range(len(texts)), key=lambda index: sum(map(len, texts[index])))
    found: list[np.ndarray] = [np.zeros(0)] * len(texts)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        sides = (list(side) for side in zip(*(texts[i] for i in chosen), strict=True))
        inputs = dict(tokenizer(*sides, padding=True, truncation=True, max_length=128, return_tensors="pt"))
        states = host.hidden(inputs, adapter).float().cpu()
        mask = inputs["attention_mask"][..., None].float()
        means = ((states * mask).sum(1) / mask.sum(1)).numpy()
        for index, mean in zip(chosen, means, strict=True):
            found[index] = mean
    return np.stack(found)


def show(found: list[dict[str, Any]], by: str = "log_me") -> str:
    """A table, the best source first."""
    found = sorted(found, key=lambda row: -row[by])
    rows = [("source", *SCORES, "seconds")]
    rows += [(row["source"], *(f"{row[score]:.4f}" for score in SCORES), f"{row['seconds']:.1f}") for row in found]
    return "\n".join([aligned(rows), f"\nbest by {by}: {found[0]['source']}; start from an adapter with --warm_start"])
