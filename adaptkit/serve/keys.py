"""API keys, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from adaptkit.serve.errors import RequestError
from adaptkit.serve.settings import ServeSettings

Given = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


class Keys:
    """Who may ask, and who may administer. An administrator's key opens all."""

    def __init__(self, settings: ServeSettings):
        self._admin = [_digest(settings.admin_key)] if settings.admin_key is not None else []
        self._users = [_digest(key) for key in settings.api_keys] + self._admin
        self._open = not settings.api_keys

    async def user(self, given: Given) -> None:
        """Refuse a request without a key, where keys are asked for."""
        if not self._open and not _known(given, self._users):
            raise RequestError(401, "the key is wrong.")

    async def admin(self, given: Given) -> None:
        """Refuse a request that is not the administrator's."""
        if not self._admin:
            raise RequestError(
                403, "this service has no admin key, so nobody loads or unloads adapters here."
            )
        if not _known(given, self._admin):
            if _known(given, self._users):
                raise RequestError(403, "this is a user's key; the admin key is asked for.")
            raise RequestError(401, "the key is wrong.")


def _known(given: HTTPAuthorizationCredentials | None, keys: list[bytes]) -> bool:
    """A key is one of those; all of them are compared, so that time tells nothing."""
    if given is None:
        raise RequestError(401, "a key is asked for, as in Authorization: Bearer KEY.")
    own = _digest(given.credentials.strip())
    return True in [hmac.compare_digest(own, one) for one in keys]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
