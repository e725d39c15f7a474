"""`/v1/feedback`: what an answer should have been."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from adaptkit.errors import AdaptkitError
from adaptkit.monitoring.feedback import check_correct, parts_of, training_row
from adaptkit.monitoring.log import version_of
from adaptkit.serve.errors import RequestError
from adaptkit.serve.keys import Keys
from adaptkit.serve.recorder import Answered
from adaptkit.serve.service import Row, Service
from adaptkit.tasks.base import Task
from adaptkit.tasks.classify import Classify

ID = re.compile(r"(?:chatcmpl-|cmpl-|classify-)?([0-9a-f]{32})(-[0-9]{1,4})?")

UNKNOWN = "this answer is not among the last ones: the log has to have it to be learned from"


class FeedbackRequest(BaseModel):
    """What was right. Either the id of an answer, or a model and an input.

    id: of an answer of `/v1/answer`; of other routes the response's header `x-request-id`, with
        `-1` for the answer to the second input, and so on.
    model: needed if the answer is old, or was given before the service started.
    input: as it was asked. Only a log of plain texts keeps it, and can be learned from.
    correct: the label, the list of labels, the number or the text that was right; `true`: the
        answer itself was.
    """

    model_config = ConfigDict(extra="forbid")
    id: str | None = Field(None, min_length=1, max_length=100)
    model: str | None = None
    input: Row | None = None
    correct: bool | str | float | list[str]


def routes(service: Service, keys: Keys) -> APIRouter:
    router = APIRouter(tags=["feedback"], dependencies=[Depends(keys.user)])

    @router.post("/v1/feedback")
    async def feedback(request: FeedbackRequest) -> dict[str, Any]:
        """Write it to the log, from which `adaptkit refresh` learns."""
        recorder = service.recorder
        if recorder is None:
            raise RequestError(
                409, "this service keeps no log; adaptkit serve --log FOLDER starts one with it."
            )
        asked = _whole_id(request.id)
        known = recorder.remembered(asked) if asked is not None else None
        name = _adapter(request, known)
        info = await service.find(name) if name is not None else None
        if info is None or info.task is None:
            raise RequestError(400, "the base itself learns nothing from feedback.", "model")
        if request.input is not None:
            service.check_length(request.input, "the input")
            _check_input(info.task, request.input, known)
        value = _correct(request, info.task, known)
        row = {
            "id": asked,
            "adapter": info.name,
            "version": version_of(info.weights),
            "task": info.task_name,
            "input": request.input,
            "correct": value if info.task.labels or recorder.log.plain else {"text": value},
        }
        try:
            await service.in_thread(recorder.feedback, row)
        except AdaptkitError:
            raise RequestError(503, "the log cannot be written now.") from None
        found = {"id": asked, "model": info.name, "correct": value}
        return found if known or request.input is not None else found | {"note": UNKNOWN}

    return router


def _whole_id(given: str | None) -> str | None:
    """An answer's id, from what names it: `chatcmpl-ID`, `ID` or `ID-1`."""
    if given is None:
        return None
    match = ID.fullmatch(given)
    if match is None:
        raise RequestError(400, "that is no id of an answer; x-request-id of a response is.", "id")
    return f"{match[1]}{match[2] or '-0'}"


def _adapter(request: FeedbackRequest, known: Answered | None) -> str | None:
    """Whose answer it was."""
    if request.id is None and (request.model is None or request.input is None):
        raise RequestError(400, "feedback names an answer by its id, or a model and an input.")
    if known is None and request.model is None:
        raise RequestError(
            404,
            "this answer is not among the last ones of this service: give its model, too.",
            "id",
        )
    if known is not None and request.model not in (None, known.name):
        raise RequestError(400, f"that answer was given by {known.name}.", "model")
    return known.name if known is not None else request.model


def _check_input(task: Task, given: Row, known: Answered | None) -> None:
    """Refuse an input that the task does not read, or that is not the answer's."""
    try:
        parts = parts_of(task, given)
        same = known is None or parts == parts_of(task, known.given)
    except AdaptkitError as problem:
        raise RequestError(400, str(problem), "input") from None
    if not same:
        raise RequestError(400, "that answer was about another input: leave input away.", "input")


def _correct(request: FeedbackRequest, task: Task, known: Answered | None) -> Any:
    """What was right, if the task can learn it about this input."""
    value: Any = request.correct
    if value is False:
        raise RequestError(400, "say what would have been right instead of false.", "correct")
    if value is True:
        value = _said(task, known)
    given = request.input if request.input is not None else known.given if known else None
    try:
        value = check_correct(task, value)
        if given is not None:
            training_row(task, given, value)
    except AdaptkitError as problem:
        raise RequestError(400, str(problem), "correct") from None
    return value


def _said(task: Task, known: Answered | None) -> Any:
    """What an answer said, as feedback would."""
    if known is None:
        raise RequestError(
            400, "true says that an answer was right, which is not among the last ones.", "correct"
        )
    said = known.said
    if isinstance(task, Classify) and task.multi_label:
        if len(said["scores"]) < len(task.labels):
            raise RequestError(
                400,
                "with top_k the answer was some likely labels: name those that are right.",
                "correct",
            )
        return task.chosen([said["scores"][label] for label in task.labels])
    for name in ("score",) if task.name == "score" else ("likeliest", "label", "labels", "text"):
        if name in said:
            return said[name][0] if name == "labels" else said[name]  # the likeliest, with top_k
    raise RequestError(400, "answers of this kind are not learned from.", "correct")
