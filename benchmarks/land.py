"""Landing a file's URLs, against PostgreSQL's own `\\copy` of a ready file into the same table.

`\\copy` runs as a role exempt from row-level security, with everything already in the file as the table wants it: it is
the least that these rows can be written for. Ours stages rows as the scan makes them, and takes the difference to what
stands there, which is nothing the first time. The third is what a program without COPY would do.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from app.repositories.inventory import UrlRow
from app.scanning import dates
from app.scanning.values import UrlEntry
from app.services import scans
from app.stack.binaries import postgres_programs
from benchmarks.measuring import OWN, Meter, Spent, agree, in_turns, ratio, ratios
from benchmarks.record import OURS, Result, Table, spread
from benchmarks.runner import Bench
from benchmarks.stack import Platform

COPY, MANY = "psql \\copy of a ready file", "executemany, a statement a row"
FILLED = ("url_hash", "url", "lastmod", "lastmod_precision", "changefreq", "priority", "page_type")
INSERT = (
    f"INSERT INTO sitemap_urls (tenant_id, file_id, from_scan, {', '.join(FILLED)})"
    f" VALUES (%s, %s, 1, {', '.join(['%s'] * len(FILLED))})"
)
DIGEST = "SELECT count(*), sum(hashtextextended(concat_ws(' ', {}), 0)) FROM sitemap_urls WHERE file_id = %s"


def run(bench: Bench) -> Result:
    on, count = bench.platform, bench.size(250_000, 10_000)
    tenant = on.tenant()
    rows = [row(n) for n in range(count)]
    ready = bench.directory / "ready.tsv"
    place = _Place(on, tenant)
    contestants = {
        OURS: lambda _: _ours(on, place, rows),
        COPY: lambda _: _copy(on, place, rows, ready),
        MANY: lambda _: _executemany(on, place, rows),
    }
    found = in_turns(contestants, bench.turns)
    on.clear()
    for turn in zip(*found.values(), strict=True):
        agree(dict(zip(found, (digest for _, digest in turn), strict=True)))
    spent = {name: [one for one, _ in some] for name, some in found.items()}
    return _result(spent, count)


def row(n: int) -> UrlRow:
    url = f"https://landed.example/catalogue/section-{n % 97}/item-{n:09}.html"
    lastmod = dates.parse_lastmod(f"2026-05-{n % 28 + 1:02}T08:00:00Z")
    return scans.url_row(UrlEntry(url=url, listed=url, lastmod=lastmod, changefreq="weekly", priority=0.5))


class _Place:
    """A new sitemap file each time, in an empty table: all begin alike."""

    def __init__(self, on: Platform, tenant: UUID) -> None:
        self._on, self.tenant = on, tenant

    def file(self) -> int:
        self._on.clear()
        statement = "INSERT INTO domains (tenant_id, host) VALUES (%s, 'landed.example') RETURNING id"
        [(domain,)] = self._on.sql(statement, self.tenant)
        with self._on.database.for_tenant(self.tenant) as uow:
            file = uow.inventory.ensure_file(domain, "https://landed.example/sitemap.xml")
            uow.commit()
        return file


def _measured(on: Platform, work: Callable[[], Any], file: int) -> tuple[Spent, object]:
    meter = Meter(client=[OWN], database=[on.postgres])
    with meter.running() as spent:
        work()
    return spent, on.sql(DIGEST.format(", ".join(FILLED)), file)[0]


def _ours(on: Platform, place: _Place, rows: Sequence[UrlRow]) -> tuple[Spent, object]:
    file = place.file()

    def land() -> None:
        with on.database.for_tenant(place.tenant) as uow:
            uow.inventory.stage([rows[at : at + 500] for at in range(0, len(rows), 500)])
            uow.inventory.land(file, 1, complete=True)
            uow.commit()

    return _measured(on, land, file)


def _copy(on: Platform, place: _Place, rows: Sequence[UrlRow], ready: Path) -> tuple[Spent, object]:
    file = place.file()
    _write(ready, place.tenant, file, rows)
    psql = postgres_programs(None) / "psql"
    columns = ", ".join(("tenant_id", "file_id", "from_scan", *FILLED))
    command = [str(psql), "--quiet", "--no-psqlrc", "-c", f"\\copy sitemap_urls ({columns}) FROM '{ready}'"]
    return _measured(on, lambda: subprocess.run([*command, on.superuser_url], check=True), file)


def _executemany(on: Platform, place: _Place, rows: Sequence[UrlRow]) -> tuple[Spent, object]:
    file = place.file()

    def insert() -> None:
        with psycopg.connect(on.superuser_url) as connection, connection.cursor() as cursor:
            cursor.executemany(INSERT, ((place.tenant, file, *_filled(one)) for one in rows))

    return _measured(on, insert, file)


def _filled(one: UrlRow) -> list[Any]:
    return [getattr(one, name) for name in FILLED]


def _write(ready: Path, tenant: UUID, file: int, rows: Sequence[UrlRow]) -> None:
    with ready.open("w", encoding="utf-8") as out:
        for one in rows:
            values = (r"\N" if value is None else str(value) for value in _filled(one))
            out.write("\t".join((str(tenant), str(file), "1", *values)) + "\n")


def _result(spent: dict[str, list[Spent]], count: int) -> Result:
    walls = {name: [one.wall for one in some] for name, some in spent.items()}
    cpu = {name: [one.all_cpu for one in some] for name, some in spent.items()}
    rows = {
        name: {
            "over": spread(ratios(walls[name], walls[COPY])),
            "cpu_over": ratio(cpu[name], cpu[COPY]),
            "wall": spread(walls[name]),
            "client": spread([one.cpu["client"] / count * 1e6 for one in some]),
            "database": spread([one.cpu["database"] / count * 1e6 for one in some]),
        }
        for name, some in spent.items()
    }
    columns = {
        "over": "time over `\\copy`",
        "cpu_over": "CPU over its",
        "wall": "seconds",
        "client": "CPU µs a row: client",
        "database": "database",
    }
    bars = {"land_copy": ratio(walls[OURS], walls[COPY])}
    return Result({"rows": Table(f"{count:,} URLs landed", columns, rows, "over")}, bars)
