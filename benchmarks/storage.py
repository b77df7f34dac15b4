"""Disk and write-ahead log that a row takes, its indexes included: what docs/scaling.md computes with."""

from __future__ import annotations

from typing import Any

from benchmarks.land import row
from benchmarks.record import OURS, Result, Table
from benchmarks.runner import Bench
from benchmarks.stack import Platform


def run(bench: Bench) -> Result:
    on, count = bench.platform, bench.size(200_000, 5_000)
    on.clear()
    rows: dict[str, Any] = {}
    written = Written(on)
    batch = on.batch(on.tenant(), count)
    submitted = written.since().wal
    rows[f"{OURS}, a domain as submitted"] = _stored(_sizes(on, "domains"), count, None)
    rows[f"{OURS}, a job as submitted; the log is its domain's too"] = _stored(_sizes(on, "jobs"), count, submitted)
    [(domain,)] = on.sql("SELECT domain_id FROM jobs WHERE batch_id = %s LIMIT 1", batch)
    written = Written(on)
    with on.database.for_tenant(on.tenant()) as uow:
        file = uow.inventory.ensure_file(domain, "https://landed.example/sitemap.xml")
        uow.inventory.land(file, 1, (row(n) for n in range(count)), complete=True)
        uow.commit()
    rows[f"{OURS}, a URL of a first scan"] = _stored(_sizes(on, "sitemap_urls"), count, written.since().wal)
    rows[f"{OURS}, a job that finds nothing, dispatch to end"] = _jobs(bench, bench.size(5_000, 200))
    on.clear()
    columns = {"bytes": "bytes", "indexes": "% of it indexes", "wal": "bytes of log", "commits": "commits"}
    return Result({"rows": Table("a row, on disk", columns, rows, "bytes")})


class Written:
    """Commits and bytes of write-ahead log, from now on."""

    def __init__(self, on: Platform) -> None:
        self._on = on
        self.commits, self.wal = 0, 0
        self._before = self._now()

    def since(self) -> Written:
        commits, wal = self._now()
        self.commits, self.wal = commits - self._before[0], wal - self._before[1]
        return self

    def _now(self) -> tuple[int, int]:
        self._on.sql("SELECT pg_stat_force_next_flush()")
        [(commits, wal)] = self._on.sql(
            "SELECT xact_commit, pg_current_wal_insert_lsn() - '0/0'::pg_lsn FROM pg_stat_database "
            "WHERE datname = current_database()"
        )
        return int(commits), int(wal)


def _jobs(bench: Bench, count: int) -> dict[str, Any]:
    on = bench.platform
    with on.idlers(2):
        on.work_off(on.batch(on.tenant(), 128))
        written = Written(on)
        batch = on.batch(on.tenant(), count)
        landed = written.since().wal
        on.work_off(batch)
        now = written.since()
    return {"wal": (now.wal - landed) / count, "commits": now.commits / count}


def _sizes(on: Platform, table: str) -> tuple[int, int]:
    [(heap, indexes)] = on.sql("SELECT pg_table_size(%s::regclass), pg_indexes_size(%s::regclass)", table, table)
    return heap, indexes


def _stored(sizes: tuple[int, int], count: int, wal: int | None) -> dict[str, Any]:
    heap, indexes = sizes
    found: dict[str, Any] = {"bytes": (heap + indexes) / count, "indexes": 100 * indexes / (heap + indexes)}
    return found if wal is None else {**found, "wal": wal / count}
