"""The loop that keeps the queue moving: a daemon thread in every worker process, or `manage.py dispatcher` alone.

There is no single dispatcher to lose: each duty is behind an advisory lock, so whoever comes first does it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import structlog

from app.errors import Unavailable
from app.queueing import TaskQueue
from app.services import upkeep
from app.settings import Settings
from app.unit_of_work import Database
from workers.meters import Meters

log = structlog.get_logger(__name__)
FORGET_SECONDS = 600.0
LONGEST_PAUSE = 10.0


class Upkeep:
    def __init__(self, database: Database, queue: TaskQueue, settings: Settings, meters: Meters) -> None:
        self._database = database
        self._queue = queue
        self._settings = settings
        self._meters = meters
        self._seen = upkeep.Sightings()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._forgot = time.monotonic()
        self._lock = threading.Lock()
        self._claims = 0
        self._thread = threading.Thread(target=self.run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)

    def claimed(self) -> None:
        """A message was taken here: when our part of half a window is gone, the next round comes at once."""
        with self._lock:
            self._claims += 1
            low = self._claims >= self._settings.worker_concurrency
        if low:
            self._wake.set()

    def run(self) -> None:
        """Until stopped. The pause has jitter, so that processes take turns."""
        failures = 0
        while not self._stop.is_set():
            failures = 0 if self._safely() else failures + 1
            pause = min(self._settings.upkeep_seconds * 2**failures, LONGEST_PAUSE)
            self._wake.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
            self._wake.clear()

    def round(self) -> None:
        """Each duty once."""
        patience = self._settings.dispatch_seconds
        with self._lock:
            self._claims = 0
        # What needs no broker first: one that answers nothing costs seconds a round, and a cancellation none of them.
        upkeep.sweep(self._database)
        upkeep.settle(self._database)
        self._seen.look(self._queue)
        reaped = upkeep.reap(self._database, self._seen, patience=patience, lease=self._settings.lease_seconds)
        self._meters.lost.inc(reaped.leases)
        sent = upkeep.dispatch(self._database, self._queue, slots=self._settings.slots, patience=patience)
        self._meters.dispatched.inc(sent)
        if time.monotonic() - self._forgot > FORGET_SECONDS:
            self._forgot = time.monotonic()
            upkeep.forget_old(self._database)

    def _safely(self) -> bool:
        try:
            self.round()
        except Unavailable as error:
            log.warning("upkeep waits for the database", error=str(error))
            return False
        except Exception:  # the loop must outlive any defect: without it nothing is dispatched or reaped
            log.exception("a round of upkeep failed")
            return False
        return True


def run_alone(settings: Settings, make: Callable[[], Upkeep], stopped: threading.Event) -> None:
    """`manage.py dispatcher`: the same loop in a process of its own, until `stopped`."""
    loop = make()
    loop.start()
    stopped.wait()
    loop.stop()
    log.info("dispatcher stopped", environment=settings.environment)
