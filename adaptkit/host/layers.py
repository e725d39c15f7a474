"""The serving layer: wraps each module of the base that adapters may change.

A batch is ordered so that rows whose adapters have one layout are adjacent: a `RowGroup`, whose
weights are rows of the slots. Every layer applies a group's formulas with these weights, one
adapter per row, and leaves the other rows unchanged.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptkit.adapters.attachments import Weights, join_key_values, transform
from adaptkit.adapters.attention import route
from adaptkit.adapters.layer import Relay, Wrapper
from adaptkit.compute.sites import site as mark_site
from adaptkit.host.gather import BufferPool, Gathered
from adaptkit.host.layout import Layout, Product, Step
from adaptkit.methods.key_values import KeyValues
from adaptkit.models.sites import Site


class NotByRowError(Exception):
    """The base passes a tensor without a row axis, so different adapters cannot share a batch."""


class RowGroup:
    """Rows `start` to `stop` of a batch; their adapters have one layout. `numbers`: their slots.

    Generation with beams repeats every row `times` times. 0 times: x has no row axis, and all rows
    have one adapter.
    """

    def __init__(
        self,
        layout: Layout,
        start: int,
        stop: int,
        slots: Tensor,
        numbers: list[int],
        buffers: BufferPool,
    ):
        self.layout = layout
        self.start = start
        self.stop = stop
        self.single = len(set(numbers)) == 1
        self._from = slots, numbers[:1] if self.single else numbers, buffers
        self._gathered: dict[int, Gathered] = {}
        self._low: tuple[Product | None, Any, Any] = (None, None, None)

    def rows(self, times: int) -> slice:
        return slice(self.start * times, self.stop * times)

    def of(self, x: Tensor, times: int) -> Tensor:
        """The group's rows of x, or x itself if these are all."""
        return (
            x
            if not times or (self.stop - self.start) * times == x.shape[0]
            else x[self.rows(times)]
        )

    def gathered(self, times: int) -> Gathered:
        """The slots of the rows, each repeated this many times."""
        if times not in self._gathered:
            slots, numbers, buffers = self._from
            repeated = (
                numbers if self.single else [number for number in numbers for _ in range(times)]
            )
            self._gathered[times] = Gathered(
                self.layout, slots, repeated, (self.stop - self.start) * times, buffers
            )
        return self._gathered[times]

    def give_back(self) -> None:
        """Return the memory to the pool."""
        for gathered in self._gathered.values():
            gathered.give_back()

    def weights(self, step: Step, times: int) -> Weights:
        gathered = self.gathered(times)
        return lambda dtype: {
            name: gathered.view(place).to(dtype) for name, place in step.places.items()
        }

    def add(self, step: Step, x: Tensor, y: Tensor, times: int) -> None:
        """A low-rank step, `y += (A @ x.mT).mT @ B`, in place.

        Writing a second tensor as wide as y takes longer than the product. `A @ x.mT` is computed
        once for all maps that read the same x.
        """
        product, gathered = step.product, self.gathered(times)
        # otherwise it is not a low-rank step
        assert product is not None
        assert step.b is not None
        b = gathered.view(step.b)
        if self._low[0] is not product or self._low[1] is not x:
            own, a = self.of(x, times), gathered.view(product.a)
            own = own if own.dtype == a.dtype else own.to(a.dtype)
            self._low = product, x, torch.bmm(a, own.mT) if times else a @ own.mT
        low = self._low[2] if step.ranks is None else self._low[2][..., step.ranks, :]
        if step.attachment.site.part is not None:
            y = y[..., slice(*step.attachment.site.part)]
        if not times or y.dtype != b.dtype:
            y += (low.mT @ b).to(y.dtype)
        else:
            y.baddbmm_(low.mT, b)


@dataclass
class Batch:
    """The row groups of a batch of `rows` rows; rows in no group use the bare base."""

    rows: int
    parts: list[RowGroup]

    def times(self, x: Tensor) -> int:
        """How often each row of the batch is repeated in x.

        0 if x has no row axis and all rows have one adapter.
        """
        count = x.shape[0]
        if x.ndim == 3 and count and not count % self.rows:
            return count // self.rows
        if (
            len(self.parts) == 1
            and self.parts[0].single
            and self.parts[0].stop - self.parts[0].start == self.rows
        ):
            return 0
        raise NotByRowError

    def give_back(self) -> None:
        """Return the batch's memory after it has run."""
        for part in self.parts:
            part.give_back()


class BatchContext(threading.local):
    """The batch that the current thread runs, and whether it captures the network."""

    batch: Batch | None = None
    capturing: bool = False


class HostLayer(Wrapper):
    """A module of the base with the batch's adapters applied.

    `path`: its path in the backbone; `context`: the one shared by all layers of a host.
    """

    def __init__(self, base_layer: nn.Module, path: str, context: BatchContext):
        super().__init__(base_layer)
        self.path = path
        self._context = context
        self._stream: Relay | None = None
        self._queries: Relay | None = None

    def connect(self, site: Site, modules: dict[str, nn.Module]) -> None:
        """Hook the start of a site's block, or the attention that it belongs to."""
        if site.kind == "attention" and self._queries is None:
            self._queries = Relay()
            route(modules[site.entry], self)
        elif site.kind in ("block", "stream") and self._stream is None:
            self._stream = Relay()
            modules[site.entry].register_forward_pre_hook(self._stream.put_input)

    def forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        y = self.base_layer(x, *args, **kwargs)
        stream = self._stream.take() if self._stream else None
        if self._context.capturing:
            return mark_site(x, y, stream, self.path)
        batch = self._context.batch
        if batch is None or not batch.parts:
            return y
        if self._queries:
            self._queries.put(x)
        return self.change(batch, x, y, stream)

    def change(self, batch: Batch, x: Tensor, y: Tensor, stream: Tensor | None) -> Tensor:
        """The output of this module with what the adapters of a batch do; y itself if in place."""
        for part in batch.parts:
            if steps := part.layout.steps.get(self.path):
                y = self._change(batch, part, steps, x, y, stream)
        return y

    def _change(
        self,
        batch: Batch,
        part: RowGroup,
        steps: list[Step],
        x: Tensor,
        y: Tensor,
        stream: Tensor | None,
    ) -> Tensor:
        times = batch.times(x)
        for low_rank, run in groupby(steps, lambda step: step.product is not None):
            own = part.of(y, times)
            if low_rank:
                for step in run:
                    part.add(step, x, own, times)
                continue
            attached = [
                (step.attachment, part.weights(step, times))
                for step in run
                if step.attachment.site.kind != "attention"
            ]
            entered = None if stream is None else part.of(stream, times)
            changed = transform(self.base_layer, attached, part.of(x, times), own, entered, False)
            if own is y:
                y = changed
            elif attached:
                own.copy_(changed)
        return y

    def join(self, y: KeyValues) -> KeyValues:
        """The keys and values with each row's own columns in front, padded with masked columns."""
        batch = self._context.batch
        x = self._queries.take()
        if batch is None or x is None:
            return y
        joined = list(self._joined(batch, x, y))
        return joined[0][1] if len(joined) == 1 else _side_by_side(joined, y.keys.shape[-2])

    def _joined(self, batch: Batch, x: Tensor, y: KeyValues) -> Iterator[tuple[slice, KeyValues]]:
        """Every stretch of the batch with its rows' keys and values, in order."""
        times, done = batch.times(x), 0
        for part in batch.parts:
            steps = [
                s
                for s in part.layout.steps.get(self.path, ())
                if s.attachment.site.kind == "attention"
            ]
            rows = part.rows(times) if times else slice(0, len(x))
            if not steps:
                continue
            if rows.start > done:
                yield slice(done, rows.start), _rows(y, slice(done, rows.start))
            attached = [(step.attachment, part.weights(step, times)) for step in steps]
            yield rows, join_key_values(attached, x[rows], _rows(y, rows), False)
            done = rows.stop
        if done < len(x):
            yield slice(done, len(x)), _rows(y, slice(done, len(x)))


def _rows(y: KeyValues, rows: slice) -> KeyValues:
    return KeyValues(y.keys[rows], y.values[rows], None if y.scores is None else y.scores[rows])


def _side_by_side(joined: list[tuple[slice, KeyValues]], length: int) -> KeyValues:
    """One batch of stretches with different numbers of columns in front of `length` common ones."""
    most = max(own.keys.shape[-2] for _, own in joined)
    gaps = [most - own.keys.shape[-2] for _, own in joined]
    columns: list[tuple[tuple[Tensor, Tensor], int]] = [
        ((own.keys, own.values), gap) for (_, own), gap in zip(joined, gaps, strict=True)
    ]
    keys, values = (
        torch.cat([F.pad(own[i], (0, 0, gap, 0)) for own, gap in columns]) for i in (0, 1)
    )
    if not any(gaps) and all(own.scores is None for _, own in joined):
        return KeyValues(keys, values)
    queries = max(1 if own.scores is None else own.scores.shape[-2] for _, own in joined)
    scores = []
    for (rows, own), gap in zip(joined, gaps, strict=True):
        seen = (
            own.scores
            if own.scores is not None
            else keys.new_zeros(rows.stop - rows.start, 1, 1, most - gap - length)
        )
        scores.append(
            F.pad(seen.expand(-1, -1, queries, -1), (gap, 0), value=torch.finfo(keys.dtype).min)
        )
    return KeyValues(keys, values, torch.cat(scores))


def wrap(backbone: nn.Module, sites: list[Site], context: BatchContext) -> dict[str, HostLayer]:
    """Put a `HostLayer` around every module of `backbone` that has a site; returns them by path."""
    modules = dict(backbone.named_modules())
    layers: dict[str, HostLayer] = {}
    for site in sites:
        if site.module not in layers:
            layers[site.module] = HostLayer(modules[site.module], site.module, context)
            parent, _, name = site.module.rpartition(".")
            setattr(backbone.get_submodule(parent), name, layers[site.module])
        layers[site.module].connect(site, modules)
    return layers
