"""A batch of ten behind another tenant's large one that has all slots, against the same on an idle system, in turns.

Scans find nothing and take half a second. Timed from the small batch's submission to its first result.
"""

from __future__ import annotations

from uuid import UUID

from benchmarks.record import OURS, Result, Table, spread
from benchmarks.runner import Bench
from benchmarks.stack import THREADS, Platform
from tests.running import until

PROCESSES, PAUSE, SMALL = 2, 0.5, 10
IDLE, BEHIND = f"{OURS}, idle", f"{OURS}, behind another tenant's"
TIMES = """
    SELECT extract(epoch FROM min(j.finished_at) - b.created_at)::float,
           extract(epoch FROM max(j.finished_at) - b.created_at)::float
    FROM jobs j JOIN batch_jobs b ON b.id = j.batch_id WHERE b.id = %s GROUP BY b.created_at"""


def run(bench: Bench) -> Result:
    on, count = bench.platform, bench.size(100_000, 2_000)
    on.clear()
    found: dict[str, list[tuple[float, float]]] = {IDLE: [], BEHIND: []}
    large, small = on.tenant(), on.tenant("small")
    with on.idlers(PROCESSES, pause=PAUSE):
        batch = on.batch(large, count)
        for _ in range(bench.turns):
            _set(on, batch, "pause")
            until(lambda: not _taken(on, batch), seconds=120, what="the large batch rests")
            found[IDLE].append(_small(on, small))
            _set(on, batch, "resume")
            until(lambda: _taken(on, batch) >= PROCESSES * THREADS, seconds=120, what="the large one has the slots")
            found[BEHIND].append(_small(on, small))
        on.client.call("POST", f"/batches/{batch}/cancel")
    on.clear()
    rows = {
        name: {"first": spread([first for first, _ in some]), "last": spread([last for _, last in some])}
        for name, some in found.items()
    }
    columns = {"first": "seconds to its first result", "last": "to its last"}
    title = f"a batch of {SMALL} domains, the other of {count:,}"
    later = rows[BEHIND]["first"]["median"] - rows[IDLE]["first"]["median"]
    return Result({"small": Table(title, columns, rows, "first")}, {"fairness": later})


def _small(on: Platform, tenant: UUID) -> tuple[float, float]:
    batch = on.batch(tenant, SMALL)
    on.work_off(batch)
    on.complete(batch)
    [(first, last)] = on.sql(TIMES, batch)
    return first, last


def _set(on: Platform, batch: UUID, move: str) -> None:
    shown = on.client.call("GET", f"/batches/{batch}")
    if (shown["status"] == "paused") != (move == "pause"):
        on.client.call("POST", f"/batches/{batch}/{move}")


def _taken(on: Platform, batch: UUID) -> int:
    statement = "SELECT count(*) FROM jobs WHERE batch_id = %s AND status IN ('queued', 'running')"
    return int(on.sql(statement, batch)[0][0])
