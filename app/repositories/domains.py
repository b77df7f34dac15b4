"""Domains of one tenant and the newest that is known of them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.repositories import direct
from app.repositories.keyset import PageOf, decode, page
from models import Domain

_SET_DETAILS = direct.statement(
    "UPDATE domains SET details = CAST(:details AS jsonb) WHERE tenant_id = :tenant AND id = :domain"
)


def begins(host: str) -> sa.ColumnElement[bool]:
    """Hosts that begin so. Behind row-level security LIKE finds no index: it might tell of rows that are others'."""
    return Domain.host.bool_op("^@")(host.lower())


class Domains:
    def __init__(self, session: Session, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def ensure(self, host: str, path: str) -> Domain:
        """The domain of that name, made if it is new."""
        self._session.execute(
            insert(Domain)
            .values(tenant_id=self._tenant_id, host=host, path=path)
            .on_conflict_do_nothing(index_elements=["tenant_id", "host", "path"])
        )
        domain = self.named(host, path)
        if domain is None:
            raise LookupError(host)
        return domain

    def get(self, domain_id: UUID) -> Domain | None:
        return self._session.scalars(self._mine().where(Domain.id == domain_id)).one_or_none()

    def named(self, host: str, path: str) -> Domain | None:
        return self._session.scalars(self._mine().where(Domain.host == host, Domain.path == path)).one_or_none()

    def listing(self, *, limit: int, cursor: str | None, host: str | None) -> PageOf[Domain]:
        """In the order of names; `host` matches the start."""
        last = decode(cursor, (str, str))
        query = self._mine().order_by(Domain.host, Domain.path).limit(limit + 1)
        if last is not None:
            query = query.where(sa.tuple_(Domain.host, Domain.path) > sa.tuple_(*map(sa.literal, last)))
        if host is not None:
            query = query.where(begins(host))
        return page(self._session.scalars(query).all(), limit, lambda d: (d.host, d.path))

    def url_total(self) -> int:
        """URLs kept of all domains, as of each one's newest finished scan."""
        total = sa.select(sa.func.coalesce(sa.func.sum(Domain.url_count), 0)).where(Domain.tenant_id == self._tenant_id)
        return int(self._session.execute(total).scalar_one())

    def learn_scheme(self, domain_id: UUID, scheme: str) -> None:
        self._change(domain_id, scheme=scheme)

    def set_details(self, domain_id: UUID, details: dict[str, Any]) -> None:
        values = {"tenant": self._tenant_id, "domain": domain_id, "details": json.dumps(details)}
        direct.run(self._session, _SET_DETAILS, values)

    def _mine(self) -> sa.Select[Domain]:
        return sa.select(Domain).where(Domain.tenant_id == self._tenant_id).execution_options(populate_existing=True)

    def _change(self, domain_id: UUID, **values: Any) -> None:
        self._session.execute(
            sa.update(Domain).where(Domain.tenant_id == self._tenant_id, Domain.id == domain_id).values(**values)
        )
