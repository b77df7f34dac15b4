"""What is large, over REST: uploads of up to a million lines, and then the batch they make, while it runs.

An upload is timed as its sender sees it, beside PostgreSQL reading the same lines by COPY into a table without keys:
the least that they can be taken in for. Then workers whose scans find nothing begin on a batch of a million, and the
broker's memory and the time of `GET /batches/{id}` are taken, beside the same of a batch of a thousand.
"""

from __future__ import annotations

import statistics
import threading
import time
from typing import Any, Self
from uuid import uuid4

import psycopg

from benchmarks.measuring import Meter, forget_peak, p95, ratio, resident, tree
from benchmarks.record import OURS, Result, Table, spread
from benchmarks.runner import Bench
from benchmarks.stack import Platform
from tests.running import until

COPY = "COPY into a table without keys"
BARS = {1_000: "api_thousand", 100_000: "api_hundred_thousand", 1_000_000: "api_million"}
RUNS = {1_000: 20, 100_000: 5, 1_000_000: 2}  # counted ones; of a million few, as each takes half a minute
PAUSE = 0.05  # seconds that a scan takes, so that the batch does not end meanwhile


def run(bench: Bench) -> Result:
    result = Result()
    bench.platform.clear()
    _submissions(bench, result)
    _running(bench, result)
    bench.platform.clear()
    return result


# Uploads


def _submissions(bench: Bench, result: Result) -> None:
    """In a short run a size stands for the next larger one."""
    on = bench.platform
    sizes = dict(zip(BARS, bench.size(tuple(BARS), (100, 1_000, 10_000)), strict=True))
    processes = tree(on.api)
    before = max(resident(pid, "VmRSS") for pid in processes)
    forget_peak(*processes)
    rows: dict[str, Any] = {}
    for bar, lines in sizes.items():
        times, copies = _submission(on, lines, bench.size(RUNS[bar], 3))
        result.bars[BARS[bar]] = p95(times)
        over = statistics.median(one / other for one, other in zip(times, copies, strict=True))
        rows[f"{OURS}, {lines:,} lines"] = {"time": spread(times), "p95": p95(times), "over": over}
        rows[f"{COPY}, {lines:,} lines"] = {"time": spread(copies), "p95": p95(copies), "over": 1.0}
    growth = max(resident(pid, "VmHWM") for pid in processes) - before
    result.bars["api_memory"] = growth
    columns = {"time": "ms", "p95": "p95", "over": "over COPY"}
    result.tables["submission"] = Table("POST /batches", columns, rows, "time")
    told = ", ".join(f"{lines:,} lines {bench.size(RUNS[bar], 3)} times" for bar, lines in sizes.items())
    result.notes.append(f"Counted uploads: {told}; p95 of fewer than twenty is the longest.")
    result.notes.append(f"The API's process grew by {growth:.1f} MiB at most while it took all of these in.")


def _submission(on: Platform, lines: int, runs: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each upload, and of the COPY beside it; the first of each is dropped."""
    times, copies = [], []
    for _ in range(runs + 1):
        body = upload(lines)
        began = time.perf_counter()
        batch = on.client.call("POST", "/batches", data=body, headers={"Content-Type": "text/plain"})
        times.append((time.perf_counter() - began) * 1000)
        if batch["counts"]["total"] != lines:
            raise RuntimeError(f"{batch['counts']['total']} jobs of {lines} lines")
        copies.append(_copied(on, body, lines))
        on.clear()
    return times[1:], copies[1:]


def upload(lines: int) -> bytes:
    tag = uuid4().hex[:8]
    return b"".join(f"d{n}-{tag}.example\n".encode() for n in range(lines))


def _copied(on: Platform, body: bytes, lines: int) -> float:
    with psycopg.connect(on.superuser_url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE baseline (host text)")
        began = time.perf_counter()
        with cursor.copy("COPY baseline FROM STDIN") as copy:
            copy.write(body)
        taken = (time.perf_counter() - began) * 1000
        if cursor.rowcount != lines:
            raise RuntimeError(f"{cursor.rowcount} rows of {lines} lines")
        return taken


# A batch at work


def _running(bench: Bench, result: Result) -> None:
    on, jobs = bench.platform, bench.size(1_000_000, 10_000)
    with on.idlers(0):
        idle = on.used()
    large = on.batch(on.tenant(), jobs)
    small = on.batch(on.tenant(), 1_000)
    on.sql("VACUUM ANALYZE jobs")
    names = {f"{OURS}, a batch of {jobs:,}": large, f"{OURS}, a batch of 1,000": small}
    polls = _polls(bench, names)
    with on.idlers(2, pause=PAUSE), _Watched(on) as watched:
        at_work = "SELECT true FROM jobs WHERE batch_id = %s AND status = 'running' LIMIT 1"
        until(lambda: on.sql(at_work, large), seconds=120, what="the batch is at work")
        during = _polls(bench, {f"{OURS}, the former, at work": large})
    for name, (times, cpu) in {**polls, **during}.items():
        _row(result, name, times, cpu)
    ones, others = (polls[name][1] for name in names)
    result.bars["api_poll"] = p95(during[f"{OURS}, the former, at work"][0])
    result.bars["api_poll_size"] = ratio(ones, others)
    result.bars["api_broker"] = watched.most - idle
    rows: dict[str, Any] = {"idle": {"mib": idle, "messages": 0}}
    rows[f"{OURS}, at most"] = {"mib": watched.most, "messages": watched.messages}
    title = f"the broker, {jobs:,} jobs pending"
    result.tables["broker"] = Table(title, {"mib": "MiB", "messages": "messages"}, rows, "mib")


def _row(result: Result, name: str, times: list[float], cpu: list[float]) -> None:
    columns = {"time": "ms", "p95": "p95", "cpu": "CPU ms, API and PostgreSQL"}
    table = result.tables.setdefault("polling", Table("GET /batches/{id}", columns, {}, "time"))
    table.rows[name] = {"time": spread(times), "p95": p95(times), "cpu": spread(cpu)}


def _polls(bench: Bench, batches: dict[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """Name → milliseconds of each request, and CPU milliseconds of a request, by turn."""
    on, requests = bench.platform, bench.size(100, 20)
    meter = Meter(api=[on.api], database=[on.postgres])
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in batches}
    for _ in range(bench.turns):
        for name, batch in batches.items():
            with meter.running() as spent:
                found[name][0].extend(_timed(on, f"/batches/{batch}") for _ in range(requests))
            found[name][1].append(spent.all_cpu / requests * 1000)
    return found


def _timed(on: Platform, path: str) -> float:
    began = time.perf_counter()
    on.client.call("GET", path)
    return (time.perf_counter() - began) * 1000


class _Watched:
    """The broker's memory and messages at their most, looked at ten times a second."""

    def __init__(self, on: Platform) -> None:
        self._on = on
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.most, self.messages = 0.0, 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.most = max(self.most, self._on.used())
            depths = [self._on.broker.llen(queue) for queue in ("express", "scans", "single", "quarantine")]
            self.messages = max(self.messages, sum(depths))  # type: ignore[arg-type]
