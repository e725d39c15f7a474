"""The owner of parameters while many adapters answer: a layer around each module of the base that adapters may change.

A batch is ordered so that rows whose adapters have one layout stand together: a `Part`, whose weights are rows of the slots. Every
layer applies a part's formulas with these weights, one adapter for each row, and leaves the other rows alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptkit.attention import route
from adaptkit.host.layout import Layout, Place, Step
from adaptkit.layers import Attachment, Relay, Weights, join, transform
from adaptkit.methods.prefix import KeyValues
from adaptkit.sites import Site


class NotByRow(Exception):
    """The base passes something through a module that has no axis of rows: different adapters cannot share a batch here."""


class Part:
    """Rows of a batch, from `start` to `stop`, whose adapters have one layout. `slots` `(rows, width)`, or `(1, width)` for all.

    Generation with beams repeats every row; `times` says how often.
    """

    def __init__(self, layout: Layout, start: int, stop: int, slots: Tensor):
        self.layout = layout
        self.start = start
        self.stop = stop
        self.slots = slots
        self._views: dict[tuple[int, Place], Tensor] = {}
        self._low: tuple[Any, Tensor, Tensor] | None = None

    def rows(self, times: int) -> slice:
        return slice(self.start * times, self.stop * times)

    def view(self, place: Place, times: int) -> Tensor:
        """A parameter for each row of a batch in which every row stands `times` times; 0: one for all, without an axis of rows."""
        key = times, place
        if key not in self._views:
            self._views[key] = place.of(self._repeated(times))
        return self._views[key]

    def _repeated(self, times: int) -> Tensor:
        if times == 0:
            return self.slots[0]
        if len(self.slots) == 1:
            return self.slots.expand((self.stop - self.start) * times, -1)
        if times == 1:
            return self.slots
        whole = Place(0, (self.slots.shape[1],))
        if (times, whole) not in self._views:
            self._views[times, whole] = self.slots.repeat_interleave(times, 0)
        return self._views[times, whole]

    def low(self, step: Step, x: Tensor, times: int) -> Tensor:
        """The columns of `x @ A.mT` that belong to a step; computed once for all maps that read the same x."""
        key = step.product.key
        if self._low is None or self._low[0] != key or self._low[1] is not x:
            own = x[self.rows(times)] if times else x
            self._low = key, x, own @ self.view(step.product.a, times).to(x.dtype).mT
        return self._low[2][..., step.columns]

    def weights(self, step: Step, times: int) -> Weights:
        return lambda dtype: {name: self.view(place, times).to(dtype) for name, place in step.places.items()}


@dataclass
class Batch:
    """The parts of a batch of so many rows; rows in no part are the bare base's."""

    rows: int
    parts: list[Part]

    def times(self, x: Tensor) -> int:
        """How often each row of the batch stands in x; 0 where x has no axis of rows and one adapter is everybody's."""
        if x.ndim == 3 and len(x) and not len(x) % self.rows:
            return len(x) // self.rows
        if len(self.parts) == 1 and len(self.parts[0].slots) == 1 and self.parts[0].stop - self.parts[0].start == self.rows:
            return 0
        raise NotByRow


class Now(threading.local):
    """The batch that the current thread runs."""

    batch: Batch | None = None


class HostLayer(nn.Module):
    """A module of the base. `path`: where it is in the backbone; `now`: shared by all layers of a host."""

    def __init__(self, base_layer: nn.Module, path: str, now: Now):
        super().__init__()
        self.base_layer = base_layer
        self.path = path
        self._now = now
        self._stream: Relay | None = None
        self._queries: Relay | None = None

    def connect(self, site: Site, modules: dict[str, nn.Module]) -> None:
        """Listen where a site's block begins, or at the attention that it belongs to."""
        if site.kind == "attention" and self._queries is None:
            self._queries = Relay()
            route(modules[site.entry], self)
        elif site.kind in ("block", "stream") and self._stream is None:
            self._stream = Relay()
            modules[site.entry].register_forward_pre_hook(self._stream.put_input)

    def forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        y = self.base_layer(x, *args, **kwargs)
        stream = self._stream.take() if self._stream else None
        batch = self._now.batch
        if batch is None or not batch.parts:
            return y
        if self._queries:
            self._queries.put(x)
        for part in batch.parts:
            if steps := part.layout.steps.get(self.path):
                y = self._change(batch, part, steps, x, y, stream)
        return y

    def _change(self, batch: Batch, part: Part, steps: list[Step], x: Tensor, y: Tensor, stream: Tensor | None) -> Tensor:
        times = batch.times(x)
        rows = part.rows(times) if times else slice(None)
        for step in steps:
            kind = step.attachment.site.kind
            if kind == "attention":
                continue
            if step.product is not None:
                self._add(part.low(step, x, times), part.view(step.b, times), step.attachment, y[rows])
                continue
            attached = [(step.attachment, part.weights(step, times))]
            changed = transform(self.base_layer, attached, x[rows], y[rows], None if stream is None else stream[rows], False)
            if len(changed) == len(y):
                y = changed
            else:
                y[rows] = changed
        return y

    @staticmethod
    def _add(low: Tensor, b: Tensor, attachment: Attachment, y: Tensor) -> None:
        """y += low @ B.mT in place: a second tensor of this width costs more than the product."""
        if attachment.site.part is not None:
            y = y[..., slice(*attachment.site.part)]
        if b.ndim == 3:
            y.baddbmm_(low.to(y.dtype), b.to(y.dtype).mT)
        else:
            y += low.to(y.dtype) @ b.to(y.dtype).mT

    def join(self, y: KeyValues) -> KeyValues:
        """What the attention reads: with each row's own columns in front, filled up to the most by columns that nobody sees."""
        batch = self._now.batch
        x = self._queries.take()
        if batch is None or x is None:
            return y
        joined = list(self._joined(batch, x, y))
        return joined[0][1] if len(joined) == 1 else _side_by_side(joined, y.keys.shape[-2])

    def _joined(self, batch: Batch, x: Tensor, y: KeyValues) -> Iterator[tuple[slice, KeyValues]]:
        """Every stretch of the batch with what its rows read, in order."""
        times, done = batch.times(x), 0
        for part in batch.parts:
            steps = [s for s in part.layout.steps.get(self.path, ()) if s.attachment.site.kind == "attention"]
            rows = part.rows(times) if times else slice(0, len(x))
            if not steps:
                continue
            if rows.start > done:
                yield slice(done, rows.start), _rows(y, slice(done, rows.start))
            attached = [(step.attachment, part.weights(step, times)) for step in steps]
            yield rows, join(attached, x[rows], _rows(y, rows), False)
            done = rows.stop
        if done < len(x):
            yield slice(done, len(x)), _rows(y, slice(done, len(x)))

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":
                raise
            return getattr(self.base_layer, name)


def _rows(y: KeyValues, rows: slice) -> KeyValues:
    return KeyValues(y.keys[rows], y.values[rows], None if y.scores is None else y.scores[rows])


def _side_by_side(joined: list[tuple[slice, KeyValues]], length: int) -> KeyValues:
    """One batch of stretches with different numbers of columns in front of `length` common ones."""
    most = max(own.keys.shape[-2] for _, own in joined)
    gaps = [most - own.keys.shape[-2] for _, own in joined]
    keys, values = (torch.cat([F.pad(own[i], (0, 0, gap, 0)) for (_, own), gap in zip(joined, gaps, strict=True)]) for i in (0, 1))
    if not any(gaps) and all(own.scores is None for _, own in joined):
        return KeyValues(keys, values)
    queries = max(1 if own.scores is None else own.scores.shape[-2] for _, own in joined)
    scores = []
    for (rows, own), gap in zip(joined, gaps, strict=True):
        seen = own.scores if own.scores is not None else keys.new_zeros(rows.stop - rows.start, 1, 1, most - gap - length)
        scores.append(F.pad(seen.expand(-1, -1, queries, -1), (gap, 0), value=torch.finfo(keys.dtype).min))
    return KeyValues(keys, values, torch.cat(scores))


def wrap(backbone: nn.Module, sites: list[Site], now: Now) -> None:
    """Put a `HostLayer` around every module of `backbone` that a site names."""
    modules = dict(backbone.named_modules())
    layers: dict[str, HostLayer] = {}
    for site in sites:
        if site.module not in layers:
            layers[site.module] = HostLayer(modules[site.module], site.module, now)
            parent, _, name = site.module.rpartition(".")
            setattr(backbone.get_submodule(parent), name, layers[site.module])
        layers[site.module].connect(site, modules)
