"""The request that is being answered: its id, which names its answers."""

from __future__ import annotations

import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

HEADER = b"x-request-id"


@dataclass
class CurrentRequest:
    """A request. answers: so far. logged: its answers go to the log."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    answers: int = 0
    logged: bool = True

    def next_id(self) -> str:
        """The id of the next answer: `ID-0`, `ID-1`, ..."""
        self.answers += 1
        return f"{self.id}-{self.answers - 1}"


_CURRENT: ContextVar[CurrentRequest | None] = ContextVar("request", default=None)


def current() -> CurrentRequest:
    """The request of this task; a new one outside of a service."""
    found = _CURRENT.get()
    if found is None:
        _CURRENT.set(found := CurrentRequest())
    return found


class NameRequests:
    """ASGI middleware: gives each request an id, which is a header of its response."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = CurrentRequest()
        _CURRENT.set(request)

        async def named(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (HEADER, request.id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, named)
