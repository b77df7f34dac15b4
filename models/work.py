"""Batches, jobs and what submitting leaves behind."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    SmallInteger,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigRowId, Now, RowId, TenantId
from models.states import OPEN_BATCHES, QUARANTINE_AFTER, BatchStatus, DomainRejection, JobStatus, sql_list


class BatchJob(Base):
    """A submitted list of domains. Its counts live in `batch_counts`, kept by triggers on `jobs`."""

    __tablename__ = "batch_jobs"
    __table_args__ = (
        CheckConstraint(f"status IN ({sql_list(BatchStatus)})", name="status"),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
        CheckConstraint(f"(finished_at IS NULL) = (status IN ({sql_list(OPEN_BATCHES)}))", name="finished_when_ended"),
        Index(
            "ix_batch_jobs_open",
            "tenant_id",
            "id",
            postgresql_where=text(f"status IN ({sql_list(OPEN_BATCHES)})"),
        ),
    )

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[RowId]
    name: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default=BatchStatus.PENDING)
    status_reason: Mapped[str | None]
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="5")
    options: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    total: Mapped[int] = mapped_column(server_default="0")
    rejected_invalid: Mapped[int] = mapped_column(server_default="0")
    rejected_duplicates: Mapped[int] = mapped_column(server_default="0")
    created_by: Mapped[UUID | None]
    created_at: Mapped[Now]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class BatchCount(Base):
    """Signed steps of a batch's counts: their sum by status is the truth, at every moment.

    Written only by the triggers on `jobs`; folding replaces many rows by one of the same sum.
    """

    __tablename__ = "batch_counts"
    __table_args__ = (Index("ix_batch_counts_batch", "tenant_id", "batch_id", "status"),)

    id: Mapped[BigRowId] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    tenant_id: Mapped[UUID]
    batch_id: Mapped[UUID]
    status: Mapped[str]
    n: Mapped[int]


class BatchReject(Base):
    """A line of a batch that became no job of its own: not a domain, or the same as an earlier line."""

    __tablename__ = "batch_rejects"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "batch_id"], ["batch_jobs.tenant_id", "batch_jobs.id"], ondelete="CASCADE"),
        CheckConstraint(f"reason IN ({sql_list(DomainRejection)})", name="reason"),
    )

    tenant_id: Mapped[TenantId]
    batch_id: Mapped[UUID] = mapped_column(primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[str]
    reason: Mapped[str]
    detail: Mapped[str | None]
    same_as: Mapped[str | None]


class Job(Base):
    """One scan of one domain.

    `dispatch_no` names the newest message: any other is stale. `lease_token` names the running attempt: a write
    under any other is refused. `available_at` is null when the job may be dispatched at once.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "domain_id"], ["domains.tenant_id", "domains.id"], ondelete="CASCADE"),
        CheckConstraint(f"status IN ({sql_list(JobStatus)})", name="status"),
        CheckConstraint(
            "(status = 'running') = (lease_token IS NOT NULL) AND (status = 'running') = (lease_until IS NOT NULL)",
            name="lease_while_running",
        ),
        CheckConstraint("(status = 'queued') = (dispatch_until IS NOT NULL)", name="dispatch_while_queued"),
        CheckConstraint(
            "(status IN ('complete', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name="finished_when_ended"
        ),
        CheckConstraint("(status = 'complete') = (outcome IS NOT NULL)", name="outcome_when_complete"),
        Index("uq_jobs_number", "number", unique=True),
        Index("ix_jobs_batch", "tenant_id", "batch_id", "id"),
        Index(
            "ix_jobs_due", "tenant_id", "batch_id", "id",
            postgresql_where=text("status = 'pending' AND available_at IS NULL"),
        ),
        Index(
            "ix_jobs_delayed", "available_at",
            postgresql_where=text("status = 'pending' AND available_at IS NOT NULL"),
        ),
        Index(
            "ix_jobs_taken", "tenant_id", "status",
            postgresql_where=text("status IN ('queued', 'running')"),
        ),
        Index(
            "uq_jobs_domain_running", "tenant_id", "domain_id", unique=True,
            postgresql_where=text("status = 'running'"),
        ),
        Index("ix_jobs_domain", "tenant_id", "domain_id", "id"),
        Index(
            "ix_jobs_quarantined", "tenant_id", "id",
            postgresql_where=text(f"status = 'pending' AND lost >= {QUARANTINE_AFTER}"),
        ),
        # Leases move often and many rows share a page: room for HOT updates.
        {"postgresql_with": {"fillfactor": "85"}},
    )  # fmt: skip

    tenant_id: Mapped[TenantId]  # the domain's key vouches for it
    id: Mapped[RowId]
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    batch_id: Mapped[UUID | None]  # checked once a statement, by trigger: docs/adr/0003-keys.md
    domain_id: Mapped[UUID]
    status: Mapped[str] = mapped_column(server_default=JobStatus.PENDING)
    scheme: Mapped[str | None]  # the one the user named
    submitted_as: Mapped[str | None]  # what was sent, where it differs from the domain's name
    options: Mapped[dict[str, Any] | None]  # of a single scan; a batch's jobs use the batch's

    dispatch_no: Mapped[int] = mapped_column(server_default="0")
    dispatch_until: Mapped[datetime | None]
    available_at: Mapped[datetime | None]
    queue: Mapped[str | None]  # where its newest message went
    waiting_on: Mapped[str | None]
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    worker: Mapped[str | None]
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    max_attempts: Mapped[int] = mapped_column(SmallInteger, server_default="3")
    lost: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    # Worked, and waited because its host said so: what counts against the job's own time limit.
    spent_seconds: Mapped[float] = mapped_column(REAL, server_default="0")

    scan_no: Mapped[int | None]
    outcome: Mapped[str | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    error_retryable: Mapped[bool | None]
    progress: Mapped[int] = mapped_column(SmallInteger, server_default="0")  # percent
    stats: Mapped[dict[str, Any] | None]
    checkpoint: Mapped[dict[str, Any] | None]  # what only the scan itself can tell its next attempt
    created_by: Mapped[UUID | None]
    created_at: Mapped[Now]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[Now]


class IdempotencyKey(Base):
    """The first answer to a submission, replayed for 24 hours to whoever repeats its key with the same body."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[bytes]
    status_code: Mapped[int] = mapped_column(SmallInteger)
    location: Mapped[str | None]
    answer: Mapped[dict[str, Any]]
    created_at: Mapped[Now]
