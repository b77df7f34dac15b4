"""What scans found: domains, their sitemap files, the inventory of URLs with its history, pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Identity,
    Index,
    SmallInteger,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, REAL
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from models.base import Base, Now, RowId, TenantId


class Domain(Base):
    """host[:port] plus a base path: two paths on one host are two sites. `host` carries a non-default port."""

    __tablename__ = "domains"
    __table_args__ = (Index("uq_domains_name", "tenant_id", "host", "path", unique=True),)

    tenant_id: Mapped[TenantId]  # checked once a statement, by trigger: docs/adr/0003-keys.md
    id: Mapped[RowId]
    host: Mapped[str]
    path: Mapped[str] = mapped_column(server_default="/")
    scheme: Mapped[str | None]  # learnt by scanning
    scan_count: Mapped[int] = mapped_column(server_default="0")
    last_job_id: Mapped[UUID | None]
    last_outcome: Mapped[str | None]
    last_scanned_at: Mapped[datetime | None]
    sitemap_count: Mapped[int] = mapped_column(server_default="0")
    url_count: Mapped[int] = mapped_column(server_default="0")
    details: Mapped[dict[str, Any] | None]  # the home page's metadata, latest
    created_at: Mapped[Now]


class SitemapFile(Base):
    """One document of a site's sitemap tree, as the newest scan that read it left it, with its validators."""

    __tablename__ = "sitemap_files"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "domain_id"], ["domains.tenant_id", "domains.id"], ondelete="CASCADE"),
        Index("uq_sitemap_files_url", "tenant_id", "domain_id", "url_hash", unique=True),
    )

    tenant_id: Mapped[TenantId]
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    domain_id: Mapped[UUID]
    url_hash: Mapped[UUID]
    url: Mapped[str]
    kind: Mapped[str | None]
    etag: Mapped[str | None]
    last_modified: Mapped[str | None]
    content_hash: Mapped[bytes | None]
    url_count: Mapped[int] = mapped_column(server_default="0")
    children: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    last_scan: Mapped[int | None]  # the newest scan that read it or was told it is unchanged
    gone_scan: Mapped[int | None]  # the newest scan that met 404 or 410; cleared by a good answer
    removed_at: Mapped[datetime | None]
    first_seen_at: Mapped[Now]


class SitemapRead(Base):
    """What one job met at one sitemap file. A `pending` row is known but not yet fetched: the job's checkpoint."""

    __tablename__ = "sitemap_reads"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(
            ["tenant_id", "file_id"], ["sitemap_files.tenant_id", "sitemap_files.id"], ondelete="CASCADE"
        ),
        CheckConstraint(
            "status IN ('pending', 'read', 'partial', 'unchanged', 'not_a_sitemap', 'failed', 'gone')",
            name="status",
        ),
        Index("ix_sitemap_reads_file", "tenant_id", "file_id"),
    )

    tenant_id: Mapped[TenantId]
    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    file_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(BigInteger)
    discovered_by: Mapped[str]
    depth: Mapped[int] = mapped_column(SmallInteger)
    status: Mapped[str]
    kind: Mapped[str | None]
    http_status: Mapped[int | None] = mapped_column(SmallInteger)
    size: Mapped[int] = mapped_column(BigInteger, server_default="0")
    url_count: Mapped[int] = mapped_column(server_default="0")
    rejected: Mapped[dict[str, Any] | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    error_line: Mapped[int | None]
    etag: Mapped[str | None]
    content_hash: Mapped[bytes | None]
    read_at: Mapped[datetime | None]


class SitemapUrl(Base):
    """One interval of scans in which a URL stood in one file with one set of values.

    Open while `to_scan` is null. A change closes it at scan n and opens the next from n, carrying `first_seen_at`
    on; a removal closes it and sets `removed_at`. One index only: on the largest table each costs as much as the
    row. Landing locks the file's row, which stands for the foreign key and keeps one open interval per URL.
    """

    __tablename__ = "sitemap_urls"
    __table_args__ = (CheckConstraint("to_scan > from_scan", name="interval"),)

    tenant_id: Mapped[TenantId]
    file_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    url_hash: Mapped[UUID] = mapped_column(primary_key=True)
    from_scan: Mapped[int] = mapped_column(primary_key=True)
    to_scan: Mapped[int | None]
    first_seen_at: Mapped[Now]
    changed_at: Mapped[Now]
    removed_at: Mapped[datetime | None]
    lastmod: Mapped[datetime | None]
    priority: Mapped[float | None] = mapped_column(REAL)
    lastmod_precision: Mapped[str | None]
    changefreq: Mapped[str | None]
    page_type: Mapped[str | None]
    url: Mapped[str]
    listed: Mapped[str | None]  # what stood there, where it differs from the URL
    lastmod_raw: Mapped[str | None]  # where it could not be understood
    extras: Mapped[dict[str, Any] | None]  # images, videos, news, alternates, mobile, pagemap


class Page(Base):
    """The latest metadata of an HTML page. A re-scan updates it."""

    __tablename__ = "pages"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "domain_id"], ["domains.tenant_id", "domains.id"], ondelete="CASCADE"),
        Index("uq_pages_url", "tenant_id", "domain_id", "url_hash", unique=True),
    )

    tenant_id: Mapped[TenantId]
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    domain_id: Mapped[UUID]
    url_hash: Mapped[UUID]
    url: Mapped[str]
    title: Mapped[str | None]
    description: Mapped[str | None]
    language: Mapped[str | None]
    page_type: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    first_seen_at: Mapped[Now]
    read_at: Mapped[datetime | None]  # last read well


class PageRead(Base):
    """What one job met at one page."""

    __tablename__ = "page_reads"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["tenant_id", "page_id"], ["pages.tenant_id", "pages.id"], ondelete="CASCADE"),
        Index("ix_page_reads_page", "tenant_id", "page_id"),
    )

    tenant_id: Mapped[TenantId]
    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    page_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    is_home: Mapped[bool] = mapped_column(server_default=text("false"))
    final_url: Mapped[str | None]
    http_status: Mapped[int | None] = mapped_column(SmallInteger)
    partial: Mapped[bool] = mapped_column(server_default=text("false"))
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    read_at: Mapped[Now]
