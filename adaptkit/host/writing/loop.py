"""Continuous batching: a row that ends leaves the batch, and one that waits takes its place."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from adaptkit.host.backbone import Backbone
from adaptkit.host.layers import Batch
from adaptkit.host.rows import order
from adaptkit.host.slots import LoadedAdapter
from adaptkit.host.writing.choose_tokens import choose_tokens
from adaptkit.host.writing.sequence import Sequence
from adaptkit.models.language.row_cache import RowCache, inputs_behind

SHARE = 8  # one in so many places is free before rows join, and one in half as many before rows go


class WritingLoop:
    """Writes rows together, a token of each at a step.

    Args:
        choose: the adapters of rows, in the order of the batch.
        max_rows: how many rows are written at once; the others wait in order.
    """

    def __init__(
        self,
        backbone: Backbone,
        choose: Callable[[list[LoadedAdapter | None]], Batch],
        max_rows: int,
    ):
        self.backbone, self.choose, self.max_rows = backbone, choose, max_rows
        self.waiting: deque[Sequence] = deque()
        self._rows: list[Sequence] = []  # those that have ended keep their place until others join
        self._cache = RowCache()
        self._batch: Batch | None = None
        self._known = inspect.signature(type(backbone.model).forward).parameters

    def add(self, rows: Iterable[Sequence]) -> None:
        """Let rows wait for a place."""
        self.waiting.extend(rows)

    @property
    def running(self) -> list[Sequence]:
        return [row for row in self._rows if row.finish_reason is None]

    @property
    def busy(self) -> bool:
        """There are rows that are not written to their end."""
        return bool(self.waiting or self.running)

    @torch.no_grad()
    def step(self) -> list[Sequence]:
        """Write a token of each row that has a place; returns these rows."""
        before = self._join()
        running = self.running
        if not running:
            return before
        self._drop_ended()
        tokens = torch.tensor([[row.ids[-1]] for row in self._rows], device=self.backbone.device)
        logits = self._forward(tokens, self._rows, self._cache, self._adapters())
        choose_tokens(self._rows, logits, self.backbone)
        return [*before, *(row for row in running if row not in before)]

    def drop(self, rows: Iterable[Sequence]) -> None:
        """Forget rows that nobody waits for any more."""
        for row in rows:
            row.finish_reason = row.finish_reason or "stop"
        self.waiting = deque(row for row in self.waiting if row.finish_reason is None)

    # Rows come and go

    def _join(self) -> list[Sequence]:
        """Read the prompts of rows that get a place, with the first token of each."""
        running = self.running
        free = self.max_rows - len(running)
        enough = not running or free >= max(1, self.max_rows // SHARE)
        if not self.waiting or free < 1 or not enough:
            return []
        new = [self.waiting.popleft() for _ in range(min(free, len(self.waiting)))]
        new.sort(key=lambda row: order(row.loaded))
        cache = RowCache()
        batch = self.choose([row.loaded for row in new])
        choose_tokens(new, self._forward(self._prompts(new), new, cache, batch), self.backbone)
        self._arrange(running, new, cache)
        return new

    def _drop_ended(self) -> None:
        """Take the rows out that have ended, if they are many."""
        running = self.running
        if (len(self._rows) - len(running)) * SHARE > 2 * len(self._rows):
            self._arrange(running, [], RowCache())

    def _arrange(self, kept: list[Sequence], new: list[Sequence], cache: RowCache) -> None:
        """Make a batch of rows that are being written and new ones with a cache of their own."""
        new_rows = [i for i, row in enumerate(new) if row.finish_reason is None]
        places = [self._rows.index(row) for row in kept]
        joined = [*kept, *(new[i] for i in new_rows)]
        by_layout = sorted(range(len(joined)), key=lambda i: order(joined[i].loaded))
        sources = [(self._cache, places), (cache, new_rows)]
        self._rows = [joined[i] for i in by_layout]
        self._batch = None
        if joined:
            columns = max(row.length - 1 for row in joined)  # the last token is not read yet
            sources = [(one, rows) for one, rows in sources if rows]
            self._cache = RowCache.of(sources, by_layout, columns)

    def _adapters(self) -> Batch:
        if self._batch is None:
            self._batch = self.choose([row.loaded for row in self._rows])
        return self._batch

    # Forward passes

    def _prompts(self, rows: list[Sequence]) -> Tensor:
        """Prompts as `(rows, tokens)`, padded on the left; with what was written, if any was."""
        width, pad = max(row.length for row in rows), self.backbone.pad
        filled = [[pad] * (width - row.length) + row.prompt + row.ids for row in rows]
        return torch.tensor(filled, device=self.backbone.device)

    def _forward(self, ids: Tensor, rows: list[Sequence], cache: RowCache, batch: Batch) -> Tensor:
        """The logits behind the last token of each row, `(rows, vocabulary)`."""
        inputs = inputs_behind(cache, ids, [row.length for row in rows], self._known)
        if "logits_to_keep" in self._known:
            inputs["logits_to_keep"] = 1
        with self.backbone.running(batch):
            return self.backbone.model(**inputs).logits[:, -1]
