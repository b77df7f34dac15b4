"""Prometheus metrics of this API process: requests by route, and how deep the queues are."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
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
from app.queueing import QUEUES

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
        self.registry.register(_Queues(parts))


class _Queues(Collector):
    """Asked when Prometheus asks. A part that is away is left out: no number is better than a wrong one."""

    def __init__(self, parts: Core) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("scrapersky_queue_depth", "Messages waiting in the broker.", labels=["queue"])
        for name in QUEUES:
            waiting = self._parts.queue.depth(name)
            if waiting is not None:
                depth.add_metric([name], waiting)
        yield depth
        try:
            with self._parts.database.system() as uow:
                queued = sum(uow.queue.queued().values())
        except Unavailable:
            return
        yield GaugeMetricFamily("scrapersky_jobs_queued", "Jobs handed to the broker, not yet begun.", value=queued)

    def describe(self) -> Iterator[Metric]:
        return iter(())  # registering must not ask the database


def install(app: Flask, parts: Core) -> None:
    app.extensions[KEY] = Meters(parts)
    app.after_request(_count)


@router.route("/metrics")
@public("Prometheus sends SCRAPERSKY_METRICS_TOKEN where one is set")
@router.response(200, {"type": "string"}, content_type="text/plain", description="Prometheus text format")
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
