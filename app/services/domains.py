"""Domains: looking them up, by id or by name."""

from __future__ import annotations

from uuid import UUID

from app.access import Actor
from app.errors import InvalidUrl, NotFound
from app.repositories.keyset import PageOf
from app.scanning.urls import site
from app.unit_of_work import Database
from models import Domain


class Domains:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, actor: Actor, key: UUID | str) -> Domain:
        """By id, or by name as anybody might write it.

        :raises NotFound: the tenant has no such domain
        """
        with self._database.for_tenant(actor.tenant_id) as uow:
            if isinstance(key, UUID):
                found = uow.domains.get(key)
            else:
                try:
                    wanted = site(key)
                except InvalidUrl:
                    raise NotFound from None
                found = uow.domains.named(wanted.authority, wanted.path)
        if found is None:
            raise NotFound
        return found

    def listing(self, actor: Actor, *, limit: int, cursor: str | None, host: str | None) -> PageOf[Domain]:
        with self._database.for_tenant(actor.tenant_id) as uow:
            return uow.domains.listing(limit=limit, cursor=cursor, host=host)
