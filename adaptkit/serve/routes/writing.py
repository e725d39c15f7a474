"""What requests for texts have in common: settings, pieces, streams of events."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, ClassVar

from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from adaptkit.errors import quoted
from adaptkit.host.answers import Piece, TokenLogprob
from adaptkit.serve.errors import RequestError, response_of
from adaptkit.serve.requests import current
from adaptkit.serve.service import Service

MOST_CHOICES, MOST_STOPS = 16, 16
Stop = Annotated[str, Field(max_length=500)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class WritingRequest(BaseModel):
    """Settings of texts. What is not given is as in the base's own generation settings.

    temperature: 0 takes the likeliest token. What would change a text and is not known here is
    refused.
    """

    model_config = ConfigDict(extra="forbid")
    model: str
    temperature: float | None = Field(None, ge=0, le=10)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    min_p: float | None = Field(None, ge=0, le=1)
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    seed: int | None = Field(None, ge=0, lt=2**62)
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    min_tokens: int | None = Field(None, ge=0)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None

    neutral: ClassVar[dict[str, tuple[Any, ...]]] = {
        "presence_penalty": (0,),
        "frequency_penalty": (0,),
        "logit_bias": ({},),
    }

    def check(self) -> None:
        """Refuse a setting that would change the text and cannot be had."""
        for name, values in self.neutral.items():
            value = getattr(self, name)
            if value is not None and value not in values:
                raise RequestError(400, f"{name}={quoted(value)} cannot be had here.", name)

    @property
    def choices(self) -> int:
        return self.n or 1

    def settings(self, service: Service, most: int | None) -> dict[str, Any]:
        """Settings of `Host.submit_stream`, but for the seed.

        most: the tokens that are asked for; None: as many as there is room for.
        """
        self.check()
        draws = service.hosted.draws or (self.n is not None and self.n > 1)
        draws = draws or any(one is not None for one in (self.top_p, self.top_k, self.min_p))
        draws = draws if self.temperature is None else self.temperature > 0
        found: dict[str, Any] = {
            "max_new_tokens": most,
            "do_sample": draws,
        }
        if draws:
            given = {"temperature": self.temperature, "top_p": self.top_p, "min_p": self.min_p}
            given["top_k"] = self.top_k if self.top_k != -1 else 0
            found |= {name: value for name, value in given.items() if value is not None}
        if self.stop:
            found["stop_strings"] = [self.stop] if isinstance(self.stop, str) else self.stop
        if self.min_tokens:
            found["min_new_tokens"] = self.min_tokens
        return found

    def seeds(self) -> list[int]:
        """A seed for each choice."""
        first = self.seed if self.seed is not None else secrets.randbelow(2**31)
        return [first + index for index in range(self.choices)]


class Draft:
    """One choice: its pieces as they come, and all that has come."""

    def __init__(self, index: int, pieces: AsyncGenerator[Piece]):
        self.index, self._pieces = index, pieces
        self.text, self.ids = "", 0
        self.logprobs: list[TokenLogprob] = []
        self.finish_reason: str | None = None
        self.tokens = 0

    async def pieces(self) -> AsyncIterator[Piece]:
        """The pieces; the draft keeps what they hold."""
        async with aclosing(self._pieces) as come:
            async for piece in come:
                self.text += piece.text
                self.ids += len(piece.ids)
                self.logprobs += piece.logprobs
                self.finish_reason = piece.finish_reason
                self.tokens = piece.tokens
                yield piece

    async def whole(self) -> None:
        """Write it to its end."""
        async for _ in self.pieces():
            pass


async def together(drafts: list[Draft]) -> None:
    """Write all to their ends; if one fails, the others are given up, and its error is raised."""
    tasks = [asyncio.ensure_future(draft.whole()) for draft in drafts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def stamp(kind: str, prefix: str, model: str) -> dict[str, Any]:
    """What every answer and event begins with."""
    return {
        "id": f"{prefix}-{current().id}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


async def events(messages: AsyncIterator[dict[str, Any]]) -> StreamingResponse:
    """Server-sent events; an error before the first one is an ordinary answer."""
    first = await anext(messages)

    async def lines() -> AsyncIterator[str]:
        try:
            yield _event(first)
            async for message in messages:
                yield _event(message)
        except Exception as problem:
            yield _event(json.loads(bytes(response_of(problem).body)))
        yield "data: [DONE]\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


def _event(message: dict[str, Any]) -> str:
    return f"data: {json.dumps(message)}\n\n"
