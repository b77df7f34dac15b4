"""Batches: landing a list of domains in bulk, counts that are always true, and listings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.repositories import bulk, direct
from app.repositories.keyset import PageOf, decode, page
from models import BatchCount, BatchJob, BatchReject
from models.states import OPEN_BATCHES, OPEN_JOBS, BatchStatus, JobStatus, settled


class Line(NamedTuple):
    """One line as sent: a domain (host, path, maybe the scheme named), or the reason why it is none."""

    line: int
    value: str
    host: str | None
    path: str | None
    scheme: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch with its counts, read in one statement, so they belong together."""

    batch: BatchJob
    counts: Mapping[str, int]

    @property
    def open_jobs(self) -> int:
        return sum(self.counts[status] for status in OPEN_JOBS)

    @property
    def ended_jobs(self) -> int:
        return self.batch.total - self.open_jobs


class Reject(NamedTuple):
    line: int
    value: str
    reason: str
    detail: str | None
    same_as: str | None


class Landing(NamedTuple):
    """What staged lines are about to become: jobs, so many of them of sites of which no URL is kept."""

    jobs: int
    new_sites: int


class Survey(NamedTuple):
    """What landing some lines would come to. `rejects` holds the first of them only."""

    lines: int
    valid: int
    duplicates: int
    invalid: int
    rejects: list[Reject]


_STAGE = """
    CREATE TEMP TABLE IF NOT EXISTS staged_lines (
        line int, value text, host text, path text, scheme text, detail text
    ) ON COMMIT DELETE ROWS"""

_REJECT_INVALID = sa.text("""
    INSERT INTO batch_rejects (tenant_id, batch_id, line, value, reason, detail)
    SELECT :tenant, :batch, line, value, 'invalid', detail FROM staged_lines WHERE host IS NULL""")

# Collation "C": the same order as the index, and no locale to compare by.
_REJECT_DUPLICATES = sa.text("""
    WITH doubled AS (
        SELECT line, value, host, path,
               row_number() OVER (PARTITION BY host COLLATE "C", path COLLATE "C" ORDER BY line) AS nth
        FROM staged_lines WHERE host IS NOT NULL
    ), kept AS (
        INSERT INTO batch_rejects (tenant_id, batch_id, line, value, reason, detail, same_as)
        SELECT :tenant, :batch, line, value, 'duplicate', 'the same site as an earlier line',
               host || CASE path WHEN '/' THEN '' ELSE path END
        FROM doubled WHERE nth > 1
        RETURNING line
    )
    DELETE FROM staged_lines WHERE line IN (SELECT line FROM kept)""")

# One random start, then counting up (RFC 9562, 6.2, method 2): uuidv7() for each row costs as much as the row itself.
_SEED = """
    WITH seed AS MATERIALIZED (
        SELECT left(u, 24) AS head, CAST(CAST('x' || right(u, 12) AS bit(48)) AS bigint) / 2 AS start
        FROM (SELECT CAST(uuidv7() AS text) AS u) one
    )"""


def _counted(n: str) -> str:
    return f"CAST(seed.head || lpad(to_hex(seed.start + {n}), 12, '0') AS uuid)"


_ADD_DOMAINS = sa.text(f"""{_SEED}
    INSERT INTO domains (tenant_id, id, host, path)
    SELECT :tenant, {_counted("nth")}, host, path
    FROM (SELECT host, path, row_number() OVER (ORDER BY host COLLATE "C", path COLLATE "C") AS nth
          FROM staged_lines WHERE host IS NOT NULL) sites, seed
    ORDER BY nth
    ON CONFLICT (tenant_id, host, path) DO NOTHING""")

_ADD_JOBS = sa.text(f"""{_SEED}
    INSERT INTO jobs (tenant_id, id, batch_id, domain_id, scheme, submitted_as, max_attempts, created_by)
    SELECT :tenant, {_counted("s.line")}, :batch, d.id, s.scheme, NULLIF(s.value, d.host), :max_attempts, :user
    FROM seed, staged_lines s JOIN domains d ON d.tenant_id = :tenant AND d.host = s.host AND d.path = s.path
    ORDER BY s.line""")

_LANDING = sa.text("""
    SELECT count(*), count(*) FILTER (WHERE coalesce(d.url_count, 0) = 0)
    FROM staged_lines s LEFT JOIN domains d ON d.tenant_id = :tenant AND d.host = s.host AND d.path = s.path
    WHERE s.host IS NOT NULL""")

_SURVEY = sa.text("""
    WITH told AS (
        SELECT host IS NULL AS invalid,
               host IS NOT NULL AND row_number() OVER (
                   PARTITION BY host COLLATE "C", path COLLATE "C" ORDER BY line) > 1 AS doubled
        FROM staged_lines
    )
    SELECT count(*), count(*) FILTER (WHERE NOT invalid AND NOT doubled), count(*) FILTER (WHERE doubled),
           count(*) FILTER (WHERE invalid)
    FROM told""")

_SURVEY_REJECTS = sa.text("""
    SELECT line, value, reason, detail, same_as FROM (
        SELECT line, value, 'invalid' AS reason, detail, CAST(NULL AS text) AS same_as
        FROM staged_lines WHERE host IS NULL
        UNION ALL
        SELECT line, value, 'duplicate', 'the same site as an earlier line',
               host || CASE path WHEN '/' THEN '' ELSE path END
        FROM (SELECT *, row_number() OVER (PARTITION BY host COLLATE "C", path COLLATE "C" ORDER BY line) AS nth
              FROM staged_lines WHERE host IS NOT NULL) doubled
        WHERE nth > 1) rejects
    ORDER BY line LIMIT :shown""")


_BY_STATUS = (
    sa.select(BatchCount.status, sa.func.sum(BatchCount.n).label("n"))
    .where(BatchCount.tenant_id == BatchJob.tenant_id, BatchCount.batch_id == BatchJob.id)
    .group_by(BatchCount.status)
    .correlate(BatchJob)
    .lateral("sums")
)
_SUMS = (
    sa.select(sa.func.jsonb_object_agg(_BY_STATUS.c.status, _BY_STATUS.c.n))
    .select_from(_BY_STATUS)
    .correlate(BatchJob)
    .scalar_subquery()
)


_COLUMNS = BatchJob.__table__.columns.keys()
_VIEW = direct.statement(
    sa.select(*BatchJob.__table__.columns, _SUMS).where(
        BatchJob.tenant_id == sa.bindparam("tenant"), BatchJob.id == sa.bindparam("batch")
    )
)


def view(tenant_id: UUID, batch_id: UUID) -> direct.Question[BatchView | None]:
    """The batch with its counts, to look at: it belongs to no session."""

    def answer(rows: Sequence[direct.Row]) -> BatchView | None:
        if not rows:
            return None
        *values, counts = rows[0]
        return BatchView(BatchJob(**dict(zip(_COLUMNS, values, strict=True))), _counts(counts or {}))

    return direct.Question(_VIEW, {"tenant": tenant_id, "batch": batch_id}, answer)


class Batches:
    def __init__(self, session: Session, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def add(self, *, name: str | None, options: dict[str, Any], priority: int, created_by: UUID | None) -> BatchJob:
        batch = BatchJob(
            tenant_id=self._tenant_id, name=name, options=options, priority=priority, created_by=created_by
        )
        self._session.add(batch)
        self._session.flush()
        return batch

    def land(
        self,
        batch: BatchJob,
        lines: Iterable[Line],
        *,
        max_attempts: int,
        admit: Callable[[Landing], None] | None = None,
    ) -> None:
        """Turn lines into domains, jobs and rejects: COPY to a temporary table, then ordered set-based statements.

        PostgreSQL refuses COPY straight into a table with row-level security. Fills the batch's totals. `admit` may
        raise, before the costly part.
        """
        self._allow_time()
        bulk.stage(self._session, _STAGE, "staged_lines", Line._fields, bulk.batched(lines))
        key = {"tenant": self._tenant_id, "batch": batch.id}
        self._session.execute(sa.text("ANALYZE staged_lines"))
        batch.rejected_invalid = bulk.affected(self._session, _REJECT_INVALID, key)
        batch.rejected_duplicates = bulk.affected(self._session, _REJECT_DUPLICATES, key)
        if admit is not None:
            admit(self.landing())
        bulk.affected(self._session, _ADD_DOMAINS, {"tenant": self._tenant_id})
        batch.total = bulk.affected(
            self._session, _ADD_JOBS, {**key, "max_attempts": max_attempts, "user": batch.created_by}
        )
        self._session.flush()

    def survey(self, lines: Iterable[Line], *, shown: int) -> Survey:
        """What `land` would make of the lines. Touches nothing but a temporary table."""
        self._allow_time()
        bulk.stage(self._session, _STAGE, "staged_lines", Line._fields, bulk.batched(lines))
        count, valid, duplicates, invalid = self._session.execute(_SURVEY).one()
        rejects = self._session.execute(_SURVEY_REJECTS, {"shown": shown})
        return Survey(count, valid, duplicates, invalid, [Reject(*row) for row in rejects])

    def landing(self) -> Landing:
        """Of the lines staged in this transaction. After a survey doubled lines count as often as they stand."""
        return Landing(*self._session.execute(_LANDING, {"tenant": self._tenant_id}).one())

    def get(self, batch_id: UUID) -> BatchView | None:
        views = self._views(sa.select(BatchJob).where(BatchJob.id == batch_id))
        return views[0] if views else None

    def lock(self, batch_id: UUID) -> BatchJob | None:
        """The batch, held until the transaction ends: whoever decides its status holds this."""
        return self._session.scalars(
            self._mine().where(BatchJob.id == batch_id).with_for_update().execution_options(populate_existing=True)
        ).one_or_none()

    def listing(self, *, limit: int, cursor: str | None, status: str | None) -> PageOf[BatchView]:
        """Newest first."""
        last = decode(cursor, (UUID,))
        query = sa.select(BatchJob).order_by(BatchJob.id.desc()).limit(limit + 1)
        if last is not None:
            query = query.where(BatchJob.id < last[0])
        if status is not None:
            query = query.where(BatchJob.status == status)
        return page(self._views(query), limit, lambda view: (view.batch.id,))

    def rejects(self, batch_id: UUID, *, limit: int, cursor: str | None, reason: str | None) -> PageOf[BatchReject]:
        last = decode(cursor, (int,))
        query = sa.select(BatchReject).where(BatchReject.tenant_id == self._tenant_id, BatchReject.batch_id == batch_id)
        if last is not None:
            query = query.where(BatchReject.line > last[0])
        if reason is not None:
            query = query.where(BatchReject.reason == reason)
        rows = self._session.scalars(query.order_by(BatchReject.line).limit(limit + 1)).all()
        return page(rows, limit, lambda row: (row.line,))

    def all_rejects(self, batch_id: UUID) -> list[BatchReject]:
        return list(
            self._session.scalars(
                sa.select(BatchReject)
                .where(BatchReject.tenant_id == self._tenant_id, BatchReject.batch_id == batch_id)
                .order_by(BatchReject.line)
            )
        )

    def counts(self, batch_id: UUID) -> dict[str, int]:
        rows = self._session.execute(
            sa.select(BatchCount.status, sa.func.sum(BatchCount.n))
            .where(BatchCount.tenant_id == self._tenant_id, BatchCount.batch_id == batch_id)
            .group_by(BatchCount.status)
        )
        return _counts({status: int(n) for status, n in rows})

    def settle(self, batch_id: UUID) -> None:
        """Give a batch none of whose jobs is open its final status. Harmless at any other time."""
        batch = self.lock(batch_id)
        if batch is None or batch.status not in OPEN_BATCHES:
            return
        counts = self.counts(batch_id)
        if any(counts[status] for status in OPEN_JOBS):
            return
        now = self._session.scalar(sa.select(sa.func.now()))  # asked first: a query flushes what is half set
        batch.status = settled(
            complete=counts[JobStatus.COMPLETE],
            failed=counts[JobStatus.FAILED],
            cancelled=counts[JobStatus.CANCELLED],
            cancelling=batch.status == BatchStatus.CANCELLING,
        )
        batch.finished_at = now
        self._session.flush()

    def _allow_time(self) -> None:
        """A million lines take longer than any statement otherwise may."""
        direct.take_time(self._session)

    def _mine(self) -> sa.Select[BatchJob]:
        return sa.select(BatchJob).where(BatchJob.tenant_id == self._tenant_id)

    def _views(self, query: sa.Select[BatchJob]) -> list[BatchView]:
        """Rows and their sums from one statement, that is: from one snapshot."""
        rows = self._session.execute(
            query.where(BatchJob.tenant_id == self._tenant_id)
            .add_columns(_SUMS)
            .execution_options(populate_existing=True)
        )
        return [BatchView(batch, _counts(found or {})) for batch, found in rows]


def _counts(found: Mapping[str, int]) -> dict[str, int]:
    return {status.value: int(found.get(status.value, 0)) for status in JobStatus}
