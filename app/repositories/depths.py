"""How deep the queue is, for people and collectors who ask again and again.

With a million pending jobs too an answer takes milliseconds: pending jobs of batches are read off their counts, the
rest off partial indexes that hold only what is open. One statement is one snapshot, so its figures belong together.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from models.states import CLAIMABLE_BATCHES, OPEN_BATCHES, OPEN_JOBS, sql_list

MOST_HOSTS = 100
MOST_DELAYED = 10_000  # jobs in a host's cool-down that are looked at: those that wake first


class TenantDepth(NamedTuple):
    """One tenant's open jobs. `delayed` and `paused` are among the `pending`; a job may be both.

    `oldest` is when the first of those that only wait for a worker was submitted.
    """

    tenant_id: UUID
    tenant: str
    pending: int
    delayed: int
    paused: int
    queued: int
    running: int
    oldest: datetime | None
    age: float | None


class Held(NamedTuple):
    """Running jobs of one worker process; `passed` counts those whose lease has."""

    worker: str | None
    jobs: int
    passed: int
    next_end: datetime


class HostDepth(NamedTuple):
    host: str
    running: int
    queued: int
    cooling: int
    cools_until: datetime | None


_DUE = "status = 'pending' AND available_at IS NULL"
_TENANTS = """
    WITH whose AS MATERIALIZED (
        SELECT id, name, status FROM tenants WHERE {tenant_is_mine}
    ), batches AS MATERIALIZED (
        SELECT b.tenant_id, b.id, b.status, (
            SELECT coalesce(sum(c.n), 0) FROM batch_counts c
            WHERE c.tenant_id = b.tenant_id AND c.batch_id = b.id AND c.status = 'pending') AS pending
        FROM batch_jobs b WHERE b.status IN ({open_batches}) AND {mine}
    ), waiting AS (
        SELECT tenant_id, sum(pending) AS pending, sum(pending) FILTER (WHERE status = 'paused') AS paused
        FROM batches GROUP BY tenant_id
    ), singles AS (
        SELECT id AS tenant_id, (
            SELECT count(*) FROM jobs WHERE tenant_id = whose.id AND batch_id IS NULL AND {due}) AS pending
        FROM whose
    ), oldest AS (
        SELECT tenant_id, min(created_at) AS created_at FROM (
            SELECT b.tenant_id, (
                SELECT created_at FROM jobs WHERE tenant_id = b.tenant_id AND batch_id = b.id AND {due}
                ORDER BY id LIMIT 1) AS created_at
            FROM batches b WHERE b.pending > 0 AND b.status IN ({claimable})
            UNION ALL
            SELECT id, (
                SELECT created_at FROM jobs WHERE tenant_id = whose.id AND batch_id IS NULL AND {due}
                ORDER BY batch_id, id LIMIT 1)
            FROM whose) lanes
        GROUP BY tenant_id
    ), delayed AS (
        SELECT tenant_id, count(*) AS n, count(*) FILTER (WHERE batch_id IS NULL) AS singles
        FROM jobs WHERE status = 'pending' AND available_at IS NOT NULL AND {mine} GROUP BY tenant_id
    ), taken AS (
        SELECT tenant_id, count(*) FILTER (WHERE status = 'queued') AS queued,
               count(*) FILTER (WHERE status = 'running') AS running
        FROM jobs WHERE status IN ('queued', 'running') AND {mine} GROUP BY tenant_id
    ), depths AS (
        SELECT whose.id, whose.name,
               coalesce(waiting.pending, 0) + coalesce(singles.pending, 0) + coalesce(delayed.singles, 0) AS pending,
               coalesce(delayed.n, 0) AS delayed, coalesce(waiting.paused, 0) AS paused,
               coalesce(taken.queued, 0) AS queued, coalesce(taken.running, 0) AS running,
               CASE WHEN whose.status = 'active' THEN oldest.created_at END AS oldest
        FROM whose
        LEFT JOIN waiting ON waiting.tenant_id = whose.id LEFT JOIN singles ON singles.tenant_id = whose.id
        LEFT JOIN oldest ON oldest.tenant_id = whose.id LEFT JOIN delayed ON delayed.tenant_id = whose.id
        LEFT JOIN taken ON taken.tenant_id = whose.id
    )
    SELECT *, extract(epoch FROM clock_timestamp() - oldest)::float8 FROM depths
    WHERE pending + queued + running > 0 ORDER BY pending + queued + running DESC, name"""

_LEASES = """
    SELECT worker, count(*), count(*) FILTER (WHERE lease_until < now()), min(lease_until)
    FROM jobs WHERE status = 'running' AND {mine} GROUP BY worker ORDER BY worker"""

_HOSTS = """
    WITH seen AS (
        SELECT tenant_id, domain_id, status, NULL AS until
        FROM jobs WHERE status IN ('queued', 'running') AND {mine}
        UNION ALL
        (SELECT tenant_id, domain_id, status, available_at
         FROM jobs WHERE status = 'pending' AND available_at > now() AND waiting_on = 'host_cooldown' AND {mine}
         ORDER BY available_at LIMIT {most_delayed})
    )
    SELECT d.host, count(*) FILTER (WHERE s.status = 'running'), count(*) FILTER (WHERE s.status = 'queued'),
           count(*) FILTER (WHERE s.status = 'pending'), max(s.until)
    FROM seen s JOIN domains d ON d.tenant_id = s.tenant_id AND d.id = s.domain_id
    GROUP BY d.host ORDER BY count(*) DESC, d.host LIMIT {most_hosts}"""


# Sums of a few counts, and partial indexes.
_OPEN_JOBS = sa.text(f"""
    SELECT (SELECT coalesce(sum(c.n), 0) FROM batch_jobs b
            JOIN batch_counts c ON c.tenant_id = b.tenant_id AND c.batch_id = b.id
            WHERE b.tenant_id = :tenant AND b.status IN ({sql_list(OPEN_BATCHES)})
              AND c.status IN ({sql_list(OPEN_JOBS)}))
         + (SELECT count(*) FROM jobs WHERE tenant_id = :tenant AND batch_id IS NULL AND {_DUE})
         + (SELECT count(*) FROM jobs WHERE tenant_id = :tenant AND batch_id IS NULL
            AND status = 'pending' AND available_at IS NOT NULL)
         + (SELECT count(*) FROM jobs WHERE tenant_id = :tenant AND batch_id IS NULL
            AND status IN ('queued', 'running'))""")
_TAKE_TURNS = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(CAST(:tenant AS text), 5))")


class Depths:
    """Of one tenant, or with None, which row-level security grants to the system role alone, of all."""

    def __init__(self, session: Session, tenant_id: UUID | None) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def tenants(self) -> list[TenantDepth]:
        """Those that have open jobs, the deepest first."""
        rows = self._session.execute(*self._bound(_TENANTS))
        return [TenantDepth(*row[:2], *map(int, row[2:7]), *row[7:]) for row in rows]

    def open_jobs(self, *, in_turn: bool = False) -> int:
        """The tenant's jobs that have not ended. `in_turn`: until this transaction ends, who asks so too waits."""
        self._session.flush()
        if in_turn:
            self._session.execute(_TAKE_TURNS, {"tenant": str(self._tenant_id)})
        return int(self._session.execute(_OPEN_JOBS, {"tenant": self._tenant_id}).scalar_one())

    def leases(self) -> list[Held]:
        return [Held(*row) for row in self._session.execute(*self._bound(_LEASES))]

    def hosts(self) -> list[HostDepth]:
        """The hundred with most jobs that run, are about to, or wait for the host's cool-down to end."""
        return [HostDepth(*row) for row in self._session.execute(*self._bound(_HOSTS))]

    def _bound(self, statement: str) -> tuple[sa.TextClause, dict[str, UUID]]:
        one = self._tenant_id is not None
        text = statement.format(
            mine="tenant_id = :tenant" if one else "true",
            tenant_is_mine="id = :tenant" if one else "true",
            due=_DUE,
            open_batches=sql_list(OPEN_BATCHES),
            claimable=sql_list(CLAIMABLE_BATCHES),
            most_hosts=MOST_HOSTS,
            most_delayed=MOST_DELAYED,
        )
        return sa.text(text), {} if self._tenant_id is None else {"tenant": self._tenant_id}
