"""The first page of a long listing, the hundredth and the thousandth: each costs the same, or the list is read anew.

The inventory of one site as of one job, in pages of 100, over REST, all the way from the first to the thousandth.
What is in a page is compared with what PostgreSQL says stands there. Then the pages are asked for in turns, one by one.
At last the beginning of the whole as a file.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from benchmarks.measuring import Meter, agree, forget_peak, ratio, resident, tree
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
    SELECT f.tenant_id, f.id, u.hash, 1, 'https://long.example/catalogue/' || f.id || '/item-' || u.n || '.html',
           now(), 0.5, 'weekly'
    FROM (SELECT tenant_id, id FROM sitemap_files WHERE domain_id = %s ORDER BY id) f,
         LATERAL (SELECT n, md5(f.id || '/' || n)::uuid AS hash FROM generate_series(1, %s) n ORDER BY hash) u"""
AT = """
    SELECT u.url
    FROM (SELECT tenant_id, id FROM sitemap_files WHERE domain_id = %s ORDER BY url_hash OFFSET %s LIMIT 1) f,
         LATERAL (SELECT url FROM sitemap_urls WHERE tenant_id = f.tenant_id AND file_id = f.id
                  ORDER BY url_hash OFFSET %s LIMIT 1) u"""


def run(bench: Bench) -> Result:
    on = bench.platform
    rows, last = bench.size(10_000_000, 100_000), bench.size(1_000, 50)
    on.clear()
    per_file = min(PER_FILE, rows // 2)
    domain, job = _filled(on, rows // per_file, per_file)
    pages = [1, last // 10, last]
    times: dict[int, list[float]] = {page: [] for page in pages}
    cpu: dict[int, list[float]] = {page: [] for page in pages}
    cursors = _cursors(on, job, pages, {page: _at(on, domain, page, per_file) for page in pages})
    meter = Meter(api=[on.api], database=[on.postgres])
    repeats = bench.size(20, 5)
    for turn in range(bench.turns + 1):
        for page, cursor in cursors.items():
            with meter.running() as spent:
                for _ in range(repeats):
                    _timed(on, job, cursor)
            cpu[page] += [spent.all_cpu / repeats * 1000] * (turn > 0)
        for page, cursor in list(cursors.items()) * repeats:
            times[page] += [_timed(on, job, cursor)[0]] * (turn > 0)
    export = _exported(on, job, bench.size(1_000_000, rows))
    on.clear()
    table = {f"{OURS}, page {page:,}": {"time": spread(times[page]), "cpu": spread(cpu[page])} for page in pages}
    columns = {"time": "ms a page", "cpu": "CPU ms, API and PostgreSQL"}
    bars = {"listing_pages": ratio(times[last], times[1])}
    tables = {"pages": Table(f"{rows:,} URLs, pages of {PAGE}", columns, table, "time"), "export": export}
    return Result(tables, bars)


def _filled(on: Platform, files: int, per_file: int) -> tuple[UUID, UUID]:
    """A site with so many URLs, and a job that found them."""
    tenant = on.tenant()
    [(domain,)] = on.sql("INSERT INTO domains (tenant_id, host) VALUES (%s, 'long.example') RETURNING id", tenant)
    on.sql(FILL_FILES, tenant, domain, per_file, files)
    on.sql(FILL_URLS, domain, per_file)
    [(job,)] = on.sql(
        "INSERT INTO jobs (tenant_id, domain_id, status, outcome, scan_no, started_at, finished_at)"
        " VALUES (%s, %s, 'complete', 'sitemaps_found', 1, now(), now()) RETURNING id",
        tenant,
        domain,
    )
    on.sql("VACUUM ANALYZE sitemap_urls")
    on.sql("VACUUM ANALYZE sitemap_files")
    return domain, job


def _exported(on: Platform, job: UUID, rows: int) -> Table:
    """The first rows of the same list as a file, and what the API's process grows by while it writes them."""
    processes = tree(on.api)
    found: dict[str, Any] = {}
    for form in ("jsonl", "csv"):
        before = max(resident(pid, "VmRSS") for pid in processes)
        forget_peak(*processes)
        with Meter(api=[on.api], database=[on.postgres]).running() as spent:
            agree({"wanted": rows, "exported": on.client.lines(f"/jobs/{job}/export?format={form}", rows)})
        growth = max(resident(pid, "VmHWM") for pid in processes) - before
        cost = spent.all_cpu / rows * 1e6
        found[f"{OURS}, {form}"] = {"rate": rows / spent.wall, "cpu": cost, "growth": max(growth, 0.0)}
    columns = {"rate": "rows a second", "cpu": "CPU µs a row, API and PostgreSQL", "growth": "MiB that the API grew by"}
    return Table(f"the first {rows:,} as a file", columns, found, "rate")


def _at(on: Platform, domain: UUID, page: int, per_file: int) -> str:
    """The URL that a page begins with, as PostgreSQL says."""
    files, urls = divmod((page - 1) * PAGE, per_file)
    return str(on.sql(AT, domain, files, urls)[0][0])


def _cursors(on: Platform, job: UUID, pages: list[int], begins: dict[int, str]) -> dict[int, str | None]:
    """Page → the cursor that leads there, walked to as a client does."""
    found: dict[int, str | None] = {}
    cursor: str | None = None
    for number in range(1, pages[-1] + 1):
        if number in pages:
            found[number] = cursor
        _, page = _timed(on, job, cursor)
        if number in pages:
            agree({"the page": page["items"][0]["url"], "PostgreSQL": begins[number]})
        cursor = page["next_cursor"]
    return found


def _timed(on: Platform, job: UUID, cursor: str | None) -> tuple[float, Any]:
    parameters = {"limit": PAGE} if cursor is None else {"limit": PAGE, "cursor": cursor}
    began = time.perf_counter()
    page = on.client.call("GET", f"/jobs/{job}/urls", params=parameters)
    return (time.perf_counter() - began) * 1000, page
