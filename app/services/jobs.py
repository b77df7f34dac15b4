"""Jobs: looking at them and at what they brought home, cancelling, trying again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

from app.access import Actor
from app.errors import Conflict, NotFound
from app.repositories.inventory import ReadView, UrlView
from app.repositories.jobs import JobView
from app.repositories.keyset import PageOf
from app.repositories.pages import PageView
from app.services import batches
from app.services.quotas import Quotas
from app.unit_of_work import Database, TenantUnit
from models.states import QUARANTINE_AFTER, BatchStatus, JobStatus

CHUNK = 1_000  # URLs
JobKey = UUID | int  # its id or its number


class Jobs:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, actor: Actor, key: JobKey) -> JobView:
        """:raises NotFound: the tenant has no such job"""
        with self._database.for_tenant(actor.tenant_id) as uow:
            return _found(uow, key)

    def listing(
        self,
        actor: Actor,
        *,
        limit: int,
        cursor: str | None,
        batch_id: UUID | None = None,
        status: str | None = None,
        domain: str | None = None,
    ) -> PageOf[JobView]:
        """:raises NotFound: the tenant has no such batch"""
        with self._database.for_tenant(actor.tenant_id) as uow:
            if batch_id is not None:
                batches.must_exist(uow, batch_id)
            return uow.jobs.listing(limit=limit, cursor=cursor, batch_id=batch_id, status=status, domain=domain)

    def urls(self, actor: Actor, key: JobKey, *, limit: int, cursor: str | None) -> PageOf[UrlView]:
        """The site's URLs as this scan left them.

        :raises NotFound: the tenant has no such job
        """
        with self._database.for_tenant(actor.tenant_id) as uow:
            return uow.inventory.urls(_found(uow, key).job, limit=limit, cursor=cursor)

    def export(self, actor: Actor, key: JobKey) -> Iterator[Sequence[UrlView]]:
        """All of them, in chunks, each read in a transaction of its own: what one scan left does not change any more.

        :raises NotFound: the tenant has no such job, with the first chunk
        """
        cursor = None
        while True:
            with self._database.for_tenant(actor.tenant_id) as uow:
                page = uow.inventory.urls(_found(uow, key).job, limit=CHUNK, cursor=cursor)
            yield page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def sitemaps(self, actor: Actor, key: JobKey, *, limit: int, cursor: str | None) -> PageOf[ReadView]:
        """:raises NotFound: the tenant has no such job"""
        with self._database.for_tenant(actor.tenant_id) as uow:
            return uow.inventory.reads(_found(uow, key).job.id, limit=limit, cursor=cursor)

    def pages(self, actor: Actor, key: JobKey, *, limit: int, cursor: str | None) -> PageOf[PageView]:
        """:raises NotFound: the tenant has no such job"""
        with self._database.for_tenant(actor.tenant_id) as uow:
            return uow.pages.of_job(_found(uow, key).job.id, limit=limit, cursor=cursor)

    def cancel(self, actor: Actor, key: JobKey) -> JobView:
        """End it, wherever it is; one that has ended stays as it is.

        :raises NotFound: the tenant has no such job
        """
        with self._database.for_tenant(actor.tenant_id) as uow:
            job_id = _found(uow, key).job.id
            uow.jobs.cancel(job_id)
            uow.commit()
        return self.get(actor, job_id)

    def retry(self, actor: Actor, key: JobKey, *, quotas: Quotas) -> JobView:
        """Give a failed or cancelled job a fresh start; its batch, had it ended, is open again.

        :raises NotFound: the tenant has no such job
        :raises Conflict: it is neither failed nor cancelled, or its batch is being cancelled
        :raises QuotaExceeded: the tenant has as many open jobs as it may have
        """
        with self._database.for_tenant(actor.tenant_id) as uow:
            job = _found(uow, key).job
            batch = batches.held_for_retry(uow, job.batch_id) if job.batch_id else None
            if not uow.jobs.retry(job.id):
                raise Conflict("only a failed or cancelled job can be tried again")
            if batch is not None:
                batches.reopen(batch)
            quotas.confirm(uow, quotas.allowed(uow), added=1)
            uow.commit()
        return self.get(actor, job.id)


def waiting_on(view: JobView) -> str | None:
    """Why a job that is not being worked on waits; None once it runs or has ended."""
    job = view.job
    if job.status not in (JobStatus.PENDING, JobStatus.QUEUED):
        return None
    if view.batch_status in (BatchStatus.PAUSED, BatchStatus.CANCELLING):
        return view.batch_status
    if view.tenant_status != "active":
        return f"tenant_{view.tenant_status}"
    if job.available_at is not None:
        return f"{job.waiting_on or 'retry'} until {rfc3339(job.available_at)}"
    return _turn(view)


def _turn(view: JobView) -> str:
    if view.job.lost >= QUARANTINE_AFTER:
        return "quarantine"
    if view.job.status == JobStatus.QUEUED:
        return "worker"
    return "tenant_limit" if view.tenant_full else "dispatch"


def rfc3339(moment: datetime) -> str:
    """
    >>> rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _found(uow: TenantUnit, key: JobKey) -> JobView:
    view = uow.jobs.get(key)
    if view is None:
        raise NotFound
    return view
