"""What keeps the queue moving: dispatching, reaping, sweeping, settling. Every worker process runs it.

Each duty has its own advisory lock, so one process does it and nobody waits; each step is one short transaction.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, cast

from app import points
from app.queueing import QueueName, ScanMessage, TaskQueue, Waiting
from app.repositories.queue import DISPATCH_LOCK, REAP_LOCK, SETTLE_LOCK, SWEEP_LOCK, Dispatch
from app.unit_of_work import Database

LOST_AFTER = 3.0  # seconds between a message's being taken and its claim, at most, while all is well
WINDOW_PER_SLOT = 2  # one to be read first, one behind it
QUARANTINE_WINDOW = 2  # of which one waits
SWEEP_ROUNDS = 50

Look = Mapping[QueueName, Waiting]


def dispatch(database: Database, queue: TaskQueue, *, slots: int, patience: float) -> int:
    """Fill the window: claim due jobs fairly, commit, then publish them, a round trip a queue.

    The window is `WINDOW_PER_SLOT` × `slots`, whether rows or messages are counted: stale messages that nobody takes
    away must not pile up. Nothing is handed to a broker that does not answer.
    """
    seen = queue.look()
    if seen is None:
        return 0
    with database.system() as uow:
        if not uow.queue.try_lock(DISPATCH_LOCK):
            return 0
        queued = uow.queue.queued()

        def room(name: QueueName, size: int) -> int:
            return max(size - max(queued.get(name, 0), seen[name].depth), 0)

        express, scans = room("express", slots), room("scans", slots)
        rows = []
        if express or scans:
            rows += uow.queue.dispatch(express=express, scans=scans, slots=slots, patience=patience)
        if room("quarantine", QUARANTINE_WINDOW):
            rows += uow.queue.dispatch_quarantined(patience=patience)
        uow.after_commit(lambda: _publish(queue, rows))
        uow.commit()
    return len(rows)


def _publish(queue: TaskQueue, rows: Iterable[Dispatch]) -> None:
    messages: dict[QueueName, list[ScanMessage]] = {}
    for row in rows:
        message = ScanMessage(
            tenant_id=row.tenant_id,
            job_id=row.job_id,
            dispatch_no=row.dispatch_no,
            until=row.until,
            domain=row.domain,
            batch_id=row.batch_id,
        )
        messages.setdefault(cast("QueueName", row.queue), []).append(message)
    if messages:
        points.reached("dispatched")
    for name, some in sorted(messages.items()):
        queue.publish(name, sorted(some, key=lambda message: message.until))


class Sightings:
    """What was seen of the broker's queues a moment ago, by which lost messages are told from waiting ones.

    A message dispatched before one that was next in its queue some seconds ago has left the queue; had a worker taken
    it, its claim would be written by now. Seconds are this process's own, and only tell how long ago it looked.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looks: deque[tuple[float, Look]] = deque()

    def look(self, queue: TaskQueue) -> None:
        """A broker that does not answer tells nothing, neither now nor before: it may come back with less."""
        seen = queue.look()
        if seen is None:
            self._looks.clear()
        else:
            self._looks.append((self._clock(), seen))

    def settled(self) -> dict[str, tuple[float, float]]:
        """Queue → (time limit of its next message, seconds ago), of the newest look that is old enough."""
        now = self._clock()
        while len(self._looks) > 1 and now - self._looks[1][0] >= LOST_AFTER:
            self._looks.popleft()
        if not self._looks or now - self._looks[0][0] < LOST_AFTER:
            return {}
        at, seen = self._looks[0]
        return {name: (waiting.until, now - at) for name, waiting in seen.items()}


class Reaped(NamedTuple):
    """How many jobs were put back, or ended, and why."""

    woken: int = 0
    leases: int = 0
    messages: int = 0


def reap(database: Database, seen: Sightings, *, patience: float, lease: float) -> Reaped:
    """Put back what lost its message or its worker, and what has waited its pause out."""
    with database.system() as uow:
        if not uow.queue.try_lock(REAP_LOCK):
            return Reaped()
        reaped = Reaped(
            woken=uow.queue.wake(),
            leases=uow.queue.reap_leases(lease=lease),
            messages=uow.queue.reap_messages(seen.settled(), patience=patience),
        )
        uow.commit()
    return reaped


def sweep(database: Database) -> int:
    """End the open jobs of cancelled batches, a chunk a transaction."""
    swept = 0
    for _ in range(SWEEP_ROUNDS):
        with database.system() as uow:
            if not uow.queue.try_lock(SWEEP_LOCK):
                return swept
            chunk = sum(uow.queue.sweep(tenant_id, batch_id) for tenant_id, batch_id in uow.queue.cancelling())
            uow.commit()
        if not chunk:
            return swept
        swept += chunk
    return swept


def settle(database: Database) -> int:
    """Fold the counts of open batches and give those without an open job their final status."""
    with database.system() as uow:
        if not uow.queue.try_lock(SETTLE_LOCK):
            return 0
        ended = uow.queue.fold_and_list_ended()
        uow.commit()
    for tenant_id, batch_id in ended:
        with database.for_tenant(tenant_id) as unit:
            unit.batches.settle(batch_id)
            unit.commit()
    return len(ended)


def forget_old(database: Database) -> None:
    """Drop what has had its time: idempotency keys, dead sessions."""
    with database.system() as uow:
        uow.queue.forget_old()
        uow.commit()
