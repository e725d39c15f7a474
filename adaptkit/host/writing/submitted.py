"""A prompt in the queue, and its pieces on their way to an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass

from adaptkit.host.answers import Piece
from adaptkit.host.writing.calls import Call
from adaptkit.host.writing.sequence import Sequence


@dataclass(frozen=True)
class Prompt:
    """A checked prompt; `hear` gets its pieces, in the thread of the queue."""

    call: Call
    hear: Callable[[Piece], None]

    @property
    def written(self) -> Sequence:
        return self.call.rows[0]

    def tell(self) -> None:
        """Pass on what is new."""
        if piece := self.written.piece(0, self.call.texts):
            self.hear(piece)

    def answer(self) -> None:
        """Nothing: its pieces are the answer."""


async def pieces_of(call: Call, put: Callable[[Prompt], Future]) -> AsyncIterator[Piece]:
    """The pieces of a prompt that `put` queues, until its future is done.

    Whoever stops reading cancels the future, and the queue drops the row.
    """
    loop = asyncio.get_running_loop()
    come: asyncio.Queue[Piece | None] = asyncio.Queue()

    def hear(piece: Piece | None) -> None:
        loop.call_soon_threadsafe(come.put_nowait, piece)

    future = put(Prompt(call, hear))
    future.add_done_callback(lambda _: hear(None))
    try:
        while (piece := await come.get()) is not None:
            yield piece
        future.result()
    finally:
        future.cancel()
