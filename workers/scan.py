"""One message, one attempt: claim the job, scan, end it. Whatever happens, the row tells it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from uuid import UUID

import structlog

from app import points
from app.errors import Aborted, Postponed, ScanFailed, TookTooLong, Unavailable
from app.fetching.client import SiteFetcher
from app.fetching.control import Control
from app.scanning import scan
from app.scanning.values import Event, ScanFinished, SitemapRead
from app.services import scans
from app.services.scans import Assignment, Recorder, StoredInventory
from workers.leases import ON_HOLD, SHUTDOWN
from workers.runtime import Runtime

log = structlog.get_logger(__name__)
DEADLINE = "deadline"


class AttemptFailed(Exception):
    """What Flower shows of an attempt that failed. The job's row knew before this was raised."""


def run(runtime: Runtime, tenant_id: UUID, job_id: UUID, dispatch_no: int) -> ScanFailed | None:
    """Work on the job if the message is still good; a stale one is dropped without a word.

    Answers why the attempt failed, if it did. The job's row tells it already.
    """
    try:
        assignment = _take(runtime, tenant_id, job_id, dispatch_no)
    except Unavailable as error:
        log.warning("a message is dropped, the database being away; its job is dispatched again", error=str(error))
        return None
    if assignment is None:
        return None
    control = Control(deadline=time.monotonic() + max(assignment.seconds_left, 0.0))
    with (
        structlog.contextvars.bound_contextvars(job=str(job_id), tenant=str(tenant_id), attempt=assignment.attempt),
        runtime.leases.holding(assignment, control),
        runtime.meters.held.track_inprogress(),
    ):
        attempt = _Attempt(runtime, assignment, control)
        attempt.run()
    return attempt.failure


def _take(runtime: Runtime, tenant_id: UUID, job_id: UUID, dispatch_no: int) -> Assignment | None:
    if runtime.draining.is_set():
        scans.give_back(runtime.database, tenant_id=tenant_id, job_id=job_id, dispatch_no=dispatch_no)
        return None
    assignment = scans.claim(
        runtime.database,
        tenant_id=tenant_id,
        job_id=job_id,
        dispatch_no=dispatch_no,
        lease=runtime.settings.lease_seconds,
        worker=runtime.name,
        allowance=runtime.quotas.allowance(tenant_id),  # first: a database that is away then costs no job its lease
    )
    runtime.upkeep.claimed()
    runtime.meters.messages.labels("dropped" if assignment is None else "claimed").inc()
    return assignment


class _Attempt:
    def __init__(self, runtime: Runtime, assignment: Assignment, control: Control) -> None:
        self._runtime = runtime
        self._assignment = assignment
        self._control = control
        self.failure: ScanFailed | None = None
        self._recorder = Recorder(
            runtime.database, assignment, lease=runtime.settings.lease_seconds, check=control.check
        )
        self._started = time.monotonic()
        site, options = assignment.site, assignment.options
        self._fetcher: SiteFetcher = runtime.transport.fetcher(
            host=site.host,
            control=control,
            concurrency=options.per_host_concurrency,
            crawl_delay=options.crawl_delay,
        )

    def run(self) -> None:
        try:
            self._work()
        except ScanFailed as failure:
            self._fail(failure)
        except Postponed as postponed:
            self._postponed(postponed)
        except Aborted:
            self._aborted()
        except TookTooLong:  # as it will the next time, maybe: an attempt that counts
            log.warning("a statement took longer than it may")
            self._fail(ScanFailed("internal"))
        except Unavailable as error:
            log.warning("the database went away under a scan", error=str(error))
            self._put_back(1.0, None)
        except Exception:  # a defect of ours must cost this job an attempt, never its slot or its lease
            log.exception("a scan failed by a defect")
            self._fail(ScanFailed("internal"))

    def _work(self) -> None:
        points.reached("scanning", self._assignment.job_id)
        with closing(self._events()) as events:
            for event in events:
                self._take(event)
                if isinstance(event, ScanFinished):
                    self._ended("complete", event.outcome, urls=event.stats.urls)
                    return
                self._control.check()
                if self._runtime.draining.is_set():
                    self._put_back(0.0, None)
                    return
                if time.monotonic() - self._started > self._runtime.settings.slice_seconds:
                    self._put_back(0.0, None, innocent=True)  # others go first
                    return

    def _take(self, event: Event) -> None:
        began = time.monotonic()
        self._recorder.take(event)
        if isinstance(event, SitemapRead):
            self._runtime.meters.landings.observe(time.monotonic() - began)

    def _events(self) -> Generator[Event]:
        assignment = self._assignment
        return scan.run(
            assignment.site,
            assignment.options,
            fetcher=self._fetcher,
            inventory=StoredInventory(self._runtime.database, assignment),
            agent=self._runtime.agent,
            limits=assignment.limits,
            resume=assignment.resume,
            check=self._control.check,
        )

    def _aborted(self) -> None:
        """By its own deadline: failed. By shutdown, or on hold: put back. Else the row says so already."""
        if self._control.reason == DEADLINE:
            self._fail(ScanFailed("job_timeout"))
        elif self._control.reason in (SHUTDOWN, ON_HOLD):
            self._put_back(0.0, None)
        else:
            self._ended("stopped", self._control.reason)

    def _postponed(self, postponed: Postponed) -> None:
        """A pause that outlasts the job's own time limit is its end: no use in waiting for that."""
        left = (self._control.deadline or 0.0) - time.monotonic()
        if postponed.seconds > left:
            self._fail(ScanFailed("job_timeout", "the host's cool-down outlasts the job's own time limit"))
        else:
            self._put_back(postponed.seconds, postponed.reason)

    def _ended(self, end: str, reason: str | None, **details: object) -> None:
        self._runtime.meters.ended(end, reason)
        seconds = round(time.monotonic() - self._started, 3)
        domain = self._assignment.site.authority
        log.info("attempt ended", end=end, reason=reason, domain=domain, seconds=seconds, **details)

    def _fail(self, failure: ScanFailed) -> None:
        self.failure = failure
        settings = self._runtime.settings
        self._recorder.asked(self._fetcher.stats.requests, self._fetcher.stats.wire_bytes)
        again = False
        with _ending():
            again = self._recorder.fail(
                failure, max_attempts=settings.max_attempts, base_seconds=settings.retry_base_seconds
            )
        self._ended("retry" if again else "failed", failure.code)

    def _put_back(self, seconds: float, reason: str | None, *, innocent: bool = False) -> None:
        self._ended("put back", reason, pause=seconds)
        with _ending():
            self._recorder.put_back(seconds=seconds, reason=reason, innocent=innocent)


@contextmanager
def _ending() -> Iterator[None]:
    """An end that cannot be written is no loss: the lease passes and the job goes on from its checkpoint."""
    try:
        yield
    except Aborted:
        log.info("the job was taken over or ended meanwhile")
    except Unavailable:
        log.warning("the end of an attempt could not be written; its lease will pass")
