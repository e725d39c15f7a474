"""A key-value cache whose rows come and go while the others are written on.

Rows are aligned at their ends: a row of fewer tokens has unused columns on its left, which the
attention mask hides. Memory grows by doubling, so a new token copies nothing but itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import Cache, DynamicLayer

from adaptkit.models.probe import evaluating

SMALLEST = 64  # columns of the first memory


class RowLayer(DynamicLayer):
    """The keys and values of one layer, `(rows, heads, columns, width)`."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.columns = 0
        self.memory: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        new = slice(self.columns, self.columns + key_states.shape[-2])
        states = (key_states, value_states)
        if self.memory is None or new.stop > self.memory[0].shape[-2]:
            self._grow(states, new.stop)
        assert self.memory is not None
        for memory, state in zip(self.memory, states, strict=True):
            memory[:, :, new] = state
        self.columns = new.stop
        return self._show()

    def _grow(self, states: Sequence[Tensor], columns: int) -> None:
        room = max(SMALLEST, 2 * columns)
        larger = tuple(state.new_zeros(*state.shape[:2], room, state.shape[-1]) for state in states)
        for new, old in zip(larger, self.memory or (), strict=False):
            new[:, :, : self.columns] = old[:, :, : self.columns]
        self.memory = (larger[0], larger[1])

    def _show(self) -> tuple[Tensor, Tensor]:
        assert self.memory is not None
        self.keys, self.values = (memory[:, :, : self.columns] for memory in self.memory)
        return self.keys, self.values

    def take(self, sources: Sequence[tuple[RowLayer, Tensor, Tensor]], columns: int) -> None:
        """Fill an empty layer with rows of others, of which the last columns are kept.

        sources: a layer, the rows to take of it, and where they go.
        """
        first = next(layer for layer, _, _ in sources if layer.memory is not None)
        assert first.memory is not None
        rows = sum(len(taken) for _, taken, _ in sources)
        self.lazy_initialization(*first.memory)
        room = max(SMALLEST, columns + columns // 2)
        new = tuple(one.new_zeros(rows, one.shape[1], room, one.shape[-1]) for one in first.memory)
        for layer, taken, places in sources:
            kept = min(columns, layer.columns)
            for target, source in zip(new, layer.memory or (), strict=True):
                part = source[taken, :, layer.columns - kept : layer.columns]
                target[places, :, columns - kept : columns] = part
        self.memory, self.columns = (new[0], new[1]), columns
        self._show()


class RowCache(Cache):
    """The cache of a batch of rows."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=RowLayer)

    @classmethod
    def of(
        cls, sources: Sequence[tuple[RowCache, Sequence[int]]], order: Sequence[int], columns: int
    ) -> RowCache:
        """A cache of rows of others.

        Args:
            sources: a cache and the rows to take of it.
            order: for each place in the new cache, the number of its row among all that are taken.
            columns: how many to keep; the tokens of the longest row.
        """
        where = torch.empty(len(order), dtype=torch.long)
        where[torch.tensor(order)] = torch.arange(len(order))
        found, done = cls(), 0
        parts = []
        for cache, rows in sources:
            parts.append((cache, torch.tensor(rows), where[done : done + len(rows)]))
            done += len(rows)
        for number in range(len(sources[0][0].layers)):
            layer = RowLayer()
            taken = [(cast(RowLayer, one.layers[number]), rows, to) for one, rows, to in parts]
            layer.take(taken, columns)
            found.layers.append(layer)
        return found


def inputs_behind(
    cache: RowCache | None, ids: Tensor, lengths: Sequence[int], known: Collection[str]
) -> dict[str, Any]:
    """The inputs of a decoder that reads on from a cache; with no cache, from nothing.

    Args:
        ids: new tokens, `(rows, tokens)`, padded on the left.
        lengths: the tokens of each row, in the cache and new.
        known: the names of what the model's forward takes.
    """
    total = (cache.get_seq_length() if cache is not None else 0) + ids.shape[1]
    gaps = total - torch.tensor(lengths, device=ids.device)
    columns = torch.arange(total, device=ids.device) - gaps[:, None]  # from 0 at the first token
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": (columns >= 0).long()}
    if "position_ids" in known:
        inputs["position_ids"] = columns[:, -ids.shape[1] :].clamp(min=0)
    if cache is not None:
        inputs |= {"past_key_values": cache, "use_cache": True}
    return inputs


def rows_may_come_and_go(model: Any) -> bool:
    """Whether a model reads on from rows that were put together, as from each alone.

    It does not if its memory is no keys and values (Mamba), or if it counts positions in another
    way than by the mask or by what it is told.
    """
    prompts = [[5, 6, 7, 8, 9, 10], [11, 12, 13]]
    device = next(model.parameters()).device
    known = inspect.signature(type(model).forward).parameters

    def read(ids: list[list[int]], lengths: list[int], cache: RowCache | None) -> Tensor:
        tokens = torch.tensor(ids, device=device)
        return model(**inputs_behind(cache, tokens, lengths, known)).logits

    try:
        with evaluating(model), torch.no_grad():
            caches = [RowCache(), RowCache()]
            for prompt, cache in zip(prompts, caches, strict=True):
                read([prompt[:-1]], [len(prompt) - 1], cache)
            joined = RowCache.of([(caches[0], [0]), (caches[1], [0])], [1, 0], 5)
            found = read([[prompts[1][-1]], [prompts[0][-1]]], [3, 6], joined)[:, -1]
            alone = [read([prompt], [len(prompt)], None)[0, -1] for prompt in prompts[::-1]]
    except Exception:  # each family has its own error for a cache of another kind
        return False
    expected = torch.stack(alone)
    near = 1e-2 * float(expected.abs().max())
    return torch.allclose(found.float(), expected.float(), rtol=1e-2, atol=near)
