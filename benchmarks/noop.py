"""A worker process whose scans find nothing, after a pause: what is left to measure is the bookkeeping.

    BENCHMARK_PAUSE=0.05 python -m benchmarks.noop --queue scans --concurrency 32 --name scans-1

All else is `workers.process`: messages, claims, leases, heartbeats, the last transaction, upkeep.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from app.scanning import scan
from app.scanning.values import ScanFinished, ScanStats
from workers import process

PAUSE = float(os.environ.get("BENCHMARK_PAUSE", "0"))


def nothing(*_: Any, **__: Any) -> Iterator[ScanFinished]:
    if PAUSE:
        time.sleep(PAUSE)
    yield ScanFinished(outcome="no_sitemap", stats=ScanStats())


if __name__ == "__main__":
    scan.run = nothing  # type: ignore[assignment]
    process.main()
