"""The jobs this process holds: their leases prolonged, their owners' wishes noticed, and whether they get on.

Two threads a process. One asks the database: every two seconds which jobs are still ours (somebody may have cancelled
one, or its lease passed while we were stopped) and which may go on (a batch may be paused, a tenant suspended), to
abort the others, and every quarter of a lease it prolongs them all in one statement. The other watches: no answer for
three quarters of a lease, be it that the first thread hangs in a question, and everything aborts: another worker will
soon take over. A job that shows no sign of getting on for too long is stuck where no abort can reach it: its lease is
not prolonged any more, and the process must be replaced.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog

from app.errors import Unavailable
from app.fetching.control import Control
from app.services.scans import Assignment
from app.unit_of_work import Database

log = structlog.get_logger(__name__)
LOOK_SECONDS = 2.0
SILENCE = 0.75  # of a lease
LOST, SHUTDOWN, ON_HOLD = "lost", "shutdown", "on hold"


class Leases:
    """`on_stuck` is called when a job has shown no sign of getting on for `stuck_after` seconds.

    It is told whether all jobs held here are stuck: again, when the others have ended.
    """

    def __init__(
        self, database: Database, *, lease: float, stuck_after: float, on_stuck: Callable[[bool], object]
    ) -> None:
        self._database = database
        self._lease = lease
        self._stuck_after = stuck_after
        self._on_stuck = on_stuck
        self._pause = min(LOOK_SECONDS, lease / 8)
        self._lock = threading.Lock()
        self._held: dict[UUID, tuple[Assignment, Control]] = {}
        self._stuck: set[UUID] = set()
        self._stop = threading.Event()
        self._prolonged = self._heard = time.monotonic()
        self._threads = [
            threading.Thread(target=self._repeat, args=(step,), name=name, daemon=True)
            for name, step in (("leases", self.look), ("watch", self.watch))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=10)

    @contextmanager
    def holding(self, assignment: Assignment, control: Control) -> Iterator[None]:
        with self._lock:
            self._held[assignment.token] = (assignment, control)
        try:
            yield
        finally:
            with self._lock:
                del self._held[assignment.token]
                self._stuck.discard(assignment.token)

    def abort_all(self, reason: str) -> None:
        for _, control in self._snapshot():
            control.abort(reason)

    def __len__(self) -> int:
        return len(self._held)

    def _snapshot(self) -> list[tuple[Assignment, Control]]:
        with self._lock:
            return list(self._held.values())

    def _repeat(self, step: Callable[[], None]) -> None:
        while not self._stop.wait(self._pause):
            step()

    def look(self) -> None:
        """Ask the database, once."""
        held = [(a, control) for a, control in self._snapshot() if a.token not in self._stuck]
        now = time.monotonic()
        if not held:
            self._heard = self._prolonged = now
            return
        due = now - self._prolonged >= self._lease / 4
        try:
            ours = self._ask(held, prolong=due)
        except Unavailable as error:
            log.warning("no answer about the leases", error=str(error))
            return
        except Exception:  # without this thread every job held here would be taken for lost, and still be worked on
            log.exception("a look at the leases failed")
            return
        self._heard = now
        if due:
            self._prolonged = now
        for assignment, control in held:
            if assignment.job_id not in ours:
                control.abort(LOST)
            elif not ours[assignment.job_id]:
                control.abort(ON_HOLD)

    def watch(self) -> None:
        """Look at the clock, once."""
        now = time.monotonic()
        if now - self._heard > self._lease * SILENCE:
            self._give_up()
            return  # whoever waits for the database is not stuck
        held = self._snapshot()
        stuck = [(a, c) for a, c in held if a.token in self._stuck or now - c.seen > self._stuck_after]
        for assignment, control in stuck:
            if assignment.token not in self._stuck:
                log.error("a job is stuck; this process will be replaced", job=str(assignment.job_id))
                control.abort(LOST)
                self._stuck.add(assignment.token)
        if stuck:
            self._on_stuck(len(stuck) == len(held))

    def _give_up(self) -> None:
        held = [control for _, control in self._snapshot() if not control.aborted]
        if held:
            log.warning("no answer from the database for most of a lease: giving up all work", jobs=len(held))
        for control in held:
            control.abort(LOST)

    def _ask(self, held: list[tuple[Assignment, Control]], *, prolong: bool) -> dict[UUID, bool]:
        keys = [(a.tenant_id, a.job_id, a.token) for a, _ in held]
        with self._database.system() as uow:
            if prolong:
                uow.queue.heartbeat(keys, lease=self._lease)
            ours = uow.queue.still_ours(keys)
            uow.commit()
        return ours
