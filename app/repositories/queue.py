"""The moves of jobs that know no tenant: claims, leases, reaping, folding. System role only.

Only the database's clock counts. A guarded UPDATE that touches no row is an answer: the message was stale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

# One advisory lock a duty: of all processes one dispatches, one reaps, and nobody waits for it.
DISPATCH_LOCK, REAP_LOCK, SETTLE_LOCK, SWEEP_LOCK = 0x5C01, 0x5C02, 0x5C03, 0x5C04
MAX_LOST = 5
SWEEP_CHUNK = 5_000
FOLD_ABOVE = 24
SPARE = 16  # lanes that may be empty but for their first job before a round fills less than its window


class Dispatch(NamedTuple):
    """A job just moved to `queued`."""

    tenant_id: UUID
    job_id: UUID
    dispatch_no: int
    batch_id: UUID | None
    domain: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A job just moved to `running`."""

    tenant_id: UUID
    job_id: UUID
    attempt: int
    lost: int


# Fair by turns: every batch of a tenant gives its first job, then every batch its second …; tenants alike, those with
# fewer jobs already taken first. A lane is a batch, or a tenant's single scans, with a job that is due. Each is read
# by its index and no further than its share can reach (with some to spare, for lanes that are shorter than theirs), so
# neither a million pending jobs nor thousands of lanes make this slow; and only what was chosen is locked.
_DUE = "status = 'pending' AND available_at IS NULL"
_DISPATCH = sa.text(f"""
    WITH taken AS (
        SELECT tenant_id, count(*) AS n FROM jobs WHERE status IN ('queued', 'running') GROUP BY tenant_id
    ), lanes AS MATERIALIZED (
        SELECT b.tenant_id, b.id AS batch_id, b.priority
        FROM batch_jobs b JOIN tenants t ON t.id = b.tenant_id AND t.status = 'active'
        WHERE b.status IN ('pending', 'running') AND (
            SELECT true FROM jobs WHERE tenant_id = b.tenant_id AND batch_id = b.id AND {_DUE} ORDER BY id LIMIT 1)
        UNION ALL
        SELECT t.id, NULL, 9 FROM tenants t
        WHERE t.status = 'active' AND (
            SELECT true FROM jobs WHERE tenant_id = t.id AND batch_id IS NULL AND {_DUE} ORDER BY batch_id, id LIMIT 1)
    ), shares AS MATERIALIZED (
        SELECT *, least(:want, ceil(:want * {SPARE}.0 / (
                   count(*) OVER (PARTITION BY tenant_id ORDER BY priority DESC)
                   * (SELECT count(DISTINCT tenant_id) FROM lanes)))) AS share
        FROM lanes
    ), due AS (
        SELECT s.tenant_id, j.id, s.priority,
               row_number() OVER (PARTITION BY s.tenant_id, s.batch_id ORDER BY j.id) AS nth
        FROM shares s CROSS JOIN LATERAL (
            SELECT id FROM jobs WHERE tenant_id = s.tenant_id AND batch_id = s.batch_id AND {_DUE}
            ORDER BY id LIMIT s.share) j
        WHERE s.batch_id IS NOT NULL
        UNION ALL
        SELECT s.tenant_id, j.id, s.priority, row_number() OVER (PARTITION BY s.tenant_id ORDER BY j.id)
        FROM shares s CROSS JOIN LATERAL (
            SELECT id FROM jobs WHERE tenant_id = s.tenant_id AND batch_id IS NULL AND {_DUE}
            ORDER BY batch_id, id LIMIT s.share) j  -- the index's order: IS NULL alone does not tell the planner
        WHERE s.batch_id IS NULL
    ), turns AS (
        SELECT due.tenant_id, due.id, coalesce(taken.n, 0)
               + row_number() OVER (PARTITION BY due.tenant_id ORDER BY priority DESC, nth, due.id) AS turn
        FROM due LEFT JOIN taken USING (tenant_id)
    ), first AS (
        SELECT tenant_id, id FROM turns ORDER BY turn, id LIMIT :want
    ), chosen AS (
        SELECT jobs.tenant_id, jobs.id FROM first JOIN jobs USING (tenant_id, id)
        WHERE {_DUE} FOR UPDATE OF jobs SKIP LOCKED
    )
    UPDATE jobs SET status = 'queued', dispatch_no = dispatch_no + 1, waiting_on = NULL,
                    dispatch_until = clock_timestamp() + make_interval(secs => :patience), updated_at = now()
    FROM chosen WHERE jobs.tenant_id = chosen.tenant_id AND jobs.id = chosen.id
    RETURNING jobs.tenant_id, jobs.id, jobs.dispatch_no, jobs.batch_id,
              (SELECT host || rtrim(path, '/') FROM domains d
               WHERE d.tenant_id = jobs.tenant_id AND d.id = jobs.domain_id)""")

_STARTED = sa.text("""
    UPDATE batch_jobs SET status = 'running', started_at = coalesce(started_at, now())
    WHERE status = 'pending' AND id = ANY(:batches)""")

_CLAIM = sa.text("""
    UPDATE jobs SET status = 'running', attempt = attempt + 1, lease_token = :token, dispatch_until = NULL,
                    lease_until = now() + make_interval(secs => :lease), started_at = coalesce(started_at, now()),
                    worker = :worker, waiting_on = NULL, updated_at = now()
    WHERE tenant_id = :tenant AND id = :job AND status = 'queued' AND dispatch_no = :dispatch
      AND EXISTS (SELECT FROM tenants t WHERE t.id = tenant_id AND t.status = 'active')
      AND (batch_id IS NULL OR EXISTS (
            SELECT FROM batch_jobs b WHERE b.tenant_id = jobs.tenant_id AND b.id = jobs.batch_id
            AND b.status IN ('pending', 'running')))
    RETURNING attempt, lost""")

# A message that nobody will act on (its batch is paused, its tenant suspended, its worker about to end) gives its
# place in the window to others.
_GIVE_BACK = sa.text("""
    UPDATE jobs SET status = 'pending', dispatch_until = NULL, updated_at = now()
    WHERE tenant_id = :tenant AND id = :job AND status = 'queued' AND dispatch_no = :dispatch""")

_DOMAIN_BUSY = sa.text("""
    UPDATE jobs SET status = 'pending', dispatch_until = NULL, waiting_on = 'domain_busy', updated_at = now(),
                    available_at = now() + make_interval(secs => :pause)
    WHERE tenant_id = :tenant AND id = :job AND status = 'queued' AND dispatch_no = :dispatch""")

_RELEASE = sa.text("""
    UPDATE jobs SET status = 'pending', attempt = greatest(attempt - 1, 0), lease_token = NULL, lease_until = NULL,
                    available_at = now() + make_interval(secs => :pause), updated_at = now()
    WHERE tenant_id = :tenant AND id = :job AND status = 'running' AND lease_token = :token""")

# A row that is locked is being written by its own attempt, which prolongs the lease itself: never wait for it, or one
# long landing would cost every other job of the process its lease.
_HEARTBEAT = sa.text("""
    WITH free AS (
        SELECT j.tenant_id, j.id FROM jobs j
        JOIN unnest(CAST(:tenants AS uuid[]), CAST(:jobs AS uuid[]), CAST(:tokens AS uuid[]))
             AS mine (tenant_id, id, token)
          ON j.tenant_id = mine.tenant_id AND j.id = mine.id AND j.lease_token = mine.token
        WHERE j.status = 'running' FOR UPDATE OF j SKIP LOCKED
    )
    UPDATE jobs SET lease_until = now() + make_interval(secs => :lease)
    FROM free WHERE jobs.tenant_id = free.tenant_id AND jobs.id = free.id
    RETURNING jobs.id""")

# A running job of a batch that is being cancelled stops as well; the sweep ends its row.
_STILL_OURS = sa.text("""
    SELECT jobs.id FROM jobs
    JOIN unnest(CAST(:tenants AS uuid[]), CAST(:jobs AS uuid[]), CAST(:tokens AS uuid[])) AS mine (tenant_id, id, token)
      ON jobs.tenant_id = mine.tenant_id AND jobs.id = mine.id AND jobs.lease_token = mine.token
    LEFT JOIN batch_jobs b ON b.tenant_id = jobs.tenant_id AND b.id = jobs.batch_id
    WHERE jobs.status = 'running' AND coalesce(b.status, 'running') <> 'cancelling'""")

_REAP_MESSAGES = sa.text("""
    UPDATE jobs SET status = 'pending', dispatch_until = NULL, updated_at = now()
    WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM jobs
        WHERE status = 'queued' AND dispatch_until < now() + make_interval(secs => :early)
        LIMIT 5000 FOR UPDATE SKIP LOCKED)""")

_REAP_LEASES = sa.text("""
    UPDATE jobs SET
        lost = lost + 1, attempt = greatest(attempt - 1, 0), lease_token = NULL, lease_until = NULL,
        status = CASE WHEN lost + 1 >= :max_lost THEN 'failed' ELSE 'pending' END,
        finished_at = CASE WHEN lost + 1 >= :max_lost THEN now() END,
        error_code = CASE WHEN lost + 1 >= :max_lost THEN 'worker_lost' ELSE error_code END,
        error_detail = CASE WHEN lost + 1 >= :max_lost THEN CAST(:detail AS text) ELSE error_detail END,
        error_retryable = CASE WHEN lost + 1 >= :max_lost THEN true ELSE error_retryable END,
        waiting_on = NULL, updated_at = now()
    WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM jobs WHERE status = 'running' AND lease_until < now()
        LIMIT 5000 FOR UPDATE SKIP LOCKED)""")

_WAKE = sa.text("""
    UPDATE jobs SET available_at = NULL, waiting_on = NULL
    WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM jobs WHERE status = 'pending' AND available_at <= now()
        ORDER BY available_at LIMIT 5000 FOR UPDATE SKIP LOCKED)""")

# Each condition is one partial index. A row that is locked is landing a file, maybe for minutes: the next round ends
# it, and no other batch's end waits for it.
_SWEEPS = tuple(
    sa.text(f"""
    UPDATE jobs SET status = 'cancelled', finished_at = now(), updated_at = now(), lease_token = NULL,
                    lease_until = NULL, dispatch_until = NULL, available_at = NULL, waiting_on = NULL
    WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM jobs WHERE tenant_id = :tenant AND batch_id = :batch AND {which}
        LIMIT {SWEEP_CHUNK} FOR UPDATE SKIP LOCKED)""")
    for which in (
        "status = 'pending' AND available_at IS NULL",
        "status = 'pending' AND available_at IS NOT NULL",
        "status IN ('queued', 'running')",
    )
)

_COUNTS = sa.text("""
    SELECT b.tenant_id, b.id, count(c.id) AS steps,
           coalesce(sum(c.n) FILTER (WHERE c.status IN ('pending', 'queued', 'running')), 0) AS open
    FROM batch_jobs b LEFT JOIN batch_counts c ON c.tenant_id = b.tenant_id AND c.batch_id = b.id
    WHERE b.status IN ('pending', 'running', 'paused', 'cancelling')
    GROUP BY b.tenant_id, b.id""")

_FOLD = sa.text("""
    WITH gone AS (
        DELETE FROM batch_counts WHERE tenant_id = :tenant AND batch_id = :batch RETURNING status, n
    )
    INSERT INTO batch_counts (tenant_id, batch_id, status, n)
    SELECT :tenant, :batch, status, sum(n) FROM gone GROUP BY status""")


class Queue:
    def __init__(self, session: Session) -> None:
        self._session = session

    def try_lock(self, duty: int) -> bool:
        """This duty is ours until the transaction ends; False when another process has it."""
        return bool(self._session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(duty))))

    def queued(self) -> int:
        """Messages that are, or should be, in the broker."""
        return self._session.scalar(sa.text("SELECT count(*) FROM jobs WHERE status = 'queued'")) or 0

    def dispatch(self, *, want: int, patience: float) -> list[Dispatch]:
        """Claim up to `want` due jobs, fairly; their messages are to be sent after commit."""
        rows = [Dispatch(*row) for row in self._session.execute(_DISPATCH, {"want": want, "patience": patience})]
        batches = sorted({row.batch_id for row in rows if row.batch_id is not None})
        if batches:
            self._session.execute(_STARTED, {"batches": batches})
        return rows

    def claim(
        self, *, tenant_id: UUID, job_id: UUID, dispatch_no: int, token: UUID, lease: float, worker: str
    ) -> Claim | None:
        """Queued → running under a new token; None when the message is stale or its batch is not active.

        A domain that another job is scanning right now puts the job back for a few seconds (`domain_busy`).
        """
        key = {"tenant": tenant_id, "job": job_id, "dispatch": dispatch_no}
        try:
            with self._session.begin_nested():
                row = self._session.execute(
                    _CLAIM, {**key, "token": token, "lease": lease, "worker": worker}
                ).one_or_none()
        except IntegrityError:
            self._session.execute(_DOMAIN_BUSY, {**key, "pause": 2.0})
            return None
        if row is None:
            self.give_back(tenant_id=tenant_id, job_id=job_id, dispatch_no=dispatch_no)
            return None
        return Claim(tenant_id, job_id, int(row[0]), int(row[1]))

    def give_back(self, *, tenant_id: UUID, job_id: UUID, dispatch_no: int) -> None:
        """Queued → pending, if this message is the newest: nobody will work on it now."""
        self._session.execute(_GIVE_BACK, {"tenant": tenant_id, "job": job_id, "dispatch": dispatch_no})

    def release(self, *, tenant_id: UUID, job_id: UUID, token: UUID) -> None:
        """Running → pending: an attempt that could not even begin costs nothing."""
        self._session.execute(_RELEASE, {"tenant": tenant_id, "job": job_id, "token": token, "pause": 2.0})

    def heartbeat(self, held: Sequence[tuple[UUID, UUID, UUID]], *, lease: float) -> set[UUID]:
        """Prolong the leases of (tenant, job, token); answers those prolonged. `still_ours` tells of the others."""
        return {row[0] for row in self._session.execute(_HEARTBEAT, {**_columns(held), "lease": lease})}

    def still_ours(self, held: Sequence[tuple[UUID, UUID, UUID]]) -> set[UUID]:
        """Of (tenant, job, token), the jobs that nobody has cancelled or taken over."""
        return {row[0] for row in self._session.execute(_STILL_OURS, _columns(held))}

    def reap_messages(self, *, early: float = 0.0) -> int:
        """Queued → pending where the message is overdue; `early` seconds before it is, if it is known lost."""
        return _touched(self._session, _REAP_MESSAGES, {"early": early})

    def reap_leases(self) -> int:
        """Running → pending where the lease has passed; failed after too many lost workers."""
        detail = f"its worker vanished {MAX_LOST} times while it held the job"
        return _touched(self._session, _REAP_LEASES, {"max_lost": MAX_LOST, "detail": detail})

    def wake(self) -> int:
        """Delayed jobs whose time has come are due."""
        return _touched(self._session, _WAKE, {})

    def cancelling(self) -> list[tuple[UUID, UUID]]:
        rows = self._session.execute(sa.text("SELECT tenant_id, id FROM batch_jobs WHERE status = 'cancelling'"))
        return [(row[0], row[1]) for row in rows]

    def sweep(self, tenant_id: UUID, batch_id: UUID) -> int:
        """End a chunk of a cancelled batch's open jobs; 0 when none is left."""
        key: dict[str, object] = {"tenant": tenant_id, "batch": batch_id}
        return sum(_touched(self._session, statement, key) for statement in _SWEEPS)

    def fold_and_list_ended(self) -> list[tuple[UUID, UUID]]:
        """Fold the counts of open batches; answers those none of whose jobs is open any more."""
        ended = []
        for tenant_id, batch_id, steps, still_open in self._session.execute(_COUNTS).all():
            if steps > FOLD_ABOVE:
                self._session.execute(_FOLD, {"tenant": tenant_id, "batch": batch_id})
            if steps and not still_open:
                ended.append((tenant_id, batch_id))
        return ended

    def forget_old(self) -> None:
        """Idempotency keys past their day, sessions past their end."""
        self._session.execute(sa.text("DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours'"))
        self._session.execute(sa.text("DELETE FROM sessions WHERE expires_at < now() - interval '7 days'"))


def _columns(held: Sequence[tuple[UUID, UUID, UUID]]) -> dict[str, list[UUID]]:
    tenants, jobs, tokens = zip(*held, strict=True)
    return {"tenants": list(tenants), "jobs": list(jobs), "tokens": list(tokens)}


def _touched(session: Session, statement: sa.TextClause, values: Mapping[str, object]) -> int:
    return int(getattr(session.execute(statement, values), "rowcount", 0))
