"""`/v1/embeddings` as OpenAI's clients ask it, and `/embed` as TEI's do."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from adaptkit.errors import quoted
from adaptkit.host.answers import Answer, Hidden, Vector
from adaptkit.host.describe import AdapterInfo
from adaptkit.serve.errors import RequestError
from adaptkit.serve.keys import Keys
from adaptkit.serve.responses import Json
from adaptkit.serve.routes.answer import usage
from adaptkit.serve.service import Service, makes_vectors
from adaptkit.serve.settings import MOST_ITEMS

Texts = str | Annotated[list[str], Field(min_length=1, max_length=MOST_ITEMS)]


class Nothing(BaseModel):
    """What some clients send as {}."""

    model_config = ConfigDict(extra="forbid")


class EmbeddingRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: str
    input: Texts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


class EmbedRequest(BaseModel):
    """model: which adapter; by default the only one that embeds."""

    model_config = ConfigDict(extra="forbid")
    inputs: Texts
    model: str | None = None
    normalize: Literal[True] = True
    truncate: Literal[True] = True
    truncation_direction: Literal["right", "Right"] = "right"
    prompt_name: None = None
    parameters: Nothing | None = None


def routes(service: Service, keys: Keys) -> APIRouter:
    router = APIRouter(tags=["embeddings"], dependencies=[Depends(keys.user)])

    @router.post("/v1/embeddings")
    async def embeddings(request: EmbeddingRequest) -> Json:
        """Vectors of length 1: of an adapter for embeddings, or the base's mean hidden states."""
        info = await service.find(request.model)
        vectors, tokens = await _vectors(service, info, request.input)
        if request.dimensions not in (None, vectors.shape[1]):
            raise RequestError(
                400, f"vectors here have {vectors.shape[1]} dimensions.", "dimensions"
            )
        data = [
            {"object": "embedding", "index": index, "embedding": _encoded(one, request)}
            for index, one in enumerate(vectors)
        ]
        found = {"object": "list", "data": data, "model": request.model, "usage": usage(tokens)}
        return Json(found)

    @router.post("/embed")
    async def embed(request: EmbedRequest) -> Json:
        """A list of vectors."""
        if request.model is None:
            info: AdapterInfo | None = await service.find_for(None, makes_vectors, "embed")
        else:
            info = await service.find(request.model)
        vectors, _ = await _vectors(service, info, request.inputs)
        return Json([one.tolist() for one in vectors])

    return router


def _encoded(vector: np.ndarray, request: EmbeddingRequest) -> Any:
    if request.encoding_format == "float":
        return vector.tolist()
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


async def _vectors(
    service: Service, info: AdapterInfo | None, texts: Texts
) -> tuple[np.ndarray, int]:
    """Vectors `(texts, width)` of length 1, and how many tokens were read."""
    if info is not None and info.task is not None and not makes_vectors(info):
        await service.find_for(info.name, makes_vectors, "embed")
    rows = [texts] if isinstance(texts, str) else texts
    name = info.name if info is not None else None
    if (info is None or info.task is None) and service.writes:
        raise RequestError(400, f"{quoted(name or service.base)} writes; it does not embed.")
    answers = await service.ask(rows, [name] * len(rows))
    vectors = np.array([_vector(one) for one in answers], dtype=np.float32)
    return vectors, sum(one.tokens for one in answers)


def _vector(answer: Answer) -> np.ndarray:
    if isinstance(answer, Vector):
        return np.asarray(answer.embedding)
    if not isinstance(answer, Hidden):  # a new version with another task has come meanwhile
        raise RequestError(409, "the adapter was replaced by one that does not embed.")
    mean = answer.states.float().mean(0).cpu().numpy()
    return mean / np.linalg.norm(mean)
