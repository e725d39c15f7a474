"""One way into a Ray cluster, for whatever spreads work over machines."""

from __future__ import annotations

import logging
import os

from adaptkit.errors import AdaptkitError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers


def join_cluster() -> bool:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine; whether this joined.

    By itself Ray would join whatever cluster was started last on this machine, also a dead one.

    Raises:
        AdaptkitError: the cluster does not answer.
    """
    import ray

    if ray.is_initialized():
        return False
    named = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(
            address=named or "local",
            log_to_driver=False,
            logging_level=logging.WARNING,
            include_dashboard=None if named else False,
        )
    except ConnectionError as problem:
        raise AdaptkitError(
            f"RAY_ADDRESS={named}: no cluster answers there; unset it to start one here."
            if named
            else f"Ray did not start: {problem}."
        ) from problem
    return True
