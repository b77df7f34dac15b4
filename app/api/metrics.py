"""Prometheus metrics: this process's requests by route, the queue, and the workers that share our data directory."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator, Mapping
from http import HTTPMethod
from typing import cast

from flask import Flask, Response, current_app, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from app.api.core import Core, core
from app.api.routers import Router
from app.api.security import bearer, public
from app.errors import AuthenticationFailed, Unavailable
from app.services.queue_state import DEPTHS, QueueState, QueueStates
from app.stack.meters import DIRECTORY, Summed

KEY = "scrapersky-metrics"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
METHODS = frozenset(HTTPMethod)
router = Router("metrics", description="For Prometheus")


class Meters:
    """The numbers of one application; a registry of its own, so that tests may make many."""

    def __init__(self, parts: Core) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("scrapersky_http_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "scrapersky_http_request_seconds",
            "Seconds until the answer began.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Queue(parts))
        self.registry.register(Summed(parts.settings.data_dir / DIRECTORY))


class _Queue(Collector):
    """Asked when Prometheus asks. A part that is away is left out: no number is better than a wrong one."""

    def __init__(self, parts: Core) -> None:
        self._queue = QueueStates(parts.database, parts.queue, slots=parts.settings.slots)
        self._by_tenant = parts.settings.metrics_by_tenant

    def collect(self) -> Iterator[Metric]:
        messages = self._queue.messages()
        yield _gauge("scrapersky_queue_depth", "Messages waiting in the broker.", "queue", messages)
        try:
            state = self._queue.whole(messages)
        except Unavailable:
            return
        jobs = {word: state.total(word) for word in DEPTHS}
        yield _gauge("scrapersky_jobs", "Open jobs; delayed and paused ones are among the pending.", "state", jobs)
        leases = {"live": state.live, "passed": state.passed}
        yield _gauge("scrapersky_leases", "Running jobs by what became of their lease.", "state", leases)
        yield GaugeMetricFamily("scrapersky_window_size", "Jobs handed out ahead of workers, at most.", state.window)
        # 0 while nobody waits: an alert on it must end when the queue is empty.
        age = state.age or 0.0
        yield GaugeMetricFamily("scrapersky_oldest_pending_seconds", "Age of the oldest job that could run.", age)
        if self._by_tenant:
            yield from _by_tenant(state)
            yield _by_host(state)

    def describe(self) -> Iterator[Metric]:
        return iter(())  # registering must not ask the database


def _gauge(name: str, words: str, label: str, figures: Mapping[str, int | None]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=[label])
    for value, figure in figures.items():
        if figure is not None:
            family.add_metric([value], figure)
    return family


def _by_tenant(state: QueueState) -> Iterator[Metric]:
    """By id: names may change, and be anything."""
    jobs = GaugeMetricFamily("scrapersky_tenant_jobs", "As scrapersky_jobs, by tenant.", labels=["tenant", "state"])
    words = "As scrapersky_oldest_pending_seconds, by tenant."
    oldest = GaugeMetricFamily("scrapersky_tenant_oldest_pending_seconds", words, labels=["tenant"])
    for one in state.tenants:
        for word in DEPTHS:
            jobs.add_metric([str(one.tenant_id), word], getattr(one, word))
        oldest.add_metric([str(one.tenant_id)], one.age or 0.0)
    yield from (jobs, oldest)


def _by_host(state: QueueState) -> Metric:
    jobs = GaugeMetricFamily("scrapersky_host_jobs", "Jobs in hand, by host.", labels=["host", "state"])
    for one in state.hosts:
        for word in ("running", "queued", "cooling"):
            jobs.add_metric([one.host, word], getattr(one, word))
    return jobs


def install(app: Flask, parts: Core) -> None:
    app.extensions[KEY] = Meters(parts)
    app.after_request(_count)


@router.route("/metrics")
@public("Prometheus sends SCRAPERSKY_METRICS_TOKEN where one is set")
@router.response(200, {"type": "string"}, content_type="text/plain", description="Prometheus text format")
@router.alt_response(401, "UNAUTHORIZED")
def metrics() -> Response:
    """Metrics"""
    token = core().settings.metrics_token
    if token is not None and not hmac.compare_digest((bearer() or "").encode(), token.get_secret_value().encode()):
        raise AuthenticationFailed("the metrics want their own bearer token")
    return Response(generate_latest(_meters().registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _count(response: Response) -> Response:
    # The rule, not the path, and no invented method: what callers choose freely would make series without end.
    route = request.url_rule.rule if request.url_rule else "unmatched"
    method = request.method if request.method in METHODS else "other"
    meters = _meters()
    meters.requests.labels(method, route, str(response.status_code)).inc()
    meters.seconds.labels(method, route).observe(time.perf_counter() - g.get("started", time.perf_counter()))
    return response


def _meters() -> Meters:
    return cast("Meters", current_app.extensions[KEY])
