"""Is the service there, what is it, what has it done?"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Response

import adaptkit
from adaptkit.serve.keys import Keys
from adaptkit.serve.service import Service


def routes(service: Service, keys: Keys) -> APIRouter:
    """`/health`, `/ready`, `/info`, `/metrics`."""
    router = APIRouter(tags=["service"])

    @router.get("/health")
    async def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @router.get("/ready")
    async def ready() -> dict[str, Any]:
        """The base is loaded and answers. How many rows wait is said, too."""
        return {"status": "ready", "waiting": service.host.stats()["waiting"]}

    @router.get("/info", dependencies=[Depends(keys.user)])
    async def info() -> dict[str, Any]:
        """The base, the limits of a request, and the slots."""
        stats, settings = service.host.stats(), service.settings
        return {
            "version": adaptkit.__version__,
            "base": service.base,
            "writes": service.writes,
            "slots": {"count": stats["slots"], "used": stats["used"]},
            "limits": {
                name: getattr(settings, name)
                for name in (
                    "max_client_batch_size",
                    "max_body",
                    "max_text",
                    "max_new_tokens",
                    "deadline",
                )
            },
        }

    @router.get("/metrics", dependencies=[Depends(keys.user)])
    async def metrics() -> Response:
        """Counters in Prometheus' text format."""
        text = await service.in_thread(service.metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return router
