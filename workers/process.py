"""One worker process: `python -m workers.process --queue scans --concurrency 32 --name scans-1`.

`manage.py worker` starts as many as the settings say and watches them.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import worker_ready, worker_shutting_down

from app import log as logs
from app import settings as configuration
from app.queueing import SCAN_TASK
from app.stack import liveness
from workers import celery_app, scan
from workers.runtime import Runtime, end_now
from workers.scan import AttemptFailed

log = structlog.get_logger(__name__)
READS = {"scans": "express,scans", "single": "single", "quarantine": "quarantine"}  # in this order: celeryconfig.py
QUARANTINE = "quarantine"
MORE_FOR_QUARANTINE = 5
MEMORY_SECONDS = 0.5
FAR_TOO_MUCH = 1.5  # times the limit
OOM_SCORE = 500
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    arguments = _arguments()
    settings = configuration.load()
    logs.configure(level=settings.log_level, style=settings.log_format)
    _hush()
    _volunteer()
    stand_back(niceness(arguments.queue, settings.worker_nice))
    runtime = Runtime(settings, name=arguments.name)
    celery = celery_app.make(settings)
    _register(celery, runtime)
    _connect_signals(runtime)
    runtime.start()
    _tune_collector()
    threading.Thread(target=_watch_memory, args=(runtime,), name="memory", daemon=True).start()
    try:
        celery.worker_main(_options(arguments, settings.log_level))
    finally:
        runtime.stop()


def niceness(queue: str, batches: int) -> int:
    """How far a process stands back: for the API and PostgreSQL on its machine, not for those who wait for one scan.

    What has brought processes down twice waits for everybody else.

    >>> [niceness(queue, 10) for queue in ("single", "scans", "quarantine")]
    [0, 10, 15]
    """
    if queue == "single":
        return 0
    return min(batches + (MORE_FOR_QUARANTINE if queue == QUARANTINE else 0), 19)


def stand_back(by: int) -> None:
    """Be `nice`: also as a session, where Linux shares the processor out among sessions first (sched_autogroup)."""
    os.nice(by)
    group = Path("/proc/self/autogroup")
    if os.getsid(0) == os.getpid() and group.exists():
        with suppress(OSError):  # a system that does not let us; within the session it holds all the same
            group.write_text(str(by), encoding="ascii")


def _tune_collector() -> None:
    """Parsing makes millions of objects that die at once and hold no cycles.

    Looking for cycles after every 700 of them, Python's default, costs about as much as the parsing itself.
    """
    gc.collect()
    gc.freeze()  # what is loaded now stays: it need not be looked at again
    gc.set_threshold(50_000, 20, 20)


def _hush() -> None:
    """Celery's two lines a task say less than our one, and its warning of root is about pickle, which is off."""
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=SecurityWarning)


def _register(celery: Celery, runtime: Runtime) -> None:
    @celery.task(name=SCAN_TASK, ignore_result=True, throws=(AttemptFailed,))
    def scan_domain(tenant_id: str, job_id: str, dispatch_no: int) -> None:
        failure = scan.run(runtime, UUID(tenant_id), UUID(job_id), dispatch_no)
        if failure is not None:  # for people: Celery does nothing about it
            raise AttemptFailed(f"{failure.code}: {failure.detail}")


def _connect_signals(runtime: Runtime) -> None:
    # Weak references would drop these closures at once.
    @worker_ready.connect(weak=False)
    def ready(**_: Any) -> None:
        # Only now: the supervisor must not call a process alive that has not reached its broker.
        liveness.start()
        log.info("worker ready", worker=runtime.name)

    @worker_shutting_down.connect(weak=False)
    def shutting_down(**_: Any) -> None:
        runtime.drain()


def _options(arguments: argparse.Namespace, level: str) -> list[str]:
    return [
        "--quiet",  # no banner: what it says stands in our own lines
        "worker",
        "--pool=threads",
        f"--concurrency={arguments.concurrency}",
        f"--queues={READS[arguments.queue]}",
        f"--hostname={arguments.name}@%h",
        "--task-events",
        "--without-gossip",
        "--without-mingle",
        "--disable-prefetch",
        f"--loglevel={level}",
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queue", choices=READS, default="scans")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--name", default="worker")
    return parser.parse_args()


def _watch_memory(runtime: Runtime) -> None:
    """Past its limit a process takes nothing new, puts its scans back at their checkpoints and is replaced.

    What grows on regardless is ended before the kernel has to choose whom to kill.
    """
    limit, slice_seconds = runtime.settings.worker_memory_mib, runtime.settings.slice_seconds
    enough = threading.Event()
    while not enough.wait(MEMORY_SECONDS):
        used = resident_mib()
        if used is None or used <= limit:
            continue
        if used > limit * FAR_TOO_MUCH:
            end_now(f"{used} MiB of memory, with a limit of {limit}")
        if runtime.retire(grace=slice_seconds):
            log.warning("memory limit reached, this process will be replaced", used_mib=used, limit_mib=limit)


def _volunteer() -> None:
    """Where memory runs out, the kernel takes a worker, which costs a lease, rather than database, broker or API."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")


def resident_mib() -> int | None:
    """This process's resident memory; None where the kernel does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * PAGE_SIZE >> 20


if __name__ == "__main__":
    main()
