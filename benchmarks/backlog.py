"""A long queue: what dispatching and claiming cost, one domain from POST to its first fetch, pause and cancel.

`effective` is when nothing of the batch runs or is handed out any more, `done` when every row says so; counts are
checked on the way.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from app.repositories.queue import Dispatch
from app.services import scans
from app.services.upkeep import WINDOW_PER_SLOT
from benchmarks.measuring import OWN, Disagreement, Meter, agree, p95
from benchmarks.record import OURS, Result, Table, spread
from benchmarks.runner import Bench
from benchmarks.stack import THREADS, Platform
from tests.running import until
from tests.site_server import Answer, serving

PROCESSES = 2
SLOTS = PROCESSES * THREADS
NEIGHBOURS, THEIR_JOBS = 20, 1_000


def run(bench: Bench) -> Result:
    on, jobs = bench.platform, bench.size(1_000_000, 3_000)
    on.clear()
    result = Result({"latency": _latency(bench)})
    for n in range(NEIGHBOURS):
        on.batch(on.tenant(f"neighbour-{n}"), bench.size(THEIR_JOBS, 20))
    batch = on.batch(on.tenant(), jobs)
    on.sql("VACUUM ANALYZE jobs")  # what autovacuum does within a minute or two
    result.tables["claims"] = _claims(bench, f"{jobs:,} pending, {NEIGHBOURS} other tenants")
    result.tables["moves"] = _moves(on, batch, f"a batch of {jobs:,} at work")
    on.clear()
    return result


# One domain, from POST to the first fetch


def _latency(bench: Bench) -> Table:
    """`POST /scans` on an idle system until the site hears of it."""
    on, asked, found = bench.platform, {}, []

    def answer(host: str, _path: str) -> Answer | None:
        asked.setdefault(host, time.perf_counter())
        return None

    with tempfile.TemporaryDirectory() as directory:
        with serving(answer, Path(directory), ["s.example"], tls_hosts={"s.example"}) as site:
            with on.single_worker(site.environment):
                for n in range(bench.size(20, 3) + 3):
                    host = f"s{n}.example"
                    sent = time.perf_counter()
                    job = on.client.call("POST", "/scans", json={"domain": f"http://{host}/"})
                    until(lambda host=host: host in asked, seconds=60, what=f"{host} is asked")
                    found.append((asked[host] - sent) * 1000)
                    path = f"/jobs/{job['id']}"
                    until(lambda path=path: on.client.call("GET", path)["finished_at"], seconds=60, what=path)
    warm = found[3:]
    rows: dict[str, Any] = {f"{OURS}, POST to first fetch": {"time": spread(warm), "p95": p95(warm)}}
    return Table("a single scan, idle system", {"time": "ms", "p95": "p95"}, rows, "time")


# Dispatching and claiming


def _claims(bench: Bench, title: str) -> Table:
    on, runs = bench.platform, bench.size(20, 3)
    rows: dict[str, Any] = {}
    for want in (SLOTS, SLOTS * WINDOW_PER_SLOT):
        rows[f"{OURS}, dispatching {want}"] = _repeated(on, runs, lambda want=want: _dispatched(on, want))
    waiting = iter(_dispatched(on, 2 * (runs + 1)))
    rows[f"{OURS}, a worker's claim"] = _repeated(on, runs, lambda: _claim(on, next(waiting)), put_back=False)
    _put_back(on)
    return Table(title, {"time": "ms, with commit", "cpu": "CPU ms, here and PostgreSQL"}, rows, "time")


def _repeated(on: Platform, runs: int, work: Callable[[], object], *, put_back: bool = True) -> dict[str, Any]:
    meter = Meter(client=[OWN], database=[on.postgres])
    times, cpu = [], 0.0
    for turn in range(runs + 1):
        with meter.running() as spent:
            began = time.perf_counter()
            work()
            taken = (time.perf_counter() - began) * 1000
        if put_back:
            _put_back(on)
        if turn:
            times.append(taken)
            cpu += spent.all_cpu / runs * 1000
    return {"time": spread(times), "cpu": cpu}


def _dispatched(on: Platform, want: int) -> list[Dispatch]:
    with on.database.system() as uow:
        rows = uow.queue.dispatch(express=want // 2, scans=want - want // 2, slots=SLOTS, patience=3600)
        uow.commit()
    if not 0.9 * want <= len(rows) <= want:  # fair parts are whole numbers, so a few may be left over
        raise Disagreement(f"{len(rows)} dispatched, {want} wanted")
    return rows


def _claim(on: Platform, row: Dispatch) -> None:
    key = {"tenant_id": row.tenant_id, "job_id": row.job_id, "dispatch_no": row.dispatch_no}
    if scans.claim(on.database, **key, lease=60, worker="bench") is None:  # type: ignore[arg-type]
        raise Disagreement("a claim was refused")


def _put_back(on: Platform) -> None:
    on.sql(
        "UPDATE jobs SET status = 'pending', dispatch_until = NULL, lease_token = NULL, lease_until = NULL, "
        "attempt = 0, started_at = NULL WHERE status IN ('queued', 'running')"
    )


# Pause and cancel


def _moves(on: Platform, batch: UUID, title: str) -> Table:
    rows: dict[str, Any] = {}
    at_work = "SELECT true FROM jobs WHERE batch_id = %s AND status = 'running' LIMIT 1"
    with on.idlers(PROCESSES, pause=0.05):
        until(lambda: on.sql(at_work, batch), seconds=120, what="the batch is at work")
        rows[f"{OURS}, paused"] = _moved(on, batch, "pause", _rests)
        on.client.call("POST", f"/batches/{batch}/resume")
        until(lambda: on.sql(at_work, batch), seconds=120, what="the batch goes on")
        rows[f"{OURS}, cancelled"] = _moved(on, batch, "cancel", lambda shown: shown["status"] == "cancelled")
    columns = {"answered": "seconds until answered", "effective": "until effective", "done": "until done"}
    return Table(title, columns, rows, "effective")


def _rests(shown: dict[str, Any]) -> bool:
    return shown["counts"]["running"] == shown["counts"]["queued"] == 0


def _moved(on: Platform, batch: UUID, move: str, is_done: Callable[[dict[str, Any]], bool]) -> dict[str, float]:
    began = time.monotonic()
    on.client.call("POST", f"/batches/{batch}/{move}")
    answered = time.monotonic() - began
    taken = "SELECT true FROM jobs WHERE status IN ('queued', 'running') AND batch_id = %s LIMIT 1"
    until(lambda: not on.sql(taken, batch), seconds=300, what="nothing of it runs")
    effective = time.monotonic() - began
    until(lambda: is_done(_shown(on, batch)), seconds=900, what=f"the batch obeys {move}")
    done = time.monotonic() - began
    counts = _shown(on, batch)["counts"]
    counts.pop("total")
    rows = dict(on.sql("SELECT status, count(*) FROM jobs WHERE batch_id = %s GROUP BY status", batch))
    agree({"counts": str({k: n for k, n in sorted(counts.items()) if n}), "rows": str(dict(sorted(rows.items())))})
    return {"answered": answered, "effective": effective, "done": done}


def _shown(on: Platform, batch: UUID) -> dict[str, Any]:
    shown: dict[str, Any] = on.client.call("GET", f"/batches/{batch}")
    counts = dict(shown["counts"])
    if counts.pop("total") != sum(counts.values()):
        raise Disagreement(f"counts do not add up: {shown}")
    return shown
