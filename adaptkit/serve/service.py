"""What all routes share: find an adapter by its name, ask it within the limits, count."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from adaptkit.errors import AdaptkitError, listed, quoted
from adaptkit.host.answers import Answer, Piece, Text
from adaptkit.host.describe import AdapterInfo
from adaptkit.host.manager import UnknownAdapterError
from adaptkit.monitoring.rows import characters
from adaptkit.serve.any_host import AnyHost
from adaptkit.serve.errors import RequestError, status_of
from adaptkit.serve.metrics import Metrics
from adaptkit.serve.recorder import Answered, Recorder
from adaptkit.serve.requests import current
from adaptkit.serve.settings import ServeSettings
from adaptkit.tasks.classify import Classify
from adaptkit.utils.terminal import say

Row = str | dict[str, Any]
LISTED_FOR = 2.0  # seconds


class Service:
    """A host behind HTTP, of this process or of others."""

    def __init__(self, host: AnyHost, settings: ServeSettings, recorder: Recorder | None = None):
        self.host, self.settings, self.recorder = host, settings, recorder
        self.hosted = host.base
        self.metrics = Metrics(host, recorder)
        self.created = int(time.time())
        found = [host.folder, *settings.adapter_folders, Path(self.hosted.name).parent]
        self.folders = [
            str(path) for one in found if one for path in (one.resolve(), one) if one != Path()
        ]
        self._listing = asyncio.Lock()
        self._listed: tuple[float, list[AdapterInfo]] = (-LISTED_FOR, [])
        self.base = Path(self.hosted.name).name  # no path of this machine is shown
        if self.base in host.names():
            raise AdaptkitError(
                f"an adapter and the base are both named {quoted(self.base)}: rename the adapter's "
                "folder."
            )

    @property
    def writes(self) -> bool:
        """The base writes texts."""
        return self.hosted.writes

    # Who is asked

    async def find(self, model: str | None, field: str = "model") -> AdapterInfo | None:
        """The adapter of a name; None is the base, which is asked for by its own name.

        Raises:
            RequestError: 404, with the closest names; 400 if it cannot be read.
        """
        if model is None:
            raise RequestError(400, f"{field} is missing: it names the adapter.", field)
        if model in (self.base, self.hosted.name):
            return None
        try:
            return await self.host.find(model)
        except UnknownAdapterError as problem:
            message = f"{problem} The base itself is {quoted(self.base)}."
            raise RequestError(404, message, field) from None
        except AdaptkitError as problem:
            raise self.refusal(problem, field=field) from None

    async def find_for(
        self, model: str | None, fits: Callable[[AdapterInfo], bool], what: str
    ) -> AdapterInfo:
        """The adapter of a name, if it fits a route. None: the only one that fits.

        Raises:
            RequestError: there is none of that name, or it does something else.
        """
        if model is not None:
            found = await self.find(model)
            if found is not None and fits(found):
                return found
            named = f"adapter {quoted(model)} ({found.task_name})" if found else "the base"
            others = f"those that do: {await self._fitting(fits)}"
            raise RequestError(400, f"{named} does not {what}; {others}.", "model")
        fitting = [one for one in await self.adapters() if fits(one)]
        if len(fitting) == 1:
            return fitting[0]
        raise RequestError(
            400,
            f"model names the adapter; those that {what}: {await self._fitting(fits)}.",
            "model",
        )

    async def _fitting(self, fits: Callable[[AdapterInfo], bool]) -> str:
        return listed(one.name for one in await self.adapters() if fits(one)) or "none"

    async def find_writer(self, model: str | None) -> AdapterInfo | None:
        """The adapter of a name, for writing from prompts; None is the base.

        Raises:
            RequestError: there is none of that name, or it does not write.
        """
        found = await self.find(model)
        if not self.writes:
            raise RequestError(400, f"{quoted(self.base)} is an encoder: nothing here writes.")
        if found is not None and not writes_texts(found):
            await self.find_for(model, writes_texts, "write")
        return found

    async def adapters(self) -> list[AdapterInfo]:
        """All adapters whose cards can be read, as they were some seconds ago at most."""
        async with self._listing:
            if time.monotonic() > self._listed[0] + LISTED_FOR:
                self._listed = time.monotonic(), await self.in_thread(self._adapters)
            return self._listed[1]

    def _adapters(self) -> list[AdapterInfo]:
        found = []
        for name in self.host.names():
            try:
                found.append(self.host.describe(name))
            except AdaptkitError:
                continue  # refused, with its reason, on request
        return found

    def refusal(
        self, problem: AdaptkitError, before: str = "", field: str | None = None
    ) -> RequestError:
        """An error of the host as an answer, without the paths of this machine."""
        message = f"{before}{problem}"
        for folder in self.folders:
            message = message.replace(f"{folder}/", "")
        return RequestError(status_of(problem), message, getattr(problem, "field", field))

    async def follow_store(self) -> None:
        """Load new versions of adapters, until cancelled."""
        while True:
            await asyncio.sleep(self.settings.reload_every)
            try:
                changed = await self.in_thread(self.host.reload_changed)
            except (AdaptkitError, OSError) as problem:
                changed = {"the folder": str(problem)}
            for name, reason in changed.items():
                say(f"{name}: {f'not loaded anew: {reason}' if reason else 'new version'}")

    @staticmethod
    async def in_thread(work: Any, *given: Any) -> Any:
        """What reads files, away from the event loop."""
        return await asyncio.to_thread(work, *given)

    # Asking

    async def ask(
        self, rows: Sequence[Row], names: Sequence[str | None], top_k: int | None = None
    ) -> list[Answer]:
        """One answer per row, in order; rows of all requests share batches.

        Raises:
            RequestError: there are too many rows, or they are too long.
            HostBusyError: the queue is full.
            AdaptkitError: a row cannot be read; its number is in the message.
            TimeoutError: the deadline has passed.
        """
        self.check_count(len(rows))
        for number, row in enumerate(rows):
            self.check_length(row, f"item {number}")
        self.metrics.batch.observe(len(rows))
        async with asyncio.timeout(self.settings.deadline):
            asked = [
                asyncio.ensure_future(self._ask(row, name, top_k))
                for row, name in zip(rows, names, strict=True)
            ]
            try:
                answers = await asyncio.gather(*asked)
            except AdaptkitError as problem:
                number = next(i for i, one in enumerate(asked) if _failed(one))
                raise self.refusal(problem, f"item {number}: " if len(rows) > 1 else "") from None
            finally:
                for one in asked:
                    one.cancel()
        return [
            self._named(row, name, one, self._next_id())
            for row, name, one in zip(rows, names, answers, strict=True)
        ]

    async def _ask(self, row: Row, name: str | None, top_k: int | None) -> Answer:
        start = time.perf_counter()
        answer = await self.host.submit(row, name, top_k=top_k)
        self.metrics.answered(name or self.base, time.perf_counter() - start)
        return answer

    def _next_id(self) -> str | None:
        """The id of the request's next answer; None if it is not logged."""
        request = current()
        return request.next_id() if self.recorder is not None and request.logged else None

    def _named(self, row: Any, name: str | None, answer: Any, known_as: str | None) -> Any:
        """An answer with its id, once it is logged."""
        if self.recorder is None or known_as is None:
            return answer
        answer = dataclasses.replace(answer, id=known_as)
        self.recorder.answered(Answered(name, row, answer))
        return answer

    def until(self) -> float:
        """When a request that comes now is given up, in the event loop's time."""
        return asyncio.get_running_loop().time() + self.settings.deadline

    async def write(
        self, prompt: Any, name: str | None, until: float, **settings: Any
    ) -> AsyncGenerator[Piece]:
        """The pieces of a text, as they are written.

        until: of its request. The task that asks for pieces may change, so each is waited for by
            itself.

        Raises:
            RequestError: the prompt is too long, or too many tokens are asked for.
            HostBusyError, AdaptkitError, TimeoutError: as of `ask`.
        """
        self.check_length(prompt, "the prompt")
        known_as = self._next_id()  # in the order in which texts begin
        most = self.settings.max_new_tokens
        if (settings["max_new_tokens"] or 0) > most:
            raise RequestError(400, f"at most {most} tokens are written.", "max_tokens")
        if settings["max_new_tokens"] is None:
            room = await self.in_thread(self.host.room, prompt)
            settings["max_new_tokens"] = most if room is None else max(1, min(room, most))
        start, loop, texts = time.perf_counter(), asyncio.get_running_loop(), []
        async with aclosing(self.host.submit_stream(prompt, name, **settings)) as pieces:
            while True:
                try:
                    piece = await asyncio.wait_for(anext(pieces), until - loop.time())
                except StopAsyncIteration:
                    break
                except AdaptkitError as problem:
                    raise self.refusal(problem) from None
                texts.append(piece.text)
                yield piece
        self.metrics.answered(name or self.base, time.perf_counter() - start)
        self._named(prompt, name, Text("".join(texts)), known_as)

    # Limits

    def check_count(self, rows: int) -> None:
        """Refuse a request with too many rows, or none."""
        most = self.settings.max_client_batch_size
        if rows > most:
            raise RequestError(413, f"a request has at most {most} inputs; it has {rows}.")
        if not rows:
            raise RequestError(400, "there is no input.")

    def check_length(self, row: Any, name: str) -> None:
        """Refuse a row whose texts are too long."""
        size = characters(row)
        if size > self.settings.max_text:
            raise RequestError(
                413, f"{name} has {size:,} characters; at most {self.settings.max_text:,} are read."
            )


def _failed(one: asyncio.Future) -> bool:
    return one.done() and not one.cancelled() and one.exception() is not None


def writes_texts(info: AdapterInfo) -> bool:
    """The adapter writes texts, over a base that does."""
    return info.task is None or info.task.generates


def gives_labels(info: AdapterInfo) -> bool:
    """The adapter gives labels to texts."""
    return isinstance(info.task, Classify)


def makes_vectors(info: AdapterInfo) -> bool:
    """The adapter makes vectors."""
    return info.task_name == "embed"


def gives_scores(info: AdapterInfo) -> bool:
    """The adapter gives numbers."""
    return info.task_name == "score"
