"""`/`: a page to try the adapters. It is static, and needs no other machine."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from adaptkit.serve.errors import RequestError
from adaptkit.serve.keys import Keys
from adaptkit.serve.service import Service

FOLDER = Path(__file__).parent.parent / "page"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# Nothing is loaded from elsewhere, and no script stands in the page itself.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def routes(service: Service, keys: Keys) -> APIRouter:
    """The page is open; it asks for a key where one is needed."""
    router = APIRouter(include_in_schema=False)
    files = {path.name: path for path in FOLDER.iterdir() if path.suffix in KINDS}

    @router.get("/")
    async def page() -> FileResponse:
        return _file(files["index.html"])

    @router.get("/page/{name}")
    async def part(name: str) -> FileResponse:
        if name not in files:
            raise RequestError(404, "the page has no such part.")
        return _file(files[name])

    return router


def _file(path: Path) -> FileResponse:
    return FileResponse(path, media_type=KINDS[path.suffix], headers=HEADERS)
