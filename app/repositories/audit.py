"""The audit trail: who did what to what, from where, before and after. Rows are added and read, never changed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from app.access import Actor, Origin
from models import AuditEvent

PLATFORM = UUID(int=0)  # what concerns no single tenant stands under this; no tenant has it
MAX_TEXT = 300


class Audit:
    """Bound to a tenant, or (`None`, system role) to none: then each call names one."""

    def __init__(self, session: DbSession, tenant_id: UUID | None) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def record(
        self,
        action: str,
        *,
        by: Actor | None = None,
        origin: Origin | None = None,
        claimed: str | None = None,
        tenant_id: UUID | None = None,
        on: tuple[str, object] | None = None,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> None:
        """Write an event in the transaction of what it tells of.

        :param action: `resource.verb`, as `member.role_assigned`
        :param by: who; without one `claimed` may hold the address somebody said was hers
        :param origin: from where; by default the actor's
        :param on: type and id of what was acted on
        """
        origin = origin or (by.origin if by else Origin())
        self._session.execute(
            sa.insert(AuditEvent).values(
                tenant_id=tenant_id or self._tenant_id or PLATFORM,
                actor_id=by.user_id if by else None,
                actor=(by.email if by else claimed or "")[:MAX_TEXT] or None,
                via=origin.via if origin.via != "nobody" or by is None else "session",
                via_id=by.key_id or by.session_id if by else None,
                action=action,
                object_type=on[0] if on else None,
                object_id=str(on[1])[:MAX_TEXT] if on else None,
                address=origin.address,
                request_id=origin.request_id,
                before=before,
                after=after,
            )
        )
