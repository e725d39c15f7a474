"""`/rerank`: texts by how well they fit a query, as clients of TEI, vLLM, Jina and Cohere ask."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from adaptkit.host.answers import Score, Vector
from adaptkit.host.describe import AdapterInfo
from adaptkit.serve.errors import RequestError
from adaptkit.serve.keys import Keys
from adaptkit.serve.requests import current
from adaptkit.serve.responses import Json
from adaptkit.serve.routes.answer import usage
from adaptkit.serve.service import Service, gives_scores, makes_vectors
from adaptkit.serve.settings import MOST_ITEMS


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str


class RerankRequest(BaseModel):
    """texts: as in TEI's requests, answered in its form; documents: as in the others'.

    model: an adapter for embeddings (cosines), or for scores of pairs; by default the only one.
    """

    model_config = ConfigDict(extra="forbid")
    query: str
    texts: Annotated[list[str], Field(min_length=1, max_length=MOST_ITEMS)] | None = None
    documents: (
        Annotated[list[str | Document], Field(min_length=1, max_length=MOST_ITEMS)] | None
    ) = None
    model: str | None = None
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = True
    return_text: bool = False
    raw_scores: Literal[False] = False
    truncate: Literal[True] = True
    truncation_direction: Literal["right", "Right"] = "right"


def routes(service: Service, keys: Keys) -> APIRouter:
    router = APIRouter(tags=["rerank"], dependencies=[Depends(keys.user)])

    @router.post("/rerank")
    @router.post("/v1/rerank")
    async def rerank(request: RerankRequest) -> Json:
        """The texts with their scores, the best first."""
        if (request.texts is None) == (request.documents is None):
            raise RequestError(400, "give texts or documents, one of them.", "texts")
        info = await service.find_for(request.model, compares, "compare texts")
        texts = request.texts or [
            one if isinstance(one, str) else one.text for one in request.documents or []
        ]
        found, tokens = await _scores(service, info, request.query, texts)
        order = sorted(range(len(texts)), key=lambda i: -found[i])[: request.top_n]
        if request.texts is not None:
            return Json([_ranked(request, texts, found, i) for i in order])
        shown: dict[str, Any] = {
            "id": f"rerank-{current().id}",
            "model": info.name,
            "usage": usage(tokens),
            "results": [
                {"index": i, "relevance_score": found[i]}
                | ({"document": {"text": texts[i]}} if request.return_documents else {})
                for i in order
            ],
        }
        return Json(shown)

    return router


def _ranked(
    request: RerankRequest, texts: list[str], scores: list[float], index: int
) -> dict[str, Any]:
    found = {"index": index, "score": scores[index]}
    return found | ({"text": texts[index]} if request.return_text else {})


def compares(info: AdapterInfo) -> bool:
    """The adapter makes vectors, or scores pairs."""
    return makes_vectors(info) or (gives_scores(info) and "text_pair" in info.inputs)


async def _scores(
    service: Service, info: AdapterInfo, query: str, texts: list[str]
) -> tuple[list[float], int]:
    """A score of each text, and how many tokens were read."""
    if makes_vectors(info):
        answers = await service.ask([query, *texts], [info.name] * (len(texts) + 1))
        vectors = [one.embedding for one in answers if isinstance(one, Vector)]
        if len(vectors) == len(answers):
            first, *others = vectors
            found = [sum(a * b for a, b in zip(first, one, strict=True)) for one in others]
            return found, sum(one.tokens for one in answers)
    else:
        rows: list[Any] = [{info.inputs[0]: query, "text_pair": text} for text in texts]
        answers = await service.ask(rows, [info.name] * len(rows))
        found = [one.score for one in answers if isinstance(one, Score)]
        if len(found) == len(answers):
            return found, sum(one.tokens for one in answers)
    raise RequestError(409, "the adapter was replaced meanwhile; ask again.")
