"""The queue alone: jobs whose scans find nothing against Celery's own tasks, publishing, and a job's bookkeeping.

Both kinds of no-op run on the same broker, two processes of 32 threads each, in turns, from the submission to the last
one's end. Ours go the whole way: rows, dispatch, message, claim, lease, end, counts. Celery's know no such thing: what
is lost or comes twice is lost or done twice.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

from app.queueing import ScanMessage
from app.redis.queue import RedisTaskQueue, opened
from benchmarks import bare, bookkeeping
from benchmarks.measuring import OWN, Disagreement, Meter, Spent, agree, in_turns, ratio
from benchmarks.record import OURS, Result, Table, spread
from benchmarks.runner import Bench
from benchmarks.stack import THREADS, Platform
from tests.running import ROOT, until

PROCESSES = 2
PARTS = ("client", "database", "broker")
WINDOW = 2 * PROCESSES * THREADS
CELERY, APPLY_ASYNC = "Celery, tasks that do nothing", "apply_async, one by one"


def run(bench: Bench) -> Result:
    result = Result()
    _noops(bench, result)
    _publishing(bench, result)
    _bookkeeping(bench, result)
    bench.platform.clear()
    return result


# No-ops


def _noops(bench: Bench, result: Result) -> None:
    on, count = bench.platform, bench.size(1_500, 500)
    with on.idlers(PROCESSES) as ours, _celery(bench, PROCESSES) as theirs:
        tenant = on.tenant()
        parts = {"database": [on.postgres], "broker": [on.valkey]}
        our_meter, their_meter = Meter(client=[OWN, *ours], **parts), Meter(client=[OWN, *theirs], **parts)
        celery = bare.make(on.broker_url)
        runs = in_turns(
            {
                OURS: lambda _: _measured(our_meter, lambda: _ours(on, tenant, count)),
                CELERY: lambda _: _measured(their_meter, lambda: _theirs(on, celery, count)),
            },
            bench.turns,
        )
    told = map(int, (bench.directory / "done").read_text(encoding="ascii").split())
    agree({"sent": count * (bench.turns + 1), "run": sum(told)})
    rates = {name: [count / spent.wall for spent in some] for name, some in runs.items()}
    result.bars["queue_noop"] = ratio(rates[OURS], rates[CELERY])
    rows = {
        name: {
            "rate": spread(rates[name]),
            **{
                part: spread([one.cpu[part] / count * 1000 for one in some])
                for part in ("client", "database", "broker")
            },
            "peak": spread([one.peak for one in some]),
        }
        for name, some in runs.items()
    }
    columns = {
        "rate": "jobs a second",
        "client": "CPU ms a job: client",
        "database": "database",
        "broker": "broker",
        "peak": "MiB, at most, of client processes",
    }
    title = f"{count:,} jobs that find nothing, {PROCESSES} processes of {THREADS} threads"
    result.tables["noops"] = Table(title, columns, rows, "rate")


def _measured(meter: Meter, work: Callable[[], None]) -> Spent:
    with meter.running() as spent:
        work()
    return spent


def _ours(on: Platform, tenant: UUID, count: int) -> None:
    batch = on.batch(tenant, count)
    on.work_off(batch)
    if on.complete(batch) != count:
        raise Disagreement(f"not {count} jobs")


def _theirs(on: Platform, celery: object, count: int) -> None:
    for _ in range(count):
        celery.send_task("bare.nothing", ("tenant", "job", 1))  # type: ignore[attr-defined]
    while on.broker.llen(bare.QUEUE) or on.broker.hlen("unacked"):
        time.sleep(0.01)


@contextmanager
def _celery(bench: Bench, processes: int) -> Iterator[list[int]]:
    on, log = bench.platform, bench.directory / "celery.log"
    environment = {
        **os.environ,
        "BENCHMARK_BROKER": on.broker_url,
        "BENCHMARK_DONE": str(bench.directory / "done"),
        "PYTHONPATH": str(ROOT),
        "C_FORCE_ROOT": "1",
    }
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.bare", "worker", "--pool=threads"]
    command += [f"--concurrency={THREADS}", "--without-gossip", "--without-mingle", "--loglevel=INFO"]
    with log.open("wb") as out:
        started = [
            subprocess.Popen([*command, f"--hostname=bare{n}@%h"], cwd=ROOT, env=environment, stdout=out, stderr=out)
            for n in range(processes)
        ]
        try:
            until(
                lambda: log.read_text(errors="replace").count(" ready.") == processes, seconds=180, what=log.read_text
            )
            yield [process.pid for process in started]
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                process.wait(timeout=60)


# Publishing


def _publishing(bench: Bench, result: Result) -> None:
    on, windows = bench.platform, bench.size(20, 4)
    messages = [
        ScanMessage(tenant_id=uuid4(), job_id=uuid4(), dispatch_no=1, until=0.0, domain="a.example", batch_id=None)
        for _ in range(WINDOW)
    ]
    ours, celery = RedisTaskQueue(on.broker_url), bare.make(on.broker_url)

    def theirs() -> None:
        for one in messages:
            arguments = (str(one.tenant_id), str(one.job_id), one.dispatch_no)
            celery.send_task("bare.nothing", arguments, queue="scans", task_id=str(one.job_id))

    publish = {OURS: lambda: ours.publish("scans", messages), APPLY_ASYNC: theirs}
    runs = in_turns({name: lambda _, one=one: _window(on, one, windows) for name, one in publish.items()}, bench.turns)
    ours.close()
    agree({name: some[0][1] for name, some in runs.items()})
    costs = {name: [spent / windows / WINDOW * 1e6 for spent, _ in some] for name, some in runs.items()}
    result.bars["queue_publish"] = ratio(costs[APPLY_ASYNC], costs[OURS])
    rows = {name: {"cost": spread(some)} for name, some in costs.items()}
    result.tables["publishing"] = Table(f"sending a window of {WINDOW}", {"cost": "CPU µs a message"}, rows, "cost")


def _window(on: Platform, publish: Callable[[], object], windows: int) -> tuple[float, frozenset[object]]:
    """CPU seconds of this process, and what the messages say."""
    spent = 0.0
    for _ in range(windows):
        on.broker.delete("scans")
        before = time.process_time()
        publish()
        spent += time.process_time() - before
    payloads = on.broker.lrange("scans", 0, -1)
    on.broker.delete("scans")
    return spent, frozenset(map(opened, payloads))  # type: ignore[arg-type]


# Bookkeeping


def _bookkeeping(bench: Bench, result: Result) -> None:
    on, jobs, backlog = bench.platform, bench.size(2_000, 200), bench.size(100_000, 2_000)
    runs = in_turns({OURS: lambda _: bookkeeping.run(on, jobs=jobs, backlog=backlog)}, bench.turns)[OURS]
    rows = {
        step: {
            "both": spread([one[step].both for one in runs]),
            "client": spread([one[step].client for one in runs]),
            "database": spread([one[step].database for one in runs]),
        }
        for step in runs[0]
    }
    result.bars["queue_bookkeeping"] = rows[bookkeeping.ALL]["both"]["median"]
    columns = {"both": "CPU ms a job", "client": "client", "database": "database"}
    title = f"a job's bookkeeping, {backlog:,} pending"
    result.tables["bookkeeping"] = Table(title, columns, rows, "both")
