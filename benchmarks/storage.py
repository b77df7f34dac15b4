"""Disk and write-ahead log that rows take, and scans after the first: docs/storage.md computes with it.

The second table scans a site again and again, a hundredth of it changed each time, with the schema as it is and with
the two indexes by scan that were turned down (docs/adr/0012-history.md); both must tell the same changes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.repositories.inventory import UrlRow
from benchmarks.land import row
from benchmarks.measuring import agree
from benchmarks.record import OURS, Result, Table, spread
from benchmarks.runner import Bench
from benchmarks.stack import Platform

CHANGED = 100  # one URL of so many, each scan
UNMOVED = 2  # scans
PAGE = 100
ASKED = 5  # times
BY_SCAN = (
    "CREATE INDEX bench_from ON sitemap_urls (tenant_id, file_id, from_scan) WHERE from_scan > 1",
    "CREATE INDEX bench_to ON sitemap_urls (tenant_id, file_id, to_scan) WHERE to_scan IS NOT NULL",
)
SITE = "https://landed.example"


def run(bench: Bench) -> Result:
    on, count = bench.platform, bench.size(100_000, 5_000)
    on.clear()
    rows: dict[str, Any] = {}
    written = Written(on)
    batch = on.batch(on.tenant(), count)
    submitted = written.since().wal
    rows[f"{OURS}, a domain as submitted"] = _stored(on, "domains", count, None)
    rows[f"{OURS}, a job as submitted; the log is its domain's too"] = _stored(on, "jobs", count, submitted)
    [(job, domain)] = on.sql("SELECT id, domain_id FROM jobs WHERE batch_id = %s LIMIT 1", batch)
    rows |= _met(on, job, domain, bench.size(2_000, 100))
    on.clear()
    site = _Site(on, files=bench.size(2, 1), urls=count)
    rows[f"{OURS}, a URL of a first scan"] = _stored(on, "sitemap_urls", count, site.scan())
    again = {f"{OURS}, unchanged": _unchanged(site)}
    scanned, as_is = _scanned(on, site, bench.size(4, 2))
    again[f"{OURS}, 1 % changed"] = scanned
    on.clear()
    indexed, by_scan = _indexed(on, bench.size(2, 1), count, bench.size(4, 2))
    again["the same with two indexes by scan"] = indexed
    agree({OURS: as_is, "with two indexes by scan": by_scan})
    on.clear()
    rows[f"{OURS}, a job that finds nothing, dispatch to end"] = _jobs(bench, bench.size(2_000, 200))
    on.clear()
    columns = {
        "bytes": "bytes",
        "indexes": "% of it indexes",
        "toast": "% of it TOAST",
        "wal": "bytes of log",
        "commits": "commits",
    }
    scan_columns = {
        "written": "URL rows written", "wal": "bytes of log a changed URL", "growth": "bytes on disk a changed URL",
        "hot": "% of the updates HOT", "dead": "dead rows a changed URL", "page": f"ms for {PAGE} changes",
    }  # fmt: skip
    return Result(
        {
            "rows": Table("a row, on disk", columns, rows, "bytes"),
            "again": Table(f"{count:,} URLs scanned again", scan_columns, again, "wal"),
        }
    )


class _Site:
    """Files of equally many URLs, landed as scans land them."""

    def __init__(self, on: Platform, *, files: int, urls: int) -> None:
        self.on, self.tenant, self.scans = on, on.tenant(), 0
        self._files, self._size = files, urls // files
        statement = "INSERT INTO domains (tenant_id, host) VALUES (%s, 'landed.example') RETURNING id"
        [(self.domain,)] = on.sql(statement, self.tenant)

    def scan(self) -> int:
        """Bytes of log that the next scan writes."""
        self.scans += 1
        written = Written(self.on)
        for place in range(self._files):
            with self.on.database.for_tenant(self.tenant) as uow:
                file = uow.inventory.ensure_file(self.domain, f"{SITE}/{place}.xml")
                uow.inventory.land(file, self.scans, self._rows(place), complete=True)
                uow.session.execute(sa.text("SELECT pg_stat_force_next_flush()"))  # else it tells after ten seconds
                uow.commit()
        return written.since().wal

    def changes(self) -> tuple[tuple[str, ...], float]:
        """A page of what the newest scan changed, and the milliseconds it took."""
        with self.on.database.for_tenant(self.tenant) as uow:
            domain = uow.domains.get(self.domain)
            assert domain is not None
            began = time.perf_counter()
            found = uow.history.differences(domain, self.scans - 1, self.scans, limit=PAGE, cursor=None)
            return tuple(one.url for one in found.items), (time.perf_counter() - began) * 1000

    def _rows(self, place: int) -> Iterator[UrlRow]:
        """From the third scan on a hundredth of them has changed since the scan before, and stays so."""
        for n in range(place * self._size, (place + 1) * self._size):
            last = self.scans - (self.scans - n * 7) % CHANGED
            yield row(n)._replace(priority=0.1 + last / 100) if last > UNMOVED else row(n)


def _unchanged(site: _Site) -> dict[str, Any]:
    """By its content, which nobody knew beforehand: one that answers 304 or has a known hash does not come this far."""
    before = _counters(site.on)
    site.scan()
    after = _counters(site.on)
    return {"written": after["written"] - before["written"]}


def _indexed(on: Platform, files: int, urls: int, count: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    for statement in BY_SCAN:
        on.sql(statement)
    try:
        site = _Site(on, files=files, urls=urls)
        site.scan()
        site.scan()
        return _scanned(on, site, count)
    finally:
        on.sql("DROP INDEX bench_from, bench_to")


def _scanned(on: Platform, site: _Site, count: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    on.sql("VACUUM ANALYZE sitemap_urls")
    on.sql("CHECKPOINT")
    before, size = _counters(on), sum(_sizes(on, "sitemap_urls"))
    log = sum(site.scan() for _ in range(count))
    after, grown = _counters(on), sum(_sizes(on, "sitemap_urls")) - size
    updated = after["updated"] - before["updated"]
    on.sql("VACUUM ANALYZE sitemap_urls")
    pages = [site.changes() for _ in range(ASKED)]
    return {
        "written": (after["written"] - before["written"]) / count,
        "wal": log / updated,
        "growth": grown / updated,
        "hot": 100 * (after["hot"] - before["hot"]) / updated,
        "dead": max(after["dead"] - before["dead"], 0) / updated,
        "page": spread([taken for _, taken in pages]),
    }, pages[0][0]


def _counters(on: Platform) -> dict[str, int]:
    """Of `sitemap_urls`: rows written by any transaction, updates, those of them that were HOT, dead rows."""
    on.sql("SELECT pg_stat_force_next_flush()")
    [found] = on.sql(
        "SELECT n_tup_ins + n_tup_upd, n_tup_upd, n_tup_hot_upd, n_dead_tup FROM pg_stat_user_tables "
        "WHERE relname = 'sitemap_urls'"
    )
    return dict(zip(("written", "updated", "hot", "dead"), found, strict=True))


def _met(on: Platform, job: UUID, domain: UUID, count: int) -> dict[str, Any]:
    """What a job leaves beside URLs: files that are known, pages with some metadata, and what it met at each."""
    found = {}
    for table, (name, fill) in MET.items():
        on.superuser.execute(fill.encode(), {"job": job, "domain": domain, "count": count})
        found[f"{OURS}, {name}"] = _stored(on, table, count, None)
    return found


FILES = """
    INSERT INTO sitemap_files (tenant_id, domain_id, url_hash, url, kind, etag, content_hash, url_count, last_scan)
    SELECT tenant_id, domain_id, md5(n::text)::uuid, 'https://landed.example/sitemap-' || n || '.xml', 'urlset',
           '"5f3c-61a2b7c9d0e80"', sha256(n::text::bytea), 50000, 1
    FROM jobs j, generate_series(1, %(count)s) n WHERE j.id = %(job)s"""
READS = """
    INSERT INTO sitemap_reads (tenant_id, job_id, file_id, discovered_by, depth, status, kind, http_status, size,
                               url_count, etag, content_hash, read_at)
    SELECT tenant_id, %(job)s, id, 'index', 1, 'read', 'urlset', 200, 5000000, 50000, etag, content_hash, now()
    FROM sitemap_files WHERE domain_id = %(domain)s"""
PAGES = """
    INSERT INTO pages (tenant_id, domain_id, url_hash, url, title, description, language, page_type, details, read_at)
    SELECT tenant_id, domain_id, md5(n::text)::uuid, 'https://landed.example/page-' || n, 'Bread, baked today',
           repeat('A bakery with four shops. ', 5), 'en', 'home',
           jsonb_build_object('emails', md5(n::text), 'open_graph', repeat('Bread ', 60)), now()
    FROM jobs j, generate_series(1, %(count)s) n WHERE j.id = %(job)s"""
PAGE_READS = """
    INSERT INTO page_reads (tenant_id, job_id, page_id, http_status)
    SELECT tenant_id, %(job)s, id, 200 FROM pages WHERE domain_id = %(domain)s"""
MET = {
    "sitemap_files": ("a sitemap file", FILES),
    "sitemap_reads": ("what a job met at one", READS),
    "pages": ("a page, with 600 bytes of metadata", PAGES),
    "page_reads": ("what a job met at a page", PAGE_READS),
}


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


def _sizes(on: Platform, table: str) -> tuple[int, int, int]:
    """Bytes of heap, indexes and TOAST."""
    [(heap, indexes, toast)] = on.sql(
        "SELECT pg_table_size(oid) - toast, pg_indexes_size(oid), toast FROM (SELECT oid, "
        "coalesce(pg_total_relation_size(nullif(reltoastrelid, 0)), 0) AS toast "
        "FROM pg_class WHERE oid = %s::regclass) t",
        table,
    )
    return heap, indexes, toast


def _stored(on: Platform, table: str, count: int, wal: int | None) -> dict[str, Any]:
    heap, indexes, toast = _sizes(on, table)
    total = heap + indexes + toast
    found: dict[str, Any] = {"bytes": total / count, "indexes": 100 * indexes / total, "toast": 100 * toast / total}
    return found if wal is None else {**found, "wal": wal / count}
