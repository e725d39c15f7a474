"""`/v1/completions`, as OpenAI's clients ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import Field

from adaptkit.host.answers import TokenLogprob
from adaptkit.serve.keys import Keys
from adaptkit.serve.responses import Json
from adaptkit.serve.routes.answer import usage
from adaptkit.serve.routes.writing import Draft, WritingRequest, events, stamp, together
from adaptkit.serve.service import Service
from adaptkit.serve.settings import MOST_ITEMS

MOST_IDS = 100_000
Ids = Annotated[list[int], Field(min_length=1, max_length=MOST_IDS)]
Texts = Annotated[list[str], Field(min_length=1, max_length=MOST_ITEMS)]
Several = Annotated[list[Ids], Field(min_length=1, max_length=MOST_ITEMS)]


class CompletionRequest(WritingRequest):
    """prompt: a text, ids, or a list of either."""

    prompt: str | Ids | Texts | Several
    max_tokens: int = Field(16, ge=1)
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None

    neutral: ClassVar[dict[str, tuple[Any, ...]]] = WritingRequest.neutral | {
        "echo": (False,),
        "best_of": (1,),
        "suffix": ("",),
    }

    @property
    def prompts(self) -> list[Any]:
        given = self.prompt
        one = isinstance(given, str) or isinstance(given[0], int)
        return [given] if one else list(given)


def routes(service: Service, keys: Keys) -> APIRouter:
    router = APIRouter(tags=["writing"], dependencies=[Depends(keys.user)])

    @router.post("/v1/completions", response_model=None)
    async def completions(request: CompletionRequest) -> Response:
        """What follows a prompt; `stream` gives it in events."""
        prompts = request.prompts
        service.check_count(len(prompts) * request.choices)
        info = await service.find_writer(request.model)
        name = info.name if info is not None else None
        settings, until = request.settings(service, request.max_tokens), service.until()
        if request.logprobs is not None:
            settings["logprobs"] = request.logprobs
        seeds = request.seeds()
        drafts = [
            Draft(
                number * len(seeds) + index,
                service.write(prompt, name, until, seed=seed + number * len(seeds), **settings),
            )
            for number, prompt in enumerate(prompts)
            for index, seed in enumerate(seeds)
        ]
        if request.stream:
            return await events(_chunks(request, drafts))
        await together(drafts)
        choices = [
            _choice(draft.index, draft.text, _logprobs(request, draft.logprobs))
            | {"finish_reason": draft.finish_reason}
            for draft in drafts
        ]
        found = stamp("text_completion", "cmpl", request.model)
        return Json(found | {"choices": choices, "usage": _used(request, drafts)})

    return router


async def _chunks(request: CompletionRequest, drafts: list[Draft]) -> AsyncIterator[dict[str, Any]]:
    """The events of all choices, one choice after the other."""
    start = stamp("text_completion", "cmpl", request.model)
    for draft in drafts:
        async for piece in draft.pieces():
            choice = _choice(draft.index, piece.text, _logprobs(request, piece.logprobs))
            yield start | {"choices": [choice | {"finish_reason": piece.finish_reason}]}
    if request.stream_options is not None and request.stream_options.include_usage:
        yield start | {"choices": [], "usage": _used(request, drafts)}


def _choice(index: int, text: str, logprobs: dict[str, Any] | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs}


def _used(request: CompletionRequest, drafts: list[Draft]) -> dict[str, Any]:
    """A prompt is counted once."""
    read = sum(draft.tokens for draft in drafts[:: request.choices])
    return usage(read, sum(draft.ids for draft in drafts))


def _logprobs(request: CompletionRequest, tokens: list[TokenLogprob]) -> dict[str, Any] | None:
    if request.logprobs is None:
        return None
    return {
        "tokens": [one.token for one in tokens],
        "token_logprobs": [one.logprob for one in tokens],
        "top_logprobs": [{top.token: top.logprob for top in one.top} for one in tokens],
        "text_offset": [],
    }
