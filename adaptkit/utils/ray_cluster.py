"""One way into a Ray cluster, for whatever spreads work over machines."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from pathlib import Path

from adaptkit.errors import AdaptkitError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
LOCAL = "local"  # how Ray calls a cluster of its own
PATIENCE = 5.0  # seconds for an address to be reached; Ray itself tries for minutes


def join_cluster() -> bool:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine; whether this joined.

    By itself Ray would join whatever cluster was started last on this machine, also a dead one.

    Raises:
        AdaptkitError: no cluster can be reached at the address.
    """
    import ray

    if ray.is_initialized():
        return False
    named = os.environ.get("RAY_ADDRESS") or LOCAL
    if named != LOCAL:
        _check_reached(named)
    ray.init(
        address=named,
        log_to_driver=False,
        logging_level=logging.WARNING,
        include_dashboard=False if named == LOCAL else None,
    )
    return True


def _check_reached(named: str) -> None:
    """Raises AdaptkitError: nobody listens where the cluster should be."""
    address = _address(named)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, ValueError):
        raise AdaptkitError(
            f"RAY_ADDRESS={named}: no cluster can be reached at {address} (host:port, or auto). "
            "Unset it, and one is started on this machine."
        ) from None


def _address(named: str) -> str:
    """`host:port`; of the cluster that `ray start` started last on this machine for `auto`."""
    if named != "auto":
        return named
    folder = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray"
    try:
        return (folder / "ray_current_cluster").read_text().strip()
    except OSError:
        return "auto"
