"""Answer rows with different adapters, tasks and methods together."""

from __future__ import annotations

import itertools
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaptkit.data.collate import Pad
from adaptkit.data.conversations.ends import words_begin
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.host.answers import Answer, Hidden, Text, typed
from adaptkit.host.backbone import Backbone
from adaptkit.host.layers import Batch, BufferPool, NotByRowError, RowGroup
from adaptkit.host.rows import (
    Item,
    Row,
    by_row,
    in_order,
    layout_of,
    order,
    plain_text,
    stretches,
    table_of,
    take,
)
from adaptkit.host.slots import LoadedAdapter, Slots
from adaptkit.inference.predict import stack_rows
from adaptkit.tasks.language import words_of, write


class Engine:
    """Batches rows, runs them, and makes answers."""

    def __init__(self, backbone: Backbone, slots: Slots):
        self.backbone = backbone
        self.slots = slots
        self.batches = 0
        self.buffers = BufferPool()
        self._tokenizing = threading.Lock()  # tokenizers store their settings in themselves

    def answer(self, rows: list[Row], batch_size: int) -> dict[int, Answer]:
        """One answer per row, by its index.

        Raises:
            AdaptkitError: a row lacks an input of its adapter's task.
        """
        if self.backbone.tokenizer is None:
            raise AdaptkitError(
                "this host was made without a tokenizer: use host.hidden or host.generate with ids."
            )
        read: dict[LoadedAdapter | None, list[Row]] = defaultdict(list)
        written: dict[LoadedAdapter | None, list[Row]] = defaultdict(list)
        for row in rows:
            (written if self._writes(row.loaded) else read)[row.loaded].append(row)
        return self._read(read, batch_size) | self._write(written, batch_size)

    def _writes(self, loaded: LoadedAdapter | None) -> bool:
        if loaded is None or loaded.adapter.task is None:
            return self.backbone.writes
        return loaded.adapter.task.generates

    # Reading: hidden states, heads, answers

    def _read(
        self, groups: dict[LoadedAdapter | None, list[Row]], batch_size: int
    ) -> dict[int, Answer]:
        asked = [(loaded, rows, *self._features(loaded, rows)) for loaded, rows in groups.items()]
        items = [
            [Item(features, loaded) for features in by_row(columns)]
            for loaded, _, _, columns in asked
        ]
        self.run(list(itertools.chain.from_iterable(items)), batch_size, self._read_batch)
        answers: dict[int, Answer] = {}
        for (loaded, rows, table, columns), own in zip(asked, items, strict=True):
            task = loaded.adapter.task if loaded is not None else None
            if task is None:
                answers |= {
                    row.index: Hidden(item.found) for row, item in zip(rows, own, strict=True)
                }
                continue
            assert table is not None  # a task has read the rows
            decoded = task.decode(stack_rows([item.found for item in own]), columns, table)
            answers |= {
                row.index: typed(task, answer) for row, answer in zip(rows, decoded, strict=True)
            }
        return answers

    def _features(
        self, loaded: LoadedAdapter | None, rows: list[Row]
    ) -> tuple[Table | None, dict[str, list]]:
        if loaded is None or loaded.adapter.task is None:
            texts = [plain_text(row.given) for row in rows]
            with self._tokenizing:
                return None, dict(
                    self.backbone.tokenizer(
                        texts, truncation=True, max_length=self._longest(loaded)
                    )
                )
        task = loaded.adapter.task
        table = task.read(table_of(task, [row.given for row in rows], loaded.name), labelled=False)
        with self._tokenizing:
            return table, task.features(
                table, self.backbone.tokenizer, loaded.adapter.max_length, labelled=False
            )

    def _longest(self, loaded: LoadedAdapter | None) -> int:
        if loaded is not None:
            return loaded.adapter.max_length
        return min(self.backbone.longest, self.backbone.tokenizer.model_max_length, 512)

    def _read_batch(self, items: list[Item]) -> None:
        pad = Pad.for_tokenizer(self.backbone.tokenizer)
        inputs = {
            name: tensor.to(self.backbone.device)
            for name, tensor in pad([item.features for item in items]).items()
        }
        with torch.no_grad(), self.backbone.forward_lock():
            outputs = self.backbone.hidden(inputs, self.choose([item.loaded for item in items]))
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

    # Generation with transformers' generate

    def _write(
        self, groups: dict[LoadedAdapter | None, list[Row]], batch_size: int
    ) -> dict[int, Answer]:
        by_settings: dict[str, list[tuple[Row, Item]]] = defaultdict(list)
        for loaded, rows in groups.items():
            prompts, settings = self._prompts(loaded, rows)
            key = json.dumps(settings, sort_keys=True)
            by_settings[key] += [
                (row, Item({"input_ids": ids}, loaded))
                for row, ids in zip(rows, prompts, strict=True)
            ]
        answers: dict[int, Answer] = {}
        begin = self._words_begin()
        for key, pairs in by_settings.items():
            settings = json.loads(key)
            self.write([item for _, item in pairs], batch_size, settings)
            for row, item in pairs:
                said = words_of(item.found, settings, begin)
                answers[row.index] = Text(self.text(said))
        return answers

    def _words_begin(self) -> int | None:
        if self.backbone.model.config.is_encoder_decoder:
            return None
        with self._tokenizing:
            return words_begin(self.backbone.tokenizer)

    def _prompts(
        self, loaded: LoadedAdapter | None, rows: list[Row]
    ) -> tuple[list[list[int]], dict[str, Any]]:
        if loaded is None or loaded.adapter.task is None:
            return self.prompt_ids([plain_text(row.given) for row in rows], 64), {
                "max_new_tokens": 64,
                "do_sample": False,
            }
        adapter = loaded.adapter
        table = adapter.task.read(
            table_of(adapter.task, [row.given for row in rows], loaded.name), labelled=False
        )
        with self._tokenizing:
            settings = adapter.task.generation(self.backbone.tokenizer, self.backbone.model)
            prompts = adapter.task.prompts(
                self.backbone.model, table, self.backbone.tokenizer, adapter.max_length
            )
            return prompts, settings

    def text(self, ids: list[int]) -> str:
        """Decode generated ids."""
        return self.backbone.tokenizer.decode(ids, skip_special_tokens=True).strip()

    def prompt_ids(self, prompts: list[Any], new_tokens: int) -> list[list[int]]:
        """The ids of prompts given as texts or as ids, checked.

        Raises:
            AdaptkitError: a prompt is empty, has ids that the base does not know, or leaves no room
                for this many new tokens.
        """
        if prompts and all(isinstance(prompt, str) for prompt in prompts):
            if self.backbone.tokenizer is None:
                raise AdaptkitError("this host was made without a tokenizer: give ids.")
            ids = self.ids([plain_text(prompt) for prompt in prompts])
        else:
            ids = [list(prompt) if isinstance(prompt, (list, tuple)) else [] for prompt in prompts]
        known = self.backbone.network.get_input_embeddings().weight.shape[0]
        for i, row in enumerate(ids):
            if not row or not all(isinstance(token, int) and 0 <= token < known for token in row):
                raise AdaptkitError(
                    f"prompt {i} is {str(prompts[i])[:60]!r}; prompts are texts, or lists of ids "
                    f"below {known}, as in [[5, 6]]."
                )
            self._need_room(row, new_tokens)
        return ids

    def _need_room(self, ids: list[int], new_tokens: int) -> None:
        taken = (
            new_tokens if self.backbone.model.config.is_encoder_decoder else len(ids) + new_tokens
        )
        most = getattr(self.backbone.model.config, "max_position_embeddings", None)
        if most is not None and taken > most:
            raise AdaptkitError(
                f"a prompt of {len(ids)} tokens and {new_tokens} new ones are more than the "
                f"base's {most} positions."
            )

    def ids(self, texts: list[str]) -> list[list[int]]:
        """The ids of plain texts."""
        with self._tokenizing:
            return self.backbone.tokenizer(texts)["input_ids"]

    def write(
        self,
        items: list[Item],
        batch_size: int,
        settings: dict[str, Any],
        processors: Callable[[list[Item]], list] | None = None,
    ) -> None:
        """Generate ids from each prompt. `processors`: logits processors of a batch."""

        def one(chosen: list[Item]) -> None:
            more = {"logits_processor": processors(chosen)} if processors else {}
            prompts = [item.features["input_ids"] for item in chosen]
            with self.backbone.running(self.choose([item.loaded for item in chosen])):
                written = write(self.backbone.model, prompts, self.backbone.pad, settings | more)
            for item, ids in zip(chosen, written.tolist(), strict=True):
                item.found = self._ended(ids, settings)

        self.run(items, batch_size, one)

    def _ended(self, ids: list[int], settings: dict[str, Any]) -> list[int]:
        """Generated ids up to the end token: the padding after it depends on the batch."""
        ends = settings.get("eos_token_id", self.backbone.model.generation_config.eos_token_id)
        ends = ends if isinstance(ends, list) else [ends]
        begin = int(
            self.backbone.model.config.is_encoder_decoder
        )  # the decoder's first token may be the end token too
        end = next((i for i, token in enumerate(ids) if i >= begin and token in ends), len(ids))
        return ids[: end + 1]

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

    def run(self, items: list[Item], batch_size: int, one: Callable[[list[Item]], None]) -> None:
        """Call `one` with batches of items of similar lengths.

        Within a batch the rows of a layout, and those of an adapter, are adjacent.
        """
        longest_first = sorted(items, key=lambda item: -item.length)
        for start in range(0, len(items), batch_size):
            chosen = sorted(
                longest_first[start : start + batch_size], key=lambda item: order(item.loaded)
            )
            for batch in self._mixable(chosen):
                self._run_one(batch, one)

    def _run_one(self, items: list[Item], one: Callable[[list[Item]], None]) -> None:
        try:
            one(items)
            self.batches += 1
        except NotByRowError:  # from now on the backbone knows it
            for batch in self._mixable(items):
                one(batch)
                self.batches += 1
        for item in items:
            if item.loaded is not None:
                item.loaded.rows += 1

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
