"""The first page of a long listing, the hundredth and the thousandth: each costs the same, or the list is read anew.

The inventory of one site as of one job, in pages of 100, over REST, all the way from the first to the thousandth.
What is in a page is compared with what PostgreSQL says stands there.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from benchmarks.measuring import Meter, agree, ratio
from benchmarks.record import OURS, Result, Table, spread
from benchmarks.runner import Bench
from benchmarks.stack import Platform

PAGE = 100
PER_FILE = 50_000
FILL_FILES = """
    INSERT INTO sitemap_files (tenant_id, domain_id, url_hash, url, last_scan, url_count)
    SELECT %s, %s, md5(n::text)::uuid, 'https://long.example/sitemap-' || n || '.xml', 1, %s
    FROM generate_series(1, %s) n"""
FILL_URLS = """
    INSERT INTO sitemap_urls (tenant_id, file_id, url_hash, from_scan, url, lastmod, priority, changefreq)
    SELECT f.tenant_id, f.id, md5(f.id || '/' || n)::uuid, 1,
           'https://long.example/catalogue/' || f.id || '/item-' || n || '.html', now(), 0.5, 'weekly'
    FROM sitemap_files f, generate_series(1, %s) n WHERE f.domain_id = %s ORDER BY f.id, md5(f.id || '/' || n)::uuid"""
AT = """
    SELECT u.url FROM sitemap_urls u JOIN sitemap_files f ON f.id = u.file_id WHERE f.domain_id = %s
    ORDER BY u.file_id, u.url_hash OFFSET %s LIMIT 1"""


def run(bench: Bench) -> Result:
    on = bench.platform
    rows, last = bench.size(10_000_000, 100_000), bench.size(1_000, 50)
    on.clear()
    domain, job = _filled(on, rows)
    pages = [1, last // 10, last]
    times: dict[int, list[float]] = {page: [] for page in pages}
    cpu: dict[int, list[float]] = {page: [] for page in pages}
    cursors = _cursors(on, domain, job, pages)
    meter = Meter(api=[on.api], database=[on.postgres])
    repeats = bench.size(20, 5)
    for _ in range(bench.turns + 1):
        for page, cursor in cursors.items():
            with meter.running() as spent:
                taken = [_timed(on, job, cursor)[0] for _ in range(repeats)]
            times[page] += taken
            cpu[page].append(spent.all_cpu / repeats * 1000)
    on.clear()
    table = {f"{OURS}, page {page:,}": {"time": spread(times[page]), "cpu": spread(cpu[page])} for page in pages}
    columns = {"time": "ms a page", "cpu": "CPU ms, API and PostgreSQL"}
    bars = {"listing_pages": ratio(times[last], times[1])}
    return Result({"pages": Table(f"{rows:,} URLs, pages of {PAGE}", columns, table, "time")}, bars)


def _filled(on: Platform, rows: int) -> tuple[UUID, UUID]:
    """A site with that many URLs, and a job that found them."""
    tenant, per_file = on.tenant(), min(PER_FILE, rows // 2)
    [(domain,)] = on.sql("INSERT INTO domains (tenant_id, host) VALUES (%s, 'long.example') RETURNING id", tenant)
    on.sql(FILL_FILES, tenant, domain, per_file, rows // per_file)
    on.sql(FILL_URLS, per_file, domain)
    [(job,)] = on.sql(
        "INSERT INTO jobs (tenant_id, domain_id, status, outcome, scan_no, started_at, finished_at)"
        " VALUES (%s, %s, 'complete', 'sitemaps_found', 1, now(), now()) RETURNING id",
        tenant,
        domain,
    )
    on.sql("VACUUM ANALYZE sitemap_urls")
    on.sql("VACUUM ANALYZE sitemap_files")
    return domain, job


def _cursors(on: Platform, domain: UUID, job: UUID, pages: list[int]) -> dict[int, str | None]:
    """Page → the cursor that leads there, walked to as a client does."""
    found: dict[int, str | None] = {}
    cursor: str | None = None
    for number in range(1, pages[-1] + 1):
        if number in pages:
            found[number] = cursor
        _, page = _timed(on, job, cursor)
        if number in pages:
            [(there,)] = on.sql(AT, domain, (number - 1) * PAGE)
            agree({"the page": page["items"][0]["url"], "PostgreSQL": there})
        cursor = page["next_cursor"]
    return found


def _timed(on: Platform, job: UUID, cursor: str | None) -> tuple[float, Any]:
    parameters = {"limit": PAGE} if cursor is None else {"limit": PAGE, "cursor": cursor}
    began = time.perf_counter()
    page = on.client.call("GET", f"/jobs/{job}/urls", params=parameters)
    return (time.perf_counter() - began) * 1000, page
