"""Pages: the latest metadata of each, and what each job met."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.repositories.hashes import url_key
from app.repositories.keyset import PageOf, decode, page
from models import Page, PageRead


class PageView(NamedTuple):
    read: PageRead
    page: Page


class Pages:
    def __init__(self, session: Session, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def record(
        self, *, job_id: UUID, domain_id: UUID, url: str, values: dict[str, Any] | None, read: dict[str, Any]
    ) -> None:
        """Keep what was read of a page (`values` None: nothing could be read, the older metadata stays)."""
        row: dict[str, Any] = {
            "tenant_id": self._tenant_id, "domain_id": domain_id, "url_hash": url_key(url), "url": url,
        }  # fmt: skip
        kept = {} if values is None else {**values, "read_at": sa.func.now()}
        page_id = self._session.scalar(
            insert(Page)
            .values(**row, **kept)
            .on_conflict_do_update(index_elements=["tenant_id", "domain_id", "url_hash"], set_={"url": url, **kept})
            .returning(Page.id)
        )
        self._session.execute(
            insert(PageRead)
            .values(tenant_id=self._tenant_id, job_id=job_id, page_id=page_id, **read)
            .on_conflict_do_update(
                index_elements=["tenant_id", "job_id", "page_id"], set_={**read, "read_at": sa.func.now()}
            )
        )

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
