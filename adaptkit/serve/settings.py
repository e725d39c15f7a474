"""Settings of a service: what one request may ask, and who may ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from adaptkit.errors import AdaptkitError

MOST_ITEMS = 4096  # of any list in a request


@dataclass(frozen=True)
class ServeSettings:
    """Limits and keys of a service.

    Args:
        api_keys: one of them must be given with each request, as `Authorization: Bearer KEY`;
            none: anybody may ask.
        admin_key: allows to load and unload adapters; None: nobody may.
        adapter_folders: what an administrator may load lies below one of these.
        max_client_batch_size: rows of a request.
        max_body: bytes of a request. max_text: characters of all texts of a row.
        max_new_tokens: tokens that a row may ask for.
        deadline: seconds until a request is answered, or given up.
        body_timeout: seconds in which a request has to arrive. send_timeout: seconds in which a
            client has to take a part of its answer.
        reload_every: seconds after which new versions of adapters are looked for.
        allowed_hosts: names by which the service may be asked; none: any. A page of another site
            that makes its own name point here is refused by them.
    """

    api_keys: tuple[str, ...] = field(default=(), repr=False)
    admin_key: str | None = field(default=None, repr=False)
    adapter_folders: tuple[Path, ...] = ()
    max_client_batch_size: int = 256
    max_body: int = 4_000_000
    max_text: int = 50_000
    max_new_tokens: int = 1024
    deadline: float = 60.0
    body_timeout: float = 10.0
    send_timeout: float = 30.0
    allowed_hosts: tuple[str, ...] = ()
    reload_every: float = 2.0

    def __post_init__(self) -> None:
        counts = ("max_client_batch_size", "max_body", "max_text", "max_new_tokens")
        for name in counts:
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise AdaptkitError(
                    f"{name} is a whole number, 1 or more; it got {getattr(self, name)!r}."
                )
        if self.max_client_batch_size > MOST_ITEMS:
            raise AdaptkitError(f"max_client_batch_size is at most {MOST_ITEMS}.")
        for name in ("deadline", "body_timeout", "send_timeout", "reload_every"):
            if not 0 < getattr(self, name) <= 86_400:
                raise AdaptkitError(
                    f"{name} is in seconds, above 0 and at most a day; it got "
                    f"{getattr(self, name)}."
                )
        for key in (*self.api_keys, *([self.admin_key] if self.admin_key is not None else [])):
            if not (key.isascii() and key.isprintable() and key.strip() == key and len(key) >= 8):
                raise AdaptkitError(
                    "a key of --api_keys_file, --admin_key_file, ADAPTKIT_API_KEYS or "
                    "ADAPTKIT_ADMIN_KEY has 8 printable ASCII characters or more, and no blanks "
                    f"around it; one of {len(key)} characters has not."
                )
