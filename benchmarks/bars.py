"""How fast is fast enough: every bar, the stage that measures it, and what a figure says to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Bar:
    """`limit` in `unit`; `at` says on which side of it is good."""

    stage: str
    measure: str
    at: Literal["most", "least"]
    limit: float
    unit: str
    stretch: float | None = None

    def meets(self, value: float, limit: float | None) -> bool:
        if limit is None:
            return False
        return value <= limit if self.at == "most" else value >= limit

    def verdict(self, value: float) -> str:
        """
        >>> bar = Bar("land", "rows landed", "most", 1.3, "×", stretch=1.1)
        >>> bar.verdict(1.0), bar.verdict(1.2), bar.verdict(2.6)
        ('met, stretch too', 'met', 'not met: 2.00 × the bar')
        >>> Bar("scan", "domains/s", "least", 3.0, "×").verdict(1.5)
        'not met: 0.50 × the bar'
        >>> Bar("rescan", "rows", "most", 0, "rows").verdict(7)
        'not met'
        """
        if self.meets(value, self.stretch):
            return "met, stretch too"
        if self.meets(value, self.limit):
            return "met"
        return f"not met: {value / self.limit:.2f} × the bar" if self.limit else "not met"


BARS: dict[str, Bar] = {
    "scan_cpu_scrapy": Bar("scan", "CPU a domain, client and database, over Scrapy + COPY", "most", 0.5, "×", 0.35),
    "scan_rate_scrapy": Bar("scan", "domains a second over Scrapy + COPY", "least", 3.5, "×", 5),
    "scan_rate_usp": Bar("scan", "domains a second over ultimate-sitemap-parser without database", "least", 3, "×", 5),
    "scan_rate_advertools": Bar("scan", "domains a second over advertools without database", "least", 3, "×", 5),
    "scan_cpu_asyncio": Bar("scan", "CPU a domain over a bare asyncio client, same writes", "most", 1.5, "×", 1.25),
    "parse_usp": Bar("parse", "parsing, times as fast as ultimate-sitemap-parser", "least", 9, "×", 13),
    "parse_advertools": Bar("parse", "parsing, times as fast as advertools", "least", 6, "×"),
    "parse_scrapy": Bar("parse", "parsing, times as fast as Scrapy", "least", 2.5, "×"),
    "parse_tree": Bar("parse", "parsing, time over a bare tree of the same bytes", "most", 1.7, "×", 1.2),
    "parse_memory": Bar("parse", "a worker above idle while it scans a 50 MiB sitemap", "most", 32, "MiB"),
    "parse_growth": Bar("parse", "parsing 500 MiB, memory above that of 5 MiB", "most", 1, "MiB"),
    "land_copy": Bar("land", "landing rows, time over `\\copy` of a ready file", "most", 1.3, "×", 1.1),
    "rescan_bytes": Bar("rescan", "an unchanged site again, bytes over its first scan", "most", 0.05, "×"),
    "rescan_cpu": Bar("rescan", "an unchanged site again, CPU over its first scan", "most", 0.10, "×"),
    "rescan_rows": Bar("rescan", "an unchanged site again, URL rows written", "most", 0, "rows"),
    "queue_bookkeeping": Bar("queueing", "bookkeeping of a job, CPU of client and database", "most", 2, "ms", 1.2),
    "queue_noop": Bar("queueing", "no-op jobs a second over bare Celery tasks", "least", 0.3, "×", 0.45),
    "queue_publish": Bar("queueing", "publishing a window, times as cheap as `apply_async`", "least", 12, "×"),
    "api_thousand": Bar("api", "`POST /batches` of 1,000 domains, p95", "most", 100, "ms"),
    "api_hundred_thousand": Bar("api", "`POST /batches` of 100,000 domains, p95", "most", 2_500, "ms"),
    "api_million": Bar("api", "`POST /batches` of 1,000,000 domains, uploaded, p95", "most", 30_000, "ms"),
    "api_memory": Bar("api", "growth of the API's memory by these", "most", 64, "MiB"),
    "api_broker": Bar("api", "broker memory above idle, 1,000,000 jobs pending", "most", 16, "MiB"),
    "api_poll": Bar("api", "`GET /batches/{id}` of a running batch of 1,000,000, p95", "most", 20, "ms"),
    "api_poll_size": Bar("api", "the same over a running batch of 1,000, CPU", "most", 1.25, "×"),
    "sign_in": Bar("sign_in", "one Argon2 hash, p95", "most", 250, "ms"),
    "sign_in_unknown": Bar("sign_in", "sign-in, unknown address and wrong password apart", "most", 1.05, "×"),
    "sign_in_disabled": Bar("sign_in", "sign-in, disabled account and wrong password apart", "most", 1.05, "×"),
    "listing_pages": Bar("listing", "the 1,000th page of 10,000,000 rows, time over the first", "most", 1.2, "×"),
    "fairness": Bar("fairness", "first result of 10 domains behind 100,000, later than if idle", "most", 1, "s"),
    "scaleout": Bar("scaleout", "throughput over linear, up to 80 % of the machine's CPU", "least", 0.85, "×"),
}  # fmt: skip
