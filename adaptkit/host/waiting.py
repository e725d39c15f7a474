"""Rows that were submitted one by one: admitted, answered in batches, and settled each by itself."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from adaptkit.errors import AdaptkitError
from adaptkit.host.admission import Admission
from adaptkit.host.answering import Answering, Row, table_of
from adaptkit.host.answers import Answer
from adaptkit.host.batcher import Batcher, Waiting
from adaptkit.host.slots import Resident


class WaitingRoom:
    """Takes single rows from any thread. max_rows, max_wait, max_queue: of `Batcher`."""

    def __init__(self, admission: Admission, answering: Answering, max_rows: int, max_wait: float, max_queue: int):
        self.admission = admission
        self.slots = admission.slots
        self.answering = answering
        self.batcher = Batcher(self._run, max_rows, max_wait, max_queue)

    def put(self, row: Any, name: str | None) -> Future:
        """Queue a row; it keeps the version of its adapter that is loaded now.

        Raises:
            HostBusyError: too many rows are waiting.
            AdaptkitError: an adapter that is not there, or a row that lacks what its task asks for.
        """
        self.admission.check(name)
        resident = self.slots.admit(name) if name is not None else None
        if resident is not None and resident.leaves:  # it may leave and come back meanwhile
            self.slots.release([resident])
            resident = None
        try:
            if resident is not None and resident.adapter.task is not None:
                resident.adapter.task.read(table_of(resident.adapter.task, [row], resident.name), gold=False)
            return self.batcher.put(Waiting(row, name, resident))
        except BaseException:
            self.slots.release([resident] if resident is not None else [])
            raise

    def close(self) -> None:
        """Take no more rows; those that wait get an error."""
        for row in self.batcher.close():
            self._settle(row, error=AdaptkitError("the host was closed."))

    def _run(self, rows: list[Waiting]) -> list[Waiting]:
        """Answer a batch; rows whose adapter gets no slot now are given back."""
        later: list[Waiting] = []
        ready: list[tuple[Waiting, Resident | None]] = []
        admitted: dict[str, Resident] = {}
        try:
            for row in rows:
                if row.future.cancelled():
                    self._settle(row)
                elif row.resident is not None or row.name is None:
                    ready.append((row, row.resident))
                elif resident := self._admit(row, admitted):
                    ready.append((row, resident))
                elif not row.future.done():
                    later.append(row)
            self._answer(ready)
        finally:
            self.slots.release(admitted.values())
        return later

    def _admit(self, row: Waiting, admitted: dict[str, Resident]) -> Resident | None:
        """The adapter of a row from the store; a row whose adapter cannot be loaded is settled."""
        try:
            if row.name not in admitted and (resident := self.admission.admit(row.name, wait=False)):
                admitted[row.name] = resident
        except BaseException as problem:
            self._settle(row, error=problem)
        return admitted.get(row.name)

    def _answer(self, ready: list[tuple[Waiting, Resident | None]]) -> None:
        """Answer rows together; when that fails, each alone, so that a bad one spoils nobody else's."""
        asked = [Row(i, row.given, resident) for i, (row, resident) in enumerate(ready)]
        try:
            answers = self.answering.answer(asked, max(1, len(asked)))
        except BaseException as problem:  # the thread of the batcher must not end by it
            if len(ready) == 1:
                self._settle(ready[0][0], error=problem)
            else:
                for pair in ready:
                    self._answer([pair])
            return
        for i, (row, _) in enumerate(ready):
            self._settle(row, answers[i])

    def _settle(self, row: Waiting, answer: Answer | None = None, error: BaseException | None = None) -> None:
        """Give a row its answer or its error, unless its caller has gone; its adapter has one user less."""
        if row.resident is not None:
            self.slots.release([row.resident])
        if not row.future.set_running_or_notify_cancel():
            return
        if error is not None:
            row.future.set_exception(error)
        else:
            row.future.set_result(answer)
