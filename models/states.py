"""The status words, in one place, and which move reaches each. The picture is docs/job-lifecycle.md."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    PENDING = "pending"  # submitted; retry, yield or a lost message put it back here
    QUEUED = "queued"  # a dispatcher claimed it; its message is sent after that commit
    RUNNING = "running"  # a worker claimed it, with a token and a lease
    COMPLETE = "complete"  # the worker's last transaction
    FAILED = "failed"  # an error that will not mend, or no attempts left
    CANCELLED = "cancelled"  # somebody said so


class BatchStatus(StrEnum):
    PENDING = "pending"  # nothing dispatched yet
    RUNNING = "running"  # first dispatch
    PAUSED = "paused"  # by its owner; nothing new is claimed
    CANCELLING = "cancelling"  # by its owner; open jobs are being swept
    COMPLETE = "complete"  # all jobs complete
    PARTIAL = "partial"  # some complete, some not
    FAILED = "failed"  # none complete
    CANCELLED = "cancelled"  # cancelled before any job was complete, or a part was


class DomainRejection(StrEnum):
    INVALID = "invalid"
    DUPLICATE = "duplicate"


OPEN_JOBS = (JobStatus.PENDING, JobStatus.QUEUED, JobStatus.RUNNING)
ENDED_JOBS = (JobStatus.COMPLETE, JobStatus.FAILED, JobStatus.CANCELLED)
CLAIMABLE_BATCHES = (BatchStatus.PENDING, BatchStatus.RUNNING)
# A job whose process vanished under it so often runs alone from then on, so that it takes no neighbour along …
QUARANTINE_AFTER = 2
MAX_LOST = 5  # … and so often, it has failed.
OPEN_BATCHES = (BatchStatus.PENDING, BatchStatus.RUNNING, BatchStatus.PAUSED, BatchStatus.CANCELLING)


def sql_list(words: tuple[StrEnum, ...] | type[StrEnum]) -> str:
    """
    >>> sql_list(DomainRejection)
    "'invalid', 'duplicate'"
    """
    return ", ".join(f"'{word.value}'" for word in words)


def settled(*, complete: int, failed: int, cancelled: int, cancelling: bool) -> BatchStatus:
    """The status of a batch none of whose jobs is open.

    >>> settled(complete=3, failed=0, cancelled=0, cancelling=False)
    <BatchStatus.COMPLETE: 'complete'>
    >>> settled(complete=2, failed=1, cancelled=0, cancelling=False)
    <BatchStatus.PARTIAL: 'partial'>
    >>> settled(complete=2, failed=0, cancelled=1, cancelling=True)
    <BatchStatus.CANCELLED: 'cancelled'>
    """
    if cancelling and cancelled:
        return BatchStatus.CANCELLED
    if not failed and not cancelled:
        return BatchStatus.COMPLETE
    if complete:
        return BatchStatus.PARTIAL
    return BatchStatus.FAILED if failed else BatchStatus.CANCELLED
