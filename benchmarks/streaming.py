"""How much memory a worker takes to scan a large sitemap, above what it takes idle.

A worker of the running platform scans a small sitemap first, twice, so that everything is loaded and warm, then a
large one; its peak is read from the kernel.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import MIB, forget_peak, resident
from benchmarks.stack import Platform
from tests.site_server import Answer, serving

ENTRY = (
    "<url><loc>http://{host}/catalogue/section-{section}/item-{n}.html?ref=sitemap&amp;page={n}</loc>"
    "<lastmod>2026-{month:02}-{day:02}T08:00:00+00:00</lastmod><changefreq>weekly</changefreq>"
    "<priority>0.5</priority></url>\n"
)


@dataclass(frozen=True)
class Measured:
    sitemap_mib: float
    urls: int
    above_idle_mib: float


def sitemap(host: str, size: int) -> tuple[bytes, int]:
    """A plain sitemap of about `size` bytes, and how many URLs it lists."""
    parts, total, n = ["<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>\n"], 0, 0
    while total < size:
        parts.append(ENTRY.format(host=host, section=n % 97, n=n, month=n % 12 + 1, day=n % 28 + 1))
        total += len(parts[-1])
        n += 1
    return "".join([*parts, "</urlset>"]).encode(), n


def site(bodies: dict[str, bytes]) -> Callable[[str, str], Answer | None]:
    def answer(host: str, path: str) -> Answer | None:
        if path == "/robots.txt":
            return 200, {}, f"Sitemap: http://{host}/sitemap.xml\n".encode()
        return (200, {"Content-Type": "application/xml"}, bodies[host]) if path == "/sitemap.xml" else None

    return answer


def measure(on: Platform, mib: int) -> Measured:
    hosts = ["small.example", "large.example"]
    (small, _), (large, urls) = sitemap(hosts[0], MIB // 4), sitemap(hosts[1], mib * MIB)
    with tempfile.TemporaryDirectory() as directory:
        bodies = dict(zip(hosts, (small, large), strict=True))
        with serving(site(bodies), Path(directory), hosts) as server:
            environment = {**server.environment, "SCRAPERSKY_REQUEST_TIMEOUT": "300"}
            with on.workers(1, environment=environment) as (worker,):
                for _ in range(2):
                    _scan(on, hosts[0])
                idle = resident(worker, "VmRSS")
                forget_peak(worker)
                landed = _scan(on, hosts[1])
                above = resident(worker, "VmHWM") - idle
    if landed != urls:
        raise RuntimeError(f"{landed} URLs landed of {urls}")
    return Measured(len(large) / MIB, urls, above)


def _scan(on: Platform, host: str) -> int:
    """How many URLs it found."""
    batch = on.submitted(on.tenant(), [host])
    on.work_off(batch)
    on.complete(batch)
    [(found,)] = on.sql("SELECT (stats->>'urls')::int FROM jobs WHERE batch_id = %s", batch)
    return int(found)
