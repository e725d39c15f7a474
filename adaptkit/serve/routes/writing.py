"""What requests for texts have in common: settings, pieces, streams of events."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, ClassVar

from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from adaptkit.errors import quoted
from adaptkit.host.answers import Piece, TokenLogprob
from adaptkit.serve.errors import RequestError, error_body, response_of
from adaptkit.serve.service import Service

MOST_CHOICES, MOST_STOPS = 16, 16


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
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None = None
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
        config = service.host.backbone.model.generation_config
        draws = bool(config.do_sample) if self.temperature is None else self.temperature > 0
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

    async def whole(self) -> Draft:
        """Itself, once it is written."""
        async for _ in self.pieces():
            pass
        return self


def stamp(kind: str, prefix: str, model: str) -> dict[str, Any]:
    """What every answer and event begins with."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
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
            status = response_of(problem).status_code
            yield _event(error_body(status, str(problem) if status < 500 else "it has failed."))
        yield "data: [DONE]\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


def _event(message: dict[str, Any]) -> str:
    return f"data: {json.dumps(message, ensure_ascii=False)}\n\n"
