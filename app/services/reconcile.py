"""PostgreSQL, the broker and the workers held against each other: what differs, and mending it.

Work goes on meanwhile, so nothing is called a difference that does not stand in three looks, in the same state, with
pauses between in which upkeep would have mended it. Mending is by the moves that upkeep makes,
each guarded in SQL: what has moved meanwhile is left alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.redis.contents import Contents, Waiting
from app.repositories.differences import BatchFacts, Miscount, Taken
from app.services import batches
from app.unit_of_work import Database
from models.states import OPEN_BATCHES, OPEN_JOBS, BatchStatus, JobStatus, settled

LOOKS = 3


class Kind(StrEnum):
    """In the order in which they are mended: counts before the batches whose status follows from them."""

    LEASE_PASSED = "lease_passed"
    WORKER_GONE = "worker_gone"
    MESSAGE_LOST = "message_lost"
    MESSAGE_OVERDUE = "message_overdue"
    MESSAGE_STALE = "message_stale"
    MESSAGE_DOUBLED = "message_doubled"
    MESSAGE_UNREADABLE = "message_unreadable"
    PAUSE_OVER = "pause_over"
    COUNTS_WRONG = "counts_wrong"
    TOTAL_WRONG = "total_wrong"
    STATUS_WRONG = "status_wrong"
    KEY_LASTS = "key_lasts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`about` is the job, batch, queue or key; `state` is what must not have changed between two looks."""

    kind: Kind
    about: str
    detail: str
    of: Any
    state: Hashable
    mended: bool = False

    @property
    def identity(self) -> Hashable:
        return self.kind, self.about, self.state


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """All that is compared, as it is at one moment. `workers` None: they were not asked, or the broker is deaf."""

    taken: list[Taken]
    overslept: list[tuple[UUID, UUID]]
    states: Mapping[tuple[UUID, UUID], tuple[str, int]]
    messages: list[Waiting]
    miscounts: list[Miscount]
    batches: list[BatchFacts]
    lasting_keys: list[str]
    workers: frozenset[str] | None

    def differences(self) -> list[Difference]:
        parts = (self._jobs(), self._messages(), self._pauses(), self._counts(), self._statuses(), self._keys())
        found = [one for part in parts for one in part]
        return sorted(found, key=lambda one: (list(Kind).index(one.kind), one.about))

    def _jobs(self) -> Iterator[Difference]:
        sent = {message.names for message in self.messages}
        for job in self.taken:
            about, state = str(job.job_id), (job.dispatch_no, job.token)
            if job.status == JobStatus.RUNNING and job.passed:
                detail = f"running, its lease passed, held by {job.worker}"
                yield Difference(kind=Kind.LEASE_PASSED, about=about, detail=detail, of=job, state=state)
            elif job.status == JobStatus.RUNNING and self._is_gone(job.worker):
                detail = f"running by {job.worker}, which does not answer; others take over when its lease passes"
                yield Difference(kind=Kind.WORKER_GONE, about=about, detail=detail, of=job, state=state)
            elif job.status == JobStatus.QUEUED and (job.tenant_id, job.job_id, job.dispatch_no) not in sent:
                detail = f"queued, but the broker has no message {job.dispatch_no} of it"
                yield Difference(kind=Kind.MESSAGE_LOST, about=about, detail=detail, of=job, state=state)
            elif job.status == JobStatus.QUEUED and job.passed:
                detail = f"queued, its message {job.dispatch_no} has waited for longer than it may"
                yield Difference(kind=Kind.MESSAGE_OVERDUE, about=about, detail=detail, of=job, state=state)

    def _is_gone(self, worker: str | None) -> bool:
        return self.workers is not None and worker not in self.workers

    def _messages(self) -> Iterator[Difference]:
        copies = Counter(message.names for message in self.messages if message.names is not None)
        for message in self.messages:
            if message.names is None:
                detail = "a message that is none of this platform's"
                yield _message(Kind.MESSAGE_UNREADABLE, message.queue, detail, message)
                continue
            tenant_id, job_id, number = message.names
            status, newest = self.states.get((tenant_id, job_id), ("unknown", 0))
            if (status, newest) != (JobStatus.QUEUED, number):
                detail = f"message {number} waits in {message.queue}, but the job is {status}, at {newest}"
                yield _message(Kind.MESSAGE_STALE, str(job_id), detail, message)
            elif copies[message.names] > 1:
                copies[message.names] -= 1  # all but the last, which is the one that was sent first
                detail = f"message {number} waits in {message.queue} more than once"
                yield _message(Kind.MESSAGE_DOUBLED, str(job_id), detail, message)

    def _pauses(self) -> Iterator[Difference]:
        for tenant_id, job_id in self.overslept:
            yield Difference(
                kind=Kind.PAUSE_OVER,
                about=str(job_id),
                detail="pending, its pause is over, and nobody has woken it",
                of=(tenant_id, job_id),
                state=None,
            )

    def _counts(self) -> Iterator[Difference]:
        for wrong in self.miscounts:
            detail = f"{wrong.noted} {wrong.status} noted, {wrong.found} there are"
            state = wrong.status, wrong.found - wrong.noted
            yield Difference(kind=Kind.COUNTS_WRONG, about=str(wrong.batch_id), detail=detail, of=wrong, state=state)

    def _statuses(self) -> Iterator[Difference]:
        for facts in self.batches:
            about, jobs = str(facts.batch_id), sum(facts.counts.values())
            if jobs != facts.total:
                detail = f"total {facts.total}, but it has {jobs} jobs"
                yield Difference(kind=Kind.TOTAL_WRONG, about=about, detail=detail, of=facts, state=jobs)
            detail = contradiction(facts.status, facts.counts) or ""
            if detail:
                yield Difference(kind=Kind.STATUS_WRONG, about=about, detail=detail, of=facts, state=facts.status)

    def _keys(self) -> Iterator[Difference]:
        for key in self.lasting_keys:
            detail = "a key in Redis that would stay for ever"
            yield Difference(kind=Kind.KEY_LASTS, about=key, detail=detail, of=key, state=None)


def _message(kind: Kind, about: str, detail: str, message: Waiting) -> Difference:
    return Difference(kind=kind, about=about, detail=detail, of=message, state=message.payload)


def contradiction(status: str, counts: Mapping[str, int]) -> str | None:
    """What a batch's status and its jobs say against each other; None when they agree.

    >>> contradiction("complete", {"pending": 0, "queued": 0, "running": 0, "complete": 2, "failed": 1, "cancelled": 0})
    'complete, but its jobs make it partial'
    >>> contradiction("running", {"pending": 1, "queued": 0, "running": 0, "complete": 2, "failed": 0, "cancelled": 0})
    """
    still_open = sum(counts[word] for word in OPEN_JOBS)
    begun = sum(counts.values()) - counts[JobStatus.PENDING] - counts[JobStatus.CANCELLED]
    if status in OPEN_BATCHES:
        if not still_open:
            return f"{status}, but none of its jobs is open"
        return f"{status}, but {begun} of its jobs have begun" if status == BatchStatus.PENDING and begun else None
    if still_open:
        return f"{status}, but {still_open} of its jobs are open"
    right = settled(
        complete=counts[JobStatus.COMPLETE],
        failed=counts[JobStatus.FAILED],
        cancelled=counts[JobStatus.CANCELLED],
        cancelling=status == BatchStatus.CANCELLED,
    )
    return None if status == right else f"{status}, but its jobs make it {right.value}"


class Reconciler:
    """`workers` answers the names of the worker processes that are alive, as `jobs.worker` has them."""

    def __init__(
        self,
        database: Database,
        contents: Contents,
        *,
        workers: Callable[[], frozenset[str] | None],
        pause: float,
        lease: float,
    ) -> None:
        self._database = database
        self._contents = contents
        self._workers = workers
        self._pause = pause
        self._lease = lease
        self._mends: Mapping[Kind, Callable[[Any], bool]] = {
            Kind.LEASE_PASSED: self._reap,
            Kind.MESSAGE_LOST: self._give_back,
            Kind.MESSAGE_OVERDUE: self._give_back,
            Kind.MESSAGE_STALE: contents.remove,
            Kind.MESSAGE_DOUBLED: contents.remove,
            Kind.PAUSE_OVER: self._wake,
            Kind.COUNTS_WRONG: self._recount,
            Kind.STATUS_WRONG: self._settle,
            Kind.KEY_LASTS: contents.forget,
        }

    def differences(self) -> list[Difference]:
        """Those that last.

        :raises Unavailable: the database or the broker is away
        """
        lasting = self.look().differences()
        for _ in range(LOOKS - 1):
            if not lasting:
                break
            time.sleep(self._pause)
            before = {one.identity for one in lasting}
            lasting = [one for one in self.look().differences() if one.identity in before]
        return lasting

    def mend(self, found: Iterable[Difference]) -> list[Difference]:
        """The same, each marked whether it was mended. Some are left to people: see docs/operations.md."""
        return [replace(one, mended=one.kind in self._mends and self._mends[one.kind](one.of)) for one in found]

    def look(self) -> Look:
        messages, lasting = self._contents.messages(), self._contents.lasting_keys()
        with self._database.system() as uow:
            uow.differences.allow_time()
            taken = uow.differences.taken()
            named = {message.names[:2] for message in messages if message.names is not None}
            found = Look(
                taken=taken,
                overslept=uow.differences.overslept(),
                states=uow.differences.states(sorted(named)),
                messages=messages,
                miscounts=uow.differences.miscounts(),
                batches=uow.differences.batches(),
                lasting_keys=lasting,
                workers=None,
            )
        # With no transaction open: this waits for their answers.
        held = any(job.status == JobStatus.RUNNING for job in taken)
        return replace(found, workers=self._workers() if held else None)

    def _reap(self, _job: Taken) -> bool:
        with self._database.system() as uow:
            uow.queue.reap_leases(lease=self._lease)
            uow.commit()
        return True

    def _give_back(self, job: Taken) -> bool:
        with self._database.for_tenant(job.tenant_id) as uow:
            uow.jobs.give_back(job.job_id, dispatch_no=job.dispatch_no)
            uow.commit()
        return True

    def _wake(self, _job: tuple[UUID, UUID]) -> bool:
        with self._database.system() as uow:
            uow.queue.wake()
            uow.commit()
        return True

    def _recount(self, wrong: Miscount) -> bool:
        with self._database.system() as uow:
            uow.differences.allow_time()
            uow.differences.recount(wrong.tenant_id, wrong.batch_id)
            uow.commit()
        return True

    def _settle(self, facts: BatchFacts) -> bool:
        with self._database.for_tenant(facts.tenant_id) as uow:
            batch = uow.batches.lock(facts.batch_id)
            if batch is None:
                return False
            batches.go_on(batch)
            uow.batches.settle(facts.batch_id)
            uow.commit()
        return True
