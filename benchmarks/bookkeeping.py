"""What a job costs besides the scan itself: dispatching, claiming, the leases' heartbeat, its end and the counts.

CPU of this process, which stands for a worker, and of PostgreSQL, per job; nothing is fetched. The jobs are the first
of a large batch, so indexes and counts are those of a full queue.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID

from app.queueing import ScanMessage
from app.redis.connection import connect
from app.redis.queue import RedisTaskQueue
from app.scanning.values import ScanFinished, ScanStats
from app.services import scans, upkeep
from app.services.scans import Assignment, Recorder
from app.unit_of_work import Database
from benchmarks import measuring
from benchmarks.stack import Platform

LEASE = 60.0
ALL = "all of it"


@dataclass(frozen=True)
class Cost:
    """CPU milliseconds a job."""

    client: float
    database: float

    @property
    def both(self) -> float:
        return self.client + self.database


class Meter:
    """Adds up the CPU of this process and of the database's."""

    def __init__(self, postgres: int, jobs: int) -> None:
        self._meter = measuring.Meter(client=[measuring.OWN], database=[postgres])
        self._jobs = jobs
        self.costs: dict[str, Cost] = {}

    def measure(self, step, work):
        with self._meter.running() as spent:
            found = work()
        self.costs[step] = Cost(*(1000 * spent.cpu[part] / self._jobs for part in ("client", "database")))
        return found


def run(on: Platform, *, jobs: int, backlog: int) -> dict[str, Cost]:
    """Step → its cost, and that of all."""
    on.clear()
    tenant, database = on.tenant(), on.database
    on.batch(tenant, backlog)
    meter = Meter(on.postgres, jobs)
    messages = meter.measure("dispatch and send", lambda: dispatched(database, on.broker_url, jobs))
    claimed = meter.measure("claim", lambda: each(lambda message: claim(database, message), messages))
    keys = [(tenant, one.job_id, one.token) for one in claimed]
    meter.measure("one heartbeat", lambda: heartbeats(database, keys))
    meter.measure("end", lambda: each(lambda one: end(database, one), claimed))
    meter.measure("settle", lambda: upkeep.settle(database))
    costs = meter.costs
    return {**costs, ALL: Cost(sum(c.client for c in costs.values()), sum(c.database for c in costs.values()))}


def dispatched(database: Database, url: str, jobs: int) -> list[ScanMessage]:
    """Round after round of a window of 128, as two processes of 32 threads have it."""
    kept = Kept(url)
    while len(kept.messages) < jobs:
        upkeep.dispatch(database, kept, slots=len(kept.messages) + 64, patience=3600)
    kept.close()
    return kept.messages[:jobs]


class Kept:
    """Sends, and takes the messages away at once, as workers do."""

    def __init__(self, url: str) -> None:
        self._queue = RedisTaskQueue(url)
        self._taken = connect(url)
        self.messages: list[ScanMessage] = []

    def publish(self, name, messages):
        self.messages += messages
        sent = self._queue.publish(name, messages)
        self._taken.delete(name)
        return sent

    def look(self):
        return self._queue.look()

    def close(self):
        self._queue.close()
        self._taken.close()


def claim(database: Database, message: ScanMessage) -> Assignment:
    found = scans.claim(
        database,
        tenant_id=message.tenant_id,
        job_id=message.job_id,
        dispatch_no=message.dispatch_no,
        lease=LEASE,
        worker="bench",
    )
    if found is None:
        raise RuntimeError("a claim was refused")
    return found


def end(database: Database, assignment: Assignment) -> None:
    recorder = Recorder(database, assignment, lease=LEASE, check=lambda: None)
    recorder.take(ScanFinished(outcome="no_sitemap", stats=ScanStats()))


def heartbeats(database: Database, keys: list[tuple[UUID, UUID, UUID]]) -> None:
    """Of a process with 32 jobs at a time."""
    for first in range(0, len(keys), 32):
        with database.system() as uow:
            uow.queue.heartbeat(keys[first : first + 32], lease=LEASE)
            uow.queue.still_ours(keys[first : first + 32])
            uow.commit()


def each(work, values):
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(work, values))
