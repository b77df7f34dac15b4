"""The jobs this process holds: their leases prolonged, their owners' wishes noticed.

One thread a process. Every two seconds it asks which jobs are still ours (somebody may have cancelled one, or its
lease passed while we were stopped) and aborts the others; every quarter of a lease it prolongs them all in one
statement. No answer from the database for three quarters of a lease, and everything aborts: another worker will
soon take over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog

from app.errors import Unavailable
from app.fetching.control import Control
from app.services.scans import Assignment
from app.unit_of_work import Database

log = structlog.get_logger(__name__)
LOOK_SECONDS = 2.0
LOST, SHUTDOWN = "lost", "shutdown"


class Leases:
    def __init__(self, database: Database, *, lease: float) -> None:
        self._database = database
        self._lease = lease
        self._look = min(LOOK_SECONDS, lease / 8)
        self._lock = threading.Lock()
        self._held: dict[UUID, tuple[Assignment, Control]] = {}
        self._stop = threading.Event()
        self._prolonged = self._heard = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)

    @contextmanager
    def holding(self, assignment: Assignment, control: Control) -> Iterator[None]:
        with self._lock:
            self._held[assignment.token] = (assignment, control)
        try:
            yield
        finally:
            with self._lock:
                del self._held[assignment.token]

    def abort_all(self, reason: str) -> None:
        for _, control in self._snapshot():
            control.abort(reason)

    def __len__(self) -> int:
        return len(self._held)

    def _snapshot(self) -> list[tuple[Assignment, Control]]:
        with self._lock:
            return list(self._held.values())

    def _run(self) -> None:
        while not self._stop.wait(self._look):
            self.look()

    def look(self) -> None:
        """One round."""
        held = self._snapshot()
        now = time.monotonic()
        if not held:
            self._heard = self._prolonged = now
            return
        due = now - self._prolonged >= self._lease / 4
        try:
            ours = self._ask(held, prolong=due)
        except Unavailable:
            self._lost_touch(now)
            return
        except Exception:  # without this thread every job held here would be taken for lost, and still be worked on
            log.exception("a look at the leases failed")
            self._lost_touch(now)
            return
        self._heard = now
        if due:
            self._prolonged = now
        for assignment, control in held:
            if assignment.job_id not in ours:
                control.abort(LOST)

    def _ask(self, held: list[tuple[Assignment, Control]], *, prolong: bool) -> set[UUID]:
        keys = [(a.tenant_id, a.job_id, a.token) for a, _ in held]
        with self._database.system() as uow:
            if prolong:
                uow.queue.heartbeat(keys, lease=self._lease)
            ours = uow.queue.still_ours(keys)
            uow.commit()
        return ours

    def _lost_touch(self, now: float) -> None:
        if now - self._heard > self._lease * 0.75:
            log.warning("no answer from the database for most of a lease: giving up all work", jobs=len(self))
            self.abort_all(LOST)
