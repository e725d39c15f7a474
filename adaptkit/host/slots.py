"""The slots of a host: one tensor with a row per adapter, with reference counts and eviction.

A load is staged, then committed: its row is written to an unused slot, and only then does the name
point to it. Rows keep the version of the adapter that they were admitted with until they are done,
whatever is loaded or unloaded meanwhile.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from adaptkit.errors import AdaptkitError, unknown
from adaptkit.host.layout import Layout
from adaptkit.host.loader import ParsedAdapter
from adaptkit.methods.grammar import describe_method

_COUNTER = itertools.count(1)


@dataclass(eq=False)
class LoadedAdapter:
    """An adapter in a slot.

    `ref_count`: admitted requests; `evictable`: it is in a store and may be evicted if slots run
        out.
    """

    name: str
    slot: int
    adapter: ParsedAdapter
    evictable: bool
    version: int = field(default_factory=lambda: next(_COUNTER))
    ref_count: int = 0
    rows: int = 0
    used: float = field(default_factory=time.monotonic)

    @property
    def layout(self) -> Layout:
        return self.adapter.layout

    @property
    def method(self) -> str:
        """As its card names it, or what was made of a file of PEFT's."""
        card = self.adapter.card
        return (card and card.method) or describe_method(self.layout.union)


class Slots:
    """`count` slots of `width` numbers each, and one spare to replace an adapter in use.

    All methods are thread-safe.
    """

    def __init__(self, count: int, width: int, dtype: torch.dtype, device: torch.device):
        self.count = count
        with torch.inference_mode(False):
            self.rows = torch.zeros(count + 1, width, dtype=dtype, device=device)
        self.loaded_adapters: dict[str, LoadedAdapter] = {}
        self.loads = 0
        self.evictions = 0
        self._free = list(range(count, -1, -1))
        self._promised = 0  # loads with a slot but no name yet
        self._change = threading.Condition()

    @property
    def bytes(self) -> int:
        return self.rows.nbytes

    def names(self) -> list[str]:
        with self._change:
            return sorted(self.loaded_adapters)

    def holds(self, name: str) -> bool:
        with self._change:
            return name in self.loaded_adapters

    def find(self, name: str) -> LoadedAdapter | None:
        """The adapter that the name points to, or None if it is in no slot."""
        with self._change:
            return self.loaded_adapters.get(name)

    def listed(self) -> list[LoadedAdapter]:
        """The adapters in slots, by name."""
        with self._change:
            return sorted(self.loaded_adapters.values(), key=lambda one: one.name)

    def put(
        self,
        name: str,
        adapter: ParsedAdapter,
        evictable: bool = False,
        admit: bool = False,
        wait: bool = True,
    ) -> LoadedAdapter | None:
        """Give an adapter a slot and point its name to it. `admit`: start with one user.

        Returns:
            The loaded adapter, or None if no slot is free and `wait` is false.

        Raises:
            AdaptkitError: every slot is held by adapters that are not evictable.
        """
        slot = self._reserve(name, wait)
        if slot is None:
            return None
        try:
            assert adapter.row is not None  # no other thread has put it into a slot yet
            self.rows[slot, : len(adapter.row)] = adapter.row
            adapter.row = None  # the slot holds it now
        except BaseException:
            self._give_back(slot)
            raise
        new = LoadedAdapter(name, slot, adapter, evictable, ref_count=int(admit))
        with self._change:
            self._promised -= 1
            self.loads += 1
            old = self.loaded_adapters.get(name)
            self.loaded_adapters[name] = new
            if old is not None:
                self._retire(old)
            self._change.notify_all()
        return new

    def _reserve(self, name: str, wait: bool) -> int | None:
        with self._change:
            while True:
                others = self._promised + len(self.loaded_adapters.keys() - {name})
                if others < self.count and self._free:
                    self._promised += 1
                    return self._free.pop()
                if others >= self.count:
                    if self._evict(name):
                        continue
                    if not self._promised and not any(
                        one.evictable for one in self.loaded_adapters.values()
                    ):
                        raise AdaptkitError(
                            f"all {self.count} slots are taken ({_listed(self.loaded_adapters)}): "
                            "unload one, or Host(..., slots=...)."
                        )
                if not wait:
                    return None
                self._change.wait()

    def _evict(self, name: str) -> bool:
        """Evict the least recently used evictable adapter; one in use only if another slot remains.

        An evicted adapter in use finishes its rows, but new requests for it wait in turn: a busy
            adapter
        locks nobody out.
        """
        leaving = [
            one
            for one in self.loaded_adapters.values()
            if one.evictable and one.name != name and (self._free or not one.ref_count)
        ]
        if leaving:
            oldest = min(leaving, key=lambda one: (one.ref_count > 0, one.used))
            del self.loaded_adapters[oldest.name]
            self._retire(oldest)
            self.evictions += 1
        return bool(leaving)

    def could_hold(self, name: str) -> bool:
        """True if an adapter would get a slot now, without waiting."""
        with self._change:
            others = self._promised + len(self.loaded_adapters.keys() - {name})
            if others < self.count:
                return bool(self._free)
            return any(
                one.evictable and (self._free or not one.ref_count)
                for one in self.loaded_adapters.values()
            )

    def _give_back(self, slot: int) -> None:
        with self._change:
            self._promised -= 1
            self._free.append(slot)
            self._change.notify_all()

    def _retire(self, loaded: LoadedAdapter) -> None:
        """Remove an adapter without a name; its slot is free once unused. The lock is held."""
        if not loaded.ref_count:
            self._free.append(loaded.slot)
        self._change.notify_all()

    def admit(self, name: str) -> LoadedAdapter | None:
        """The adapter that the name points to, with one more user, or None if it is in no slot."""
        with self._change:
            found = self.loaded_adapters.get(name)
            if found is not None:
                found.ref_count += 1
                found.used = time.monotonic()
            return found

    def share(self, loaded: LoadedAdapter) -> LoadedAdapter:
        """An adapter that somebody uses, with one more user."""
        with self._change:
            loaded.ref_count += 1
            loaded.used = time.monotonic()
            return loaded

    def release(self, loaded_adapters: Iterable[LoadedAdapter]) -> None:
        """Remove one user from each adapter."""
        with self._change:
            for loaded in loaded_adapters:
                loaded.ref_count -= 1
                if not loaded.ref_count and self.loaded_adapters.get(loaded.name) is not loaded:
                    self._free.append(loaded.slot)
            self._change.notify_all()

    def retire(self, name: str) -> LoadedAdapter | None:
        """Remove a name at once, and do not wait for its rows; None if it is not here."""
        with self._change:
            loaded = self.loaded_adapters.pop(name, None)
            if loaded is not None:
                self._retire(loaded)
            return loaded

    def remove(self, name: str, timeout: float | None = None) -> None:
        """Remove an adapter's name at once, then wait until its rows are done and its slot is free.

        Raises:
            AdaptkitError: the adapter does not exist, or is still in use after `timeout` seconds
                (it is still gone for new rows).
        """
        with self._change:
            loaded = self.retire(name)
            if loaded is None:
                raise unknown("adapter", name, self.loaded_adapters)
            if not self._change.wait_for(lambda: not loaded.ref_count, timeout):
                raise AdaptkitError(
                    f"{name!r} is still answering {loaded.ref_count} requests after {timeout} s; "
                    "new ones are refused."
                )


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
