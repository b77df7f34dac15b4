"""The moves of jobs that know no tenant: dispatching, leases, reaping, folding. System role only.

Only the database's clock counts. A guarded UPDATE that touches no row is an answer: the message was stale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models.states import MAX_LOST, QUARANTINE_AFTER

# One advisory lock a duty: of all processes one dispatches, one reaps, and nobody waits for it.
DISPATCH_LOCK, REAP_LOCK, SETTLE_LOCK, SWEEP_LOCK = 0x5C01, 0x5C02, 0x5C03, 0x5C04
SWEEP_CHUNK = 5_000
FOLD_ABOVE = 24
SPARE = 16  # lanes that may be empty but for their first job before a round fills less than its window


# A process that stands still with the lock in hand must not keep all others from the duty for long.
_TRY_LOCK = sa.text("""
    SELECT pg_try_advisory_xact_lock(:duty) FROM set_config('idle_in_transaction_session_timeout', '5s', true)""")


class Dispatch(NamedTuple):
    """A job just moved to `queued`. `until` is its message's time limit, in epoch seconds of the database's clock."""

    tenant_id: UUID
    job_id: UUID
    dispatch_no: int
    batch_id: UUID | None
    queue: str
    until: float
    domain: str


# Fair by turns. A lane is a batch, or a tenant's single scans, with a job that is due. A tenant's lanes take turns
# under its priorities, those with fewer jobs in flight first; tenants take turns by what each has in flight over its
# weight, so whoever has least comes next. Luck decides between equals: by age, a tenant or batch that came late would
# wait for all before it whenever there are more of them than turns. In flight is what slots of batches will work on or
# do; only a tenant's cap counts the rest as well.
#
# Each lane is read by its index and no further than its share can reach (with some to spare, for lanes shorter than
# theirs), so neither a million pending jobs nor thousands of lanes make this slow; only what was chosen is locked.
#
# What a tenant gets within its fair part of the slots goes to `express`, which workers read first: a small batch does
# not wait in the broker behind what a large one has there. All express jobs together need no more than all slots, and
# a tenant's part is free while it has less than that in flight: the other queue is always read as well.
_DUE = f"status = 'pending' AND available_at IS NULL AND lost < {QUARANTINE_AFTER}"
_QUEUED = """
    UPDATE jobs SET status = 'queued', queue = chosen.queue, dispatch_no = dispatch_no + 1, waiting_on = NULL,
                    dispatch_until = clock_timestamp() + make_interval(secs => :patience), updated_at = now()
    FROM chosen WHERE jobs.tenant_id = chosen.tenant_id AND jobs.id = chosen.id
    RETURNING jobs.tenant_id, jobs.id, jobs.dispatch_no, jobs.batch_id, jobs.queue,
              CAST(extract(epoch FROM jobs.dispatch_until) AS float8),
              (SELECT host || rtrim(path, '/') FROM domains d
               WHERE d.tenant_id = jobs.tenant_id AND d.id = jobs.domain_id)"""
_DISPATCH = sa.text(f"""
    WITH flying AS MATERIALIZED (
        SELECT tenant_id, batch_id, count(*) FILTER (WHERE queue IN ('express', 'scans')) AS n, count(*) AS n_anywhere
        FROM jobs WHERE status IN ('queued', 'running') GROUP BY 1, 2
    ), active AS MATERIALIZED (
        SELECT t.id, t.weight, t.max_running - coalesce(f.n_anywhere, 0) AS room, coalesce(f.n, 0) AS taken,
               random() AS luck
        FROM tenants t
        LEFT JOIN (SELECT tenant_id, sum(n) AS n, sum(n_anywhere) AS n_anywhere FROM flying GROUP BY 1) f
               ON f.tenant_id = t.id
        WHERE t.status = 'active'
    ), free AS (
        SELECT * FROM active WHERE room IS NULL OR room > 0
    ), lanes AS MATERIALIZED (
        SELECT b.tenant_id, b.id AS batch_id, b.priority, t.weight
        FROM batch_jobs b JOIN free t ON t.id = b.tenant_id
        WHERE b.status IN ('pending', 'running') AND (
            SELECT true FROM jobs WHERE tenant_id = b.tenant_id AND batch_id = b.id AND {_DUE} ORDER BY id LIMIT 1)
        UNION ALL
        SELECT t.id, NULL, 9, t.weight FROM free t
        WHERE (
            SELECT true FROM jobs WHERE tenant_id = t.id AND batch_id IS NULL AND {_DUE} ORDER BY batch_id, id LIMIT 1)
    ), sharing AS MATERIALIZED (
        SELECT count(*) FILTER (WHERE waits) AS tenants, sum(weight) AS weights
        FROM (SELECT weight, taken, id IN (SELECT tenant_id FROM lanes) AS waits FROM active) a
        WHERE waits OR taken > 0
    ), shares AS MATERIALIZED (
        SELECT l.*, random() AS luck, coalesce(f.n, 0) AS taken, least(:express + :scans, ceil(
                   (:express + :scans) * {SPARE}.0 * l.weight
                   / (count(*) OVER (PARTITION BY l.tenant_id ORDER BY priority DESC) * sharing.tenants))) AS share
        FROM lanes l CROSS JOIN sharing
        LEFT JOIN flying f ON f.tenant_id = l.tenant_id AND f.batch_id IS NOT DISTINCT FROM l.batch_id
    ), due AS (
        SELECT s.*, j.id, row_number() OVER (PARTITION BY s.tenant_id, s.batch_id ORDER BY j.id) AS nth
        FROM shares s CROSS JOIN LATERAL (
            SELECT id FROM jobs WHERE tenant_id = s.tenant_id AND batch_id = s.batch_id AND {_DUE}
            ORDER BY id LIMIT s.share) j
        WHERE s.batch_id IS NOT NULL
        UNION ALL
        SELECT s.*, j.id, row_number() OVER (PARTITION BY s.tenant_id ORDER BY j.id)
        FROM shares s CROSS JOIN LATERAL (
            SELECT id FROM jobs WHERE tenant_id = s.tenant_id AND batch_id IS NULL AND {_DUE}
            ORDER BY batch_id, id LIMIT s.share) j  -- the index's order: IS NULL alone does not tell the planner
        WHERE s.batch_id IS NULL
    ), turns AS (
        SELECT due.tenant_id, due.id, t.weight, t.room, t.luck, t.taken, row_number() OVER (
                   PARTITION BY due.tenant_id ORDER BY priority DESC, due.taken + nth, due.luck, due.id) AS nth
        FROM due JOIN active t ON t.id = due.tenant_id
    ), ranked AS (
        SELECT tenant_id, id, queue,
               row_number() OVER (PARTITION BY queue ORDER BY (taken + nth) / weight, luck, id) AS nth
        FROM (SELECT *, CASE WHEN taken + nth <= greatest(1, :slots * weight / (SELECT weights FROM sharing))
                             THEN 'express' ELSE 'scans' END AS queue
              FROM turns WHERE room IS NULL OR nth <= room) t
    ), chosen AS (
        SELECT jobs.tenant_id, jobs.id, ranked.queue FROM ranked JOIN jobs USING (tenant_id, id)
        WHERE ranked.nth <= CASE ranked.queue WHEN 'express' THEN :express ELSE :scans END AND {_DUE}
        FOR UPDATE OF jobs SKIP LOCKED
    ){_QUEUED}""")

# One job a round, of tenants in turn by luck, of each the one that has waited longest.
_QUARANTINED = f"""
    jobs.status = 'pending' AND jobs.available_at IS NULL AND jobs.lost >= {QUARANTINE_AFTER}
    AND EXISTS (SELECT FROM tenants t WHERE t.id = jobs.tenant_id AND t.status = 'active')
    AND (jobs.batch_id IS NULL OR EXISTS (
            SELECT FROM batch_jobs b WHERE b.tenant_id = jobs.tenant_id AND b.id = jobs.batch_id
            AND b.status IN ('pending', 'running')))"""
_QUARANTINE = sa.text(f"""
    WITH turn AS (
        SELECT tenant_id FROM (SELECT DISTINCT tenant_id FROM jobs WHERE {_QUARANTINED}) t ORDER BY random() LIMIT 1
    ), chosen AS (
        SELECT tenant_id, id, 'quarantine' AS queue FROM jobs JOIN turn USING (tenant_id)
        WHERE {_QUARANTINED} ORDER BY updated_at LIMIT 1 FOR UPDATE OF jobs SKIP LOCKED
    ){_QUEUED}""")

_STARTED = sa.text("""
    UPDATE batch_jobs SET status = 'running', started_at = coalesce(started_at, now())
    WHERE status = 'pending' AND id = ANY(:batches)""")

# A row that is locked is being written by its own attempt, which prolongs the lease itself: never wait for it, or one
# long landing would cost every other job of the process its lease.
_HEARTBEAT = sa.text("""
    WITH free AS (
        SELECT j.tenant_id, j.id FROM jobs j
        JOIN unnest(CAST(:tenants AS uuid[]), CAST(:jobs AS uuid[]), CAST(:tokens AS uuid[]))
             AS mine (tenant_id, id, token)
          ON j.tenant_id = mine.tenant_id AND j.id = mine.id AND j.lease_token = mine.token
        FOR UPDATE OF j SKIP LOCKED
    )
    UPDATE jobs SET lease_until = now() + make_interval(secs => :lease)
    FROM free WHERE jobs.tenant_id = free.tenant_id AND jobs.id = free.id
    RETURNING jobs.id""")

# A running job of a batch that is being cancelled stops as well; the sweep ends its row. Only a running job has a
# token: to ask for the status too would only lead the planner away from the key.
_STILL_OURS = sa.text("""
    SELECT jobs.id, coalesce(b.status, 'running') <> 'paused' AND t.status = 'active'
    FROM jobs
    JOIN unnest(CAST(:tenants AS uuid[]), CAST(:jobs AS uuid[]), CAST(:tokens AS uuid[])) AS mine (tenant_id, id, token)
      ON jobs.tenant_id = mine.tenant_id AND jobs.id = mine.id AND jobs.lease_token = mine.token
    JOIN tenants t ON t.id = jobs.tenant_id
    LEFT JOIN batch_jobs b ON b.tenant_id = jobs.tenant_id AND b.id = jobs.batch_id
    WHERE coalesce(b.status, 'running') <> 'cancelling'""")

# Overdue, or known to be lost: `seen` as in `reap_messages`.
_REAP_MESSAGES = sa.text("""
    UPDATE jobs SET status = 'pending', dispatch_until = NULL, updated_at = now()
    WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM jobs
        WHERE status = 'queued' AND (dispatch_until < now() OR EXISTS (
            SELECT FROM unnest(CAST(:queues AS text[]), CAST(:before AS float8[]), CAST(:ages AS float8[]))
                        AS seen (queue, before, age)
            WHERE seen.queue = jobs.queue AND dispatch_until < least(
                to_timestamp(seen.before), now() + make_interval(secs => :patience - seen.age))))
        LIMIT 5000 FOR UPDATE SKIP LOCKED)""")

# A lease that the database itself let pass, by being away, is held against nobody.
_LOST = """lost + CASE WHEN lease_until < pg_postmaster_start_time() + make_interval(secs => :lease)
                       THEN 0 ELSE 1 END"""
_REAP_LEASES = sa.text(f"""
    UPDATE jobs SET
        lost = {_LOST}, attempt = greatest(attempt - 1, 0), lease_token = NULL, lease_until = NULL,
        status = CASE WHEN {_LOST} >= {MAX_LOST} THEN 'failed' ELSE 'pending' END,
        finished_at = CASE WHEN {_LOST} >= {MAX_LOST} THEN now() END,
        error_code = CASE WHEN {_LOST} >= {MAX_LOST} THEN 'worker_lost' ELSE error_code END,
        error_detail = CASE WHEN {_LOST} >= {MAX_LOST}
            THEN 'its worker vanished {MAX_LOST} times while it held the job'
                 || coalesce('; before that: ' || error_detail, '')
            ELSE error_detail END,
        error_retryable = CASE WHEN {_LOST} >= {MAX_LOST} THEN true ELSE error_retryable END,
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
        return bool(self._session.scalar(_TRY_LOCK, {"duty": duty}))

    def queued(self) -> dict[str, int]:
        """Messages that are, or should be, in the broker, by queue."""
        found = self._session.execute(sa.text("SELECT queue, count(*) FROM jobs WHERE status = 'queued' GROUP BY 1"))
        return {str(queue): int(n) for queue, n in found}

    def dispatch(self, *, express: int, scans: int, slots: int, patience: float) -> list[Dispatch]:
        """Claim due jobs, fairly, up to so many for each queue; their messages are to be sent after commit."""
        values = {"express": express, "scans": scans, "slots": slots, "patience": patience}
        return self._dispatch(_DISPATCH, values)

    def dispatch_quarantined(self, *, patience: float) -> list[Dispatch]:
        """The same for one job that lost its process again and again."""
        return self._dispatch(_QUARANTINE, {"patience": patience})

    def _dispatch(self, statement: sa.TextClause, values: Mapping[str, object]) -> list[Dispatch]:
        rows = [Dispatch(*row) for row in self._session.execute(statement, values)]
        batches = sorted({row.batch_id for row in rows if row.batch_id is not None})
        if batches:
            self._session.execute(_STARTED, {"batches": batches})
        return rows

    def heartbeat(self, held: Sequence[tuple[UUID, UUID, UUID]], *, lease: float) -> set[UUID]:
        """Prolong the leases of (tenant, job, token); answers those prolonged. `still_ours` tells of the others."""
        return {row[0] for row in self._session.execute(_HEARTBEAT, {**_columns(held), "lease": lease})}

    def still_ours(self, held: Sequence[tuple[UUID, UUID, UUID]]) -> dict[UUID, bool]:
        """Of (tenant, job, token), the jobs that nobody has cancelled or taken over, and whether they may go on.

        They may not while their batch is paused or their tenant suspended.
        """
        return {row[0]: row[1] for row in self._session.execute(_STILL_OURS, _columns(held))}

    def reap_messages(self, seen: Mapping[str, tuple[float, float]], *, patience: float) -> int:
        """Queued → pending where the message is overdue, or lost by what was seen of its queue.

        `seen` tells of a queue (the time limit of its next message, how many seconds ago): what was dispatched to it
        earlier than that message, and also before then, is not in it any more.
        """
        columns = {
            "queues": list(seen),
            "before": [before for before, _ in seen.values()],
            "ages": [age for _, age in seen.values()],
        }
        return _touched(self._session, _REAP_MESSAGES, {**columns, "patience": patience})

    def reap_leases(self, *, lease: float) -> int:
        """Running → pending where the lease has passed; failed after too many lost workers."""
        return _touched(self._session, _REAP_LEASES, {"lease": lease})

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
