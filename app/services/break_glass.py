"""Break-glass: a platform administrator looks into a tenant, for a reason, for a while, reading only, and seen.

The tenant's own audit trail tells its administrators who opened it, why and until when, and each request made then.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from app.access import Actor
from app.errors import NotFound, PermissionDenied
from app.services.accounts import MAX_USER_AGENT, Grant, new_token
from app.services.credentials import Claims, digest
from app.unit_of_work import Database

log = structlog.get_logger(__name__)
MAX_MINUTES: Final = 60
MAX_QUERY: Final = 1_000
READABLE: Final = "/?&=%:+,;@!$()*~"


class BreakGlass:
    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, actor: Actor, tenant_id: UUID, *, reason: str, minutes: int, user_agent: str | None) -> Grant:
        """A session in that tenant, which may be suspended, and of which she need be no member.

        :raises NotFound: there is no such tenant
        :raises PermissionDenied: she may not open tenants any longer
        """
        session_id = uuid7()
        token = new_token(session_id)
        with self._database.system() as uow:
            opener = uow.credentials.opener(actor.user_id)
            if opener is None:
                raise PermissionDenied
            if uow.tenants.get(tenant_id) is None:
                raise NotFound
            ends = uow.sign_in.open_session(
                session_id=session_id,
                tenant_id=tenant_id,
                user_id=actor.user_id,
                refresh_hash=digest(token),
                seconds=60 * minutes,
                user_agent=user_agent[:MAX_USER_AGENT] if user_agent else None,
                address=actor.origin.address,
                reason=reason,
            )
            uow.audit.record(
                "break_glass.opened",
                by=actor,
                tenant_id=tenant_id,
                on=("session", session_id),
                after={"reason": reason, "minutes": minutes, "expires_at": ends.isoformat()},
            )
            uow.commit()
        log.warning("break-glass", user=str(actor.user_id), tenant=str(tenant_id), minutes=minutes)
        claims = Claims(user_id=actor.user_id, tenant_id=tenant_id, session_id=session_id, version=opener.version)
        return Grant(claims, token, ends)

    def witness(self, actor: Actor, method: str, path: str, query: bytes) -> None:
        """Before a request is answered: what cannot be told is not shown.

        :param path: quoted, so that no character in it surprises a reader
        :param query: as it was sent

        :raises Unavailable: the trail cannot be written
        """
        with self._database.for_tenant(actor.tenant_id) as uow:
            uow.audit.record(
                "break_glass.request",
                by=actor,
                on=("request", f"{method} {path}"),
                after={"query": quote(query[:MAX_QUERY], safe=READABLE)} if query else None,
            )
            uow.commit()
