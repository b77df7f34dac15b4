"""What the second wall costs: the same rows landed with row-level security and without, turn by turn.

The CPU of the one PostgreSQL process that lands them, as the kernel counts it, so that other work on the machine makes
it wait but not dearer. A round lands a new sitemap file, the same again unchanged, the same with a tenth changed, and
a batch of domains. "Without" switches row-level security off for the tables; grants, triggers and keys stay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.repositories.batches import Line
from app.repositories.hashes import url_key
from app.repositories.inventory import UrlRow
from app.unit_of_work import Database, TenantUnit
from benchmarks.measuring import ratios
from benchmarks.record import Result, Table, spread
from benchmarks.runner import Bench
from benchmarks.stack import Platform

TABLES = ("domains", "jobs", "batch_jobs", "batch_counts", "batch_rejects", "sitemap_files", "sitemap_urls", "tenants")
STEPS = ("a new file", "the same again", "a tenth of it changed", "a batch of domains")


class Landing:
    """The steps of one round, each in a transaction of its own, over one connection."""

    def __init__(self, database: Database, tenant: UUID, urls: int) -> None:
        self._database = database
        self._tenant = tenant
        self._urls = urls
        self._round = 0

    def run(self) -> dict[str, float]:
        """CPU milliseconds of the server process, step by step."""
        self._round += 1
        with self._database.for_tenant(self._tenant) as uow:
            domain = uow.domains.ensure(f"d{self._round}.example", "/").id
            uow.commit()
        works = (
            lambda uow: self._land(uow, domain, 1, 0),
            lambda uow: self._land(uow, domain, 2, 0),
            lambda uow: self._land(uow, domain, 3, self._urls // 10),
            self._submit,
        )
        return {step: self._measured(work) for step, work in zip(STEPS, works, strict=True)}

    def _measured(self, work: Callable[[TenantUnit], None]) -> float:
        with self._database.for_tenant(self._tenant) as uow:
            process = uow.session.scalar(sa.text("SELECT pg_backend_pid()"))
            before = _cpu(process)
            work(uow)
            uow.commit()
            return _cpu(process) - before

    def _land(self, uow: TenantUnit, domain: UUID, scan: int, changed: int) -> None:
        file = uow.inventory.ensure_file(domain, f"https://d{self._round}.example/sitemap.xml")
        uow.inventory.land(file, scan, self._rows(changed), complete=True)

    def _rows(self, changed: int) -> Iterator[UrlRow]:
        for n in range(self._urls):
            url = f"https://d{self._round}.example/products/{n}/a-name-as-long-as-most"
            yield UrlRow(
                url_key(url), url, None, None, None, None, "daily" if n < changed else None, 0.5, "product", None
            )

    def _submit(self, uow: TenantUnit) -> None:
        batch = uow.batches.add(name=None, options={}, priority=5, created_by=None)
        hosts = (f"s{n}.r{self._round}.example" for n in range(self._urls // 10))
        uow.batches.land(batch, (Line(n, h, h, "/", None, None) for n, h in enumerate(hosts)), max_attempts=3)


def _cpu(process: int) -> float:
    """Milliseconds on a processor; the kernel counts them in nanoseconds."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e6


def run(bench: Bench) -> Result:
    on, urls = bench.platform, bench.size(20_000, 2_000)
    on.clear()
    rounds = _rounds(on, Landing(on.database, on.tenant(), urls), bench.size(15, 3))
    on.clear()
    rows: dict[str, Any] = {}
    for step in STEPS:
        walled, open_ = ([ways[wall][step] for ways in rounds] for wall in (True, False))
        rows[step] = {"over": spread(ratios(walled, open_)), "with": spread(walled), "without": spread(open_)}
    columns = {"over": "with the wall over without", "with": "CPU ms with", "without": "without"}
    return Result({"landing": Table(f"{urls:,} URLs of a sitemap file", columns, rows, "over")})


def _rounds(on: Platform, landing: Landing, count: int) -> list[dict[bool, dict[str, float]]]:
    """Wall or none → step → CPU. The first round warms up; which goes first changes each time, for tables grow."""
    found: list[dict[bool, dict[str, float]]] = []
    try:
        for number in range(count + 1):
            ways: dict[bool, dict[str, float]] = defaultdict(dict)
            for walled in (True, False) if number % 2 else (False, True):
                switch(on, walled=walled)
                ways[walled] = landing.run()
            found.append(ways)
    finally:
        switch(on, walled=True)
    return found[1:]


def switch(on: Platform, *, walled: bool) -> None:
    for table in TABLES:
        on.sql(f"ALTER TABLE {table} {'ENABLE' if walled else 'DISABLE'} ROW LEVEL SECURITY")
    on.sql("CHECKPOINT")
