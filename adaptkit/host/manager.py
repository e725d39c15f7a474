"""Admit adapters by name: load them from the store if needed, count their users, release them."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch

from adaptkit.adapters.card import CARD, CONFIG, WEIGHTS
from adaptkit.adapters.store import Store, is_name
from adaptkit.errors import AdaptkitError, quoted, unknown
from adaptkit.host.loader import AdapterLoader
from adaptkit.host.slots import LoadedAdapter, Slots
from adaptkit.utils.atomic_files import identity_of

FILES = (CONFIG, WEIGHTS, CARD)
AWAY = 3.0  # seconds


class UnknownAdapterError(AdaptkitError):
    """No adapter of a host has this name."""


class AdapterManager:
    """The adapters of a host by name, in slots or in a store."""

    def __init__(self, loader: AdapterLoader, slots: Slots):
        self.loader = loader
        self.slots = slots
        self.store: Store | None = None
        self._files: dict[str, tuple] = {}  # of adapters that came from the store
        self._away: dict[str, float] = {}  # since when their folders are not there
        self._process = os.getpid()

    def check_process(self, own_thread: bool = False) -> None:
        """Refuse to answer in a fork of the process that made the host, where that would hang.

        A fork has none of the threads: torch waits for its own for ever, and so would `submit`.

        Args:
            own_thread: the host's thread is needed, too.
        """
        if os.getpid() != self._process and (own_thread or torch.get_num_threads() > 1):
            raise AdaptkitError(
                f"this host was made in process {self._process}, and this is a fork of it, without "
                "its threads: make a Host in each process, or start processes with 'spawn'."
            )

    def load(self, name: str, path: str | Path, labels: list[str] | None, check_base: bool) -> None:
        """See `Host.load`."""
        if not is_name(name):
            raise AdaptkitError(
                f"{quoted(name)} cannot be a name: names have no slash, no line break and no "
                "dot in front."
            )
        self.slots.put(name, self.loader.read(path, labels, check_base))

    def names(self) -> list[str]:
        """All adapters that can be requested."""
        return sorted({*self.slots.names(), *(self.store.names() if self.store else ())})

    def in_store(self, name: Any) -> bool:
        return isinstance(name, str) and self.store is not None and name in self.store

    def unload(self, name: Any, timeout: float | None) -> None:
        """See `Host.unload`."""
        if self.in_store(name) and not self.slots.holds(name):
            return  # it occupies no slot
        if not isinstance(name, str):
            raise AdaptkitError(f"unload takes one name; it got {quoted(name)}.")
        self.slots.remove(name, timeout)

    def check(self, name: Any) -> None:
        """Refuse an unknown adapter name. None is the base.

        Raises:
            AdaptkitError: names the closest match.
        """
        if (
            name is None
            or (isinstance(name, str) and self.slots.holds(name))
            or self.in_store(name)
        ):
            return
        raise self._unknown(name)

    def _unknown(self, name: Any) -> UnknownAdapterError:
        return UnknownAdapterError(str(unknown("adapter", name, self.names())))

    def each(self, adapters: Any, count: int) -> list[str | None]:
        """A known name per row, from one name for all or a sequence."""
        self.check_process()
        if not isinstance(adapters, (str, list, tuple, type(None))):
            raise AdaptkitError(
                f"adapters is a name, None, or a list of them; it got {quoted(adapters)}."
            )
        names = (
            [adapters] * count if adapters is None or isinstance(adapters, str) else list(adapters)
        )
        if len(names) != count:
            raise AdaptkitError(
                f"{count} rows and {len(names)} adapters: give one name for each row, or one for "
                "all."
            )
        for name in dict.fromkeys(
            names if all(isinstance(one, (str, type(None))) for one in names) else map(str, names)
        ):
            self.check(name)
        return names

    def waves(
        self, names: list[str | None]
    ) -> Generator[tuple[list[int], list[LoadedAdapter | None]]]:
        """Row numbers and their admitted adapters, in waves until all had a slot.

        Only a caller that holds no slot waits for one, so callers cannot deadlock.
        """
        left = list(range(len(names)))
        while left:
            admitted: dict[str | None, LoadedAdapter] = {}
            try:
                for name in dict.fromkeys(names[i] for i in left):
                    if name is not None and (loaded := self.admit(name, wait=not admitted)):
                        admitted[name] = loaded
                now = [i for i in left if names[i] is None or names[i] in admitted]
                yield now, [admitted.get(names[i]) for i in now]
            finally:
                self.slots.release(admitted.values())
            done = set(now)
            left = [i for i in left if i not in done]

    def admit(self, name: str, wait: bool) -> LoadedAdapter | None:
        """The adapter with one more user, or None if it would have to wait for a slot and may not.

        Raises:
            AdaptkitError: the adapter does not exist, or cannot be loaded.
        """
        if loaded := self.slots.admit(name):
            return loaded
        if self.store is None or not self.in_store(name):
            raise self._unknown(name)
        if not wait and not self.slots.could_hold(name):
            return None
        return self._from_store(self.store, name, admit=True, wait=wait)

    def _from_store(self, store: Store, name: str, admit: bool, wait: bool) -> LoadedAdapter | None:
        path = store.path(name)
        self._files[name] = identity_of(path, FILES)  # before it is read: a change is seen later
        return self.slots.put(name, self.loader.read(path), evictable=True, admit=admit, wait=wait)

    def reload_changed(self) -> dict[str, str | None]:
        """See `Host.reload_changed`."""
        found: dict[str, str | None] = {}
        store = self.store
        for loaded in self.slots.listed() if store is not None else ():
            name = loaded.name
            if not loaded.evictable or store is None:
                continue
            if not self.in_store(name):
                if self._has_gone(name):
                    self.slots.retire(name)
                    found[name] = "its folder was deleted, so it answers no new requests"
                continue
            self._away.pop(name, None)
            if identity_of(store.folder / name, FILES) == self._files.get(name):
                continue
            try:
                if self._from_store(store, name, admit=False, wait=False) is None:
                    del self._files[name]  # no slot is free now
                    continue
                found[name] = None
            except AdaptkitError as problem:
                found[name] = str(problem)
        return found

    def _has_gone(self, name: str) -> bool:
        """An adapter's folder is away for longer than it takes to put another in its place."""
        now = time.monotonic()
        if now - self._away.setdefault(name, now) < AWAY:
            return False
        del self._away[name]
        self._files.pop(name, None)
        return True
