"""What stands before every request: who it is for, limits on its body, an eye on its client."""

from __future__ import annotations

import asyncio
from typing import Any

from adaptkit.serve.errors import error_response, response_of
from adaptkit.serve.responses import Json
from adaptkit.serve.settings import ServeSettings


class Guard:
    """ASGI middleware: reads the body of a request within its limits, and cancels the request when
    its client goes away.
    """

    def __init__(self, app: Any, settings: ServeSettings):
        self.app, self.settings = app, settings

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._is_meant(scope):
            found = await self._read(receive)
        else:
            found = error_response(421, "this service is not asked by such a name.")
        if isinstance(found, bytes):
            await self._answer(scope, receive, send, found)
        elif found is not None:
            await found(scope, receive, send)

    async def _read(self, receive: Any) -> bytes | Json | None:
        """The body, or what is answered instead; None if the client has gone."""
        try:
            async with asyncio.timeout(self.settings.body_timeout):
                return await self._body(receive)
        except TimeoutError:
            seconds = self.settings.body_timeout
            refused = error_response(408, f"the request did not arrive within {seconds:g} s.")
        except _TooLargeError:
            most = self.settings.max_body
            refused = error_response(413, f"a request has at most {most:,} bytes.")
        refused.headers["Connection"] = "close"
        return refused

    def _is_meant(self, scope: Any) -> bool:
        """The request names this service, if it has names."""
        if not self.settings.allowed_hosts:
            return True
        given = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
        name = given if given.endswith("]") else given.rpartition(":")[0] or given
        return name in self.settings.allowed_hosts

    async def _body(self, receive: Any) -> bytes | None:
        """The whole body; None if the client has gone."""
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.settings.max_body:
                raise _TooLargeError
            if not message.get("more_body"):
                return b"".join(parts)

    async def _answer(self, scope: Any, receive: Any, send: Any, body: bytes) -> None:
        given, begun, gone = False, False, asyncio.Event()

        async def replay() -> dict[str, Any]:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def sent(message: Any) -> None:
            nonlocal begun
            begun = True
            async with asyncio.timeout(self.settings.send_timeout):  # a client that does not read
                await send(message)

        answering = asyncio.ensure_future(self.app(scope, replay, sent))
        watching = asyncio.ensure_future(receive())  # there is nothing to come but the end
        try:
            await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                gone.set()
                answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            if not answering.cancelled() and (problem := answering.exception()):
                if begun or not isinstance(problem, Exception):
                    raise problem
                await response_of(problem)(scope, receive, send)
        finally:
            watching.cancel()
            answering.cancel()


class _TooLargeError(Exception):
    """The body has more bytes than are allowed."""
