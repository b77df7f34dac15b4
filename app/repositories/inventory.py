"""Sitemap files and the inventory of URLs with its history, written by the difference.

A row of `sitemap_urls` is one interval of scans in which a URL stood in one file with one set of values. Landing
stages what the file lists now and, in ordered set-based statements, opens what is new, closes and re-opens what
changed, and (only after a complete read) closes what is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.repositories import bulk, direct
from app.repositories.hashes import url_key
from app.repositories.keyset import Key, PageOf, decode, page
from models import Domain, Job, SitemapFile, SitemapRead, SitemapUrl


class UrlRow(NamedTuple):
    """One URL as staged. `extras` is JSON text or None."""

    url_hash: str | UUID  # of `url`: `hashes.url_digest`
    url: str
    listed: str | None
    lastmod: datetime | None
    lastmod_precision: str | None
    lastmod_raw: str | None
    changefreq: str | None
    priority: float | None
    page_type: str | None
    extras: str | None


class UrlView(NamedTuple):
    """An interval with the URL of its sitemap file, the host of the site that names it, and the file's hash."""

    row: SitemapUrl
    sitemap_url: str
    host: str
    sitemap_hash: UUID


class ReadView(NamedTuple):
    """What a job met at a file, with the file's URL and its parent's."""

    read: SitemapRead
    url: str
    parent_url: str | None


@dataclass(frozen=True, slots=True)
class Landed:
    """What landing changed."""

    added: int
    changed: int
    removed: int


_VALUES = (
    "listed", "lastmod", "lastmod_precision", "lastmod_raw", "changefreq", "priority", "page_type", "extras",
)  # fmt: skip
_COLUMNS = "url, " + ", ".join(_VALUES)
_CHANGED = f"({', '.join('u.' + v for v in _VALUES)}) IS DISTINCT FROM ({', '.join('s.' + v for v in _VALUES)})"

_STAGE = """
    CREATE TEMP TABLE IF NOT EXISTS staged_urls (
        url_hash uuid, url text, listed text, lastmod timestamptz, lastmod_precision text, lastmod_raw text,
        changefreq text, priority real, page_type text, extras jsonb
    ) ON COMMIT DELETE ROWS"""

_KEY = "tenant_id, file_id, url_hash, from_scan"
_BEFORE_ALL = sa.literal(UUID(int=0), sa.Uuid)  # the hash of no URL

# A file never landed before: nothing to compare with. Ordered, so that the one index grows from left to right.
_LAND_FIRST = f"""
    INSERT INTO sitemap_urls ({_KEY}, {_COLUMNS})
    SELECT DISTINCT ON (url_hash) :tenant, :file, url_hash, :scan, {_COLUMNS} FROM staged_urls ORDER BY url_hash"""

_LAND_AGAIN = f"""
    WITH s AS MATERIALIZED (SELECT DISTINCT ON (url_hash) * FROM staged_urls ORDER BY url_hash),
    closed AS (
        UPDATE sitemap_urls u SET to_scan = :scan FROM s
        WHERE u.tenant_id = :tenant AND u.file_id = :file AND u.url_hash = s.url_hash
          AND u.to_scan IS NULL AND u.from_scan < :scan AND {_CHANGED}
        RETURNING u.url_hash, u.first_seen_at
    ), opened AS (
        INSERT INTO sitemap_urls ({_KEY}, first_seen_at, {_COLUMNS})
        SELECT :tenant, :file, s.url_hash, :scan, coalesce(closed.first_seen_at, now()), {_COLUMNS}
        FROM s LEFT JOIN closed USING (url_hash)
        WHERE closed.url_hash IS NOT NULL OR NOT EXISTS (
            SELECT FROM sitemap_urls o
            WHERE o.tenant_id = :tenant AND o.file_id = :file AND o.url_hash = s.url_hash AND o.to_scan IS NULL)
        ORDER BY s.url_hash
        ON CONFLICT DO NOTHING
        RETURNING 1
    ), removed AS (
        UPDATE sitemap_urls u SET to_scan = :scan, removed_at = now()
        WHERE :complete AND u.tenant_id = :tenant AND u.file_id = :file AND u.to_scan IS NULL AND u.from_scan < :scan
          AND NOT EXISTS (SELECT FROM s WHERE s.url_hash = u.url_hash)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM opened), (SELECT count(*) FROM closed), (SELECT count(*) FROM removed)"""

_REMOVE_ALL = """
    UPDATE sitemap_urls SET to_scan = :scan, removed_at = now()
    WHERE tenant_id = :tenant AND file_id = :file AND to_scan IS NULL AND from_scan < :scan"""

# Files that a parent, read whole by this job, once listed and does not list any more, and that the job met nowhere
# else. The lists are unfolded once: to look each file up in an array of 50,000 would take minutes.
_UNLISTED = sa.text("""
    WITH parents AS MATERIALIZED (
        SELECT p.id, p.children FROM sitemap_reads r
        JOIN sitemap_files p ON p.tenant_id = :tenant AND p.id = r.file_id
        WHERE r.tenant_id = :tenant AND r.job_id = :job AND r.status IN ('read', 'unchanged')
    ), listed AS MATERIALIZED (
        SELECT id AS parent_id, unnest(children) AS url FROM parents
    ), once AS MATERIALIZED (
        SELECT DISTINCT r.file_id, r.parent_id FROM sitemap_files f
        JOIN sitemap_reads r ON r.tenant_id = :tenant AND r.file_id = f.id
        JOIN parents ON parents.id = r.parent_id
        WHERE f.tenant_id = :tenant AND f.domain_id = :domain AND f.removed_at IS NULL AND f.last_scan IS NOT NULL
          AND NOT EXISTS (SELECT FROM sitemap_reads met
                          WHERE met.tenant_id = :tenant AND met.job_id = :job AND met.file_id = f.id)
    )
    SELECT DISTINCT f.id FROM once
    JOIN sitemap_files f ON f.tenant_id = :tenant AND f.id = once.file_id
    LEFT JOIN listed ON listed.parent_id = once.parent_id AND listed.url = f.url
    WHERE listed.url IS NULL""")

_HOLD_FILE = direct.statement("""
    SELECT id FROM sitemap_files WHERE tenant_id = :tenant AND domain_id = :domain AND url_hash = :key FOR UPDATE""")

_ADD_FILE = direct.statement("""
    INSERT INTO sitemap_files (tenant_id, domain_id, url_hash, url) VALUES (:tenant, :domain, :key, :url)
    ON CONFLICT (tenant_id, domain_id, url_hash) DO NOTHING""")

_STORED = direct.statement("""
    SELECT url, kind, etag, last_modified, content_hash, url_count, children FROM sitemap_files
    WHERE tenant_id = :tenant AND domain_id = :domain AND last_scan IS NOT NULL AND kind IS NOT NULL
      AND removed_at IS NULL""")


class Stored(NamedTuple):
    """A file of which an earlier scan knows what stands in it."""

    url: str
    kind: str
    etag: str | None
    last_modified: str | None
    content_hash: bytes | None
    url_count: int
    children: list[str] | None


class Inventory:
    def __init__(self, session: Session, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    # Files

    def ensure_file(self, domain_id: UUID, url: str) -> int:
        """The id of the file of that URL, made if it is new; its row is locked until the transaction ends."""
        key = {"tenant": self._tenant_id, "domain": domain_id, "key": url_key(url)}
        found = direct.run(self._session, _HOLD_FILE, key).fetchone()
        if found is None:
            direct.run(self._session, _ADD_FILE, {**key, "url": url})
            found = direct.run(self._session, _HOLD_FILE, key).fetchone()
        if found is None:
            raise LookupError(url)
        return int(found[0])

    def stored_files(self, domain_id: UUID) -> list[Stored]:
        """Every file of the domain that an earlier scan read and that still stands."""
        values = {"tenant": self._tenant_id, "domain": domain_id}
        return [Stored(*row) for row in direct.run(self._session, _STORED, values)]

    def _update_file(self, file_id: int, **values: Any) -> None:
        self._session.execute(
            sa.update(SitemapFile)
            .where(SitemapFile.tenant_id == self._tenant_id, SitemapFile.id == file_id)
            .values(**values)
        )

    def met_gone(self, file_id: int, scan_no: int) -> None:
        """404 or 410: on the second scan in a row the file's URLs are removed."""
        gone_before = self._session.scalar(
            sa.select(SitemapFile.gone_scan).where(SitemapFile.tenant_id == self._tenant_id, SitemapFile.id == file_id)
        )
        if gone_before is not None and gone_before < scan_no:
            self._retire(file_id, scan_no)
        else:
            self._update_file(file_id, gone_scan=scan_no)

    def retire_unlisted(self, domain_id: UUID, job_id: UUID, scan_no: int) -> int:
        """Remove the URLs of files that a parent, read completely by this job, no longer lists."""
        parameters = {"tenant": self._tenant_id, "domain": domain_id, "job": job_id}
        found = [row[0] for row in self._session.execute(_UNLISTED, parameters)]
        for file_id in found:
            self._retire(file_id, scan_no)
        return len(found)

    def _retire(self, file_id: int, scan_no: int) -> None:
        self.remove_urls(file_id, scan_no)
        self._update_file(
            file_id, removed_at=sa.func.now(), url_count=0, etag=None, last_modified=None, content_hash=None
        )

    # Reads

    def reads(self, job_id: UUID, *, limit: int, cursor: str | None) -> PageOf[ReadView]:
        """The tree a job met, in the order of first discovery."""
        last = decode(cursor, (int,))
        parent = sa.orm.aliased(SitemapFile)
        query = (
            sa.select(SitemapRead, SitemapFile.url, parent.url)
            .join(
                SitemapFile,
                sa.and_(SitemapFile.tenant_id == SitemapRead.tenant_id, SitemapFile.id == SitemapRead.file_id),
            )
            .outerjoin(parent, sa.and_(parent.tenant_id == SitemapRead.tenant_id, parent.id == SitemapRead.parent_id))
            .where(SitemapRead.tenant_id == self._tenant_id, SitemapRead.job_id == job_id)
            .order_by(SitemapRead.file_id)
            .limit(limit + 1)
        )
        if last is not None:
            query = query.where(SitemapRead.file_id > last[0])
        rows = [ReadView(*row) for row in self._session.execute(query)]
        return page(rows, limit, lambda view: (view.read.file_id,))

    def all_reads(self, job_id: UUID) -> list[ReadView]:
        return list(self.reads(job_id, limit=1_000_000, cursor=None).items)

    # URLs

    def stage(self, batches: Iterable[Sequence[UrlRow]]) -> None:
        """Take rows in for `land`; consumed once, in any order. Needs no lock, and may take as long as parsing does."""
        direct.take_time(self._session)
        bulk.stage(self._session, _STAGE, "staged_urls", UrlRow._fields, batches)

    def land(self, file_id: int, scan_no: int, rows: Iterable[UrlRow] | None = None, *, complete: bool) -> Landed:
        """Land what a file lists, staged before or given as `rows`. The file's row must be held.

        Those it does not list are removed only if it was read to its end: `complete`.
        """
        if rows is not None:
            self.stage(bulk.batched(rows))
        values = {"tenant": self._tenant_id, "file": file_id, "scan": scan_no}
        if not self._has_urls(file_id):
            return Landed(bulk.affected(self._session, sa.text(_LAND_FIRST), values), 0, 0)
        row = self._session.execute(sa.text(_LAND_AGAIN), {**values, "complete": complete}).one()
        return Landed(int(row[0]) - int(row[1]), int(row[1]), int(row[2]))

    def remove_urls(self, file_id: int, scan_no: int) -> int:
        return bulk.affected(
            self._session, sa.text(_REMOVE_ALL), {"tenant": self._tenant_id, "file": file_id, "scan": scan_no}
        )

    def urls(self, job: Job, *, limit: int, cursor: str | None) -> PageOf[UrlView]:
        """The inventory as of a job's scan: each URL once per file that listed it then."""
        if job.scan_no is None:
            return PageOf([], None)
        standing = sa.and_(
            SitemapUrl.from_scan <= job.scan_no,
            sa.or_(SitemapUrl.to_scan.is_(None), SitemapUrl.to_scan > job.scan_no),
        )
        return self._urls(job.domain_id, standing, limit, cursor)

    def standing(self, domain_id: UUID, *, limit: int, cursor: str | None) -> PageOf[UrlView]:
        """The inventory as it is now."""
        return self._urls(domain_id, SitemapUrl.to_scan.is_(None), limit, cursor)

    def first_urls(self, domain_id: UUID, limit: int) -> list[str]:
        """Some URLs of the domain's inventory."""
        views = self._urls(domain_id, SitemapUrl.to_scan.is_(None), limit, None)
        return [view.row.url for view in views.items]

    def _urls(
        self, domain_id: UUID, standing: sa.ColumnElement[bool], limit: int, cursor: str | None
    ) -> PageOf[UrlView]:
        """File by file, each read from the cursor on by its key, until the page is full.

        What estimates say of how many rows a domain has is wrong by orders of magnitude; a sort, or a join that begins
        elsewhere, would read them all for every page. So no estimate has a say: a lateral subquery with a limit can
        only be run once for each file, in the order in which the files come.
        """
        last = decode(cursor, (UUID, UUID))
        files = self._files_from(domain_id, last)
        after: sa.ColumnElement[bool] = sa.true()
        if last is not None:
            file_hash, url_hash = (sa.literal(part, sa.Uuid) for part in last)
            after = SitemapUrl.url_hash > sa.case((files.c.url_hash == file_hash, url_hash), else_=_BEFORE_ALL)
        of_file = (
            sa.select(SitemapUrl)
            .where(SitemapUrl.tenant_id == self._tenant_id, SitemapUrl.file_id == files.c.id, after, standing)
            .order_by(SitemapUrl.url_hash)
            .limit(limit + 1)
            .lateral("of_file")
        )
        url = aliased(SitemapUrl, of_file)
        host = (
            sa.select(Domain.host).where(Domain.tenant_id == self._tenant_id, Domain.id == domain_id).scalar_subquery()
        )
        query = sa.select(url, files.c.url, host, files.c.url_hash).join_from(files, url, sa.true()).limit(limit + 1)
        rows = [UrlView(*row) for row in self._session.execute(query)]
        return page(rows, limit, lambda view: (view.sitemap_hash, view.row.url_hash))

    def _files_from(self, domain_id: UUID, last: Key | None) -> sa.Subquery:
        """The domain's files in the order of their index, from the cursor's on."""
        query = sa.select(SitemapFile.id, SitemapFile.url, SitemapFile.url_hash).where(
            SitemapFile.tenant_id == self._tenant_id, SitemapFile.domain_id == domain_id
        )
        if last is not None:
            query = query.where(SitemapFile.url_hash >= sa.literal(last[0], sa.Uuid))
        return query.order_by(SitemapFile.url_hash).subquery("files")

    def _has_urls(self, file_id: int) -> bool:
        query = sa.select(sa.exists().where(SitemapUrl.tenant_id == self._tenant_id, SitemapUrl.file_id == file_id))
        return bool(self._session.scalar(query))


def extras_json(extras: dict[str, Any]) -> str | None:
    """
    >>> extras_json({"images": [], "news": None}) is None
    True
    >>> extras_json({"images": [{"loc": "https://a.example/1.png"}]})
    '{"images":[{"loc":"https://a.example/1.png"}]}'
    """
    kept = {name: value for name, value in extras.items() if value}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")) if kept else None
