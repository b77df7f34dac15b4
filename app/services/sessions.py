"""Sessions as their owner sees them, or an administrator of the tenant they act in."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from app.access import Actor
from app.errors import NotFound, PermissionDenied
from app.repositories.keyset import PageOf, decode, page
from app.repositories.sessions import OpenSession
from app.unit_of_work import Database, SystemUnit, TenantUnit
from models import Session

MEMBERS = "member:manage"
Forget = Callable[[UUID], None]


class SessionService:
    """:param forget: drops what is cached of a session; called after the commit that ends it"""

    def __init__(self, database: Database, *, forget: Forget) -> None:
        self._database = database
        self._forget = forget

    def listing(self, actor: Actor, *, limit: int, cursor: str | None, user: UUID | None = None) -> PageOf[OpenSession]:
        """One's own, in all tenants; or of a member of the actor's tenant, those that act in it. Newest first.

        :raises PermissionDenied: another's, without the permission to manage members
        """
        after = decode(cursor, (UUID,))
        if user is None or user == actor.user_id:
            _check_person(actor)
            with self._database.system() as uow:
                rows = uow.sessions.open_of(actor.user_id, after=after, limit=limit)
        else:
            actor.require(MEMBERS)
            with self._database.for_tenant(actor.tenant_id) as tenant:
                rows = tenant.sessions.open_of(user, after=after, limit=limit)
        return page(rows, limit, lambda row: (row.session.id,))

    def end(self, actor: Actor, session_id: UUID) -> None:
        """:raises NotFound: neither one's own nor, for whoever manages members, one that acts in her tenant"""
        if not (self._end_own(actor, session_id) or self._end_of_member(actor, session_id)):
            raise NotFound

    def end_others(self, actor: Actor) -> None:
        """All of one's own but the one that asks."""
        _check_person(actor)
        with self._database.system() as uow:
            ended = uow.sessions.end_all(actor.user_id, but=actor.session_id)
            for session in ended:
                self._tell(uow, actor, session)
            uow.commit()

    def _end_own(self, actor: Actor, session_id: UUID) -> bool:
        if actor.is_delegate:
            return False
        with self._database.system() as uow:
            ended = uow.sessions.end(session_id, user_id=actor.user_id)
            if ended is not None:
                self._tell(uow, actor, ended)
                uow.commit()
        return ended is not None

    def _end_of_member(self, actor: Actor, session_id: UUID) -> bool:
        if not actor.may(MEMBERS):
            return False
        with self._database.for_tenant(actor.tenant_id) as uow:
            ended = uow.sessions.end(session_id)
            if ended is not None:
                self._tell(uow, actor, ended)
                uow.commit()
        return ended is not None

    def _tell(self, uow: SystemUnit | TenantUnit, actor: Actor, session: Session) -> None:
        uow.audit.record(
            "session.ended",
            by=actor,
            tenant_id=session.tenant_id,
            on=("session", session.id),
            before={"user": str(session.user_id)},
        )
        uow.after_commit(lambda: self._forget(session.id))


def _check_person(actor: Actor) -> None:
    if actor.is_delegate:
        raise PermissionDenied("an API key has no sessions; sign in")
