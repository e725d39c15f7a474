"""The request queue: admit submitted rows, answer them in batches, and settle each separately."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from adaptkit.errors import AdaptkitError
from adaptkit.host.answers import Answer
from adaptkit.host.batcher import Batcher, PendingRow
from adaptkit.host.engine import Engine
from adaptkit.host.manager import AdapterManager
from adaptkit.host.rows import Row, table_of
from adaptkit.host.slots import LoadedAdapter


class RequestQueue:
    """Accepts single rows from any thread. max_rows, max_wait, max_queue: see `Batcher`."""

    def __init__(
        self,
        manager: AdapterManager,
        engine: Engine,
        max_rows: int,
        max_wait: float,
        max_queue: int,
    ):
        self.manager = manager
        self.slots = manager.slots
        self.engine = engine
        self.batcher = Batcher(self._run, max_rows, max_wait, max_queue)

    def put(self, row: Any, name: str | None) -> Future:
        """Queue a row; it keeps the version of its adapter that is loaded now.

        Raises:
            HostBusyError: too many rows are waiting.
            AdaptkitError: the adapter does not exist, the row lacks an input of its task, or this
                is a fork of the host's process.
        """
        self.manager.check_process(own_thread=True)
        self.manager.check(name)
        loaded = self.slots.admit(name) if name is not None else None
        if loaded is not None and loaded.evictable:  # it may be evicted and reloaded meanwhile
            self.slots.release([loaded])
            loaded = None
        try:
            if loaded is not None and loaded.adapter.task is not None:
                loaded.adapter.task.read(
                    table_of(loaded.adapter.task, [row], loaded.name), labelled=False
                )
            return self.batcher.put(PendingRow(row, name, loaded))
        except BaseException:
            self.slots.release([loaded] if loaded is not None else [])
            raise

    def close(self) -> None:
        """Accept no more rows; waiting rows get an error."""
        for row in self.batcher.close():
            self._settle(row, error=AdaptkitError("the host was closed."))

    def _run(self, rows: list[PendingRow]) -> list[PendingRow]:
        """Answer a batch; returns the rows whose adapter gets no slot now."""
        later: list[PendingRow] = []
        ready: list[tuple[PendingRow, LoadedAdapter | None]] = []
        admitted: dict[str, LoadedAdapter] = {}
        try:
            for row in rows:
                if row.future.cancelled():
                    self._settle(row)
                elif row.loaded is not None or row.name is None:
                    ready.append((row, row.loaded))
                elif loaded := self._admit(row, row.name, admitted):
                    ready.append((row, loaded))
                elif not row.future.done():
                    later.append(row)
            self._answer(ready)
        finally:
            self.slots.release(admitted.values())
        return later

    def _admit(
        self, row: PendingRow, name: str, admitted: dict[str, LoadedAdapter]
    ) -> LoadedAdapter | None:
        """The adapter of a row from the store; a row whose adapter cannot be loaded is settled."""
        try:
            if name not in admitted and (loaded := self.manager.admit(name, wait=False)):
                admitted[name] = loaded
        except BaseException as problem:
            self._settle(row, error=problem)
        return admitted.get(name)

    def _answer(self, ready: list[tuple[PendingRow, LoadedAdapter | None]]) -> None:
        """Answer rows together; if that fails, one by one, so a bad row affects only itself."""
        asked = [Row(i, row.given, loaded) for i, (row, loaded) in enumerate(ready)]
        try:
            answers = self.engine.answer(asked, max(1, len(asked)))
        except BaseException as problem:  # the batcher's thread must survive it
            if len(ready) == 1:
                self._settle(ready[0][0], error=problem)
            else:
                for pair in ready:
                    self._answer([pair])
            return
        for i, (row, _) in enumerate(ready):
            self._settle(row, answers[i])

    def _settle(
        self, row: PendingRow, answer: Answer | None = None, error: BaseException | None = None
    ) -> None:
        """Give a row its answer or error, unless its caller has gone, and release its adapter."""
        if row.loaded is not None:
            self.slots.release([row.loaded])
        if not row.future.set_running_or_notify_cancel():
            return
        if error is not None:
            row.future.set_exception(error)
        else:
            row.future.set_result(answer)
