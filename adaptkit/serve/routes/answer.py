"""`/v1/answer`: any task, several adapters, typed answers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from adaptkit.errors import quoted
from adaptkit.serve.errors import RequestError
from adaptkit.serve.keys import Keys
from adaptkit.serve.responses import Json
from adaptkit.serve.service import Row, Service
from adaptkit.serve.settings import MOST_ITEMS


class AnswerRequest(BaseModel):
    """One name and one input, or a list of either; lists of both go together item by item.

    So two names and two inputs are two rows, and not four.

    input: a text, or the parts of a row by name: `{"question": ..., "context": ...}`.
    top_k: the K likeliest labels, for tasks with labels.
    """

    model_config = ConfigDict(extra="forbid")
    model: str | Annotated[list[str], Field(max_length=MOST_ITEMS)]
    input: Row | Annotated[list[Row], Field(max_length=MOST_ITEMS)]
    top_k: int | None = Field(None, ge=1, le=10_000)


def routes(service: Service, keys: Keys) -> APIRouter:
    router = APIRouter(tags=["answers"], dependencies=[Depends(keys.user)])

    @router.post("/v1/answer")
    async def answer(request: AnswerRequest) -> Json:
        """`{"answers": [{"model", "task", ...}], "usage": ...}`, in the order of the inputs."""
        rows, names = pairs(request.input, request.model)
        service.check_count(len(rows))
        infos = {name: await service.find(name) for name in dict.fromkeys(names)}
        for name, info in infos.items():
            if (info is None or info.task is None) and not service.writes:
                raise RequestError(
                    400, f"{quoted(name)} has no task: /v1/embeddings gives its vectors.", "model"
                )
        asked = [None if infos[name] is None else name for name in names]
        answers = await service.ask(rows, asked, request.top_k)
        shown = []
        for name, one in zip(names, answers, strict=True):
            info = infos[name]
            shown.append({"model": name, "task": info.task_name if info else None, **one.to_dict()})
        read, written = (
            sum(getattr(one, name) for one in answers) for name in ("tokens", "new_tokens")
        )
        return Json({"answers": shown, "usage": usage(read, written)})

    return router


def pairs(given: Row | list[Row], model: str | list[str]) -> tuple[list[Row], list[str]]:
    """Rows and the name of an adapter for each.

    Raises:
        RequestError: there are as many inputs as neither one nor the names.
    """
    rows = given if isinstance(given, list) else [given]
    names = model if isinstance(model, list) else [model]
    count = max(len(rows), len(names)) if rows and names else 0
    if len(rows) == 1 or not isinstance(given, list):
        rows = rows * count
    if len(names) == 1 or not isinstance(model, list):
        names = names * count
    if len(rows) != len(names):
        raise RequestError(
            400, f"{len(rows)} inputs and {len(names)} models: one of each, or as many.", "model"
        )
    return rows, names


def usage(tokens: int, written: int = 0) -> dict[str, Any]:
    """How many tokens the base has read and written, in OpenAI's form."""
    return {
        "prompt_tokens": tokens,
        "completion_tokens": written,
        "total_tokens": tokens + written,
    }
