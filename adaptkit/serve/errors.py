"""Errors as HTTP answers, in the form that OpenAI's clients read."""

from __future__ import annotations

import logging
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from adaptkit.errors import AdaptkitError, listed, quoted
from adaptkit.host.batcher import HostBusyError
from adaptkit.host.manager import UnknownAdapterError
from adaptkit.serve.responses import Json

RETRY_AFTER = "1"  # seconds
MOST_TOLD = 20  # mistakes in a body
BRANCH = re.compile(r"\W|^(str|int|bool|float|[A-Z]\w+)$")  # what pydantic names a kind of value by
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class RequestError(AdaptkitError):
    """A request that is refused: with a status, and the field that is to blame."""

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.field = status, field


def error_body(status: int, message: str, field: str | None = None) -> dict[str, Any]:
    """`{"error": {"message", "type", "param", "code"}}`."""
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": field, "code": status}}


def error_response(status: int, message: str, field: str | None = None) -> Json:
    headers = {"Retry-After": RETRY_AFTER} if status in (429, 503) else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Json(error_body(status, message, field), status, headers)


def status_of(problem: Exception) -> int:
    """The status of an error that a host raises."""
    if isinstance(problem, RequestError):
        return problem.status
    if isinstance(problem, UnknownAdapterError):
        return 404
    if isinstance(problem, HostBusyError):
        return 429
    if isinstance(problem, TimeoutError):
        return 504
    return 400 if isinstance(problem, AdaptkitError) else 500


def response_of(problem: Exception) -> Json:
    """The answer to a request that has failed."""
    status = status_of(problem)
    if status == 500:
        logging.getLogger("adaptkit.serve").error("a request failed", exc_info=problem)
        return error_response(500, "the service has made a mistake; its log says which.")
    message = str(problem) if status != 504 else "the request took longer than the deadline."
    return error_response(status, message, getattr(problem, "field", None))


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error in one form."""

    async def ours(_: Request, problem: Exception) -> Json:
        return response_of(problem)

    async def http(_: Request, problem: Exception) -> Json:
        assert isinstance(problem, HTTPException)
        response = error_response(problem.status_code, str(problem.detail))
        response.headers.update(problem.headers or {})
        return response

    async def invalid(_: Request, problem: Exception) -> Json:
        assert isinstance(problem, RequestValidationError)
        message, field = _first(problem)
        return error_response(400, message, field)

    for kind in (AdaptkitError, TimeoutError, Exception):
        app.add_exception_handler(kind, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)


def _first(problem: RequestValidationError) -> tuple[str, str | None]:
    """What is wrong with a body, field by field, and the first such field."""
    said: dict[str, str] = {}
    for error in problem.errors()[:MOST_TOLD]:
        fields = [str(part) for part in error["loc"] if part not in ("body", "query", "path")]
        if error["type"] == "json_invalid":
            return f"the body is no JSON: {error['ctx']['error']} at character {fields[0]}.", None
        if not fields and isinstance(error.get("input"), (str, bytes)):
            return "the body is read as JSON with the header Content-Type: application/json.", None
        field = fields[0] if fields else "the body"
        place = ".".join(part for part in fields if not BRANCH.search(part)) or field
        got = "" if error["type"] == "missing" else f" (it got {quoted(error.get('input'))})"
        said.setdefault(field, f"{place}: {error['msg']}{got}")
    return listed(said.values(), 4), next(iter(said))


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: int


class ErrorBody(BaseModel):
    """What every error looks like."""

    error: ErrorDetail


def document_errors(app: FastAPI) -> None:
    """Name the form of errors in the schema, instead of FastAPI's own."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            parts = schema.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                parts.pop(name, None)
            where = "#/components/schemas/{model}"
            body = ErrorBody.model_json_schema(ref_template=where)
            parts |= {"ErrorDetail": body.pop("$defs")["ErrorDetail"], "ErrorBody": body}
            content = {"application/json": {"schema": {"$ref": where.format(model="ErrorBody")}}}
            for path in schema["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
                    operation["responses"]["4XX"] = {"description": "Refused", "content": content}
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
