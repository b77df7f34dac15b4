"""What the rows themselves say, read past every shortcut: for comparing. System role only.

Each method is one statement, so what it compares with each other is of one moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.repositories import direct
from models.states import JobStatus

RECOUNT_LOCK = 0x5C0F
MOST = 10_000  # of overdue pauses: enough to see that nobody wakes them


class Taken(NamedTuple):
    """A job that is queued or running. `passed` says that its message is overdue, or its lease has passed."""

    tenant_id: UUID
    job_id: UUID
    status: str
    dispatch_no: int
    token: UUID | None
    worker: str | None
    passed: bool


class Miscount(NamedTuple):
    tenant_id: UUID
    batch_id: UUID
    status: str
    noted: int
    found: int


class BatchFacts(NamedTuple):
    """A batch's status, and how many jobs it has by theirs."""

    tenant_id: UUID
    batch_id: UUID
    status: str
    total: int
    counts: Mapping[str, int]


_TAKEN = sa.text("""
    SELECT tenant_id, id, status, dispatch_no, lease_token, worker,
           coalesce(dispatch_until, lease_until) < clock_timestamp()
    FROM jobs WHERE status IN ('queued', 'running') ORDER BY id""")

_OVERSLEPT = sa.text("""
    SELECT tenant_id, id FROM jobs WHERE status = 'pending' AND available_at < clock_timestamp()
    ORDER BY available_at LIMIT :most""")

_STATES = sa.text("""
    SELECT j.tenant_id, j.id, j.status, j.dispatch_no
    FROM unnest(CAST(:tenants AS uuid[]), CAST(:jobs AS uuid[])) AS named (tenant_id, id)
    JOIN jobs j USING (tenant_id, id)""")

_TRUTH = """
    truth AS MATERIALIZED (
        SELECT tenant_id, batch_id, status, count(*) AS n FROM jobs
        WHERE batch_id IS NOT NULL {only} GROUP BY tenant_id, batch_id, status
    )"""
_MISCOUNTS = f"""
    WITH {_TRUTH}, noted AS (
        SELECT tenant_id, batch_id, status, sum(n) AS n FROM batch_counts
        WHERE true {{only}} GROUP BY tenant_id, batch_id, status
    )
    SELECT tenant_id, batch_id, status, coalesce(noted.n, 0) AS noted, coalesce(truth.n, 0) AS found
    FROM truth FULL JOIN noted USING (tenant_id, batch_id, status)
    WHERE coalesce(noted.n, 0) <> coalesce(truth.n, 0)"""

_BATCHES = sa.text(f"""
    WITH {_TRUTH.format(only="")}
    SELECT b.tenant_id, b.id, b.status, b.total, coalesce(counts.by_status, '{{}}'::jsonb)
    FROM batch_jobs b LEFT JOIN (
        SELECT tenant_id, batch_id, jsonb_object_agg(status, n) AS by_status FROM truth GROUP BY tenant_id, batch_id
    ) counts ON counts.tenant_id = b.tenant_id AND counts.batch_id = b.id
    ORDER BY b.id""")

_ONE = "AND tenant_id = :tenant AND batch_id = :batch"
# What is added is the difference within one snapshot: whatever triggers add meanwhile, the sum comes out right.
_RECOUNT = sa.text(f"""
    INSERT INTO batch_counts (tenant_id, batch_id, status, n)
    SELECT tenant_id, batch_id, status, found - noted FROM ({_MISCOUNTS.format(only=_ONE)}) wrong""")


class Differences:
    def __init__(self, session: Session) -> None:
        self._session = session

    def allow_time(self) -> None:
        """Counting every row of every batch takes longer than a statement otherwise may."""
        direct.take_time(self._session)

    def taken(self) -> list[Taken]:
        return [Taken(*row) for row in self._session.execute(_TAKEN)]

    def overslept(self) -> list[tuple[UUID, UUID]]:
        """Pending jobs whose pause is over, though nobody woke them: (tenant, job)."""
        return [(row[0], row[1]) for row in self._session.execute(_OVERSLEPT, {"most": MOST})]

    def states(self, jobs: list[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], tuple[str, int]]:
        """(tenant, job) → its status and its newest dispatch number."""
        named = {"tenants": [tenant for tenant, _ in jobs], "jobs": [job for _, job in jobs]}
        return {(row[0], row[1]): (row[2], row[3]) for row in self._session.execute(_STATES, named)}

    def miscounts(self) -> list[Miscount]:
        rows = self._session.execute(sa.text(_MISCOUNTS.format(only="")))
        return [Miscount(tenant, batch, status, int(noted), int(found)) for tenant, batch, status, noted, found in rows]

    def batches(self) -> list[BatchFacts]:
        nothing = dict.fromkeys((status.value for status in JobStatus), 0)
        rows = self._session.execute(_BATCHES)
        return [BatchFacts(row[0], row[1], row[2], row[3], {**nothing, **row[4]}) for row in rows]

    def recount(self, tenant_id: UUID, batch_id: UUID) -> None:
        """Note what is missing, so that a batch's counts say what its rows do."""
        # Two at once would each note it. The statement after the lock sees what its last holder committed.
        self._session.execute(sa.select(sa.func.pg_advisory_xact_lock(RECOUNT_LOCK)))
        self._session.execute(_RECOUNT, {"tenant": tenant_id, "batch": batch_id})
