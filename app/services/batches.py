"""What becomes of batches after they were taken in: looking at them, and the moves their owner may ask for.

Every move is repeatable: asked again, or too late, it changes nothing and answers the present state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal
from uuid import UUID

from app.access import Actor
from app.errors import Conflict, NotFound
from app.repositories import batches
from app.repositories.batches import BatchView, Reject
from app.repositories.keyset import PageOf
from app.services.quotas import Quotas
from app.unit_of_work import Database, TenantUnit
from models import BatchJob
from models.states import OPEN_BATCHES, BatchStatus, JobStatus

RetryWhat = Literal["failed", "cancelled", "all"]
RETRIED: Final[dict[RetryWhat, tuple[JobStatus, ...]]] = {
    "failed": (JobStatus.FAILED,),
    "cancelled": (JobStatus.CANCELLED,),
    "all": (JobStatus.FAILED, JobStatus.CANCELLED),
}
GOING: Final = (BatchStatus.PENDING, BatchStatus.RUNNING)


class Batches:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, actor: Actor, batch_id: UUID) -> BatchView:
        """:raises NotFound: the tenant has no such batch"""
        found = self._database.ask(actor.tenant_id, batches.view(actor.tenant_id, batch_id))
        if found is not None and not _is_over(found):
            return found
        with self._database.for_tenant(actor.tenant_id) as uow:
            return settled_view(uow, batch_id)

    def listing(self, actor: Actor, *, limit: int, cursor: str | None, status: str | None) -> PageOf[BatchView]:
        """Newest first; as when one is read, what has ended is written down if nobody has yet."""
        with self._database.for_tenant(actor.tenant_id) as uow:
            found = uow.batches.listing(limit=limit, cursor=cursor, status=status)
            over = [view.batch.id for view in found.items if _is_over(view)]
            if not over:
                return found
            for batch_id in sorted(over):
                uow.batches.settle(batch_id)
            uow.commit()
        return self.listing(actor, limit=limit, cursor=cursor, status=status)

    def rejects(
        self, actor: Actor, batch_id: UUID, *, limit: int, cursor: str | None, reason: str | None
    ) -> PageOf[Reject]:
        """:raises NotFound: the tenant has no such batch"""
        with self._database.for_tenant(actor.tenant_id) as uow:
            must_exist(uow, batch_id)
            found = uow.batches.rejects(batch_id, limit=limit, cursor=cursor, reason=reason)
            return found.map(lambda row: Reject(row.line, row.value, row.reason, row.detail, row.same_as))

    def cancel(self, actor: Actor, batch_id: UUID) -> BatchView:
        """Workers sweep its open jobs and stop the running ones.

        :raises NotFound: the tenant has no such batch
        """

        def move(batch: BatchJob) -> None:
            if batch.status in OPEN_BATCHES:
                batch.status = BatchStatus.CANCELLING

        return self._move(actor, batch_id, move)

    def pause(self, actor: Actor, batch_id: UUID) -> BatchView:
        """Nothing more of it is started; what runs goes back to where it was at its last checkpoint.

        :raises NotFound: the tenant has no such batch
        """

        def move(batch: BatchJob) -> None:
            if batch.status in GOING:
                batch.status = BatchStatus.PAUSED

        return self._move(actor, batch_id, move)

    def resume(self, actor: Actor, batch_id: UUID) -> BatchView:
        """:raises NotFound: the tenant has no such batch"""

        def move(batch: BatchJob) -> None:
            if batch.status == BatchStatus.PAUSED:
                batch.status = BatchStatus.RUNNING if batch.started_at else BatchStatus.PENDING

        return self._move(actor, batch_id, move)

    def retry(self, actor: Actor, batch_id: UUID, *, what: RetryWhat, quotas: Quotas) -> BatchView:
        """Give its failed (or cancelled) jobs a fresh start; a batch that had ended is open again.

        :raises NotFound: the tenant has no such batch
        :raises Conflict: it is being cancelled right now
        :raises QuotaExceeded: the tenant would have more open jobs than it may have
        """
        with self._database.for_tenant(actor.tenant_id) as uow:
            batch = held_for_retry(uow, batch_id)
            if again := uow.jobs.retry_of_batch(batch_id, RETRIED[what]):
                reopen(batch)
                quotas.confirm(uow, quotas.allowed(uow), added=again)
            uow.commit()
        return self.get(actor, batch_id)

    def _move(self, actor: Actor, batch_id: UUID, move: Callable[[BatchJob], None]) -> BatchView:
        with self._database.for_tenant(actor.tenant_id) as uow:
            move(_held(uow, batch_id))
            uow.commit()
        return self.get(actor, batch_id)


def settled_view(uow: TenantUnit, batch_id: UUID) -> BatchView:
    """The batch with its counts. If they say it has ended before anybody wrote that down, it is written down now.

    :raises NotFound: the tenant has no such batch
    """
    view = uow.batches.get(batch_id)
    if view is None:
        raise NotFound
    if _is_over(view):
        uow.batches.settle(batch_id)
        view = uow.batches.get(batch_id)
        assert view is not None  # nobody deletes batches
        uow.commit()
    return view


def _is_over(view: BatchView) -> bool:
    return view.batch.status in OPEN_BATCHES and not view.open_jobs


def must_exist(uow: TenantUnit, batch_id: UUID) -> None:
    """:raises NotFound: the tenant has no such batch"""
    if uow.batches.get(batch_id) is None:
        raise NotFound


def held_for_retry(uow: TenantUnit, batch_id: UUID) -> BatchJob:
    """Held, so that nobody decides its status meanwhile.

    :raises NotFound: the tenant has no such batch
    :raises Conflict: it is being cancelled right now
    """
    batch = _held(uow, batch_id)
    if batch.status == BatchStatus.CANCELLING:
        raise Conflict("the batch is being cancelled; retry once that is done")
    return batch


def reopen(batch: BatchJob) -> None:
    if batch.status not in OPEN_BATCHES:
        batch.status, batch.status_reason, batch.finished_at = BatchStatus.RUNNING, None, None


def go_on(batch: BatchJob) -> None:
    """Open again what ended too early, or never left `pending`; what was cancelled goes on being cancelled."""
    if batch.status == BatchStatus.PENDING or batch.status not in OPEN_BATCHES:
        cancelled = batch.status == BatchStatus.CANCELLED
        batch.status = BatchStatus.CANCELLING if cancelled else BatchStatus.RUNNING
        batch.finished_at = None


def _held(uow: TenantUnit, batch_id: UUID) -> BatchJob:
    batch = uow.batches.lock(batch_id)
    if batch is None:
        raise NotFound
    return batch
