"""What a job costs besides the scan itself: dispatching, claiming, the leases' heartbeat, its end and the counts.

    python -m benchmarks.bookkeeping --jobs 2000

CPU of this process, which stands for a worker, and of PostgreSQL, per job; nothing is fetched. The jobs are the first
of a large batch, so indexes and counts are those of a full queue.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from app.cli.database import upgrade
from app.queueing import ScanMessage
from app.redis.connection import connect
from app.redis.queue import RedisTaskQueue
from app.repositories.batches import Line
from app.scanning.values import ScanFinished, ScanStats
from app.services import scans, upkeep
from app.services.scans import Assignment, Recorder
from app.settings import Settings
from app.stack import servers
from app.unit_of_work import Database
from tests.running import descendants

TICKS = os.sysconf("SC_CLK_TCK")
LEASE = 60.0


@dataclass(frozen=True)
class Cost:
    """CPU milliseconds a job."""

    step: str
    client: float
    database: float

    @property
    def both(self) -> float:
        return self.client + self.database


class Meter:
    """Adds up the CPU of this process and of the database's."""

    def __init__(self, postmaster: int, jobs: int) -> None:
        self._postmaster = postmaster
        self._jobs = jobs
        self.costs: list[Cost] = []

    def measure(self, step, work):
        client, database = time.process_time(), self._database()
        found = work()
        spent = time.process_time() - client, self._database() - database
        self.costs.append(Cost(step, *(1000 * seconds / self._jobs for seconds in spent)))
        return found

    def _database(self) -> float:
        return sum(map(_cpu, [self._postmaster, *descendants(self._postmaster)]))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[n]) for n in (11, 12)) / TICKS


def run(database: Database, url: str, postmaster: int, *, jobs: int, backlog: int) -> list[Cost]:
    tenant = submit(database, backlog)
    meter = Meter(postmaster, jobs)
    messages = meter.measure("dispatch and send", lambda: dispatched(database, url, jobs))
    claimed = meter.measure("claim", lambda: each(lambda message: claim(database, message), messages))
    keys = [(tenant, one.job_id, one.token) for one in claimed]
    meter.measure("one heartbeat", lambda: heartbeats(database, keys))
    meter.measure("end", lambda: each(lambda one: end(database, one), claimed))
    meter.measure("settle", lambda: upkeep.settle(database))
    return meter.costs


def submit(database: Database, backlog: int) -> UUID:
    with database.system() as system:
        tenant = system.sign_in.tenant_named("default").id
    with database.for_tenant(tenant) as uow:
        batch = uow.batches.add(name=None, options={}, priority=5, created_by=None)
        hosts = (f"d{n}.example" for n in range(backlog))
        uow.batches.land(batch, (Line(n, h, h, "/", None, None) for n, h in enumerate(hosts)), max_attempts=3)
        uow.commit()
    return tenant


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
        raise SystemExit("a claim was refused")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(_env_file=None, data_dir=Path(directory))
        with servers.start(settings) as started:
            upgrade(started.settings, lambda _: None)
            database = Database(started.settings, "worker")
            url = started.settings.redis_url.get_secret_value()
            postmaster = int((Path(directory) / "postgres/data/postmaster.pid").read_text().split()[0])
            costs = run(database, url, postmaster, jobs=arguments.jobs, backlog=arguments.backlog)
            database.close()
    total = Cost("all", sum(c.client for c in costs), sum(c.database for c in costs))
    if arguments.json:
        print(json.dumps([asdict(cost) for cost in [*costs, total]]))
        return
    for cost in [*costs, total]:
        print(f"{cost.step:20} client {cost.client:6.3f}  database {cost.database:6.3f}  both {cost.both:6.3f} ms")


if __name__ == "__main__":
    main()
