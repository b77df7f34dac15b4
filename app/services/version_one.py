"""The first version's view of jobs and batches: its words, its sums over what was sent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

from app.access import Actor
from app.repositories.batches import BatchView
from app.repositories.jobs import JobWords
from app.services.batches import settled_view
from app.unit_of_work import Database
from models import BatchReject
from models.states import BatchStatus, DomainRejection, JobStatus

JOB_WORDS: Final = {JobStatus.QUEUED: "pending"}
BATCH_WORDS: Final = {BatchStatus.PAUSED: "running", BatchStatus.CANCELLING: "running"}


class Fate(NamedTuple):
    """What became of one name as sent."""

    status: str
    job_id: UUID | None
    error: str | None


@dataclass(slots=True)
class Account:
    """A batch told name by name. `ended` counts lines sent, by how they ended."""

    view: BatchView
    status: str
    fates: dict[str, Fate] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)

    @property
    def sent(self) -> int:
        batch = self.view.batch
        return batch.total + batch.rejected_invalid + batch.rejected_duplicates

    @property
    def progress(self) -> float:
        done = sum(self.ended[status] for status in ("complete", "failed", "cancelled"))
        return round(done / self.sent, 4) if self.sent else 1.0


def job_word(status: str) -> str:
    """
    >>> job_word("queued"), job_word("complete")
    ('pending', 'complete')
    """
    return JOB_WORDS.get(JobStatus(status), status)


def batch_word(status: str, *, invalid: int = 0) -> str:
    """A batch some of whose lines were no domains has not wholly succeeded.

    >>> batch_word("paused"), batch_word("complete", invalid=1)
    ('running', 'partial')
    """
    if status == BatchStatus.COMPLETE and invalid:
        return BatchStatus.PARTIAL.value
    return BATCH_WORDS.get(BatchStatus(status), status)


def account(database: Database, actor: Actor, batch_id: UUID) -> Account:
    """:raises NotFound: the tenant has no such batch"""
    with database.for_tenant(actor.tenant_id) as uow:
        view = settled_view(uow, batch_id)
    with database.for_tenant(actor.tenant_id) as uow:
        jobs = uow.jobs.words_of_batch(batch_id)
        rejects = uow.batches.all_rejects(batch_id)
    found = Account(view, batch_word(view.batch.status, invalid=view.batch.rejected_invalid))
    by_name: dict[str, Fate] = {}
    for job in jobs:
        fate = Fate(job_word(job.status), job.id, _error(job))
        by_name[job.name] = fate
        _tell(found, job.submitted_as or job.name, fate)
    for reject in rejects:
        _tell(found, reject.value, _fate(reject, by_name))
    return found


def _tell(told: Account, name: str, fate: Fate) -> None:
    told.ended[fate.status] += 1
    told.fates.setdefault(name, fate)


def _fate(reject: BatchReject, by_name: dict[str, Fate]) -> Fate:
    if reject.reason == DomainRejection.DUPLICATE and reject.same_as in by_name:
        return by_name[reject.same_as]
    return Fate(JobStatus.FAILED.value, None, reject.detail)


def _error(job: JobWords) -> str | None:
    return job.error if job.status == JobStatus.FAILED else None
