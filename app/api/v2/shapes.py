"""What batches, jobs, domains and what scans found look like from outside. Version 2."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import marshmallow as ma

from app.api.files import as_json
from app.api.inputs import moment
from app.api.paging import page_of
from app.api.schemas import Schema
from app.repositories.batches import BatchView
from app.repositories.history import Difference, Entry
from app.repositories.inventory import ReadView, UrlView
from app.repositories.jobs import JobView
from app.repositories.pages import PageView
from app.scanning.discovery import bare_host
from app.scanning.values import ScanOptions
from app.services.jobs import rfc3339, waiting_on
from models import Domain, SitemapUrl
from models.states import BatchStatus, JobStatus

BASE: Final = "/api/v2"
PROGRESS: Final = "from 0 to 1"
STATS: Final = ("sitemaps", "sitemaps_failed", "urls", "pages", "requests", "bytes", "not_modified")
EXTRAS: Final = ("images", "videos", "alternates")
CROSS_HOST: Final = "it lies on another host than the site"
CHANGES: Final = ("added", "removed", "changed")
URL_COLUMNS: Final = (
    "url", "cross_host", "lastmod", "changefreq", "priority", "page_type", "sitemap_url", "first_seen_at",
    "last_changed_at", "removed_at", "images", "videos", "news", "alternates",
)  # fmt: skip
LASTMOD: Final = ("lastmod", "lastmod_precision", "lastmod_raw")


def _words(*kinds: type[BatchStatus | JobStatus]) -> ma.validate.OneOf:
    return ma.validate.OneOf([word.value for kind in kinds for word in kind])


class DomainRef(Schema):
    id = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True, metadata={"description": "host[:port] and base path"})
    url = ma.fields.String(required=True)


class JobError(Schema):
    code = ma.fields.String(required=True)
    detail = ma.fields.String(required=True, allow_none=True)
    retryable = ma.fields.Boolean(required=True)


class JobShape(Schema):
    id = ma.fields.UUID(required=True)
    number = ma.fields.Integer(required=True)
    batch_id = ma.fields.UUID(required=True, allow_none=True)
    domain = ma.fields.Nested(DomainRef, required=True)
    status = ma.fields.String(required=True, validate=_words(JobStatus))
    outcome = ma.fields.String(required=True, allow_none=True)
    progress = ma.fields.Float(required=True, metadata={"description": PROGRESS})
    attempt = ma.fields.Integer(required=True)
    max_attempts = ma.fields.Integer(required=True)
    waiting_on = ma.fields.String(required=True, allow_none=True, metadata={"description": "why a job waits"})
    options = ma.fields.Dict(required=True, metadata={"description": "those in effect"})
    stats = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.Integer(), required=True)
    error = ma.fields.Nested(JobError, required=True, allow_none=True)
    created_at = moment()
    started_at = moment(allow_none=True)
    finished_at = moment(allow_none=True)
    next_attempt_at = moment(allow_none=True)
    links = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.String(), required=True)


JobPage = page_of(JobShape)


class Counts(Schema):
    """They add up to `total` at every moment."""

    total = ma.fields.Integer(required=True)
    pending = ma.fields.Integer(required=True)
    queued = ma.fields.Integer(required=True)
    running = ma.fields.Integer(required=True)
    complete = ma.fields.Integer(required=True)
    failed = ma.fields.Integer(required=True)
    cancelled = ma.fields.Integer(required=True)


class RejectedCounts(Schema):
    count = ma.fields.Integer(required=True, metadata={"description": "lines that were no domain"})
    duplicates = ma.fields.Integer(required=True, metadata={"description": "lines that named an earlier line's site"})


class BatchShape(Schema):
    id = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True, allow_none=True)
    status = ma.fields.String(required=True, validate=_words(BatchStatus))
    status_reason = ma.fields.String(required=True, allow_none=True)
    priority = ma.fields.Integer(required=True)
    counts = ma.fields.Nested(Counts, required=True)
    progress = ma.fields.Float(
        required=True, metadata={"description": f"the share of jobs that have ended, {PROGRESS}"}
    )
    rejected = ma.fields.Nested(RejectedCounts, required=True)
    options = ma.fields.Dict(required=True, metadata={"description": "those in effect"})
    created_at = moment()
    started_at = moment(allow_none=True)
    finished_at = moment(allow_none=True)
    links = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.String(), required=True)


class RejectShape(Schema):
    line = ma.fields.Integer(required=True, metadata={"description": "counted from 1"})
    value = ma.fields.String(required=True, metadata={"description": "as sent, cut when long"})
    reason = ma.fields.String(required=True, validate=ma.validate.OneOf(["invalid", "duplicate"]))
    detail = ma.fields.String(required=True, allow_none=True)
    same_as = ma.fields.String(required=True, allow_none=True, metadata={"description": "the site it repeats"})


class DomainShape(Schema):
    id = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True)
    host = ma.fields.String(required=True)
    path = ma.fields.String(required=True)
    url = ma.fields.String(required=True)
    scans = ma.fields.Integer(required=True)
    sitemap_count = ma.fields.Integer(required=True)
    url_count = ma.fields.Integer(required=True, metadata={"description": "URLs now in its inventory"})
    last_job_id = ma.fields.UUID(required=True, allow_none=True)
    last_outcome = ma.fields.String(required=True, allow_none=True)
    last_scanned_at = moment(allow_none=True)
    created_at = moment()
    links = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.String(), required=True)


class DomainDetailsShape(DomainShape):
    details = ma.fields.Dict(
        required=True, allow_none=True, metadata={"description": "the home page's metadata, as last read"}
    )


class EntryShape(Schema):
    lastmod = moment(allow_none=True)
    changefreq = ma.fields.String(required=True, allow_none=True)
    priority = ma.fields.Float(required=True, allow_none=True)
    images = ma.fields.List(ma.fields.Dict(), required=True)
    videos = ma.fields.List(ma.fields.Dict(), required=True)
    news = ma.fields.Dict(required=True, allow_none=True)
    alternates = ma.fields.List(ma.fields.Dict(), required=True)
    page_type = ma.fields.String(required=True, allow_none=True)


class UrlShape(EntryShape):
    url = ma.fields.String(required=True)
    cross_host = ma.fields.Boolean(required=True, metadata={"description": CROSS_HOST})
    sitemap_url = ma.fields.String(required=True)
    first_seen_at = moment()
    last_changed_at = moment()
    removed_at = moment(allow_none=True)


class ChangeShape(Schema):
    change = ma.fields.String(required=True, validate=ma.validate.OneOf(CHANGES))
    url = ma.fields.String(required=True)
    cross_host = ma.fields.Boolean(required=True, metadata={"description": CROSS_HOST})
    sitemap_url = ma.fields.String(required=True)
    differs = ma.fields.List(
        ma.fields.String(), required=True, metadata={"description": "what of a changed one, as `lastmod`"}
    )
    before = ma.fields.Nested(EntryShape, required=True, allow_none=True)
    after = ma.fields.Nested(EntryShape, required=True, allow_none=True)


class Trouble(Schema):
    code = ma.fields.String(required=True)
    detail = ma.fields.String(required=True, allow_none=True)
    line = ma.fields.Integer(allow_none=True)


class SitemapShape(Schema):
    url = ma.fields.String(required=True)
    parent = ma.fields.String(required=True, allow_none=True)
    discovered_by = ma.fields.String(required=True)
    depth = ma.fields.Integer(required=True)
    type = ma.fields.String(required=True, allow_none=True)
    status = ma.fields.String(required=True)
    http_status = ma.fields.Integer(required=True, allow_none=True)
    bytes = ma.fields.Integer(required=True)
    url_count = ma.fields.Integer(required=True)
    rejected = ma.fields.Dict(required=True, metadata={"description": "entries that were no URLs, by reason"})
    error = ma.fields.Nested(Trouble, required=True, allow_none=True)
    etag = ma.fields.String(required=True, allow_none=True)
    content_hash = ma.fields.String(required=True, allow_none=True, metadata={"description": "SHA-256, hexadecimal"})
    read_at = moment(allow_none=True)


class PageShape(Schema):
    url = ma.fields.String(required=True)
    final_url = ma.fields.String(required=True, allow_none=True)
    is_home = ma.fields.Boolean(required=True)
    http_status = ma.fields.Integer(required=True, allow_none=True)
    is_partial = ma.fields.Boolean(required=True, data_key="partial", attribute="partial")
    error = ma.fields.Nested(Trouble, required=True, allow_none=True)
    title = ma.fields.String(required=True, allow_none=True)
    description = ma.fields.String(required=True, allow_none=True)
    language = ma.fields.String(required=True, allow_none=True)
    page_type = ma.fields.String(required=True, allow_none=True)
    details = ma.fields.Dict(required=True)
    read_at = moment()


def domain_name(domain: Domain) -> str:
    return domain.host + ("" if domain.path == "/" else domain.path)


def domain_url(domain: Domain, scheme: str | None = None) -> str:
    return f"{scheme or domain.scheme or 'https'}://{domain.host}{domain.path}"


def effective(options: dict[str, Any]) -> dict[str, Any]:
    return {**asdict(ScanOptions()), **options}


def job(view: JobView) -> dict[str, Any]:
    row, domain = view.job, view.domain
    path = f"{BASE}/jobs/{row.id}"
    links = {"self": path, "domain": f"{BASE}/domains/{domain.id}"}
    links |= {name: f"{path}/{name}" for name in ("urls", "sitemaps", "pages")}
    if row.batch_id is not None:
        links["batch"] = f"{BASE}/batches/{row.batch_id}"
    error = {"code": row.error_code, "detail": row.error_detail, "retryable": bool(row.error_retryable)}
    return {
        "id": row.id,
        "number": row.number,
        "batch_id": row.batch_id,
        "domain": {"id": domain.id, "name": domain_name(domain), "url": domain_url(domain, row.scheme)},
        "status": row.status,
        "outcome": row.outcome,
        "progress": row.progress / 100,
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "waiting_on": waiting_on(view),
        "options": effective(view.options),
        "stats": {name: int((row.stats or {}).get(name) or 0) for name in STATS},
        "error": error if row.error_code else None,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "next_attempt_at": row.available_at if row.status == JobStatus.PENDING else None,
        "links": links,
    }


def batch(view: BatchView) -> dict[str, Any]:
    row = view.batch
    path = f"{BASE}/batches/{row.id}"
    return {
        "id": row.id,
        "name": row.name,
        "status": row.status,
        "status_reason": row.status_reason,
        "priority": row.priority,
        "counts": {"total": row.total, **view.counts},
        "progress": round(view.ended_jobs / row.total, 4) if row.total else 1.0,
        "rejected": {"count": row.rejected_invalid, "duplicates": row.rejected_duplicates},
        "options": effective(row.options),
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "links": {"self": path, "jobs": f"{path}/jobs", "rejected": f"{path}/rejected"},
    }


def domain(row: Domain) -> dict[str, Any]:
    path = f"{BASE}/domains/{row.id}"
    links = {"self": path, "named": f"{BASE}/domains/{quote(domain_name(row), safe=':')}"}
    links |= {name: f"{path}/{name}" for name in ("urls", "changes")}
    if row.last_job_id is not None:
        links["last_job"] = f"{BASE}/jobs/{row.last_job_id}"
    return {
        "id": row.id,
        "name": domain_name(row),
        "host": row.host,
        "path": row.path,
        "url": domain_url(row),
        "scans": row.scan_count,
        "sitemap_count": row.sitemap_count,
        "url_count": row.url_count,
        "last_job_id": row.last_job_id,
        "last_outcome": row.last_outcome,
        "last_scanned_at": row.last_scanned_at,
        "created_at": row.created_at,
        "details": row.details,
        "links": links,
    }


def url(view: UrlView) -> dict[str, Any]:
    row = view.row
    return {
        "url": row.url,
        "cross_host": _is_cross_host(row.url, view.host),
        **_entry(row),
        "sitemap_url": view.sitemap_url,
        "first_seen_at": row.first_seen_at,
        "last_changed_at": row.changed_at,
        "removed_at": row.removed_at,
    }


def url_cells(view: UrlView) -> dict[str, object]:
    """A row of a table: what has no end of parts is JSON in its cell, or empty."""
    return {name: _cell(value) for name, value in url(view).items()}


def _cell(value: Any) -> object:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, list | dict):
        return as_json(value) if value else None
    return value


def change(one: Difference) -> dict[str, Any]:
    return {
        "change": one.change,
        "url": one.url,
        "cross_host": _is_cross_host(one.url, one.host),
        "sitemap_url": one.sitemap_url,
        "differs": _differing(one.before, one.after) if one.before and one.after else [],
        "before": one.before and _entry(one.before),
        "after": one.after and _entry(one.after),
    }


def _entry(row: SitemapUrl | Entry) -> dict[str, Any]:
    extras = row.extras or {}
    return {
        "lastmod": row.lastmod,
        "changefreq": row.changefreq,
        "priority": None if row.priority is None else round(row.priority, 4),
        **{name: extras.get(name) or [] for name in EXTRAS},
        "news": extras.get("news"),
        "page_type": row.page_type,
    }


def _differing(before: Entry, after: Entry) -> list[str]:
    old, new = (
        {**one._asdict(), **(one.extras or {}), "lastmod": [getattr(one, name) for name in LASTMOD]}
        for one in (before, after)
    )
    names = (old | new).keys() - {"extras", *LASTMOD[1:]}
    return sorted(name for name in names if old.get(name) != new.get(name))


def _is_cross_host(address: str, host: str) -> bool:
    return bare_host(address) != bare_host(f"//{host}")


def sitemap(view: ReadView) -> dict[str, Any]:
    row = view.read
    return {
        "url": view.url,
        "parent": view.parent_url,
        "discovered_by": row.discovered_by,
        "depth": row.depth,
        "type": row.kind,
        "status": row.status,
        "http_status": row.http_status,
        "bytes": row.size,
        "url_count": row.url_count,
        "rejected": row.rejected or {},
        "error": _trouble(row.error_code, row.error_detail, row.error_line),
        "etag": row.etag,
        "content_hash": row.content_hash.hex() if row.content_hash else None,
        "read_at": row.read_at,
    }


def page(view: PageView) -> dict[str, Any]:
    row, kept = view.read, view.page
    return {
        "url": kept.url,
        "final_url": row.final_url,
        "is_home": row.is_home,
        "http_status": row.http_status,
        "partial": row.partial,
        "error": _trouble(row.error_code, row.error_detail, None),
        "title": kept.title,
        "description": kept.description,
        "language": kept.language,
        "page_type": kept.page_type,
        "details": kept.details,
        "read_at": row.read_at,
    }


def _trouble(code: str | None, detail: str | None, line: int | None) -> dict[str, Any] | None:
    return {"code": code, "detail": detail, "line": line} if code else None
