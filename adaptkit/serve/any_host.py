"""What a service asks of a host: one in this process, or several elsewhere that act as one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from adaptkit.host.answers import Answer, Piece
from adaptkit.host.describe import AdapterInfo, BaseInfo


class AnyHost(Protocol):
    """The part of `adaptkit.Host` that a service uses; see there."""

    @property
    def base(self) -> BaseInfo: ...

    @property
    def folder(self) -> Path | None: ...

    @property
    def waiting(self) -> int: ...

    def names(self) -> list[str]: ...

    def holds(self, name: str) -> bool: ...

    def describe(self, name: str) -> AdapterInfo: ...

    async def find(self, name: str) -> AdapterInfo: ...

    def load(self, name: str, path: str | Path) -> None: ...

    def unload(self, name: str, timeout: float | None = None) -> None: ...

    def reload_changed(self) -> dict[str, str | None]: ...

    def stats(self) -> dict[str, Any]: ...

    def room(self, prompt: Any) -> int | None: ...

    def mean_states(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray: ...

    async def submit(
        self, row: str | dict, adapter: str | None = None, *, top_k: int | None = None
    ) -> Answer: ...

    def submit_stream(
        self, prompt: Any, adapter: str | None = None, **settings: Any
    ) -> AsyncGenerator[Piece]: ...

    def close(self) -> None: ...
