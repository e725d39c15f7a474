"""Texts to choose from: what a frozen base makes of them, and which of them to label next."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adaptkit.adapters.card import existing_card
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.heads.linear_probe import fit_linear_probe
from adaptkit.heads.pooling import poolings_for
from adaptkit.heads.text_features import task_model, text_features
from adaptkit.inference.predictor import Predictor
from adaptkit.labelling.rows import Labelled, unlabelled_rows
from adaptkit.labelling.select import select_rows
from adaptkit.models.names import load_config
from adaptkit.models.tokenizer import align_padding, load_tokenizer
from adaptkit.tasks.classify import Classify

MOST_ROWS = 10_000  # of a pool; more hardly give better proposals
FEWEST_LABELLED = 5  # rows from which on a probe is asked
MINILM = "all-MiniLM-L6-v2"
Guess = tuple[str, float] | tuple[()]


@dataclass(frozen=True)
class Proposal:
    """A row to label.

    row: its number in the table, from 0. guess: the likeliest label, None before there is a
    classifier. probability: of the guess.
    """

    row: int
    guess: str | None = None
    probability: float | None = None


class Pool:
    """The rows of a table that may be labelled, with their features, which are computed once.

    Args:
        table: texts; rows without a text are left out, and of equal texts all but the first. Of
            more than 10,000 rows, so many are drawn.
        task: a classifier of one label a text; names the columns.
        base: the model whose features tell texts apart; by default that of the adapter, or
            all-MiniLM-L6-v2.
        adapter: the folder of a classifier of one label a text, to be unsure instead of a linear
            probe.
        seed: of what is drawn.

    Attributes:
        table, task: as given.
        notes: what was left out.

    Raises:
        AdaptkitError: a column is missing, no row has a text, or the base cannot be loaded.
    """

    def __init__(
        self,
        table: Table,
        task: Classify,
        base: str | None = None,
        adapter: str | None = None,
        seed: int = 0,
    ) -> None:
        self.table, self.task = table, task
        self._seed = seed
        self.notes: list[str] = []
        self._numbers = unlabelled_rows(task, table, self.notes)
        if len(self._numbers) > MOST_ROWS:
            self.notes.append(f"of {len(self._numbers):,} texts {MOST_ROWS:,} are drawn")
            draw = torch.Generator().manual_seed(seed)
            drawn = torch.randperm(len(self._numbers), generator=draw)[:MOST_ROWS]
            self._numbers = [self._numbers[i] for i in sorted(drawn.tolist())]
        rows = task.read(table.take(self._numbers), labelled=False)
        card = existing_card(Path(adapter)) if adapter else None
        base = base or (card and (card.origin or card.base)) or MINILM
        self._model = task_model(base, poolings_for(base, None, load_config(base))[0])
        self._tokenizer = load_tokenizer(base)
        align_padding(self._model, self._tokenizer)
        self._features: dict[str, Tensor] = {}
        self._keys = self._read(rows)
        self._none = torch.zeros(0, len(self._features[self._keys[0]]))
        self._answers: list[dict[str, Any]] = []
        if adapter:
            own = {part: part for part in rows.columns}
            self._answers = Predictor(adapter).answer(rows, own, top_k=2)

    def text(self, row: int) -> str:
        """The text of a row of the table, or both texts."""
        columns = [own for part in self.task.changeable if (own := self.task.column(part))]
        return " | ".join(str(self.table.rows[row][column]) for column in columns)

    def propose(
        self, labelled: Labelled, count: int, without: Collection[int] = ()
    ) -> list[Proposal]:
        """The rows to label next, the one that stands for most others first.

        Args:
            labelled: rows with labels; no text among them is proposed.
            count: how many rows; fewer if fewer are left.
            without: numbers of rows that are not to be proposed.
        """
        known = self._read(labelled.table)
        done, skipped = {*known}, {*without}
        left = [
            place
            for place, key in enumerate(self._keys)
            if key not in done and self._numbers[place] not in skipped
        ]
        if not left:
            return []
        open_ = self._vectors([self._keys[place] for place in left])
        mine = self._vectors(known)
        probabilities, guesses = self._guesses(labelled, left, open_, mine)
        features = torch.cat([open_, mine])
        at = range(len(left), len(features))
        chosen = select_rows(features, count, at, probabilities, self._seed)
        return [Proposal(self._numbers[left[index]], *guesses[index]) for index in chosen]

    def _guesses(
        self, labelled: Labelled, left: list[int], open_: Tensor, mine: Tensor
    ) -> tuple[Tensor | None, list[Guess]]:
        """Probabilities `(open rows, labels)`, None if there is no classifier; the best of each."""
        if self._answers:
            answers = [self._answers[place]["scores"] for place in left]
            found = torch.tensor([list(scores.values()) for scores in answers])
            return found, [next(iter(scores.items())) for scores in answers]
        names = sorted(set(labelled.labels))
        if len(names) < 2 or len(mine) < FEWEST_LABELLED:
            return None, [()] * len(left)
        targets = torch.tensor([names.index(label) for label in labelled.labels])
        probe = fit_linear_probe(mine, targets, functional.cross_entropy, len(names), self._seed)
        probabilities = probe(open_).softmax(-1)
        values, places = probabilities.max(1)
        sure = zip(places.tolist(), values.tolist(), strict=True)
        return probabilities, [(names[place], value) for place, value in sure]

    def _vectors(self, keys: list[str]) -> Tensor:
        """Features `(keys, width)`."""
        return torch.stack([self._features[key] for key in keys]) if keys else self._none

    def _read(self, rows: Table) -> list[str]:
        """The keys of rows, whose features are then known."""
        keys = [self.task.key(row) for row in rows.rows]
        new = dict(zip(keys, rows.rows, strict=True))
        new = {key: row for key, row in new.items() if key not in self._features}
        if new:
            texts = [
                tuple(row[part] for part in self.task.changeable if part in row)
                for row in new.values()
            ]
            vectors = torch.from_numpy(text_features(self._model, self._tokenizer, texts))
            self._features |= dict(zip(new, functional.normalize(vectors.float()), strict=True))
        return keys


def propose_rows(
    table: Table,
    count: int = 20,
    *,
    labelled: Table | None = None,
    base: str | None = None,
    adapter: str | None = None,
    columns: dict[str, str] | None = None,
    seed: int = 0,
) -> list[Proposal]:
    """The rows of a table whose labels would teach a classifier most, best first.

    Without labels these are typical rows that differ from each other. With five labelled rows of
    two labels or more, or with an adapter, they are rows that the classifier is unsure of and that
    differ from each other. See `adaptkit.labelling.select`.

    Args:
        table: texts, or pairs of texts; from `read_table`. Rows that have a label are labelled.
        count: how many rows; fewer if fewer are left.
        labelled: rows with labels; those without one do not count.
        base: the model whose frozen features tell texts apart, by default that of the adapter, or
            all-MiniLM-L6-v2; with labels, a linear probe of them is the classifier.
        adapter: the folder of an adapter that is the classifier instead.
        columns: `text`, `text_pair` or `label` -> its column, where they differ from the default
            or, with an adapter, from its own.
        seed: the same rows and seed give the same proposals.

    Raises:
        AdaptkitError: a column is missing, no row has a text, a row cannot be read, or the adapter
            does not give one label a text.
    """
    task = labelling_task(adapter, columns)
    known = Labelled.read(task, [table, *([labelled] if labelled else [])])
    return Pool(table, task, base, adapter, seed).propose(known, count)


def labelling_task(adapter: str | None, columns: dict[str, str] | None) -> Classify:
    """The task whose columns the rows have, and the labels of an adapter.

    Raises:
        AdaptkitError: the adapter does not exist, or does not give one label a text.
    """
    if adapter is None:
        return Classify(columns=columns or {})
    card = existing_card(Path(adapter))
    if card.task != Classify.name or card.settings.get("multi_label"):
        several = " with several labels a text" if card.task == Classify.name else ""
        raise AdaptkitError(
            f"label proposes rows for classify with one label a text; {adapter} is for "
            f"{card.task}{several}. Give an adapter of classify, or none."
        )
    return Classify(columns={**card.columns, **(columns or {})}, labels=card.labels)
