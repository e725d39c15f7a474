"""Logs what a service answers, and watches it, in a thread of its own."""

from __future__ import annotations

import functools
import queue
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptkit.errors import AdaptkitError
from adaptkit.host.answers import Answer
from adaptkit.host.describe import AdapterInfo
from adaptkit.monitoring.log import LogWriter, version_of
from adaptkit.monitoring.reference import Reference, read_reference
from adaptkit.monitoring.rows import characters, numbers_of, text_of
from adaptkit.monitoring.watch import Drift, Watch
from adaptkit.serve.any_host import AnyHost
from adaptkit.utils.terminal import say

ROWS = 8  # whose states are computed at once: requests wait for that long
WAITING = 4096  # answers that may wait for the thread
WATCHED = 256  # adapters
EVERY = 10  # of so many rows, one has its state computed though requests wait
REMEMBERED, SIGNS = 10_000, 20_000_000  # answers that feedback may name, and their inputs' length


@dataclass(frozen=True)
class Answered:
    """An answer to log. name: of its adapter; None for the base."""

    name: str | None
    given: Any
    answer: Answer

    @property
    def said(self) -> dict[str, Any]:
        """The answer without its id; a vector is not kept."""
        said = self.answer.to_dict()
        return {name: value for name, value in said.items() if name not in ("id", "embedding")}


@dataclass(frozen=True)
class _Watched:
    """The watch of one version of an adapter, which its weights tell."""

    version: str | int | None
    reference: Reference
    watch: Watch


class Recorder:
    """Writes answers and feedback to a log, and keeps a `Watch` for each adapter with a reference.

    A row's state is computed while no request waits, and of every tenth row at any time.
    """

    def __init__(self, host: AnyHost, log: LogWriter):
        self.host, self.log = host, log
        self.dropped = 0
        self._queue: queue.Queue[Answered | None] = queue.Queue(WAITING)
        self._lock = threading.Lock()  # of the watches, whose tests take a while to begin
        self._remembering = threading.Lock()
        self._remembered: OrderedDict[str, Answered] = OrderedDict()
        self._signs = 0  # of the inputs of those
        self._watched: OrderedDict[str, _Watched | None] = OrderedDict()
        self._rows = 0
        self._thread = threading.Thread(target=self._run, name="adaptkit-log", daemon=True)
        self._thread.start()

    def answered(self, one: Answered) -> None:
        """Log an answer, soon; one that finds no room is counted."""
        assert one.answer.id is not None
        with self._remembering:
            self._remembered[one.answer.id] = one
            self._signs += characters(one.given)
            while len(self._remembered) > REMEMBERED or self._signs > SIGNS:
                self._signs -= characters(self._remembered.popitem(last=False)[1].given)
        try:
            self._queue.put_nowait(one)
        except queue.Full:
            self.dropped += 1

    def remembered(self, answer: str) -> Answered | None:
        """An answer by its id, if it is among the last ones."""
        with self._remembering:
            return self._remembered.get(answer)

    def feedback(self, row: dict[str, Any]) -> None:
        """Log feedback, now."""
        self.log.write("feedback", [row])

    def drifts(self) -> dict[str, list[Drift]]:
        """What the tests of each watched adapter say."""
        with self._lock:
            return {
                name: one.watch.drifts() for name, one in self._watched.items() if one is not None
            }

    def close(self) -> None:
        """Log what waits, and end."""
        self._queue.put(None)
        self._thread.join()
        self.log.close()

    def _run(self) -> None:
        ended = False
        while not ended:
            rows = [self._queue.get()]
            while len(rows) < ROWS and not self._queue.empty():
                rows.append(self._queue.get())
            ended = None in rows
            try:
                self._record([row for row in rows if row is not None])
            except Exception as problem:  # the thread must survive a full disk
                self.dropped += len(rows)
                say(f"warning: answers could not be logged: {problem}")

    def _record(self, rows: Sequence[Answered]) -> None:
        infos = [self._info(row) for row in rows]
        watched = [self._watch(info) for info in infos]
        states = self._states(rows, infos, watched)
        lines = []
        for row, info, seen, state in zip(rows, infos, watched, states, strict=True):
            number, confidence = numbers_of(info.task if info else None, row.answer)
            if seen is not None:
                with self._lock:
                    seen.watch.add(state, number, confidence)
            lines.append(
                {
                    "id": row.answer.id,
                    "adapter": row.name,
                    "version": version_of(row.answer.weights or (info.weights if info else None)),
                    "task": info.task_name if info else None,
                    "input": row.given,
                    "answer": row.said,
                    "number": number,
                    "confidence": confidence,
                    "state": None if state is None else [round(float(x), 5) for x in state],
                }
            )
        if lines:
            self.log.write("answers", lines)

    def _info(self, row: Answered) -> AdapterInfo | None:
        """The adapter that has answered; None if it is gone, or replaced, meanwhile."""
        try:
            found = self.host.describe(row.name) if row.name is not None else None
        except AdaptkitError:
            return None
        own = row.answer.weights
        return found if found is None or own in (None, found.weights) else None

    def _watch(self, info: AdapterInfo | None) -> _Watched | None:
        """The watch of an adapter; a new version has a new one."""
        if info is None:
            return None
        version, found = info.weights or info.version, self._watched.get(info.name)
        if info.name in self._watched and (found is None or found.version == version):
            return found
        try:
            reference = read_reference(info.folder)
            if reference is not None:
                reference.check_width(self._width)
        except (AdaptkitError, OSError) as problem:
            say(f"warning: {info.name} is not watched: {problem}")
            reference = None
        new = _Watched(version, reference, Watch(reference)) if reference else None
        with self._lock:
            self._watched[info.name] = new
            while len(self._watched) > WATCHED:
                self._watched.popitem(last=False)
        return new

    @functools.cached_property
    def _width(self) -> int:
        """Of the base's states."""
        return self.host.mean_states(["a"]).shape[1]

    def _states(
        self,
        rows: Sequence[Answered],
        infos: Sequence[AdapterInfo | None],
        watched: Sequence[_Watched | None],
    ) -> list[np.ndarray | None]:
        """The base's states of the rows that are looked at, as their references see them."""
        found: list[np.ndarray | None] = [None] * len(rows)
        chosen = []
        for index, seen in enumerate(watched):
            if seen is not None:
                self._rows += 1
                if not self.host.waiting or self._rows % EVERY == 0:
                    chosen.append(index)
        if not chosen:
            return found
        texts = []
        for index in chosen:
            info = infos[index]
            texts.append(text_of(rows[index].given, info.inputs if info else None))
        for index, state in zip(chosen, self.host.mean_states(texts), strict=True):
            seen = watched[index]
            assert seen is not None
            found[index] = seen.reference.project(state[None])[0]
        return found
