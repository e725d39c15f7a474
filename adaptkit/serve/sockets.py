"""Where the service listens."""

from __future__ import annotations

import socket

from adaptkit.errors import AdaptkitError


def listen(address: str, port: int) -> socket.socket:
    """A socket at an address; port 0 is any free one. Taken before the base is loaded.

    Raises:
        AdaptkitError: the address is taken, or is none of this machine.
    """
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((address, port))
    except (OSError, OverflowError) as problem:
        raise AdaptkitError(f"nothing can listen at {address}:{port}: {problem}") from None
    return found
