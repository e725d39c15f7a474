"""The typed answers of a host: one small record per row, whose type depends on the task."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from adaptkit.tasks.base import Task


@dataclass(frozen=True)
class Record:
    """Base class of all answers.

    tokens, new_tokens: how many the base has read and written. id: of an answer of a service.
    weights: the SHA-256 of its adapter's weights, if known.
    """

    tokens: int = field(default=0, kw_only=True, repr=False, compare=False)
    new_tokens: int = field(default=0, kw_only=True, repr=False, compare=False)
    id: str | None = field(default=None, kw_only=True, repr=False, compare=False)
    weights: str | None = field(default=None, kw_only=True, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON values, with the keys that `adaptkit predict` prints."""
        found = dataclasses.asdict(self)
        del found["tokens"], found["new_tokens"], found["weights"]
        return {key: _plain(value) for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class TokenLogprob:
    """A token with its natural log-probability before temperature; `top`: the likeliest ones."""

    id: int
    token: str
    logprob: float
    top: list[TokenLogprob] = field(default_factory=list)


def _plain(value: Any) -> Any:
    return value.float().tolist() if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class Label(Record):
    """classify, relate: the label and its probability.

    likeliest: of an answer that is withheld, whose label is then "none of these".
    """

    label: str
    score: float
    likeliest: str | None = None


@dataclass(frozen=True)
class Labels(Record):
    """classify with several labels per row: the predicted ones, and the probability of each.

    With `top_k`, of any task with labels: the K likeliest ones.
    """

    labels: list[str]
    scores: dict[str, float]


@dataclass(frozen=True)
class Score(Record):
    """score: a number."""

    score: float


@dataclass(frozen=True)
class Entities(Record):
    """tag: entities as `{"label", "start", "end", "text"}`; `tags` if the row is given as words."""

    entities: list[dict[str, Any]]
    tags: list[str] | None = None


@dataclass(frozen=True)
class Span(Record):
    """answer: the part of the context that answers, or empty; `score`: sum of two logits."""

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Vector(Record):
    """embed: a vector of length 1, `(width,)`."""

    embedding: list[float] = field(repr=False)


@dataclass(frozen=True)
class Text(Record):
    """translate, summarize, chat, and the base of a decoder: the generated text."""

    text: str


@dataclass(frozen=True)
class Written(Record):
    """`generate` with `details`: what was written, and why it ends (`stop` or `length`).

    logprobs: of each token, if they were asked for.
    """

    text: str
    ids: list[int]
    finish_reason: str
    logprobs: list[TokenLogprob] | None = None


@dataclass(frozen=True)
class Piece(Record):
    """`stream`: what row `index` has got since its last piece.

    ids: new tokens; their text may follow later, with the rest of a character or of a stop text.
    finish_reason: in its last piece, `stop` or `length`.
    """

    index: int
    text: str
    ids: list[int]
    finish_reason: str | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)


@dataclass(frozen=True)
class Hidden(Record):
    """An encoder base, or an adapter without a task: the last hidden states, `(tokens, width)`."""

    states: Tensor = field(repr=False)


Answer = Label | Labels | Score | Entities | Span | Vector | Text | Hidden

_KINDS = {
    "score": Score,
    "tag": Entities,
    "answer": Span,
    "embed": Vector,
    "translate": Text,
    "summarize": Text,
    "chat": Text,
    "prefer": Text,
}


def typed(task: Task, answer: dict[str, Any], tokens: int) -> Answer:
    """A task's answer as a record, without what only scoring needs."""
    answer = task.hand_over(answer)
    kind: Any = _KINDS.get(task.name) or (Label if "label" in answer else Labels)
    known = {item.name for item in dataclasses.fields(kind)}
    return kind(**{name: answer[name] for name in answer if name in known}, tokens=tokens)
