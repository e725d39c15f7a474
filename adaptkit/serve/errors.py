"""Errors as HTTP answers, in the form that OpenAI's clients read."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from adaptkit.errors import AdaptkitError, listed, quoted
from adaptkit.host.batcher import HostBusyError
from adaptkit.host.manager import UnknownAdapterError

RETRY_AFTER = "1"  # seconds
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


def error_response(status: int, message: str, field: str | None = None) -> JSONResponse:
    headers = {"Retry-After": RETRY_AFTER} if status in (429, 503) else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_body(status, message, field), status, headers)


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


def response_of(problem: Exception) -> JSONResponse:
    """The answer to a request that has failed."""
    status = status_of(problem)
    if status == 500:
        logging.getLogger("adaptkit.serve").error("a request failed", exc_info=problem)
        return error_response(500, "the service has made a mistake; its log says which.")
    message = str(problem) if status != 504 else "the request took longer than the deadline."
    return error_response(status, message, getattr(problem, "field", None))


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error in one form."""

    async def ours(_: Request, problem: Exception) -> JSONResponse:
        return response_of(problem)

    async def http(_: Request, problem: Exception) -> JSONResponse:
        assert isinstance(problem, HTTPException)
        response = error_response(problem.status_code, str(problem.detail))
        response.headers.update(problem.headers or {})
        return response

    async def invalid(_: Request, problem: Exception) -> JSONResponse:
        assert isinstance(problem, RequestValidationError)
        message, field = _first(problem)
        return error_response(400, message, field)

    for kind in (AdaptkitError, TimeoutError, Exception):
        app.add_exception_handler(kind, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)


def _first(problem: RequestValidationError) -> tuple[str, str | None]:
    """What is wrong with a body, and in which field."""
    found = problem.errors()
    fields = [
        ".".join(str(part) for part in error["loc"] if part != "body") or None for error in found
    ]
    said = listed(
        dict.fromkeys(
            f"{field}: {error['msg']} (it got {quoted(error.get('input'))})"
            if field
            else error["msg"]
            for field, error in zip(fields, found, strict=True)
        ),
        4,
    )
    return said, fields[0]
