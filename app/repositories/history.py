"""What differs between two scans of a domain, read off the intervals that ended or began between them.

There is no index by scan: it would cost every closing of an interval more than it saves a reader
(docs/adr/0012-history.md). The primary key leads to the domain's files one by one, so a page reads the intervals of as
many files as it takes to fill it, and never another domain's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.repositories.keyset import PageOf, decode, page
from models import Domain, Job, SitemapFile

Change = Literal["added", "removed", "changed"]
BACKWARD: dict[Change, Change] = {"added": "removed", "removed": "added", "changed": "changed"}


class Entry(NamedTuple):
    """The values with which a URL stood in a file: columns of `sitemap_urls`."""

    listed: str | None
    lastmod: datetime | None
    lastmod_precision: str | None
    lastmod_raw: str | None
    changefreq: str | None
    priority: float | None
    page_type: str | None
    extras: dict[str, Any] | None


class Difference(NamedTuple):
    """A URL of one file that stands otherwise at the second of two scans than at the first, or at one of them only."""

    file_id: int
    url_hash: UUID
    url: str
    sitemap_url: str
    host: str
    before: Entry | None
    after: Entry | None

    @property
    def change(self) -> Change:
        if self.before is None:
            return "added"
        return "changed" if self.after is not None else "removed"

    def backward(self) -> Difference:
        return self._replace(before=self.after, after=self.before)


_OLD, _NEW = (", ".join(f"{side}.{name}" for name in Entry._fields) for side in ("old", "new"))
_CHANGE = "CASE WHEN old.url IS NULL THEN 'added' WHEN new.url IS NULL THEN 'removed' ELSE 'changed' END"

# Of a URL one interval at most stands at a scan: `old` stood at the first and has ended by the second, `new` stands at
# the second and began after the first. What came and went in between is neither; what came back with the same values
# is both, and no difference.
_DIFFERENCES = sa.text(f"""
    SELECT f.id, d.* FROM sitemap_files f CROSS JOIN LATERAL (
        SELECT url_hash, coalesce(new.url, old.url), old.url IS NOT NULL, new.url IS NOT NULL, {_OLD}, {_NEW}
        FROM (SELECT * FROM sitemap_urls u
              WHERE u.tenant_id = :tenant AND u.file_id = f.id AND u.url_hash > :after
                AND u.from_scan <= :first AND u.to_scan > :first AND u.to_scan <= :second) old
        FULL JOIN (SELECT * FROM sitemap_urls u
              WHERE u.tenant_id = :tenant AND u.file_id = f.id AND u.url_hash > :after
                AND u.from_scan > :first AND u.from_scan <= :second AND (u.to_scan IS NULL OR u.to_scan > :second)) new
        USING (url_hash)
        WHERE (old.url, {_OLD}) IS DISTINCT FROM (new.url, {_NEW})
          AND coalesce(CAST(:change AS text), {_CHANGE}) = {_CHANGE}
        ORDER BY url_hash LIMIT :limit
    ) d
    WHERE f.tenant_id = :tenant AND f.id = ANY(CAST(:files AS bigint[]))
    ORDER BY f.id, d.url_hash LIMIT :limit""")
_BEFORE_ALL = UUID(int=0)  # no URL's digest


class History:
    def __init__(self, session: Session, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def scan_at(self, domain_id: UUID, moment: datetime) -> int:
        """The number of the newest scan that had ended then; 0 before the first."""
        newest = sa.select(sa.func.coalesce(sa.func.max(Job.scan_no), 0)).where(
            Job.tenant_id == self._tenant_id, Job.domain_id == domain_id, Job.finished_at <= moment
        )
        return self._session.scalar(newest) or 0

    def differences(
        self, domain: Domain, since: int, until: int, *, limit: int, cursor: str | None, change: Change | None = None
    ) -> PageOf[Difference]:
        """What stands otherwise as of scan `until` than as of scan `since`, which may be the later one.

        A URL counts once a file, as in the inventory.
        """
        if since > until:
            wanted = change and BACKWARD[change]
            found = self.differences(domain, until, since, limit=limit, cursor=cursor, change=wanted)
            return found.map(Difference.backward)
        last = decode(cursor, (int, UUID))
        scans = {"first": since, "second": until, "change": change}
        rows: list[Difference] = []
        for files in self._files(domain.id, last[0] if last else 0):
            after = last[1] if last and last[0] in files else _BEFORE_ALL
            rows += self._of(domain, files, {**scans, "after": after, "limit": limit + 1 - len(rows)})
            if len(rows) > limit:
                break
        return page(rows, limit, lambda one: (one.file_id, one.url_hash))

    def _files(self, domain_id: UUID, first: Any) -> Iterator[dict[int, str]]:
        """The domain's files from that one on, by id: one, then two, four and so on.

        So a page reads at most twice the files it needs, whatever the planner thinks of them, in few round trips.
        """
        mine = sa.select(SitemapFile.id, SitemapFile.url).where(
            SitemapFile.tenant_id == self._tenant_id, SitemapFile.domain_id == domain_id
        )
        size, start = 1, first
        while True:
            query = mine.where(SitemapFile.id >= start).order_by(SitemapFile.id).limit(size)
            part = {row.id: row.url for row in self._session.execute(query)}
            if not part:
                return
            yield part
            size, start = size * 2, max(part) + 1

    def _of(self, domain: Domain, files: dict[int, str], values: dict[str, Any]) -> list[Difference]:
        found = self._session.execute(_DIFFERENCES, {**values, "tenant": self._tenant_id, "files": list(files)})
        return [_difference(row, files[row[0]], domain.host) for row in found]


def _difference(row: Sequence[Any], sitemap_url: str, host: str) -> Difference:
    file_id, url_hash, url, stood, stands, *values = row
    width = len(Entry._fields)
    before = Entry(*values[:width]) if stood else None
    after = Entry(*values[width:]) if stands else None
    return Difference(file_id, url_hash, url, sitemap_url, host, before, after)
