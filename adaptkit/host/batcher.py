"""Collect single rows into batches: oldest first, a bounded queue, a fair share per adapter."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from adaptkit.errors import AdaptkitError
from adaptkit.host.slots import LoadedAdapter


class HostBusyError(AdaptkitError):
    """The queue of a host is full; try again later."""


@dataclass(eq=False)
class PendingRow:
    """One row in the queue.

    `loaded`: the adapter version that it was admitted with; None for the base, and for adapters
        that
    are looked up when the row's turn comes.
    """

    given: Any
    name: str | None
    loaded: LoadedAdapter | None
    future: Future = field(default_factory=Future)


class Batcher:
    """Collects rows and passes them to `run`, one batch after another, in its own thread.

    run: answers and settles the rows that can be answered now, and returns the others.
    max_rows: rows per batch. max_wait: seconds that a row waits for others. max_queue: rows that
        may wait.
    """

    def __init__(
        self,
        run: Callable[[list[PendingRow]], list[PendingRow]],
        max_rows: int,
        max_wait: float,
        max_queue: int,
    ):
        self.run = run
        self.max_rows = max_rows
        self.max_wait = max_wait
        self.max_queue = max_queue
        self._queues: dict[
            str | None, deque[PendingRow]
        ] = {}  # an adapter's rows; adapters in the order of their oldest row
        self._change = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        with self._change:
            return self._count()

    def _count(self, cancelled: bool = True) -> int:
        if cancelled:
            return sum(map(len, self._queues.values()))
        return sum(not row.future.cancelled() for queue in self._queues.values() for row in queue)

    def put(self, row: PendingRow) -> Future:
        """Queue a row.

        Raises:
            HostBusyError: the queue is full.
            AdaptkitError: the host is closed.
        """
        with self._change:
            if self._closed:
                raise AdaptkitError("the host is closed.")
            if self._count() >= self.max_queue and self._count(cancelled=False) >= self.max_queue:
                raise HostBusyError(
                    f"{self.max_queue} rows are waiting already; try again later, or Host(..., "
                    "max_queue=...)."
                )
            self._queues.setdefault(row.name, deque()).append(row)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="adaptkit-host", daemon=True
                )
                self._thread.start()
            self._change.notify_all()
        return row.future

    def close(self) -> list[PendingRow]:
        """Accept no more rows, wait for the running batch, and return the unanswered rows."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with self._change:
            left = [row for queue in self._queues.values() for row in queue]
            self._queues.clear()
            return left

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._queues or self._closed)
                if self._closed:
                    return
                until = time.monotonic() + self.max_wait
                while (
                    self._count() < self.max_rows
                    and not self._closed
                    and (left := until - time.monotonic()) > 0
                ):
                    self._change.wait(left)
                chosen = self._choose()
            later = self.run(chosen)
            with self._change:
                for row in reversed(later):  # back to where they were
                    self._queues.setdefault(row.name, deque()).appendleft(row)
                if later and len(later) == len(chosen):
                    self._change.wait(
                        0.005
                    )  # no progress: another caller holds the slots they need

    def _choose(self) -> list[PendingRow]:
        """Choose rows for a batch: one per adapter in turn, the longest waiting adapter first."""
        chosen: list[PendingRow] = []
        while self._queues and len(chosen) < self.max_rows:
            for name in list(self._queues):
                if len(chosen) == self.max_rows:
                    break
                queue = self._queues[name]
                chosen.append(queue.popleft())
                del self._queues[name]
                if queue:
                    self._queues[name] = queue  # behind the others
        return chosen
