"""All replicas as one host, for a service."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from adaptkit.errors import AdaptkitError
from adaptkit.host.answers import Answer, Piece
from adaptkit.host.batcher import HostBusyError
from adaptkit.host.describe import AdapterInfo, BaseInfo
from adaptkit.serve.cluster.replica import Loaded

TRIES = 5  # of a row whose replica ends
SECONDS = 60.0  # for what is asked of all replicas
SUMS = ("slots", "used", "batches", "rows", "waiting", "loads", "evictions")
GONE = (ActorDiedError, ActorUnavailableError)


class Hosts:
    """Behaves as an `adaptkit.Host`, see `adaptkit.serve.any_host`.

    A row whose replica ends before it has answered is asked again elsewhere: it changes nothing.

    Args:
        handle: of the replicas. folder: that they share.
    """

    def __init__(self, handle: DeploymentHandle, folder: str | Path):
        self._handle, self.folder = handle, Path(folder)
        self._loaded: dict[str, Loaded] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._stats: list[dict[str, Any]] = []
        self.base: BaseInfo = self._ask("base")
        self.reload_changed()

    # Rows

    async def submit(
        self, row: str | dict, adapter: str | None = None, *, top_k: int | None = None
    ) -> Answer:
        """See `Host.submit`."""
        loaded = self._loaded.get(adapter or "")
        return await self._answer(adapter, "submit", row, adapter, top_k, loaded)

    async def _answer(self, adapter: str | None, method: str, *given: Any) -> Any:
        """What a replica of an adapter answers."""
        for left in reversed(range(TRIES)):
            try:
                return await self._call(getattr(self._to(adapter), method), *given)
            except Exception as problem:
                if not (left and isinstance(problem, GONE)):
                    raise _own(problem) from None
        raise AssertionError

    async def submit_stream(
        self, prompt: Any, adapter: str | None = None, **settings: Any
    ) -> AsyncGenerator[Piece]:
        """See `Host.submit_stream`; written again from its start, what was told is left out."""
        told = 0
        for left in reversed(range(TRIES)):
            method = self._to(adapter).options(stream=True).stream
            loaded = self._loaded.get(adapter or "")
            pieces = self._call(method, prompt, adapter, loaded, settings)
            count = 0
            try:
                async for piece in pieces:
                    count += 1
                    if count > told:
                        told += 1
                        yield piece
                return
            except Exception as problem:
                if not (left and isinstance(problem, GONE)):
                    raise _own(problem) from None
            finally:
                pieces.cancel()

    def _to(self, adapter: str | None) -> Any:
        """The handle for an adapter's replicas."""
        return self._handle.options(session_id=adapter or "")

    @staticmethod
    def _call(method: Any, *given: Any) -> Any:
        """Ask a replica, outside of the context of the request that asks.

        Calls of one context have one id, by which Ray's router tells them apart.
        """
        return contextvars.Context().run(method.remote, *given)

    # Adapters

    def names(self) -> list[str]:
        return sorted({*self._ask("names"), *self._loaded})

    def holds(self, name: str) -> bool:
        """A replica held it a moment ago, or an administrator has loaded it."""
        return name in self._loaded or any(name in stats["adapters"] for stats in self._stats)

    async def find(self, name: str) -> AdapterInfo:
        return await self._answer(name, "describe", name, self._loaded.get(name))

    def describe(self, name: str) -> AdapterInfo:
        return self._ask("describe", name, self._loaded.get(name), adapter=name)

    def load(self, name: str, path: str | Path) -> None:
        """Load an adapter in all replicas; those that come later load it when it is asked for.

        Raises:
            AdaptkitError: a replica cannot load it; those that can, have.
        """
        loaded = Loaded(str(path), next(self._numbers))
        self._tell("load", name, loaded)
        with self._lock:
            self._loaded[name] = loaded
        self.reload_changed()

    def unload(self, name: str, timeout: float | None = None) -> None:
        """Unload an adapter in all replicas."""
        with self._lock:
            self._loaded.pop(name, None)
        self._tell("unload", name, timeout, next(self._numbers))
        self.reload_changed()

    def reload_changed(self) -> dict[str, str | None]:
        """Take new versions in all replicas, and what they do."""
        found = self._tell("follow")
        with self._lock:
            self._stats = [stats for _, stats in found]
        changed: dict[str, str | None] = {}
        for one, _ in found:
            changed |= one
        return changed

    # What is asked of any of them

    def room(self, prompt: Any) -> int | None:
        return self._ask("room", prompt)

    def mean_states(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        return self._ask("mean_states", list(texts), batch_size)

    @property
    def waiting(self) -> int:
        return sum(stats["waiting"] for stats in self._stats)

    def stats(self) -> dict[str, Any]:
        """The sums over all replicas, of some seconds ago at most."""
        every = self._stats
        return {
            "base": self.base.name,
            "replicas": len(every),
            "processes": [stats["process"] for stats in every],
            **{name: sum(stats[name] for stats in every) for name in SUMS},
        }

    def close(self) -> None:
        """Replicas end with Ray Serve's application."""

    def _ask(self, method: str, *given: Any, adapter: str = "") -> Any:
        """`_answer` for who does not wait in an event loop of its own."""

        async def answer() -> Any:
            return await asyncio.wait_for(self._answer(adapter, method, *given), SECONDS)

        return _outside(asyncio.run, answer())

    def _tell(self, method: str, *given: Any) -> list[Any]:
        """What all replicas answer; one that ends meanwhile is left out."""
        response = self._handle.broadcast(method, *given)
        try:
            found = _outside(response.results, timeout_s=SECONDS, return_exceptions=True)
        except Exception as problem:
            raise _own(problem) from None
        for one in found:
            if isinstance(one, Exception) and not isinstance(one, GONE):
                raise _own(one)
        return [one for one in found if not isinstance(one, Exception)]


def _outside(work: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Run what Ray refuses to do in a thread with an event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work, *given, **named).result()


def _own(problem: Exception) -> Exception:
    """The replica's own error, without Ray's."""
    if isinstance(problem, BackPressureError):
        return HostBusyError("too many rows wait; ask again later.")
    if isinstance(problem, GONE):
        return AdaptkitError("the replica of this adapter ended, and so did those asked after it.")
    cause = problem.cause if isinstance(problem, RayTaskError) else problem
    return cause if isinstance(cause, Exception) else problem
