"""What keeps the queue moving: dispatching, reaping, sweeping, settling. Every worker process runs it.

Each duty has its own advisory lock, so one process does it and nobody waits; each step is one short transaction.
"""

from __future__ import annotations

from app.queueing import QUEUES, ScanMessage, TaskQueue
from app.repositories.queue import DISPATCH_LOCK, REAP_LOCK, SETTLE_LOCK, SWEEP_LOCK
from app.unit_of_work import Database

WINDOW_PER_SLOT = 2
LOST_AFTER = 3.0  # seconds a row may be `queued` while the broker holds no message at all
SWEEP_ROUNDS = 50


def dispatch(database: Database, queue: TaskQueue, *, slots: int, patience: float) -> int:
    """Fill the window: claim due jobs fairly, commit, then publish them in one pipeline."""
    # Single scans wait in a queue of their own, whose readers are not among `slots`.
    elsewhere = queue.depth("single") or 0
    with database.system() as uow:
        if not uow.queue.try_lock(DISPATCH_LOCK):
            return 0
        want = slots * WINDOW_PER_SLOT - max(uow.queue.queued() - elsewhere, 0)
        rows = uow.queue.dispatch(want=want, patience=patience) if want > 0 else []
        messages = [
            ScanMessage(
                tenant_id=row.tenant_id,
                job_id=row.job_id,
                dispatch_no=row.dispatch_no,
                domain=row.domain,
                batch_id=row.batch_id,
            )
            for row in rows
        ]
        uow.after_commit(lambda: queue.publish("scans", messages))
        uow.commit()
    return len(messages)


def reap(database: Database, queue: TaskQueue, *, patience: float) -> int:
    """Put back what lost its message or its worker, and what has waited its pause out."""
    depths = [queue.depth(name) for name in QUEUES]
    # An empty broker holds no message for anybody: what is still `queued` lost its own.
    lost = all(depth == 0 for depth in depths)
    with database.system() as uow:
        if not uow.queue.try_lock(REAP_LOCK):
            return 0
        moved = uow.queue.wake() + uow.queue.reap_leases()
        moved += uow.queue.reap_messages(early=max(patience - LOST_AFTER, 0.0) if lost else 0.0)
        uow.commit()
    return moved


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
