"""API keys, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac

from fastapi import Request

from adaptkit.serve.errors import RequestError
from adaptkit.serve.settings import ServeSettings


class Keys:
    """Who may ask, and who may administer. An administrator's key opens all."""

    def __init__(self, settings: ServeSettings):
        self._admin = [_digest(settings.admin_key)] if settings.admin_key is not None else []
        self._users = [_digest(key) for key in settings.api_keys] + self._admin
        self._open = not settings.api_keys

    async def user(self, request: Request) -> None:
        """Refuse a request without a key, where keys are asked for."""
        if not self._open:
            _check(request, self._users)

    async def admin(self, request: Request) -> None:
        """Refuse a request that is not the administrator's."""
        if not self._admin:
            raise RequestError(
                403, "this service has no admin key, so nobody loads or unloads adapters here."
            )
        _check(request, self._admin)


def _check(request: Request, known: list[bytes]) -> None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise RequestError(401, "a key is asked for, as in Authorization: Bearer KEY.")
    own = _digest(key.strip())
    matches = [hmac.compare_digest(own, one) for one in known]  # all of them: no early end
    if True not in matches:
        raise RequestError(401, "the key is wrong.")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
