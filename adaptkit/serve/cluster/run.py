"""Run the service with Ray Serve until a signal ends it."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import torch
from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions, RequestRouterConfig

from adaptkit.serve.app import make_app
from adaptkit.serve.cluster.hosts import Hosts
from adaptkit.serve.cluster.replica import Replica
from adaptkit.serve.cluster.router import TwoHomes
from adaptkit.serve.settings import ServeSettings
from adaptkit.serve.sockets import listen
from adaptkit.utils.ray_cluster import join_cluster

APPLICATION, REPLICA = "adaptkit", "Replica"
ROUTER: Any = TwoHomes  # its annotation lists fewer kinds than it takes
BATCHES = 4  # of rows that a replica may have at once


def run_cluster(
    folder: str | Path,
    options: dict[str, Any],
    settings: ServeSettings,
    at: tuple[str, int],
    replicas: tuple[int, int],
    log: tuple[str | None, bool],
    ready: Callable[[str], None],
) -> None:
    """Answer requests until SIGTERM or SIGINT, in a cluster that runs (RAY_ADDRESS) or a new one.

    Args:
        folder: of the adapters, which all machines see. options: of `Host.from_store`.
        at: address and port. replicas: the fewest and the most.
        log: a folder or None, and whether texts are kept as they are.
        ready: gets the address once requests are answered.

    Raises:
        AdaptkitError: the address is taken.
    """
    socket = listen(*at)
    address, port = socket.getsockname()[:2]
    socket.close()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    join_cluster()
    try:
        serve.start(http_options=HTTPOptions(host=address, port=port))
        application = make_application(folder, options, settings, replicas, log)
        serve.run(application, name=APPLICATION, route_prefix="/")
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):  # Ray has set others
            signal.signal(number, lambda *_: ended.set())
        shown = f"[{address}]" if ":" in address else address
        ready(f"http://{shown}:{port}")
        ended.wait()
        serve.delete(APPLICATION)  # once what was accepted is answered; the proxy still runs
    finally:
        serve.shutdown()
        ray.shutdown()


def make_application(
    folder: str | Path,
    options: dict[str, Any],
    settings: ServeSettings,
    replicas: tuple[int, int] = (1, 1),
    log: tuple[str | None, bool] = (None, False),
) -> serve.Application:
    """The service as an application of Ray Serve: an ingress, and replicas of a host.

    The ingress is the whole service but for the network; `TwoHomes` chooses who answers a row.
    """
    folder = str(Path(folder).absolute())
    rows = options.get("max_rows", 32)
    fewest, most = replicas
    sizes: dict[str, Any] = {"num_replicas": fewest}
    if most > fewest:
        sizes = {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=fewest, max_replicas=most, target_ongoing_requests=rows
            )
        }
    replica: Any = serve.deployment(
        Replica,
        name=REPLICA,
        ray_actor_options={"num_cpus": 1, "num_gpus": int(torch.cuda.is_available())},
        max_ongoing_requests=BATCHES * rows,
        max_queued_requests=options.get("max_queue", 1024),
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),
        **sizes,
    )

    def build() -> FastAPI:
        from adaptkit.monitoring.log import LogWriter

        handle = serve.get_deployment_handle(REPLICA, APPLICATION)
        writer = LogWriter(log[0], log[1]) if log[0] is not None else None
        return make_app(Hosts(handle, folder), settings, writer)

    ingress: Any = serve.deployment(
        serve.ingress(build)(),
        name="Ingress",
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=2048,
        graceful_shutdown_timeout_s=settings.deadline + 5,
    )
    return ingress.bind(replica.bind(folder, options))
