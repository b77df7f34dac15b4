"""How much memory a worker takes to scan a large sitemap, above what it takes idle.

    python -m benchmarks.streaming --mib 50

Starts the whole stack, scans a small sitemap first (so that everything is loaded and warm), then one of the size asked
for, and reads the worker process's peak resident memory from the kernel.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.running import Stack, running, until
from tests.site_server import Answer, serving

MIB = 1 << 20
ENTRY = (
    "<url><loc>http://{host}/catalogue/section-{section}/item-{n}.html?ref=sitemap&amp;page={n}</loc>"
    "<lastmod>2026-{month:02}-{day:02}T08:00:00+00:00</lastmod><changefreq>weekly</changefreq>"
    "<priority>0.5</priority></url>\n"
)


@dataclass(frozen=True)
class Measured:
    """Sizes in MiB, time in seconds."""

    sitemap_mib: float
    urls: int
    idle_mib: float
    peak_mib: float
    above_idle_mib: float
    seconds: float


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


def measure(directory: Path, mib: int) -> Measured:
    small, _ = sitemap("small.example", MIB // 4)
    large, urls = sitemap("large.example", mib * MIB)
    hosts = ["small.example", "large.example"]
    with (
        serving(site(dict(zip(hosts, (small, large), strict=True))), directory, hosts) as server,
        running(
            directory,
            **server.environment,
            SCRAPERSKY_WORKER_PROCESSES="1",
            SCRAPERSKY_SINGLE_CONCURRENCY="0",
            SCRAPERSKY_REQUEST_TIMEOUT="300",
        ) as stack,
    ):
        (worker,) = stack.workers()
        for _ in range(2):
            scan(stack, hosts[0])
        idle = resident(worker, "VmRSS")
        Path(f"/proc/{worker}/clear_refs").write_text("5")  # the kernel forgets the peak so far
        started = time.monotonic()
        job = scan(stack, hosts[1])
        seconds = time.monotonic() - started
        peak = resident(worker, "VmHWM")
        if job["stats"]["urls"] != urls:
            raise SystemExit(f"{job['stats']['urls']} URLs landed of {urls}: {job}")
    return Measured(len(large) / MIB, urls, idle, peak, peak - idle, seconds)


def scan(stack: Stack, host: str) -> dict[str, dict[str, int]]:
    batch = stack.ended(stack.submit([f"http://{host}/"], options={"max_pages": 0}), seconds=600)
    (job,) = stack.items(f"/batches/{batch['id']}/jobs")
    return until(lambda: job["status"] == "complete" and job, seconds=1, what=f"the job is complete: {job}")


def resident(pid: int, field: str) -> float:
    """A line of /proc/PID/status in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=50)
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(asdict(measure(Path(directory), parser.parse_args().mib)), indent=2))


if __name__ == "__main__":
    main()
