"""`/v1/decisions`: typed questions about one input, answered with probabilities.

The form is OpenAI's. There, a model reads the instructions of each question; here, an adapter has
learned its question already, and instructions are not read: names and values of questions are
compared with the labels of the adapter, and what it has not learned is refused.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from adaptkit.errors import quoted, unknown
from adaptkit.host.answers import Labels, Score
from adaptkit.host.describe import AdapterInfo
from adaptkit.serve.errors import RequestError
from adaptkit.serve.keys import Keys
from adaptkit.serve.responses import Json
from adaptkit.serve.routes.labels import all_labels
from adaptkit.serve.service import Service, gives_labels, gives_scores

PAIRS = ({"true": True, "false": False}, {"yes": True, "no": False}, {"1": True, "0": False})


class Part(BaseModel):
    type: Literal["input_text", "text"]
    text: str


class Message(BaseModel):
    role: Literal["user"]
    content: str | list[Part]
    type: Literal["message"] = "message"


class Choice(BaseModel):
    value: StrictBool | str
    description: str | None = None


class Level(BaseModel):
    label: str
    description: str | None = None


class PredicateQuestion(BaseModel):
    """Is it so? name: the label that is asked for; of an adapter for yes and no, any name."""

    type: Literal["predicate"]
    instructions: Any = None
    name: str | None = None


class ChoiceQuestion(BaseModel):
    """Which one? choices: labels of the adapter, all or some of them."""

    type: Literal["choice"]
    instructions: Any = None
    name: str | None = None
    choices: Annotated[list[Choice], Field(min_length=2, max_length=255)]


class ScoreQuestion(BaseModel):
    """How much? levels, from low to high: labels of the adapter, or steps of an adapter's score."""

    type: Literal["score"]
    instructions: Any = None
    name: str | None = None
    levels: Annotated[list[Level], Field(min_length=2, max_length=10)]


Question = Annotated[
    PredicateQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")
]


class DecisionRequest(BaseModel):
    model_config = ConfigDict(extra="ignore")  # settings of caches, and marks of users
    model: str
    input: str | list[Message]
    questions: Annotated[list[Question], Field(min_length=1, max_length=400)]


def routes(service: Service, keys: Keys) -> APIRouter:
    router = APIRouter(tags=["labels"], dependencies=[Depends(keys.user)])

    @router.post("/v1/decisions")
    async def decisions(request: DecisionRequest) -> Json:
        """An answer to each question, in their order."""
        info = await service.find_for(
            request.model, lambda one: gives_labels(one) or gives_scores(one), "decide"
        )
        text = _text(request.input)
        if gives_scores(info):
            [answer] = await service.ask([text], [info.name])
            if not isinstance(answer, Score):
                raise RequestError(409, f"{quoted(info.name)} was replaced meanwhile; ask again.")
            answers = [_by_score(info, one, answer.score) for one in request.questions]
            tokens = answer.tokens
        else:
            [found] = await all_labels(service, info, [text])
            answers = [_by_labels(one, found) for one in request.questions]
            tokens = found.tokens
        used = {
            "input_tokens": tokens,
            "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens,
        }
        return Json({"answers": answers, "model": request.model, "usage": used})

    return router


def _text(given: str | list[Message]) -> str:
    """The text of an input: one, or that of one message."""
    if isinstance(given, str):
        return given
    if len(given) != 1:
        raise RequestError(
            400, f"an adapter reads one text; it got {len(given)} messages.", "input"
        )
    content = given[0].content
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


def _by_labels(question: Question, found: Labels) -> dict[str, Any]:
    """A question to an adapter with labels."""
    shares = found.scores
    if isinstance(question, PredicateQuestion):
        share = shares[_predicate(question, list(shares))]
        return {"type": "predicate", "name": question.name, "probability": share}
    if isinstance(question, ChoiceQuestion):
        values = [one.value for one in question.choices]
        chosen = _among(shares, [_label(value, list(shares)) for value in values])
        if chosen is None:
            return {"type": "refusal", "name": question.name}
        best = int(np.argmax(chosen))
        return {
            "type": "choice",
            "name": question.name,
            "choice": values[best],
            "confidence": chosen[best],
            "probabilities": [
                {"value": value, "probability": share}
                for value, share in zip(values, chosen, strict=True)
            ],
        }
    levels = [_label(level.label, list(shares)) for level in question.levels]
    known = _among(shares, levels)
    return {"type": "refusal", "name": question.name} if known is None else _levels(question, known)


def _by_score(info: AdapterInfo, question: Question, score: float) -> dict[str, Any]:
    """A question to an adapter that gives a number.

    Its levels stand where their labels say, if these are numbers, else evenly from the lowest to
    the highest score of training. The two levels around the score share the probability so that
    their mean is the score; one beyond all levels is that of the last one.
    """
    if not isinstance(question, ScoreQuestion):
        raise RequestError(
            400, f"{quoted(info.name)} gives scores: ask it questions of type score.", "questions"
        )
    labels = [level.label for level in question.levels]
    try:
        places = [float(label) for label in labels]
    except ValueError:
        low, high = getattr(info.task, "low", 0.0), getattr(info.task, "high", 1.0)
        places = np.linspace(low, high, len(labels)).tolist()
    if not np.isfinite(places).all() or not all(
        one < two for one, two in itertools.pairwise(places)
    ):
        raise RequestError(400, f"levels go from low to high; they are {labels}.", "questions")
    at = float(np.interp(score, places, range(len(places))))
    shares = [max(0.0, 1 - abs(at - index)) for index in range(len(places))]
    return _levels(question, shares)


def _levels(question: ScoreQuestion, shares: list[float]) -> dict[str, Any]:
    return {
        "type": "score",
        "name": question.name,
        "score": sum(index * share for index, share in enumerate(shares)),
        "confidence": max(shares),
        "probabilities": [
            {"label": level.label, "value": index, "probability": share}
            for index, (level, share) in enumerate(zip(question.levels, shares, strict=True))
        ],
    }


def _predicate(question: PredicateQuestion, labels: list[str]) -> str:
    """The label that a predicate asks for."""
    if question.name in labels:
        return question.name
    for pair in PAIRS:
        if sorted(label.lower() for label in labels) == sorted(pair):
            return next(label for label in labels if pair[label.lower()])
    if question.name is None:
        raise RequestError(400, "the name of a predicate is the label it asks for.", "questions")
    problem = unknown("label", question.name, labels, "The name of a predicate is a label.")
    raise RequestError(400, str(problem), "questions")


def _label(value: str | bool, labels: list[str]) -> str:
    """The label that a choice names; true and false stand for labels that are spelled so."""
    spelled = [label for label in labels if label.lower() == str(value).lower()]
    if value in labels:
        return str(value)
    if isinstance(value, bool) and len(spelled) == 1:
        return spelled[0]
    raise RequestError(400, str(unknown("label", str(value), labels)), "questions")


def _among(shares: dict[str, float], labels: list[str]) -> list[float] | None:
    """The probabilities of some labels, if it is one of them; None if it is none of them."""
    if len(set(labels)) < len(labels):
        raise RequestError(400, "a label is there twice.", "questions")
    total = sum(shares[label] for label in labels)
    return [shares[label] / total for label in labels] if total else None
