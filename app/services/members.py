"""Who belongs to a tenant. A platform administrator sees everybody, a tenant's own people each other."""

from __future__ import annotations

from uuid import UUID

from app.access import Actor
from app.errors import NotFound
from app.repositories.keyset import PageOf
from app.repositories.members import Member
from app.services.rbac import EVERYBODY
from app.unit_of_work import Database


class MemberService:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, actor: Actor, user: UUID) -> Member:
        """:raises NotFound: there is nobody of that id whom the caller may see"""
        with self._database.system() if actor.may(EVERYBODY) else self._database.for_tenant(actor.tenant_id) as uow:
            found = uow.members.get(user)
        if found is None:
            raise NotFound
        return found

    def listing(self, actor: Actor, *, limit: int, cursor: str | None, email: str | None) -> PageOf[Member]:
        with self._database.system() if actor.may(EVERYBODY) else self._database.for_tenant(actor.tenant_id) as uow:
            return uow.members.listing(limit=limit, cursor=cursor, email=email)
