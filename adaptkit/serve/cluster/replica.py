"""A replica: one host over the shared folder of adapters, in a process of Ray's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from adaptkit.host.answers import Answer, Piece
from adaptkit.host.api import Host
from adaptkit.host.describe import AdapterInfo, BaseInfo


@dataclass(frozen=True)
class Loaded:
    """An adapter that an administrator has loaded. number: grows with each load."""

    path: str
    number: int


class Replica:
    """Answers rows of any adapter; what was loaded elsewhere is loaded here when it is asked for.

    Args:
        folder: of the adapters. options: of `Host.from_store`.
    """

    def __init__(self, folder: str, options: dict[str, Any]):
        self.host = Host.from_store(folder, **options)
        self._loaded: dict[str, int] = {}  # the last load or unload of each name
        self._loading = asyncio.Lock()

    async def submit(
        self, row: Any, name: str | None, top_k: int | None, loaded: Loaded | None
    ) -> Answer:
        await self._bring(name, loaded)
        return await self.host.submit(row, name, top_k=top_k)

    async def stream(
        self, prompt: Any, name: str | None, loaded: Loaded | None, settings: dict[str, Any]
    ) -> AsyncGenerator[Piece]:
        await self._bring(name, loaded)
        async for piece in self.host.submit_stream(prompt, name, **settings):
            yield piece

    async def _bring(self, name: str | None, loaded: Loaded | None) -> None:
        """Load what an administrator has loaded, if this replica is new or was away."""
        if loaded is None or name is None or self._loaded.get(name, 0) >= loaded.number:
            return
        async with self._loading:
            if self._loaded.get(name, 0) < loaded.number:
                await asyncio.to_thread(self.host.load, name, loaded.path)
                self._loaded[name] = loaded.number

    async def load(self, name: str, loaded: Loaded) -> None:
        await self._bring(name, loaded)

    async def unload(self, name: str, timeout: float | None, number: int) -> None:
        """An adapter that is in no slot here is none to unload.

        number: grows with loads and unloads. Rows that were on their way load nothing again.
        """
        async with self._loading:
            self._loaded[name] = max(number, self._loaded.get(name, 0))
            if self.host.holds(name):
                await asyncio.to_thread(self.host.unload, name, timeout)

    async def base(self) -> BaseInfo:
        return self.host.base

    async def names(self) -> list[str]:
        return await asyncio.to_thread(self.host.names)

    async def describe(self, name: str, loaded: Loaded | None) -> AdapterInfo:
        await self._bring(name, loaded)
        return await asyncio.to_thread(self.host.describe, name)

    async def room(self, prompt: Any) -> int | None:
        return await asyncio.to_thread(self.host.room, prompt)

    async def mean_states(self, texts: Sequence[str], batch_size: int) -> Any:
        return await asyncio.to_thread(self.host.mean_states, texts, batch_size)

    async def follow(self) -> tuple[dict[str, str | None], dict[str, Any]]:
        """Take new versions from the folder; returns them, and what this replica does."""
        changed = await asyncio.to_thread(self.host.reload_changed)
        return changed, self.host.stats() | {"process": os.getpid()}
