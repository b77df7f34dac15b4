"""Whole scans of sites that list 3,000 URLs each: this platform, and what people would use instead.

All read the same sites of one farm, fresh ones each turn, and take turns. Ours is everything: API and workers as
`manage.py up` runs them, politeness, guard, leases, history. The others are told nothing they could do without:
Scrapy copies a file's rows at once, the bare client does the writes that a scan of ours does and knows nothing else,
and the last two keep nothing at all. CPU is that of all processes of a contestant, and PostgreSQL's and the broker's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks import farm
from benchmarks.farm import FILES, URLS, Farm
from benchmarks.measuring import Contestant, Disagreement, Meter, Spent, agree, in_turns, ratio
from benchmarks.record import OURS, Result, Table, spread
from benchmarks.runner import Bench
from benchmarks.stack import Platform

PROCESSES = 2
ASYNCIO, SCRAPY, USP, ADVERTOOLS = "asyncio", "Scrapy", "ultimate-sitemap-parser", "advertools"
KEEPS_NOTHING = (USP, ADVERTOOLS)
THREADS = (8, 16, 32, 64)  # tried for those that run in threads: the fastest takes part

# What the platform's tables cost without its row-level policies, keys and triggers, and what a crawler would have.
PEER_TABLES = """
    DROP SCHEMA IF EXISTS peer CASCADE;
    CREATE SCHEMA peer;
    CREATE FUNCTION peer.nobody() RETURNS uuid IMMUTABLE LANGUAGE sql AS
        $$ SELECT '00000000-0000-0000-0000-000000000000'::uuid $$;
    CREATE TABLE peer.domains (LIKE public.domains INCLUDING ALL);
    CREATE TABLE peer.jobs (LIKE public.jobs INCLUDING ALL);
    CREATE TABLE peer.sitemap_files (LIKE public.sitemap_files INCLUDING ALL);
    CREATE TABLE peer.sitemap_reads (LIKE public.sitemap_reads INCLUDING ALL);
    CREATE TABLE peer.sitemap_urls (LIKE public.sitemap_urls INCLUDING ALL);
    CREATE TABLE peer.pages (LIKE public.pages INCLUDING ALL);
    CREATE TABLE peer.page_reads (LIKE public.page_reads INCLUDING ALL);
    CREATE TABLE peer.scrapy_urls (
        file text, url text, lastmod timestamptz, changefreq text, priority real, PRIMARY KEY (file, url));
    CREATE TABLE peer.scrapy_pages (url text PRIMARY KEY, title text);
"""
# Rows of one turn's sites, as each contestant has them
ROWS = {
    OURS: "SELECT f.url AS file, u.* FROM sitemap_urls u JOIN sitemap_files f ON f.id = u.file_id",
    ASYNCIO: "SELECT f.url AS file, u.* FROM peer.sitemap_urls u JOIN peer.sitemap_files f ON f.id = u.file_id",
    SCRAPY: "SELECT * FROM peer.scrapy_urls",
}
# Sums of hashes: the same whatever the order, and those of parts can be added.
DIGEST = """
    SELECT count(*), {url_sum}, {row_sum} FROM ({rows}) r WHERE file LIKE %s"""
_SUM = "coalesce(sum(('x' || left(md5({0}), 15))::bit(60)::bigint), 0)::text"
URL_SUM = _SUM.format("url")
ROW_SUM = _SUM.format("concat_ws(' ', file, url, extract(epoch FROM lastmod), changefreq, priority)")
EMPTY = (
    "TRUNCATE peer.domains, peer.jobs, peer.sitemap_files, peer.sitemap_reads, peer.sitemap_urls, peer.pages,"
    " peer.page_reads, peer.scrapy_urls, peer.scrapy_pages"
)


@dataclass
class Scanned:
    """One contestant's turn: what it took, and what it found."""

    sites: int
    spent: Spent
    urls: str  # a digest of the URLs
    rows: str = field(default="")  # and one of the rows, where they are kept

    @property
    def rate(self) -> float:
        return self.sites / self.spent.wall

    def cpu_ms(self, *parts: str) -> float:
        return sum(self.spent.cpu.get(part, 0.0) for part in parts or self.spent.cpu) / self.sites * 1000


def run(bench: Bench) -> Result:
    on, count = bench.platform, bench.size(200, 16)
    on.sql(PEER_TABLES)
    with farm.running() as sites, ExitStack() as stack:
        found = stack.enter_context(_field(bench, sites))
        runs = in_turns({name: _turn(run, sites, count) for name, run in found.items()}, bench.turns)
    on.sql("DROP SCHEMA peer CASCADE")
    on.clear()
    for turn in zip(*runs.values(), strict=True):
        one = dict(zip(runs, turn, strict=True))
        agree({name: scanned.urls for name, scanned in one.items()})
        agree({name: scanned.rows for name, scanned in one.items() if scanned.rows})
    return _result(runs, count)


def _turn(read: Callable[[str, list[str]], Scanned], sites: Farm, count: int) -> Callable[[int], Scanned]:
    def turn(number: int) -> Scanned:
        name = f"turn{number}"
        return read(name, sites.sites(name, count))

    return turn


# Who takes part


@contextmanager
def _field(bench: Bench, sites: Farm) -> Iterator[dict[str, Callable[[str, list[str]], Scanned]]]:
    on = bench.platform
    with ExitStack() as stack:
        workers = stack.enter_context(on.workers(PROCESSES, environment=sites.environment))
        found = {OURS: _ours(on, workers)}
        if bench.peers is not None:
            python, processors = str(bench.peers), os.cpu_count() or 1

            def peer(name: str, processes: int, threads: int = 1) -> Callable[[str, list[str]], Scanned]:
                arguments = (python, "crawlers.py", name, str(threads), on.superuser_url, str(sites.port))
                field = [stack.enter_context(Contestant(*arguments)) for _ in range(processes)]
                return _peer(on, name, field)

            found["asyncio, the same writes"] = peer(ASYNCIO, 1)
            found["Scrapy + COPY"] = peer(SCRAPY, 1)
            found[f"Scrapy + COPY, {processors} processes"] = peer(SCRAPY, processors)
            for name in KEEPS_NOTHING:
                best = _best(bench, sites, name, peer)
                found[f"{name}, {processors} × {best} threads"] = peer(name, processors, best)
        yield found


def _best(bench: Bench, sites: Farm, name: str, peer: Callable[..., Any]) -> int:
    """The number of threads at which it reads some sites fastest."""
    if bench.short:
        return THREADS[1]
    processors = os.cpu_count() or 1
    rates = {}
    for threads in THREADS:
        some = sites.sites(f"{name}{threads}", 60)
        rates[threads] = peer(name, processors, threads)("", some).rate
    return max(rates, key=lambda threads: rates[threads])


def _ours(on: Platform, workers: Sequence[int]) -> Callable[[str, list[str]], Scanned]:
    meter = Meter(client=[*workers, on.api], database=[on.postgres], broker=[on.valkey])

    def read(name: str, sites: list[str]) -> Scanned:
        with meter.running() as spent:
            body = {"domains": [f"http://{site}/" for site in sites]}
            batch = on.client.call("POST", "/batches", json=body)["id"]
            on.work_off(batch)
        on.complete(batch)
        return Scanned(len(sites), spent, *_digests(on, OURS, name, len(sites)))

    return read


def _peer(on: Platform, name: str, field: Sequence[Contestant]) -> Callable[[str, list[str]], Scanned]:
    meter = Meter(client=[one.pid for one in field], database=[on.postgres])

    def read(turn: str, sites: list[str]) -> Scanned:
        on.sql(EMPTY)
        shares = [sites[n :: len(field)] for n in range(len(field))]
        with ThreadPoolExecutor(len(field)) as pool:
            with meter.running() as spent:
                list(pool.map(lambda pair: pair[0].ask(pair[1]), zip(field, shares, strict=True)))
            told = list(pool.map(lambda one: one.ask(), field))
        if name in KEEPS_NOTHING:
            _check(name, sum(one["urls"] for one in told), len(sites))
            return Scanned(len(sites), spent, str(sum(one["digest"] for one in told)))
        return Scanned(len(sites), spent, *_digests(on, name, turn, len(sites)))

    return read


def _digests(on: Platform, name: str, turn: str, sites: int) -> tuple[str, str]:
    statement = DIGEST.format(rows=ROWS[name], url_sum=URL_SUM, row_sum=ROW_SUM)
    [(count, urls, rows)] = on.sql(statement, f"http://{turn}-%")
    _check(name, count, sites)
    return urls, rows


def _check(name: str, count: int, sites: int) -> None:
    if count != sites * URLS:
        raise Disagreement(f"{name} has {count} URLs of {sites} sites, not {sites * URLS}")


# What came of it


def _result(runs: dict[str, list[Scanned]], count: int) -> Result:
    rows = {
        name: {
            "rate": spread([one.rate for one in some]),
            "client": spread([one.cpu_ms("client") for one in some]),
            "database": spread([one.cpu_ms("database") for one in some]),
            "broker": spread([one.cpu_ms("broker") for one in some]),
            "all": spread([one.cpu_ms() for one in some]),
            "peak": spread([one.spent.peak for one in some]),
            "over": ratio([one.cpu_ms() for one in runs[OURS]], [one.cpu_ms() for one in some]),
        }
        for name, some in runs.items()
    }
    columns = {
        "rate": "domains a second",
        "client": "CPU ms a domain: client",
        "database": "database",
        "broker": "broker",
        "all": "all",
        "over": f"{OURS}'s CPU over its",
        "peak": "MiB, at most, of client processes",
    }
    title = f"{count} sites of {URLS:,} URLs in {len(FILES)} files, {farm.ASKED} requests each"
    result = Result(
        {
            "rate": Table(title, columns, rows, "rate"),
            "cpu": Table(
                title, {"all": "CPU ms a domain"}, {name: {"all": row["all"]} for name, row in rows.items()}, "all"
            ),
        }
    )
    _judge(result, runs)
    return result


def _judge(result: Result, runs: dict[str, list[Scanned]]) -> None:
    ours = runs[OURS]
    for name, some in runs.items():
        cpu = ratio([one.cpu_ms() for one in ours], [one.cpu_ms() for one in some])
        rate = ratio([one.rate for one in ours], [one.rate for one in some])
        if name == "Scrapy + COPY":
            result.bars |= {"scan_cpu_scrapy": cpu, "scan_rate_scrapy": rate}
        elif name.startswith(ASYNCIO):
            result.bars["scan_cpu_asyncio"] = cpu
        elif name.startswith(USP):
            result.bars["scan_rate_usp"] = rate
        elif name.startswith(ADVERTOOLS):
            result.bars["scan_rate_advertools"] = rate
