"""`Host` serves many adapters over one frozen base; each row of a batch may use another one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaptkit.adapters.store import Store
from adaptkit.errors import AdaptkitError
from adaptkit.heads.mean_states import mean_states
from adaptkit.host.answers import Answer
from adaptkit.host.backbone import load_backbone
from adaptkit.host.describe import AdapterInfo, BaseInfo, describe
from adaptkit.host.engine import Engine
from adaptkit.host.loader import AdapterLoader
from adaptkit.host.manager import AdapterManager
from adaptkit.host.options import (
    SLOT_CAPACITY,
    largest_methods,
    need_count,
)
from adaptkit.host.queue import RequestQueue
from adaptkit.host.rows import Row, in_order
from adaptkit.host.slots import Slots
from adaptkit.host.stats import host_stats
from adaptkit.host.writing.api import WritingHost
from adaptkit.host.writing.calls import WritingCalls
from adaptkit.methods.grammar import parse_method


class Host(WritingHost):
    """One frozen base with slots for adapters. Calls, loads and unloads are thread-safe.

    ```
    host = Host("all-MiniLM-L6-v2", slots=8)
    host.load("intent", "runs/intent")
    host(["Where is my parcel?", "Just a text."], adapters=["intent", None])
    ```

    Args:
        base: a folder, a name on the Hub, or a loaded transformers model (then `tokenizer` is
            required too).
        slots: how many adapters fit. Their memory is allocated at once, plus one spare slot to
            replace an adapter that is in use.
        slot_capacity: the largest method that a slot holds, in the method grammar; with several,
            the largest counts.
        max_rows, max_wait, max_queue: for `submit`: rows per batch, seconds that a row waits for
            others, rows that may wait.
        capture: read by a captured network (`adaptkit.compute`), which is faster and takes a second
            or two to make; `stats()` says if that is not possible. For encoders on a CPU.
        base_options: for `load_base`: quantize, device_map, dtype, ...; or `compute`, for a CPU:
            float32, bfloat16, int8 (captured), or auto, the faster one of the first two here.

    Raises:
        AdaptkitError: the base does not exist, or has no sites for the methods in `slot_capacity`.
    """

    def __init__(
        self,
        base: Any,
        *,
        slots: int = 32,
        slot_capacity: str | Sequence[str] = SLOT_CAPACITY,
        tokenizer: Any = None,
        max_rows: int = 32,
        max_wait: float = 0.002,
        max_queue: int = 1024,
        capture: bool = False,
        **base_options: Any,
    ):
        for name, value in (("slots", slots), ("max_rows", max_rows), ("max_queue", max_queue)):
            need_count(name, value)
        if not isinstance(max_wait, (int, float)) or not 0 <= max_wait <= 3600:
            raise AdaptkitError(f"max_wait is in seconds, from 0 to 3600; it got {max_wait!r}.")
        self.slot_capacity = largest_methods(slot_capacity)
        self.backbone = load_backbone(base, tokenizer, **base_options)
        if capture or self.backbone.int8:
            self.backbone.capture()
        self.loader = AdapterLoader(self.backbone)
        self.loader.most = self._slot_width(slots)
        self.slots = Slots(slots, self.loader.most, self.backbone.dtype, self.backbone.device)
        self._manager = AdapterManager(self.loader, self.slots)
        self._engine = Engine(self.backbone, self.slots)
        self._calls = WritingCalls(self._manager, self._engine.writer)
        self._queue = RequestQueue(
            self._manager, self._engine, self._calls, max_rows, max_wait, max_queue
        )

    def _slot_width(self, slots: int) -> int:
        """Parameters per slot, checked against the free memory."""
        import psutil

        width = max(self.loader.layout(parse_method(one)).width for one in self.slot_capacity)
        needed = width * (slots + 1) * self.backbone.dtype.itemsize
        free = psutil.virtual_memory().available
        if self.backbone.device.type == "cpu" and needed > free:
            raise AdaptkitError(
                f"{slots} slots for {', '.join(self.slot_capacity)} take {needed / 1e9:,.1f} GB, "
                f"{free / 1e9:.1f} GB are free: fewer slots, or a smaller slot_capacity."
            )
        return width

    @classmethod
    def from_store(
        cls,
        folder: str | Path,
        base: Any = None,
        *,
        slots: int = 32,
        slot_capacity: Any = None,
        adapters: Sequence[str] | None = None,
        **options: Any,
    ) -> Host:
        """A host for a folder of adapters, loaded on first use, evicted least recently used first.

        Args:
            folder: holds a folder per adapter; new ones are found while the host runs.
            base: defaults to the base that the adapters' cards name.
            slot_capacity: defaults to what the largest of their methods needs.
            adapters: the names that may be requested (default: all in the folder).

        Raises:
            AdaptkitError: the folder does not exist, holds no adapters, or they have several bases.
        """
        store = Store(folder, adapters)
        own = ("max_rows", "max_wait", "max_queue", "capture")
        mine = {name: options.pop(name) for name in own if name in options}
        backbone = load_backbone(base or store.base(), options.pop("tokenizer", None), **options)
        host = cls(
            backbone,
            slots=slots,
            slot_capacity=slot_capacity
            or AdapterLoader(backbone).methods_in(store, store.cards())
            or SLOT_CAPACITY,
            **mine,
        )
        host._manager.store = store
        return host

    # Adapters

    def load(
        self,
        name: str,
        path: str | Path,
        *,
        labels: list[str] | None = None,
        check_base: bool = True,
    ) -> None:
        """Load an adapter from a folder, completely or not at all.

        An existing name gets the new version; rows in progress keep the old one. The adapter stays
        until `unload`: only adapters loaded from the store on demand are evicted.

        Args:
            path: an adapter saved by adaptkit, or a LoRA saved by PEFT.
            labels: for an adapter without a card.
            check_base: refuse an adapter of another base.

        Raises:
            AdaptkitError: the adapter is incomplete, belongs to another base or is too large for a
                slot, or no slot is free. The host is unchanged then.
        """
        self._manager.load(name, path, labels, check_base)

    def unload(self, name: str, timeout: float | None = None) -> None:
        """Remove an adapter and wait until its rows in progress are answered.

        New rows cannot request it any more; an adapter of the store is loaded again on the next
        request.

        Raises:
            AdaptkitError: the adapter is not loaded, or still in use after `timeout` seconds.
        """
        self._manager.unload(name, timeout)

    def reload_changed(self) -> dict[str, str | None]:
        """Load adapters of the store anew whose files were replaced since they were loaded.

        Rows in progress keep the old version. One whose folder was deleted is unloaded. Returns the
        names, each with None, or with the reason why no new version is loaded; where that cannot
        be read, the old one answers on.
        """
        return self._manager.reload_changed()

    def names(self) -> list[str]:
        """The adapters that can be requested: those in slots and those in the store."""
        return self._manager.names()

    @property
    def folder(self) -> Path | None:
        """The folder of the store, if there is one."""
        return self._manager.store.folder if self._manager.store is not None else None

    def holds(self, name: str) -> bool:
        """The adapter is in a slot now."""
        return self.slots.holds(name)

    @property
    def base(self) -> BaseInfo:
        """What the base is."""
        config = getattr(self.backbone.model, "generation_config", None)
        return BaseInfo(
            self.backbone.name, self.backbone.writes, bool(getattr(config, "do_sample", False))
        )

    def describe(self, name: str) -> AdapterInfo:
        """What can be asked of an adapter, whether it is in a slot or only in the store.

        Raises:
            UnknownAdapterError: it does not exist.
            AdaptkitError: its card cannot be read.
        """
        return describe(self._manager, name)

    async def find(self, name: str) -> AdapterInfo:
        """The same as `describe`, for an event loop: files are read in a thread."""
        if self.holds(name):
            return self.describe(name)
        return await asyncio.to_thread(self.describe, name)

    def stats(self) -> dict[str, Any]:
        """Current slots and bytes, batches and rows so far, and facts of each loaded adapter."""
        return host_stats(self.backbone, self.slots, self._engine, self.waiting)

    def __repr__(self) -> str:
        stats = self.stats()
        size = {name: f"{count / 1e6:.1f} MB" for name, count in stats["bytes"].items()}
        return (
            f"Host({stats['base']}: {size['base']} on {self.backbone.device} in "
            f"{str(self.backbone.dtype)[6:]}; "
            f"{stats['used']} of {stats['slots']} slots used, {size['slots']}; heads "
            f"{size['heads']})"
        )

    # Answers

    def __call__(
        self,
        rows: str | dict | Sequence[str | dict],
        adapters: str | Sequence[str | None] | None = None,
        *,
        batch_size: int = 32,
        top_k: int | None = None,
    ) -> list[Answer]:
        """One typed answer per row, in order; see `adaptkit.host.answers`.

        Args:
            rows: texts, or a task's inputs by name: `{"question": ..., "context": ...}`.
            adapters: one name per row, or one for all; None is the bare base, which answers with
                its hidden states or its own continuation.
            top_k: answer with the K likeliest labels, if every row's task has labels.

        Raises:
            AdaptkitError: an adapter does not exist (with the closest name), or a row lacks an
                input of its task.
        """
        need_count("batch_size", batch_size)
        if top_k is not None:
            need_count("top_k", top_k)
        if not isinstance(rows, (str, dict, list, tuple)):
            raise AdaptkitError(
                f"rows are texts or dicts, one or a list of them; it got {type(rows).__name__}."
            )
        rows = [rows] if isinstance(rows, (str, dict)) else list(rows)
        names = self._manager.each(adapters, len(rows))
        answers: dict[int, Answer] = {}

        with closing(self._manager.waves(names)) as waves:
            for chosen, loaded_adapters in waves:
                pairs = zip(chosen, loaded_adapters, strict=True)
                asked = [Row(i, rows[i], loaded, top_k) for i, loaded in pairs]
                answers |= self._engine.answer(asked, batch_size)
        return [answers[index] for index in range(len(rows))]

    def hidden(
        self, inputs: dict[str, Tensor], adapters: str | Sequence[str | None] | None = None
    ) -> Tensor:
        """The last hidden states `(rows, tokens, width)` of inputs `(rows, tokens)`, no heads."""
        if not isinstance(inputs, Mapping) or not inputs or not len(next(iter(inputs.values()))):
            raise AdaptkitError(
                "hidden wants inputs with a row or more, as in {'input_ids': (rows, tokens)}."
            )
        count = len(next(iter(inputs.values())))
        if wrong := {
            name: tuple(tensor.shape) for name, tensor in inputs.items() if len(tensor) != count
        }:
            raise AdaptkitError(
                f"every input has a row for each of {count} rows; {wrong} have not."
            )
        names = self._manager.each(adapters, count)
        numbers: list[int] = []
        found: list[Tensor] = []

        with closing(self._manager.waves(names)) as waves:
            for chosen, loaded_adapters in waves:
                part = (
                    inputs
                    if len(chosen) == count
                    else {name: tensor[chosen] for name, tensor in inputs.items()}
                )
                found.append(self._engine.hidden(part, loaded_adapters))
                numbers.extend(chosen)
        return found[0] if len(found) == 1 else in_order(torch.cat(found), numbers)

    def mean_states(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """The mean of the frozen base's last hidden states of each text, `(texts, width)`."""
        backbone, tokenizing = self.backbone, self._engine.reader.tokenizing
        return mean_states(backbone.network, backbone.tokenizer, texts, batch_size, tokenizing)

    @property
    def waiting(self) -> int:
        """Submitted rows that wait."""
        return len(self._queue.batcher)

    async def submit(
        self, row: str | dict, adapter: str | None = None, *, top_k: int | None = None
    ) -> Answer:
        """Queue one row; rows that arrive at the same time share a batch.

        top_k: as of a call.

        Raises:
            HostBusyError: the queue is full.
            AdaptkitError: the adapter does not exist, or the row lacks an input of its task.
        """
        if top_k is not None:
            need_count("top_k", top_k)
        return await asyncio.wrap_future(self._queue.put(row, adapter, top_k))

    def close(self) -> None:
        """Stop answering submitted rows; waiting rows get an error. Direct calls still work."""
        self._queue.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
