"""The service as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

import adaptkit
from adaptkit.monitoring.log import LogWriter
from adaptkit.serve.any_host import AnyHost
from adaptkit.serve.errors import add_error_handlers, document_errors
from adaptkit.serve.guard import Guard
from adaptkit.serve.keys import Keys
from adaptkit.serve.metrics import CountRequests
from adaptkit.serve.recorder import Recorder
from adaptkit.serve.requests import NameRequests
from adaptkit.serve.routes import (
    answer,
    chat,
    completions,
    decisions,
    embeddings,
    explain,
    feedback,
    health,
    labels,
    models,
    page,
    rerank,
)
from adaptkit.serve.service import Service
from adaptkit.serve.settings import ServeSettings

ROUTES = (
    health,
    models,
    answer,
    labels,
    explain,
    feedback,
    decisions,
    embeddings,
    rerank,
    chat,
    completions,
    page,
)


def make_app(
    host: AnyHost, settings: ServeSettings | None = None, log: LogWriter | None = None
) -> FastAPI:
    """A service over a host, for any ASGI server.

    Args:
        log: where answers and feedback are written. It is closed when the application ends, and so
            is the host.
    """
    settings = settings or ServeSettings()
    recorder = Recorder(host, log) if log is not None else None
    service, keys = Service(host, settings, recorder), Keys(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following = asyncio.ensure_future(service.follow_store())
        yield
        following.cancel()
        if recorder is not None:
            await service.in_thread(recorder.close)
        await service.in_thread(host.close)

    app = FastAPIOffline(
        title="adaptkit",
        version=adaptkit.__version__,
        description="Many adapters over one frozen base; `model` names the adapter.",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.service = service
    add_error_handlers(app)
    for module in ROUTES:
        app.include_router(module.routes(service, keys))
    document_errors(app)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(CountRequests, metrics=service.metrics)  # what the guard refuses, too
    app.add_middleware(NameRequests)
    return app
