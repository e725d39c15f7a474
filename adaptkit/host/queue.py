"""The request queue: admit submitted rows, answer them in batches, and settle each separately."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future
from typing import Any

from adaptkit.errors import AdaptkitError
from adaptkit.host.answers import Answer
from adaptkit.host.batcher import Batcher, PendingRow
from adaptkit.host.engine import Engine
from adaptkit.host.manager import AdapterManager
from adaptkit.host.rows import Row, table_of, task_of
from adaptkit.host.slots import LoadedAdapter
from adaptkit.host.writing.calls import WritingCalls
from adaptkit.host.writing.submitted import Prompt
from adaptkit.host.writing.writer import Asked


class RequestQueue:
    """Accepts single rows from any thread. max_rows, max_wait, max_queue: see `Batcher`.

    Rows that are written stay in one batch until each has ended; rows that come meanwhile join
    them, or are answered between two tokens, once a place in the batch is free.
    """

    def __init__(
        self,
        manager: AdapterManager,
        engine: Engine,
        calls: WritingCalls,
        max_rows: int,
        max_wait: float,
        max_queue: int,
    ):
        self.manager = manager
        self.slots = manager.slots
        self.engine = engine
        self.calls = calls
        self.max_rows = max_rows
        self.batcher = Batcher(self._run, self._settle, max_rows, max_wait, max_queue)

    def put(self, row: Any, name: str | None, top_k: int | None = None) -> Future:
        """Queue a row; it keeps the version of its adapter that is loaded now.

        Raises:
            HostBusyError: too many rows are waiting.
            AdaptkitError: the adapter does not exist, the row lacks an input of its task, or this
                is a fork of the host's process.
        """
        return self._put(PendingRow(row, name, self._admitted(name), top_k=top_k))

    def put_prompt(self, prompt: Prompt, name: str | None) -> Future:
        """Queue a prompt to write; its future is done when the last piece is told.

        Raises:
            HostBusyError: too many rows are waiting.
            AdaptkitError: the adapter does not exist, or this is a fork of the host's process.
        """
        return self._put(PendingRow(None, name, self._admitted(name), prompt))

    def _put(self, row: PendingRow) -> Future:
        """Queue a row that can be read; one that cannot leaves no user behind."""
        loaded = row.loaded
        try:
            if loaded is not None and row.prompt is None:
                task = task_of(Row(0, row.given, loaded, row.top_k))
                if task is not None:
                    task.read(table_of(task, [row.given], loaded.name), labelled=False)
            return self.batcher.put(row)
        except BaseException:
            self.slots.release([loaded] if loaded is not None else [])
            raise

    def _admitted(self, name: str | None) -> LoadedAdapter | None:
        """The version of an adapter that stays until it is unloaded; None for others, and the base.

        One that may be evicted is admitted when the row's turn comes.
        """
        self.manager.check_process(own_thread=True)
        self.manager.check(name)
        loaded = self.slots.admit(name) if name is not None else None
        if loaded is not None and loaded.evictable:
            self.slots.release([loaded])
            return None
        return loaded

    def close(self) -> None:
        """Accept no more rows; waiting rows get an error."""
        for row in self.batcher.close():
            self._settle(row, error=AdaptkitError("the host was closed."))

    def _run(self, rows: list[PendingRow]) -> list[PendingRow]:
        """Answer a batch; returns the rows whose adapter gets no slot now."""
        written, later = self._taken(rows)
        if written:
            self._write(written)
        return later

    def _taken(self, rows: list[PendingRow]) -> tuple[list[PendingRow], list[PendingRow]]:
        """Answer the rows that are read; returns those to be written, and those without a slot."""
        later = self._without_slot(rows)
        ready = [row for row in rows if row not in later and not row.settled]
        for row in ready:
            if row.future.cancelled():  # while the adapter of another row was loaded
                self._settle(row)
        ready = [row for row in ready if not row.settled]
        written = [row for row in ready if row.prompt or self.engine.writes(row.loaded)]
        self._answer([row for row in ready if row not in written])
        return written, later

    def _without_slot(self, rows: list[PendingRow]) -> list[PendingRow]:
        """Admit the rows; returns those that get no slot now.

        A row whose caller has gone, or whose adapter cannot be loaded, is settled.
        """
        later: list[PendingRow] = []
        admitted: dict[str, LoadedAdapter] = {}  # one that is evicted meanwhile still answers
        for row in rows:
            if row.future.cancelled():
                self._settle(row)
            elif row.loaded is None and row.name is not None:
                try:
                    known = admitted.get(row.name)
                    found = (
                        self.slots.share(known) if known else self.manager.admit(row.name, False)
                    )
                except BaseException as problem:
                    self._settle(row, error=problem)
                    continue
                if found is None:
                    later.append(row)
                else:
                    row.loaded = admitted[row.name] = found
        return later

    def _answer(self, ready: list[PendingRow]) -> None:
        """Answer rows together; if that fails, one by one, so a bad row affects only itself."""
        asked = [Row(i, row.given, row.loaded, row.top_k) for i, row in enumerate(ready)]
        try:
            answers = self.engine.answer(asked, max(1, len(asked)), lambda: _waits(ready))
        except BaseException as problem:  # the batcher's thread must survive it
            if len(ready) == 1:
                self._settle(ready[0], error=problem)
            else:
                for row in ready:
                    self._answer([row])
            return
        for i, row in enumerate(ready):
            self._settle(row, answers[i])

    # Rows that are written

    def _write(self, rows: list[PendingRow]) -> None:
        """Write rows to their ends, with those that come meanwhile."""
        loop = self.engine.writer.loop(self.max_rows)
        open_rows = self._read(rows)
        loop.add(asked.written for _, asked in open_rows)
        while loop.busy:
            try:
                self.engine.writer.step(loop)
            except BaseException:  # each by itself: the others are not to blame
                for row, _ in open_rows:
                    self._write_alone(row)
                return
            for row, asked in open_rows:
                self._tell(row, asked)
            loop.drop(asked.written for row, asked in open_rows if row.future.cancelled())
            open_rows = self._settled(open_rows)
            if new := self._come(self.max_rows - len(open_rows)):
                loop.add(asked.written for _, asked in new)
                open_rows += new

    def _read(self, rows: list[PendingRow]) -> list[tuple[PendingRow, Asked | Prompt]]:
        """The rows that can be written a token at a time; the others are answered here."""
        found: list[tuple[PendingRow, Asked | Prompt]] = []
        writer = self.engine.writer
        for row in rows:
            try:
                asked: Asked | Prompt
                if row.prompt is not None:
                    asked, joins = row.prompt, self.calls.by_token(row.prompt.call)
                    asked.written.loaded = row.loaded
                else:
                    asked = writer.read([Row(0, row.given, row.loaded)])[0]
                    joins = writer.may_join(asked)
            except BaseException as problem:
                self._settle(row, error=problem)
                continue
            if joins and self.engine.backbone.mixes:
                found.append((row, asked))
            else:
                self._write_alone(row)
        return found

    def _write_alone(self, row: PendingRow) -> None:
        """Write a row in batches of its own."""
        if row.prompt is None:
            self._answer([row])
            return
        try:
            for _ in self.calls.write(row.prompt.call, row.prompt.call.rows):
                self._tell(row, row.prompt)
                if row.future.cancelled():
                    break
        except BaseException as problem:
            self._settle(row, error=problem)
        else:
            self._settle(row)

    def _tell(self, row: PendingRow, asked: Asked | Prompt) -> None:
        """Tell what is new of a row; nobody waits for it if there is nobody who hears."""
        try:
            asked.tell()
        except RuntimeError:  # its event loop has ended
            row.future.cancel()

    def _settled(
        self, open_rows: list[tuple[PendingRow, Asked | Prompt]]
    ) -> list[tuple[PendingRow, Asked | Prompt]]:
        """Settle the rows that have ended; returns the others."""
        left = []
        for row, asked in open_rows:
            if asked.written.finish_reason is None:
                left.append((row, asked))
            else:
                self._settle(row, asked.answer())
        return left

    def _come(self, room: int) -> list[tuple[PendingRow, Asked | Prompt]]:
        """Rows that have come and are to be written; others that have come are answered."""
        rows = self.batcher.waiting(room) if room > 0 else []
        if not rows:
            return []
        written, later = self._taken(rows)
        self.batcher.put_back(later)
        return self._read(written)

    def _settle(
        self, row: PendingRow, answer: Answer | None = None, error: BaseException | None = None
    ) -> None:
        """Give a row its answer or error, unless its caller has gone, and release its adapter."""
        row.settled = True
        if row.loaded is not None:
            self.slots.release([row.loaded])
        if not row.future.set_running_or_notify_cancel():
            return
        if error is not None:
            row.future.set_exception(error)
        else:
            row.future.set_result(_signed(answer, row.loaded))


def _signed(answer: Answer | None, loaded: LoadedAdapter | None) -> Answer | None:
    """An answer with the weights that have given it, which may be replaced by now."""
    card = loaded.adapter.card if loaded is not None else None
    if answer is None or card is None:
        return answer
    return dataclasses.replace(answer, weights=card.weights_sha256)


def _waits(rows: list[PendingRow]) -> bool:
    """Somebody still waits for one of these rows."""
    return not all(row.future.cancelled() for row in rows)
