"""Pages: the latest metadata of each, and what each job met."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Aborted
from app.repositories import direct
from app.repositories.hashes import url_key
from app.repositories.jobs import NOT_OURS
from app.repositories.keyset import PageOf, decode, page
from models import Page, PageRead

_HELD = """
    WITH held AS MATERIALIZED (
        SELECT id, domain_id FROM jobs WHERE tenant_id = :tenant AND id = :job AND lease_token = :token FOR UPDATE
    ), kept AS ("""
_READ = """
        RETURNING id
    )
    INSERT INTO page_reads (tenant_id, job_id, page_id, is_home, final_url, http_status, partial, error_code,
                            error_detail)
    SELECT :tenant, :job, id, :is_home, :final_url, :http_status, :partial, :error_code, :error_detail FROM kept
    ON CONFLICT (tenant_id, job_id, page_id) DO UPDATE
    SET is_home = excluded.is_home, final_url = excluded.final_url, http_status = excluded.http_status,
        partial = excluded.partial, error_code = excluded.error_code, error_detail = excluded.error_detail,
        read_at = now()"""
_RECORD = direct.statement(f"""{_HELD}
        INSERT INTO pages (tenant_id, domain_id, url_hash, url, title, description, language, page_type, details,
                           read_at)
        SELECT :tenant, domain_id, :key, :url, :title, :description, :language, :page_type, CAST(:details AS jsonb),
               now()
        FROM held
        ON CONFLICT (tenant_id, domain_id, url_hash) DO UPDATE
        SET url = excluded.url, title = excluded.title, description = excluded.description, read_at = now(),
            language = excluded.language, page_type = excluded.page_type, details = excluded.details{_READ}""")
_MISSED = direct.statement(f"""{_HELD}
        INSERT INTO pages (tenant_id, domain_id, url_hash, url) SELECT :tenant, domain_id, :key, :url FROM held
        ON CONFLICT (tenant_id, domain_id, url_hash) DO UPDATE SET url = excluded.url{_READ}""")


class PageView(NamedTuple):
    read: PageRead
    page: Page


class Pages:
    def __init__(self, session: Session, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def record(
        self, job_id: UUID, token: UUID, *, url: str, values: dict[str, Any] | None, read: dict[str, Any]
    ) -> None:
        """Keep what was read of a page (`values` None: nothing could be read, the older metadata stays).

        :raises Aborted: another attempt owns the job, or it has ended
        """
        told = {"tenant": self._tenant_id, "job": job_id, "token": token, "key": url_key(url), "url": url, **read}
        if values is not None:
            told |= {**values, "details": json.dumps(values["details"])}
        if not direct.run(self._session, _MISSED if values is None else _RECORD, told).rowcount:
            raise Aborted(NOT_OURS)

    def of_job(self, job_id: UUID, *, limit: int, cursor: str | None) -> PageOf[PageView]:
        """In the order they were first met, the home page first."""
        last = decode(cursor, (int,))
        query = (
            sa.select(PageRead, Page)
            .join(Page, sa.and_(Page.tenant_id == PageRead.tenant_id, Page.id == PageRead.page_id))
            .where(PageRead.tenant_id == self._tenant_id, PageRead.job_id == job_id)
            .order_by(PageRead.page_id)
            .limit(limit + 1)
        )
        if last is not None:
            query = query.where(PageRead.page_id > last[0])
        rows = [PageView(*row) for row in self._session.execute(query)]
        return page(rows, limit, lambda view: (view.read.page_id,))

    def urls_of_job(self, job_id: UUID) -> list[str]:
        return list(
            self._session.scalars(
                sa.select(Page.url)
                .join(PageRead, sa.and_(PageRead.tenant_id == Page.tenant_id, PageRead.page_id == Page.id))
                .where(PageRead.tenant_id == self._tenant_id, PageRead.job_id == job_id)
            )
        )
