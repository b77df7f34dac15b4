"""What PostgreSQL does for a site, statement by statement: `pg_stat_statements` over first and over unchanged scans.

Buffers are pages of 8 KiB looked at, in memory or not; the log is what was written ahead. What a statement sets off,
triggers and foreign keys, is counted as its own. Statements of one kind on one table are one row.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from benchmarks import farm
from benchmarks.farm import URLS
from benchmarks.record import Result, Table
from benchmarks.runner import Bench
from benchmarks.stack import Platform

PROCESSES = 2
MOST = 12  # kinds that are shown
REST = "all others"
EXTENSION = "pg_stat_statements"
_ASKED = """
    SELECT query, calls, total_exec_time, shared_blks_hit + shared_blks_read, wal_bytes::float8 FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND userid <> (SELECT oid FROM pg_roles WHERE rolname = current_user)"""
_DOES = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM|COPY)\s+([a-z_]\w*)")
_ASKS = re.compile(r"\bFROM\s+([a-z_]\w*)")


class Spent(NamedTuple):
    calls: float
    ms: float
    buffers: float
    wal: float


def run(bench: Bench) -> Result:
    on, count = bench.platform, bench.size(200, 10)
    on.clear()
    with on.preloading(EXTENSION), farm.running() as sites:
        on.sql(f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}")
        with on.workers(PROCESSES, environment=sites.environment):
            _scan(on, sites.sites("warm", count))  # plans, catalogues, code
            first = _spent(on, names := sites.sites("counted", count))
            again = _spent(on, names)
        on.sql(f"DROP EXTENSION {EXTENSION}")
    on.clear()
    return Result(
        {
            "first": _table(f"a first scan of a site of {URLS:,} URLs, of {count}", first),
            "again": _table("the same, scanned again, answers 304", again),
        },
        notes=["COPY lasts as long as its rows are sent, while a file is read: its time says nothing."],
    )


def kind(query: str) -> str:
    """The last thing it writes, or else the first that it asks.

    >>> kind("WITH held AS (SELECT id FROM jobs) UPDATE batch_jobs SET name = $1")
    'UPDATE batch_jobs'
    >>> kind("SELECT a, b FROM domains WHERE id = $1"), kind("BEGIN"), kind("SET LOCAL app.tenant_id TO $1")
    ('SELECT domains', 'BEGIN', 'SET LOCAL')
    """
    written = _DOES.findall(query)
    if written:
        verb, table = written[-1]
        return f"{verb} {table}"
    asked = _ASKS.search(query)
    return f"SELECT {asked[1]}" if asked else " ".join(query.split()[: 2 if query.startswith("SET") else 1])


def summed(found: Iterable[tuple[str, float, float, float, float]], each: int) -> dict[str, Spent]:
    """Kind → a site's share.

    >>> summed([("BEGIN", 4, 1.0, 0, 0), ("COMMIT", 4, 6.0, 0, 80), ("BEGIN", 4, 1.0, 0, 0)], 4)["BEGIN"]
    Spent(calls=2.0, ms=0.5, buffers=0.0, wal=0.0)
    """
    kinds: dict[str, list[Sequence[float]]] = defaultdict(list)
    for query, *figures in found:
        kinds[kind(query)].append(figures)
    return {name: Spent(*(sum(column) / each for column in zip(*rows, strict=True))) for name, rows in kinds.items()}


def _scan(on: Platform, sites: Sequence[str]) -> None:
    on.work_off(on.submitted(on.tenant(), sites))


def _spent(on: Platform, sites: Sequence[str]) -> dict[str, Spent]:
    on.sql("SELECT pg_stat_statements_reset()")
    _scan(on, sites)
    return summed(on.sql(_ASKED), len(sites))


def _table(title: str, spent: dict[str, Spent]) -> Table:
    copies = {name: one._replace(ms=0.0) for name, one in spent.items() if name.startswith("COPY")}
    spent = {**spent, **copies}
    whole = sum(one.ms for one in spent.values())
    names = sorted(spent, key=lambda name: -spent[name].ms)
    rows: dict[str, Any] = {name: _row(spent[name], whole) for name in names[:MOST]}
    if rest := [spent[name] for name in names[MOST:]]:
        rows[f"{REST} ({len(rest)})"] = _row(Spent(*map(sum, zip(*rest, strict=True))), whole)
    columns = {"ms": "ms", "share": "% of all", "calls": "calls", "buffers": "buffers", "wal": "KiB of log"}
    return Table(title, columns, rows, "ms")


def _row(spent: Spent, whole: float) -> dict[str, float]:
    return {
        "ms": spent.ms,
        "share": spent.ms / whole * 100,
        "calls": spent.calls,
        "buffers": spent.buffers,
        "wal": spent.wal / 1024,
    }
