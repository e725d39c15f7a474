"""`/v1/chat/completions`, as OpenAI's clients ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from adaptkit.host.answers import TokenLogprob
from adaptkit.serve.errors import RequestError
from adaptkit.serve.keys import Keys
from adaptkit.serve.responses import Json
from adaptkit.serve.routes.answer import usage
from adaptkit.serve.routes.writing import Draft, WritingRequest, events, stamp, together
from adaptkit.serve.service import Service
from adaptkit.serve.settings import MOST_ITEMS


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: str


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(max_length=MOST_ITEMS)]
    name: str | None = None

    def read(self) -> dict[str, str]:
        """As the base's template takes it; a developer is the system by its newer name."""
        role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, str):
            return {"role": role, "content": self.content}
        return {"role": role, "content": "\n".join(part.text for part in self.content)}


class ChatRequest(WritingRequest):
    """messages: of text. A last message of the assistant is no question, and is refused."""

    messages: list[Message] = Field(min_length=1, max_length=MOST_ITEMS)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[Any] | None = None
    tool_choice: Any = None
    response_format: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    parallel_tool_calls: bool | None = None

    neutral: ClassVar[dict[str, tuple[Any, ...]]] = WritingRequest.neutral | {
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "response_format": ({"type": "text"},),
    }


def routes(service: Service, keys: Keys) -> APIRouter:
    router = APIRouter(tags=["writing"], dependencies=[Depends(keys.user)])

    @router.post("/v1/chat/completions", response_model=None)
    async def chat(request: ChatRequest) -> Response:
        """The answer to a conversation, in the base's template; `stream` gives it in events."""
        drafts = await _drafts(service, request)
        if request.stream:
            return await events(_chunks(request, drafts))
        await together(drafts)
        found = stamp("chat.completion", "chatcmpl", request.model)
        choices = [
            {
                "index": draft.index,
                "message": {"role": "assistant", "content": draft.text, "refusal": None},
                "logprobs": _logprobs(request, draft.logprobs),
                "finish_reason": draft.finish_reason,
            }
            for draft in drafts
        ]
        return Json(found | {"choices": choices, "usage": used(drafts)})

    return router


async def _drafts(service: Service, request: ChatRequest) -> list[Draft]:
    info = await service.find_writer(request.model)
    most = request.max_completion_tokens or request.max_tokens
    settings = request.settings(service, most)
    if request.logprobs:
        settings["logprobs"] = request.top_logprobs or 0
    elif request.top_logprobs:
        raise RequestError(400, "top_logprobs goes with logprobs: true.", "top_logprobs")
    messages = [message.read() for message in request.messages]
    if messages[-1]["role"] == "assistant":
        raise RequestError(400, "the last message is an answer already.", "messages")
    name, until = info.name if info is not None else None, service.until()
    return [
        Draft(index, service.write(messages, name, until, seed=seed, **settings))
        for index, seed in enumerate(request.seeds())
    ]


async def _chunks(request: ChatRequest, drafts: list[Draft]) -> AsyncIterator[dict[str, Any]]:
    """The events of all choices, one choice after the other."""
    start = stamp("chat.completion.chunk", "chatcmpl", request.model)
    for draft in drafts:
        begin = {"role": "assistant", "content": ""}
        async for piece in draft.pieces():
            if begin:
                yield start | _delta(draft.index, begin)
                begin = {}
            logprobs = _logprobs(request, piece.logprobs)
            if piece.text or piece.logprobs:
                yield start | _delta(draft.index, {"content": piece.text}, logprobs)
        yield start | _delta(draft.index, {}, None, draft.finish_reason)
    if request.stream_options is not None and request.stream_options.include_usage:
        yield start | {"choices": [], "usage": used(drafts)}


def _delta(
    index: int, delta: dict[str, Any], logprobs: Any = None, reason: str | None = None
) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
    return {"choices": [choice]}


def used(drafts: list[Draft]) -> dict[str, Any]:
    """The prompt is counted once."""
    return usage(max(draft.tokens for draft in drafts), sum(draft.ids for draft in drafts))


def _logprobs(request: ChatRequest, tokens: list[TokenLogprob]) -> dict[str, Any] | None:
    if not request.logprobs:
        return None
    shown = [_token(one) | {"top_logprobs": [_token(top) for top in one.top]} for one in tokens]
    return {"content": shown, "refusal": None}


def _token(one: TokenLogprob) -> dict[str, Any]:
    return {"token": one.token, "logprob": one.logprob, "bytes": list(one.token.encode())}
