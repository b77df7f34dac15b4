"""Jobs of one tenant: listings, the fenced writes of a running attempt, cancel and retry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.errors import Aborted, Conflict
from app.repositories import direct
from app.repositories.domains import begins
from app.repositories.keyset import PageOf, decode, page
from models import BatchJob, Domain, Job, Tenant
from models.states import OPEN_JOBS, QUARANTINE_AFTER, BatchStatus, JobStatus

_NOW = sa.func.now()
NOT_OURS = "this attempt no longer owns its job"
BUSY_PAUSE = 2.0  # seconds until a job whose domain is being scanned asks again

# One statement: the claim, the number of its scan (a new one at the first attempt, or when another job has scanned the
# domain in between) and all that the scan needs to know. Its job is found by key: to a planner, whose statistics are of
# a time when hardly any job was queued, the index of those in flight looks as good, and would be read through.
_ACTIVE = f"('{BatchStatus.PENDING}', '{BatchStatus.RUNNING}')"
# Looked up by values, never joined by them: of a tenant whose rows came while statistics were taken PostgreSQL believes
# that it has none, and joins all of its jobs to all of its domains to find one.
_CLAIM = direct.statement(f"""
    WITH due AS (
        SELECT j.id, j.domain_id, j.scan_no, coalesce(b.options, j.options) AS options
        FROM jobs j JOIN tenants t ON t.id = j.tenant_id AND t.status = 'active'
        LEFT JOIN batch_jobs b ON b.tenant_id = j.tenant_id AND b.id = j.batch_id
        WHERE j.tenant_id = :tenant AND j.id = :job AND j.status || '' = 'queued' AND j.dispatch_no = :dispatch
          AND (j.batch_id IS NULL OR b.status IN {_ACTIVE})
        FOR UPDATE OF j
    ), numbered AS (
        UPDATE domains d SET scan_count = scan_count + 1 FROM due
        WHERE d.tenant_id = :tenant AND d.id = (SELECT domain_id FROM due)
          AND d.scan_count IS DISTINCT FROM due.scan_no
        RETURNING d.scan_count
    )
    UPDATE jobs SET status = 'running', attempt = attempt + 1, lease_token = :token, dispatch_until = NULL,
                    lease_until = now() + make_interval(secs => :lease), started_at = coalesce(started_at, now()),
                    scan_no = coalesce((SELECT scan_count FROM numbered), jobs.scan_no),
                    worker = :worker, waiting_on = NULL, updated_at = now()
    FROM due, domains d
    WHERE d.tenant_id = :tenant AND d.id = (SELECT domain_id FROM due) AND jobs.tenant_id = :tenant AND jobs.id = :job
    RETURNING jobs.domain_id, jobs.attempt, jobs.scan_no, due.scan_no IS NULL AS fresh, jobs.scheme, d.host, d.path,
              d.scheme AS learnt_scheme, d.url_count, due.options, jobs.stats, jobs.checkpoint, jobs.spent_seconds,
              EXISTS (SELECT FROM jobs last WHERE last.tenant_id = :tenant AND last.id = d.last_job_id
                      AND last.scan_no = jobs.scan_no - 1 AND last.outcome IN ('sitemaps_found', 'unchanged'))""")

# A message that nobody will act on (its batch is paused, its tenant suspended, its domain busy, its worker about to
# end) gives its place in the window to others.
_GIVE_BACK = direct.statement("""
    WITH busy AS (
        SELECT EXISTS (SELECT FROM jobs j JOIN jobs o ON o.tenant_id = j.tenant_id AND o.domain_id = j.domain_id
                       WHERE j.tenant_id = :tenant AND j.id = :job AND o.status = 'running') AS busy
    )
    UPDATE jobs SET status = 'pending', dispatch_until = NULL, updated_at = now(),
                    waiting_on = CASE WHEN busy.busy THEN 'domain_busy' END,
                    available_at = CASE WHEN busy.busy THEN now() + make_interval(secs => :pause) END
    FROM busy WHERE tenant_id = :tenant AND id = :job AND status = 'queued' AND dispatch_no = :dispatch""")


# The moves of a job that is held; only a running one has a token. `spent` is what this attempt used of its own time.
_HOLD = direct.statement("""
    SELECT id, attempt, max_attempts FROM jobs
    WHERE tenant_id = :tenant AND id = :job AND lease_token = :token FOR UPDATE""")
_HELD = "WHERE tenant_id = :tenant AND id = :job"
_OVER = """lease_token = NULL, lease_until = NULL, updated_at = now(), stats = CAST(:stats AS jsonb),
           spent_seconds = spent_seconds + :spent"""
_LATER = "CASE WHEN :pause > 0 THEN now() + make_interval(secs => :pause) END"
_ERROR = "error_code = :code, error_detail = :detail, error_retryable = :retryable"
_CHECKPOINT = direct.statement(f"""
    UPDATE jobs SET progress = greatest(progress, :progress), stats = CAST(:stats AS jsonb),
                    lease_until = clock_timestamp() + make_interval(secs => :lease) {_HELD}""")
# The last of an attempt that ends well, in one statement: under its token it ends the job, forgets the files it knew of
# and by its limits never asked for, and writes down what its domain has now; under any other it touches nothing.
# Nobody else writes what it counts, so that its snapshot may be older than the row's lock does no harm.
_DOMAIN = "(SELECT domain_id FROM jobs WHERE tenant_id = :tenant AND id = :job)"
_READ = """(SELECT count(*) FROM sitemap_reads WHERE tenant_id = :tenant AND job_id = :job
            AND status IN ('read', 'partial', 'unchanged'))"""
_COUNTED = f"""
    WITH lists AS (
        SELECT f.id, (SELECT count(*) FROM sitemap_urls u
                      WHERE u.tenant_id = :tenant AND u.file_id = f.id AND u.to_scan IS NULL) AS n
        FROM sitemap_files f WHERE f.tenant_id = :tenant AND f.domain_id = {_DOMAIN}
    ), found AS MATERIALIZED (
        SELECT {_READ} AS sitemaps,
               CASE WHEN count(*) FILTER (WHERE n > 0) <= 1 THEN coalesce(sum(n), 0)
                    ELSE (SELECT count(DISTINCT u.url_hash) FROM lists JOIN sitemap_urls u
                          ON u.tenant_id = :tenant AND u.file_id = lists.id AND u.to_scan IS NULL) END AS urls
        FROM lists
    )"""
_KEPT = f"""
    WITH found AS MATERIALIZED (
        SELECT {_READ} AS sitemaps, d.url_count AS urls
        FROM domains d WHERE d.tenant_id = :tenant AND d.id = {_DOMAIN}
    )"""
_END = """, ended AS (
        UPDATE jobs SET status = 'complete', outcome = :outcome, progress = 100, finished_at = now(),
                        waiting_on = NULL, error_code = NULL, error_detail = NULL, error_retryable = NULL,
                        lease_token = NULL, lease_until = NULL, updated_at = now(),
                        stats = CAST(:stats AS jsonb) || jsonb_build_object('urls', found.urls),
                        spent_seconds = spent_seconds + :spent
        FROM found WHERE tenant_id = :tenant AND id = :job AND lease_token = :token
        RETURNING id, domain_id
    ), forgotten AS (
        DELETE FROM sitemap_reads
        WHERE tenant_id = :tenant AND job_id = :job AND status = 'pending' AND EXISTS (SELECT FROM ended)
    )
    UPDATE domains d SET last_job_id = ended.id, last_outcome = :outcome, last_scanned_at = now(),
                         sitemap_count = found.sitemaps, url_count = found.urls, scheme = coalesce(:scheme, d.scheme)
    FROM ended, found WHERE d.tenant_id = :tenant AND d.id = (SELECT domain_id FROM ended)"""
_COMPLETE, _COMPLETE_AS_BEFORE = direct.statement(_COUNTED + _END), direct.statement(_KEPT + _END)
_FAIL = direct.statement(
    f"UPDATE jobs SET status = 'failed', finished_at = now(), waiting_on = NULL, {_ERROR}, {_OVER} {_HELD}"
)
_RETRY = direct.statement(
    f"UPDATE jobs SET status = 'pending', waiting_on = 'retry', available_at = {_LATER}, {_ERROR}, {_OVER} {_HELD}"
)
_PUT_BACK = direct.statement(f"""
    UPDATE jobs SET status = 'pending', waiting_on = :reason, available_at = {_LATER},
                    attempt = greatest(attempt - 1, 0), checkpoint = CAST(:checkpoint AS jsonb),
                    lost = CASE WHEN lost >= {QUARANTINE_AFTER} THEN lost - :forgiven ELSE lost END,
                    {_OVER} {_HELD}""")


Stats = Mapping[str, Any]


class Held(NamedTuple):
    """A running job that nobody else can move until the transaction ends."""

    id: UUID
    attempt: int
    max_attempts: int


class JobError(NamedTuple):
    """Why an attempt failed."""

    code: str
    detail: str
    retryable: bool


class Claimed(NamedTuple):
    """A job just moved to `running`, with what its scan needs. `fresh`: nothing of it was ever begun."""

    domain_id: UUID
    attempt: int
    scan_no: int
    fresh: bool
    scheme: str | None
    host: str
    path: str
    learnt_scheme: str | None
    kept_urls: int  # of the domain, as of its newest finished scan
    options: dict[str, Any] | None
    stats: dict[str, Any] | None
    checkpoint: dict[str, Any] | None
    spent_seconds: float
    follows: bool  # the scan before this one read the domain's whole tree and ended


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with what a reader wants to know of its domain and batch."""

    job: Job
    domain: Domain
    batch_status: str | None
    batch_options: dict[str, Any] | None
    tenant_status: str
    tenant_full: bool  # as many jobs in flight as it may have

    @property
    def options(self) -> dict[str, Any]:
        return (self.job.options if self.job.batch_id is None else self.batch_options) or {}


class JobWords(NamedTuple):
    """The least that tells how a job of a batch fares."""

    id: UUID
    status: str
    error: str | None
    submitted_as: str | None
    host: str
    path: str

    @property
    def name(self) -> str:
        return self.host + ("" if self.path == "/" else self.path)


class Jobs:
    def __init__(self, session: Session, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def add_single(
        self,
        *,
        domain_id: UUID,
        scheme: str | None,
        submitted_as: str | None,
        options: dict[str, Any],
        max_attempts: int,
        created_by: UUID | None,
        dispatch_seconds: float | None,
    ) -> Job:
        """A single scan: `queued` when its message is sent right after commit, else `pending` for the dispatcher."""
        at_once = dispatch_seconds is not None
        job = Job(
            tenant_id=self._tenant_id,
            domain_id=domain_id,
            scheme=scheme,
            submitted_as=submitted_as,
            options=options,
            max_attempts=max_attempts,
            created_by=created_by,
            status=JobStatus.QUEUED if at_once else JobStatus.PENDING,
            dispatch_no=1 if at_once else 0,
            queue="single" if at_once else None,
        )
        if dispatch_seconds is not None:
            job.dispatch_until = _NOW + _seconds(dispatch_seconds)
        self._session.add(job)
        self._session.flush()
        return job

    def may_start_single(self, most: int) -> bool:
        """Whether fewer than `most` single scans wait in the broker, and the tenant's cap leaves room for one more."""
        taken = sa.select(
            sa.func.count(),
            sa.func.count().filter(Job.status == JobStatus.QUEUED, Job.batch_id.is_(None)),
        ).where(Job.tenant_id == self._tenant_id, Job.status.in_((JobStatus.QUEUED, JobStatus.RUNNING)))
        in_flight, waiting = self._session.execute(taken).one()
        cap = self._session.scalar(sa.select(Tenant.max_running).where(Tenant.id == self._tenant_id))
        return waiting < most and (cap is None or in_flight < cap)

    def get(self, key: UUID | int) -> JobView | None:
        """By id or by number."""
        match = Job.id == key if isinstance(key, UUID) else Job.number == key
        row = self._session.execute(self._views().where(match)).one_or_none()
        return JobView(*row) if row else None

    def listing(
        self,
        *,
        limit: int,
        cursor: str | None,
        batch_id: UUID | None = None,
        status: str | None = None,
        domain: str | None = None,
    ) -> PageOf[JobView]:
        """Of a batch in its own order, else newest first. `domain` matches the start of the host."""
        last = decode(cursor, (UUID,))
        query = self._views().limit(limit + 1)
        if batch_id is None:
            query = query.order_by(Job.id.desc())
        else:
            query = query.where(Job.batch_id == batch_id).order_by(Job.id)
        if last is not None:
            query = query.where(Job.id < last[0] if batch_id is None else Job.id > last[0])
        if status is not None:
            query = query.where(Job.status == status)
        if domain is not None:
            query = query.where(begins(domain))
        rows = [JobView(*row) for row in self._session.execute(query)]
        return page(rows, limit, lambda view: (view.job.id,))

    def words_of_batch(self, batch_id: UUID) -> list[JobWords]:
        """All of a batch's jobs in its own order; columns, not objects: there may be very many."""
        query = (
            sa.select(Job.id, Job.status, Job.error_detail, Job.submitted_as, Domain.host, Domain.path)
            .join(Domain, sa.and_(Domain.tenant_id == Job.tenant_id, Domain.id == Job.domain_id))
            .where(Job.tenant_id == self._tenant_id, Job.batch_id == batch_id)
            .order_by(Job.id)
        )
        return [JobWords(*row) for row in self._session.execute(query)]

    def claim(self, job_id: UUID, *, dispatch_no: int, token: UUID, lease: float, worker: str) -> Claimed | None:
        """Queued → running under a new token; None when the message is stale, or the job may not run just now.

        :raises Conflict: another job of its domain is running; nothing more can be done in this transaction
        """
        key = {"tenant": self._tenant_id, "job": job_id, "dispatch": dispatch_no}
        try:
            claim = {**key, "token": token, "lease": lease, "worker": worker}
            row = direct.run(self._session, _CLAIM, claim).fetchone()
        except psycopg.errors.UniqueViolation as error:
            raise Conflict("the domain is being scanned") from error
        return Claimed(*row) if row else None

    def give_back(self, job_id: UUID, *, dispatch_no: int) -> None:
        """Queued → pending, if this message is the newest: nobody will work on it now."""
        key = {"tenant": self._tenant_id, "job": job_id, "dispatch": dispatch_no}
        direct.run(self._session, _GIVE_BACK, {**key, "pause": BUSY_PAUSE})

    def hold(self, job_id: UUID, token: UUID) -> Held:
        """The running job, locked, if this attempt still owns it.

        :raises Aborted: another attempt does, or the job has ended
        """
        row = direct.run(self._session, _HOLD, {"tenant": self._tenant_id, "job": job_id, "token": token}).fetchone()
        if row is None:
            raise Aborted(NOT_OURS)
        return Held(*row)

    def checkpoint(self, job: Held, *, percent: int, stats: Stats, lease: float) -> None:
        """Write progress down and prolong the lease: landing a large file may have outlasted it."""
        self._move(job, _CHECKPOINT, progress=min(percent, 99), stats=json.dumps(stats), lease=lease)

    def complete(
        self,
        job_id: UUID,
        token: UUID,
        *,
        outcome: str,
        scheme: str | None,
        stats: Stats,
        spent: float,
        as_before: bool = False,
    ) -> None:
        """End the running job well, if this attempt still owns it; `scheme` is where the site answered, if it did.

        `as_before`: the domain's URLs are those that were counted when its last scan ended.

        :raises Aborted: another attempt does, or the job has ended
        """
        values = {"job": job_id, "token": token, "outcome": outcome, "scheme": scheme, "spent": spent}
        told = {"tenant": self._tenant_id, "stats": json.dumps(stats), **values}
        if not direct.run(self._session, _COMPLETE_AS_BEFORE if as_before else _COMPLETE, told).rowcount:
            raise Aborted(NOT_OURS)

    def fail(self, job: Held, error: JobError, *, stats: Stats, spent: float) -> None:
        self._move(job, _FAIL, **error._asdict(), stats=json.dumps(stats), spent=spent)

    def retry_later(self, job: Held, error: JobError, *, seconds: float, stats: Stats, spent: float) -> None:
        """Back to `pending`: this attempt is spent, the next comes after a pause."""
        self._move(job, _RETRY, **error._asdict(), pause=seconds, stats=json.dumps(stats), spent=spent)

    def put_back(
        self,
        job: Held,
        *,
        seconds: float,
        reason: str | None,
        stats: Stats,
        checkpoint: dict[str, Any] | None,
        innocent: bool,
        spent: float,
    ) -> None:
        """Back to `pending` without blame: the attempt does not count.

        `innocent`: it has worked for a whole slice. In quarantine, where it did so alone, that takes one loss off;
        among neighbours it proves nothing, and a job that works and crashes by turns would take them along for ever.
        """
        self._move(
            job,
            _PUT_BACK,
            pause=seconds,
            reason=reason,
            stats=json.dumps(stats),
            checkpoint=None if checkpoint is None else json.dumps(checkpoint),
            forgiven=int(innocent),
            spent=spent,
        )

    def _move(self, job: Held, sql: str, **values: object) -> None:
        direct.run(self._session, sql, {"tenant": self._tenant_id, "job": job.id, **values})

    def cancel(self, job_id: UUID) -> bool:
        """End an open job as cancelled, wherever it is; False when it had ended already."""
        result = self._session.execute(
            sa.update(Job)
            .where(Job.tenant_id == self._tenant_id, Job.id == job_id, Job.status.in_(OPEN_JOBS))
            .values(
                status=JobStatus.CANCELLED,
                finished_at=_NOW,
                updated_at=_NOW,
                lease_token=None,
                lease_until=None,
                dispatch_until=None,
                available_at=None,
                waiting_on=None,
            )
            .returning(Job.id)
        )
        return result.first() is not None

    def retry(self, job_id: UUID) -> bool:
        """Give a failed or cancelled job a fresh start; False when it is neither. Its batch must be held."""
        return self._restart(Job.id == job_id, Job.status.in_((JobStatus.FAILED, JobStatus.CANCELLED))) > 0

    def retry_of_batch(self, batch_id: UUID, statuses: Sequence[JobStatus]) -> int:
        """The same for all of a batch's jobs in one of `statuses`; answers how many. The batch must be held."""
        direct.take_time(self._session)
        return self._restart(Job.batch_id == batch_id, Job.status.in_(statuses))

    def _restart(self, *which: sa.ColumnElement[bool]) -> int:
        result = self._session.execute(
            sa.update(Job)
            .where(Job.tenant_id == self._tenant_id, *which)
            .values(
                status=JobStatus.PENDING,
                attempt=0,
                lost=0,
                spent_seconds=0,
                progress=0,
                finished_at=None,
                started_at=None,
                available_at=None,
                waiting_on=None,
                error_code=None,
                error_detail=None,
                error_retryable=None,
                stats=None,
                checkpoint=None,
                updated_at=_NOW,
            )
            .execution_options(synchronize_session=False)
        )
        return int(getattr(result, "rowcount", 0))

    def _views(self) -> sa.Select[tuple[Job, Domain, str, dict[str, Any], str, bool]]:
        return (
            sa.select(Job, Domain, BatchJob.status, BatchJob.options, Tenant.status, self._tenant_full())
            .join(Domain, sa.and_(Domain.tenant_id == Job.tenant_id, Domain.id == Job.domain_id))
            .join(Tenant, Tenant.id == Job.tenant_id)
            .outerjoin(BatchJob, sa.and_(BatchJob.tenant_id == Job.tenant_id, BatchJob.id == Job.batch_id))
            .where(Job.tenant_id == self._tenant_id)
            .execution_options(populate_existing=True)
        )

    def _tenant_full(self) -> sa.ColumnElement[bool]:
        """Counted once a statement, and only where there is a cap."""
        flying = aliased(Job)
        in_flight = (
            sa.select(sa.func.count())
            .select_from(flying)
            .where(flying.tenant_id == self._tenant_id, flying.status.in_((JobStatus.QUEUED, JobStatus.RUNNING)))
            .scalar_subquery()
        )
        return sa.case((Tenant.max_running.is_(None), False), else_=Tenant.max_running <= in_flight)


def _seconds(seconds: float) -> sa.ColumnElement[Any]:
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
