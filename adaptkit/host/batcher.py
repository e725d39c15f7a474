"""Collect single rows into batches: oldest first, a bounded queue, a fair share per adapter."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adaptkit.errors import AdaptkitError
from adaptkit.host.slots import LoadedAdapter

if TYPE_CHECKING:
    from adaptkit.host.writing.submitted import Prompt


class HostBusyError(AdaptkitError):
    """The queue of a host is full; try again later."""


@dataclass(eq=False)
class PendingRow:
    """One row in the queue.

    given: a row of a task or of the base; or None, and `prompt` is to be written.
    loaded: the adapter version that it was admitted with; None for the base, and for adapters that
        are looked up when the row's turn comes.
    """

    given: Any
    name: str | None
    loaded: LoadedAdapter | None
    prompt: Prompt | None = None
    top_k: int | None = None
    settled: bool = False
    future: Future = field(default_factory=Future)


class Batcher:
    """Collects rows and passes them to `run`, one batch after another, in its own thread.

    The thread holds no reference to the batcher while it waits, so a batcher that nobody has any
    more is collected, and its thread ends.

    run: answers and settles the rows that can be answered now, and returns the others. settle:
        settles a row that nobody waits for any more.
    max_rows: rows per batch. max_wait: seconds that a row waits for others. max_queue: rows that
        may wait.
    """

    def __init__(
        self,
        run: Callable[[list[PendingRow]], list[PendingRow]],
        settle: Callable[[PendingRow], None],
        max_rows: int,
        max_wait: float,
        max_queue: int,
    ):
        self.run, self.settle = run, settle
        self.max_rows = max_rows
        self.max_wait = max_wait
        self.max_queue = max_queue
        self._waiting = _WaitingRows()
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._waiting.abandon)

    def __len__(self) -> int:
        with self._waiting.change:
            return self._waiting.count()

    def put(self, row: PendingRow) -> Future:
        """Queue a row.

        Raises:
            HostBusyError: the queue is full.
            AdaptkitError: the host is closed.
        """
        waiting = self._waiting
        if len(self) >= self.max_queue:
            for gone in waiting.take_cancelled():
                self.settle(gone)
        with waiting.change:
            if waiting.closed:
                raise AdaptkitError("the host is closed.")
            if waiting.count() >= self.max_queue:
                raise HostBusyError(
                    f"{self.max_queue} rows are waiting already; try again later, or Host(..., "
                    "max_queue=...)."
                )
            waiting.append(row)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_work,
                    args=(waiting, weakref.ref(self)),
                    name="adaptkit-host",
                    daemon=True,
                )
                self._thread.start()
            waiting.change.notify_all()
        return row.future

    def waiting(self, most: int) -> list[PendingRow]:
        """At most so many of the rows that wait, for a batch that is running."""
        return [] if self._waiting.closed else self._waiting.choose(most, 0)

    def put_back(self, rows: list[PendingRow]) -> None:
        """Rows that were taken, to where they were."""
        with self._waiting.change:
            self._waiting.put_back(rows)

    def close(self) -> list[PendingRow]:
        """Accept no more rows, wait for the running batch, and return the unanswered rows."""
        self._waiting.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        return self._waiting.take_all()

    def work(self) -> None:
        """Answer one batch of the rows that wait."""
        waiting = self._waiting
        chosen = waiting.choose(self.max_rows, self.max_wait)
        later = self.run(chosen) if chosen else []
        with waiting.change:
            waiting.put_back(later)
            if later and len(later) == len(chosen):
                waiting.change.wait(0.005)  # no progress: another caller holds the slots they need


def _work(waiting: _WaitingRows, owner: weakref.ref[Batcher]) -> None:
    """What the thread does until the batcher is closed or gone."""
    while waiting.any_row():
        batcher = owner()
        if batcher is None:
            return
        batcher.work()
        del batcher


class _WaitingRows:
    """Rows by adapter, in the order of the adapters' oldest rows. `change` guards everything."""

    def __init__(self) -> None:
        self.change = threading.Condition()
        self.closed = False
        self._queues: dict[str | None, deque[PendingRow]] = {}

    def count(self) -> int:
        return sum(map(len, self._queues.values()))

    def take_cancelled(self) -> list[PendingRow]:
        """The rows that nobody waits for any more, which leave."""
        gone = []
        with self.change:
            for name, queue in list(self._queues.items()):
                gone += [row for row in queue if row.future.cancelled()]
                left = deque(row for row in queue if not row.future.cancelled())
                if left:
                    self._queues[name] = left
                else:
                    del self._queues[name]
        return gone

    def append(self, row: PendingRow) -> None:
        self._queues.setdefault(row.name, deque()).append(row)

    def put_back(self, rows: list[PendingRow]) -> None:
        """Rows that were chosen, to where they were."""
        for row in reversed(rows):
            self._queues.setdefault(row.name, deque()).appendleft(row)

    def any_row(self) -> bool:
        """Wait for a row; False once closed."""
        with self.change:
            self.change.wait_for(lambda: self._queues or self.closed)
            return not self.closed

    def choose(self, most: int, seconds: float) -> list[PendingRow]:
        """Rows for a batch, after waiting so long for others: one per adapter in turn, the longest
        waiting adapter first.
        """
        until = time.monotonic() + seconds
        chosen: list[PendingRow] = []
        with self.change:
            while (
                self.count() < most and not self.closed and (left := until - time.monotonic()) > 0
            ):
                self.change.wait(left)
            while self._queues and len(chosen) < most:
                for name in list(self._queues):
                    if len(chosen) == most:
                        break
                    queue = self._queues[name]
                    chosen.append(queue.popleft())
                    del self._queues[name]
                    if queue:
                        self._queues[name] = queue  # behind the others
        return chosen

    def close(self) -> None:
        with self.change:
            self.closed = True
            self.change.notify_all()

    def take_all(self) -> list[PendingRow]:
        with self.change:
            left = [row for queue in self._queues.values() for row in queue]
            self._queues.clear()
            return left

    def abandon(self) -> None:
        """Nobody has the batcher any more: whoever still waits for a row gets an error."""
        self.close()
        for row in self.take_all():
            if row.future.set_running_or_notify_cancel():
                row.future.set_exception(AdaptkitError("the host is gone."))
