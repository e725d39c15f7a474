"""Probabilities of labels: `/predict` as TEI's clients ask it, and `/classify` as vLLM's do."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from adaptkit.errors import quoted
from adaptkit.host.answers import Answer, Labels, Score
from adaptkit.host.describe import AdapterInfo
from adaptkit.serve.errors import RequestError
from adaptkit.serve.keys import Keys
from adaptkit.serve.requests import current
from adaptkit.serve.responses import Json
from adaptkit.serve.routes.answer import usage
from adaptkit.serve.routes.embeddings import Nothing, Texts
from adaptkit.serve.service import Row, Service, gives_labels, gives_scores
from adaptkit.serve.settings import MOST_ITEMS

Item = TypeVar("Item")
Several = Annotated[list[Item], Field(min_length=1, max_length=MOST_ITEMS)]


class PredictRequest(BaseModel):
    """inputs: a text, a pair as a list of two texts, or a list of such lists for several rows.

    model: which adapter; by default the only one with labels or scores.
    """

    model_config = ConfigDict(extra="forbid")
    inputs: str | Several[str] | Several[Several[str]]
    model: str | None = None
    raw_scores: Literal[False] = False
    truncate: Literal[True] = True
    truncation_direction: Literal["right", "Right"] = "right"
    parameters: Nothing | None = None


class ClassifyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: str
    input: Texts
    user: str | None = None


def routes(service: Service, keys: Keys) -> APIRouter:
    router = APIRouter(tags=["labels"], dependencies=[Depends(keys.user)])

    @router.post("/predict")
    async def predict(request: PredictRequest) -> Json:
        """The labels of each row with their probabilities, the likeliest first."""
        info = await service.find_for(
            request.model,
            lambda one: gives_labels(one) or gives_scores(one),
            "give labels or scores",
        )
        several = isinstance(request.inputs, list) and isinstance(request.inputs[0], list)
        given = request.inputs if several else [request.inputs]
        rows = [_row(info, one) for one in given]
        top_k = len(info.task.labels) if info.task and gives_labels(info) else None
        answers = await service.ask(rows, [info.name] * len(rows), top_k)
        found = [_predictions(one) for one in answers]
        return Json(found if several else found[0])

    @router.post("/classify")
    async def classify(request: ClassifyRequest) -> Json:
        """The likeliest label of each text, and the probability of every label in their order."""
        info = await service.find_for(request.model, gives_labels, "give labels")
        rows = [request.input] if isinstance(request.input, str) else request.input
        answers = await all_labels(service, info, rows)
        data = []
        for index, answer in enumerate(answers):
            shares = [answer.scores[label] for label in names_of(info)]
            data.append(
                {
                    "index": index,
                    "label": answer.labels[0],
                    "probs": shares,
                    "num_classes": len(shares),
                }
            )
        found = {
            "id": f"classify-{current().id}",
            "object": "list",
            "created": int(time.time()),
            "model": request.model,
            "data": data,
            "usage": usage(sum(one.tokens for one in answers)),
        }
        return Json(found)

    return router


def names_of(info: AdapterInfo) -> list[str]:
    """The labels of an adapter that has some."""
    assert info.task is not None
    return info.task.labels


async def all_labels(service: Service, info: AdapterInfo, rows: list[Any]) -> list[Labels]:
    """All labels of an adapter with their probabilities, the likeliest first, for each row."""
    names = names_of(info)
    answers = await service.ask(rows, [info.name] * len(rows), len(names))
    if not all(isinstance(one, Labels) and one.scores.keys() == {*names} for one in answers):
        raise RequestError(409, f"{quoted(info.name)} was replaced meanwhile; ask again.")
    return [one for one in answers if isinstance(one, Labels)]


def _row(info: AdapterInfo, given: Any) -> Row:
    """A row of a text, or of a pair."""
    texts = [given] if isinstance(given, str) else given
    if len(texts) not in (1, 2):
        raise RequestError(
            400,
            f"a row is a text or a pair; it got {len(texts)} texts. Several rows are a list of "
            "lists: [['one'], ['two']].",
            "inputs",
        )
    return texts[0] if len(texts) == 1 else {info.inputs[0]: texts[0], "text_pair": texts[1]}


def _predictions(answer: Answer) -> list[dict[str, Any]]:
    if isinstance(answer, Score):
        return [{"label": "score", "score": answer.score}]
    if not isinstance(answer, Labels):
        raise RequestError(409, "the adapter was replaced meanwhile; ask again.")
    return [{"label": label, "score": answer.scores[label]} for label in answer.labels]
