"""Counters for Prometheus, of one service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adaptkit.serve.any_host import AnyHost
    from adaptkit.serve.recorder import Recorder

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
MOST_NAMED, OTHERS = 200, "(others)"  # adapters with counters of their own


class Metrics:
    """Counts what a service does; only adapters that exist are named."""

    def __init__(self, host: AnyHost, recorder: Recorder | None = None):
        self.registry = CollectorRegistry()
        self._named: set[str] = set()
        self.requests = Counter(
            "adaptkit_requests",
            "Requests by route and status",
            ["route", "status"],
            registry=self.registry,
        )
        self.refused = Counter(
            "adaptkit_refusals", "Refused requests by status", ["status"], registry=self.registry
        )
        self.rows = Counter(
            "adaptkit_rows", "Answered rows by adapter", ["adapter"], registry=self.registry
        )
        self.latency = Histogram(
            "adaptkit_latency_seconds",
            "Seconds of rows from asking to answer, by adapter",
            ["adapter"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batch = Histogram(
            "adaptkit_request_rows", "Rows of a request", buckets=ROWS, registry=self.registry
        )
        self.registry.register(_HostGauges(host))
        if recorder is not None:
            self.registry.register(_DriftGauges(recorder))

    def asked(self, route: str, status: int) -> None:
        """A request has its answer."""
        self.requests.labels(route, str(status)).inc()
        if status >= 400:
            self.refused.labels(str(status)).inc()

    def answered(self, adapter: str, seconds: float) -> None:
        """A row has its answer."""
        if adapter not in self._named and len(self._named) >= MOST_NAMED:
            adapter = OTHERS
        self._named.add(adapter)
        self.rows.labels(adapter).inc()
        self.latency.labels(adapter).observe(seconds)

    def text(self) -> bytes:
        """All counters in Prometheus' text format."""
        return generate_latest(self.registry)


class _HostGauges:
    """The state of a host, read when it is asked for."""

    def __init__(self, host: AnyHost):
        self.host = host

    def collect(self) -> Iterator[GaugeMetricFamily]:
        stats = self.host.stats()
        for name, text, value in (
            ("queue_rows", "Rows that wait", stats["waiting"]),
            ("batches", "Batches so far", stats["batches"]),
            ("batch_rows", "Rows of batches so far", stats["rows"]),
            ("slots", "Slots for adapters", stats["slots"]),
            ("slots_used", "Slots that hold an adapter", stats["used"]),
            ("loads", "Adapters loaded so far", stats["loads"]),
            ("evictions", "Adapters evicted so far", stats["evictions"]),
        ):
            yield GaugeMetricFamily(f"adaptkit_{name}", text, value=value)


class _DriftGauges:
    """What the tests of a drift say, by adapter."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder

    def collect(self) -> Iterator[GaugeMetricFamily]:
        by_test = ["adapter", "test"]
        p_value = GaugeMetricFamily(
            "adaptkit_drift_p_value",
            "P-value of no drift; it holds however often one looks",
            labels=by_test,
        )
        rows = GaugeMetricFamily("adaptkit_drift_rows", "Rows that a test has seen", labels=by_test)
        alarm = GaugeMetricFamily(
            "adaptkit_drift_alarm", "1 if a test has seen a drift", labels=["adapter"]
        )
        for name, drifts in self.recorder.drifts().items():
            for drift in drifts:
                p_value.add_metric([name, drift.test], drift.p_value)
                rows.add_metric([name, drift.test], drift.rows)
            alarm.add_metric([name], any(drift.alarm for drift in drifts))
        yield from (p_value, rows, alarm)
        yield GaugeMetricFamily(
            "adaptkit_log_dropped", "Answers that were not logged", value=self.recorder.dropped
        )


class CountRequests:
    """ASGI middleware: counts requests by route and status; paths that are no route are one."""

    def __init__(self, app: Any, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "(none)")
                self.metrics.asked(route, message["status"])
            await send(message)

        await self.app(scope, receive, counted)
