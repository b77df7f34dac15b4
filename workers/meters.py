"""What one worker process counts. In the files of `app.stack.meters` where a supervisor gave it a place for them."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values

from app.stack.meters import VARIABLE

FETCH_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
LANDING_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


class Meters:
    def __init__(self, name: str) -> None:
        if VARIABLE in os.environ:
            # By the child's name, not its pid: the one that replaces it goes on counting where it stopped.
            values.ValueClass = values.MultiProcessValue(lambda: name)  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        self.messages = Counter(
            "scrapersky_messages",
            "Messages taken from the broker: claimed, or dropped as stale.",
            ["result"],
            registry=registry,
        )
        self.dispatched = Counter("scrapersky_dispatched", "Jobs handed to the broker.", registry=registry)
        self.attempts = Counter(
            "scrapersky_attempts",
            "Attempts by how they ended and why: an outcome, an error's code, the cause of a pause.",
            ["end", "reason"],
            registry=registry,
        )
        self.lost = Counter("scrapersky_leases_lost", "Leases that passed under their workers.", registry=registry)
        self.held = Gauge("scrapersky_jobs_held", "Jobs that workers hold.", registry=registry, multiprocess_mode="sum")
        self.held.set(0)  # what a predecessor held
        self.fetches = Histogram(
            "scrapersky_fetch_seconds",
            "Seconds of one request, once the ledger let it go, by what came of it.",
            ["result"],
            buckets=FETCH_BUCKETS,
            registry=registry,
        )
        self.landings = Histogram(
            "scrapersky_landing_seconds",
            "Seconds to parse a sitemap file and land its rows.",
            buckets=LANDING_BUCKETS,
            registry=registry,
        )

    def fetched(self, seconds: float, failure: str | None) -> None:
        self.fetches.labels(failure or "answered").observe(seconds)

    def ended(self, end: str, reason: str | None = None) -> None:
        self.attempts.labels(end, reason or "").inc()
