"""Run the service with uvicorn until a signal ends it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from adaptkit.host.api import Host
from adaptkit.monitoring.log import LogWriter
from adaptkit.serve.app import make_app
from adaptkit.serve.protocol import HEADERS, PatientProtocol
from adaptkit.serve.settings import ServeSettings

# Seconds that a thread keeps the interpreter while another waits for it. The network is run in
# hundreds of short steps; at Python's 0.005 each may wait that long for the thread that reads HTTP.
SWITCH = 0.0002
CONNECTIONS = 2048  # at once; further ones are told to come again


def make_server(app: FastAPI, settings: ServeSettings, ready: Callable[[], None]) -> uvicorn.Server:
    """A server for the service. ready: called once requests are answered."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=PatientProtocol,
        h11_max_incomplete_event_size=HEADERS,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(settings.body_timeout + settings.deadline) + 5,
    )
    return _Server(config, ready)


def run_server(
    host: Host,
    settings: ServeSettings,
    at: socket.socket,
    ready: Callable[[str], None],
    log: LogWriter | None = None,
) -> None:
    """Answer requests until SIGTERM or SIGINT; those that were accepted get their answers first.

    Args:
        at: a socket that is bound. ready: gets the address once requests are answered.
        log: where answers and feedback are written.
    """
    sys.setswitchinterval(SWITCH)
    address, port = at.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    server = make_server(
        make_app(host, settings, log), settings, lambda: ready(f"http://{shown}:{port}")
    )
    server.run([at])


class _Server(uvicorn.Server):
    """Says when it has started."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()
