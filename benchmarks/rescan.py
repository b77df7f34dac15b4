"""Scanning what was scanned before: unchanged sites that say so, unchanged ones that do not, and 1 % of change.

Bytes are what the sites sent, CPU that of workers and PostgreSQL, rows those of `sitemap_urls` that were written,
counted by the transactions that wrote them. After each scan the inventory is compared with what the sites list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import farm
from benchmarks.farm import FILES, PLAIN, SITE, TAGGED, URLS, Farm
from benchmarks.measuring import Disagreement, Meter, agree, in_turns, ratio
from benchmarks.record import OURS, Result, Table, spread
from benchmarks.runner import Bench
from benchmarks.stack import Platform

PROCESSES = 2
FIRST = f"{OURS}, first scan"
AGAIN = f"{OURS}, unchanged, answers 304"
HASHED = f"{OURS}, unchanged, sends everything again"
MOVED = f"{OURS}, 1 % of it changed"
STANDING = """
    SELECT u.url FROM sitemap_urls u JOIN sitemap_files f ON f.id = u.file_id
    WHERE f.url LIKE %s AND u.to_scan IS NULL"""


@dataclass
class Scanned:
    """Of one site, on average."""

    requests: float
    kib: float
    client_ms: float
    database_ms: float
    rows: float

    @property
    def cpu_ms(self) -> float:
        return self.client_ms + self.database_ms


def run(bench: Bench) -> Result:
    on, count = bench.platform, bench.size(100, 10)
    on.clear()
    with farm.running() as sites, on.workers(PROCESSES, environment=sites.environment) as workers:
        scans = _Scans(on, sites, workers, count)
        runs = in_turns(
            {
                FIRST: lambda turn: scans.of(turn, TAGGED, "sitemaps_found"),
                AGAIN: lambda turn: scans.of(turn, TAGGED, "unchanged"),
                "": lambda turn: scans.of(turn, PLAIN, "sitemaps_found"),
                HASHED: lambda turn: scans.of(turn, PLAIN, "unchanged"),
                MOVED: scans.moved,
            },
            bench.turns,
        )
    del runs[""]  # a first scan like the other
    on.clear()
    return _result(runs, count)


class _Scans:
    def __init__(self, on: Platform, sites: Farm, workers: Sequence[int], count: int) -> None:
        self._on, self._sites, self._count = on, sites, count
        self._meter = Meter(client=workers, database=[on.postgres])
        self._generation = 0

    def moved(self, turn: int) -> Scanned:
        self._sites.move_on()
        self._generation += 1
        return self.of(turn, TAGGED, "sitemaps_found")

    def of(self, turn: int, kind: str, outcome: str) -> Scanned:
        on, sites = self._on, self._sites.sites(f"turn{turn}", self._count, kind=kind)
        [(before,)] = on.sql("SELECT pg_current_xact_id()::text::bigint")
        asked, sent, _ = self._sites.counted()
        with self._meter.running() as spent:
            batch = on.submitted(on.tenant(), sites)
            on.work_off(batch)
        asked, sent = (now - then for now, then in zip(self._sites.counted(), (asked, sent), strict=False))
        found = on.sql("SELECT DISTINCT outcome FROM jobs WHERE batch_id = %s", batch)
        if found != [(outcome,)]:
            raise Disagreement(f"not all {outcome}: {found}")
        self._check(sites[0])
        [(rows,)] = on.sql("SELECT count(*) FROM sitemap_urls WHERE xmin::text::bigint >= %s", before)
        each = 1000 / len(sites)
        return Scanned(
            requests=asked / len(sites),
            kib=sent / len(sites) / 1024,
            client_ms=spent.cpu["client"] * each,
            database_ms=spent.cpu["database"] * each,
            rows=rows / len(sites),
        )

    def _check(self, site: str) -> None:
        standing = {url for (url,) in self._on.sql(STANDING, f"http://{site}/%")}
        agree({"the site": frozenset(listed(site, self._generation)), OURS: frozenset(standing)})


def listed(site: str, generation: int) -> set[str]:
    """
    >>> len(listed("a.example", 0)) == URLS, len(listed("a.example", 1)) < URLS
    (True, True)
    """
    found = set()
    for number in range(len(FILES)):
        text = (farm.body(f"/sitemap-{number}.xml", generation) or b"").decode()
        found |= {url.replace("&amp;", "&") for url in re.findall("<loc>(.*?)</loc>", text)}
    return {url.replace(SITE, f"http://{site}") for url in found}


def _result(runs: dict[str, list[Scanned]], count: int) -> Result:
    def over(name: str, figure: Callable[[Scanned], float]) -> float:
        return ratio([figure(one) for one in runs[name]], [figure(one) for one in runs[FIRST]])

    rows: dict[str, Any] = {
        name: {
            "cpu": spread([one.cpu_ms for one in some]),
            "client": spread([one.client_ms for one in some]),
            "database": spread([one.database_ms for one in some]),
            "cpu_over": over(name, lambda one: one.cpu_ms),
            "kib": spread([one.kib for one in some]),
            "kib_over": over(name, lambda one: one.kib),
            "rows": spread([one.rows for one in some]),
            "requests": spread([one.requests for one in some]),
        }
        for name, some in runs.items()
    }
    columns = {
        "cpu": "CPU ms",
        "client": "of it client",
        "database": "database",
        "cpu_over": "over the first scan's",
        "kib": "KiB received",
        "kib_over": "over the first scan's",
        "rows": "URL rows written",
        "requests": "requests",
    }
    bars = {
        "rescan_bytes": over(AGAIN, lambda one: one.kib),
        "rescan_cpu": over(AGAIN, lambda one: one.cpu_ms),
        "rescan_rows": max(one.rows for name in (AGAIN, HASHED) for one in runs[name]),
    }
    return Result({"sites": Table(f"a site of {URLS:,} URLs, of {count}", columns, rows, "cpu")}, bars)
