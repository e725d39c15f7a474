"""HTTP/1.1 for clients that are slow or never stop."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 10.0  # until the headers of a request are there
HEADERS = 65_536  # bytes


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, which hangs up where no whole request comes.

    h11 bounds the size of headers (`h11_max_incomplete_event_size`); this bounds their time, from
    the connection or from the first bytes behind the last answer.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        """Start the timer if a request is still to come, else stop it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._late is None:
            self._late = self.loop.call_later(SECONDS, self._hang_up)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _hang_up(self) -> None:
        self._late = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
