"""Answer rows with different adapters, tasks and methods together."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaptkit.data.collate import Pad
from adaptkit.errors import AdaptkitError
from adaptkit.host.answers import Answer, Hidden, typed
from adaptkit.host.backbone import Backbone
from adaptkit.host.layers import Batch, BufferPool, NotByRowError, RowGroup
from adaptkit.host.packed import packable, packed_outputs
from adaptkit.host.reading import Reader
from adaptkit.host.rows import Item, Row, in_order, layout_of, order, stretches, take
from adaptkit.host.slots import LoadedAdapter, Slots
from adaptkit.host.writing.writer import Writer
from adaptkit.inference.predict import stack_rows


class Engine:
    """Batches rows, runs them, and makes answers."""

    def __init__(self, backbone: Backbone, slots: Slots):
        self.backbone = backbone
        self.slots = slots
        self.batches = 0
        self.rows = 0  # of all batches; one that is written counts at each step
        self.buffers = BufferPool()
        self.reader = Reader(backbone)
        self.writer = Writer(self)

    def answer(
        self, rows: list[Row], batch_size: int, waits: Callable[[], bool] | None = None
    ) -> dict[int, Answer]:
        """One answer per row, by its index.

        waits: whether anybody still waits for an answer; asked before each batch.

        Raises:
            AdaptkitError: a row lacks an input of its adapter's task, or nobody waits any more.
        """
        if self.backbone.tokenizer is None:
            raise AdaptkitError(
                "this host was made without a tokenizer: use host.hidden or host.generate with ids."
            )
        read: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        written: list[Row] = []
        for row in rows:
            own = written if self.writes(row.loaded) else read[row.kind]
            own.append(row)
        return self._read([*read.values()], batch_size, waits) | self.writer.answer(
            written, batch_size
        )

    def writes(self, loaded: LoadedAdapter | None) -> bool:
        """Rows of this adapter are answered with generated text."""
        if loaded is None or loaded.adapter.task is None:
            return self.backbone.writes
        return loaded.adapter.task.generates

    # Reading: hidden states, heads, answers

    def _read(
        self, groups: list[list[Row]], batch_size: int, waits: Callable[[], bool] | None
    ) -> dict[int, Answer]:
        asked = self.reader.read(groups)
        self.run([item for one in asked for item in one.items], batch_size, self._read_batch, waits)
        answers: dict[int, Answer] = {}
        for one in asked:
            rows, items = one.rows, one.items
            if one.task is None or one.table is None:
                answers |= {
                    row.index: Hidden(item.found, tokens=item.length)
                    for row, item in zip(rows, items, strict=True)
                }
                continue
            found = stack_rows([item.found for item in items])
            decoded = one.task.decode(found, one.columns, one.table)
            tokens = [0] * len(rows)
            for owner, item in zip(one.columns.get("_row", range(len(rows))), items, strict=True):
                tokens[owner] += item.length
            for row, answer, count in zip(rows, decoded, tokens, strict=True):
                answers[row.index] = typed(one.task, answer, count)
        return answers

    def _read_batch(self, items: list[Item]) -> None:
        with torch.no_grad(), self.backbone.forward_lock():
            packed, padded = packable(self.backbone, items)
            if packed:
                for block, outputs in packed_outputs(self.backbone, packed, self.choose):
                    self._read_heads(block, self._padded(block), outputs)
            if padded:
                inputs = self._padded(padded)
                batch = self.choose([item.loaded for item in padded])
                self._read_heads(padded, inputs, self.backbone.hidden(inputs, batch))

    def _padded(self, items: list[Item]) -> dict[str, Tensor]:
        """The inputs of a batch."""
        pad = Pad.for_tokenizer(self.backbone.tokenizer)
        return {
            name: tensor.to(self.backbone.device)
            for name, tensor in pad([item.features for item in items]).items()
        }

    def _read_heads(self, items: list[Item], inputs: dict[str, Tensor], outputs: Any) -> None:
        for rows, loaded in stretches([item.loaded for item in items]):
            mine = {name: tensor[rows] for name, tensor in inputs.items()}
            found = self._reduce(loaded, take(outputs, rows), mine)
            for item, one in zip(items[rows], found, strict=True):
                item.found = one if isinstance(one, np.ndarray) else one[: item.length]

    def _reduce(self, loaded: LoadedAdapter | None, outputs: Any, inputs: dict[str, Tensor]) -> Any:
        """The postprocessed outputs of one adapter's rows for its task, or hidden states."""
        if loaded is None or loaded.adapter.task is None:
            return outputs.last_hidden_state
        adapter = loaded.adapter
        if adapter.head is not None:
            outputs = adapter.head(outputs, inputs)
        return adapter.task.postprocess(outputs, inputs, None).cpu().numpy()

    # Batches

    def hidden(
        self, inputs: dict[str, Tensor], loaded_adapters: list[LoadedAdapter | None]
    ) -> Tensor:
        """The last hidden states of model inputs, each row with its adapter, in their order."""
        place = sorted(range(len(loaded_adapters)), key=lambda i: order(loaded_adapters[i]))
        if as_given := place == list(range(len(place))):
            items = [Item({"input_ids": []}, loaded) for loaded in loaded_adapters]
        else:
            items = [Item({"input_ids": []}, loaded_adapters[i]) for i in place]
            inputs = {
                name: tensor[torch.tensor(place, device=tensor.device)]
                for name, tensor in inputs.items()
            }
        states, start = [], 0

        def one(batch: list[Item]) -> None:
            nonlocal start
            part = (
                inputs
                if len(batch) == len(items)
                else {n: t[start : start + len(batch)] for n, t in inputs.items()}
            )
            with self.backbone.forward_lock():
                states.append(
                    self.backbone.hidden(part, self.choose([item.loaded for item in batch]))[0]
                )
            start += len(batch)

        for batch in self._mixable(items):
            self._run_one(batch, one)
        together = states[0] if len(states) == 1 else torch.cat(states)
        if as_given:
            return together
        return in_order(together, place)

    def run(
        self,
        items: list[Item],
        batch_size: int,
        one: Callable[[list[Item]], None],
        waits: Callable[[], bool] | None = None,
    ) -> None:
        """Call `one` with batches of items of similar lengths, as long as anybody waits.

        Within a batch the rows of a layout, and those of an adapter, are adjacent.
        """
        longest_first = sorted(items, key=lambda item: -item.length)
        for start in range(0, len(items), batch_size):
            chosen = sorted(
                longest_first[start : start + batch_size], key=lambda item: order(item.loaded)
            )
            for batch in self._mixable(chosen):
                if waits is not None and not waits():
                    raise AdaptkitError("nobody waits for these rows any more.")
                self._run_one(batch, one)

    def _run_one(self, items: list[Item], one: Callable[[list[Item]], None]) -> None:
        try:
            one(items)
            self.count(len(items))
        except NotByRowError:  # from now on the backbone knows it
            for batch in self._mixable(items):
                one(batch)
                self.count(len(batch))
        for item in items:
            if item.loaded is not None:
                item.loaded.rows += 1

    def count(self, rows: int) -> None:
        """A batch with so many rows has run."""
        self.batches += 1
        self.rows += rows

    def _mixable(self, items: list[Item]) -> list[list[Item]]:
        """The batch, or one batch per adapter if the base cannot mix adapters."""
        if self.backbone.mixes:
            return [items]
        return [items[rows] for rows, _ in stretches([item.loaded for item in items])]

    def choose(self, loaded_adapters: list[LoadedAdapter | None]) -> Batch:
        """The weights for rows in this order, in which the rows of one layout are adjacent."""
        parts, start = [], 0
        for layout, group in itertools.groupby(loaded_adapters, key=layout_of):
            numbers = [loaded.slot for loaded in group if loaded is not None]
            if layout is not None:
                parts.append(
                    RowGroup(
                        layout, start, start + len(numbers), self.slots.rows, numbers, self.buffers
                    )
                )
                start += len(numbers)
        return Batch(len(loaded_adapters), parts)
