"""The audit trail: who did what to what, from where, before and after. Rows are added and read, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from app import log
from app.access import Actor, Origin
from app.repositories.keyset import PageOf, decode, page
from models import AuditEvent

PLATFORM = UUID(int=0)  # what concerns no single tenant stands under this; no tenant has it
MAX_TEXT = 300
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# An event bears the time at which its transaction began, its id the time of the event itself. None lasts as long.
LONGEST_ACT = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events somebody looks for; None stands for all.

    `action` is one (`member.role_assigned`) or a resource's whole (`member`), `actor` a user's id or e-mail address,
    `until` the first moment that is too late.
    """

    tenant_id: UUID | None = None
    action: str | None = None
    actor: str | None = None
    object_type: str | None = None
    object_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Audit:
    """Bound to a tenant, or (`None`, system role) to none: then it reads all, and each record names one."""

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
    ) -> UUID:
        """Write an event in the transaction of what it tells of; answers its id.

        :param action: `resource.verb`, as `member.role_assigned`
        :param by: who; without one `claimed` may hold the address somebody said was hers
        :param origin: from where; by default the actor's
        :param on: type and id of what was acted on
        :param before, after: what the act changed; secrets in them are hidden
        """
        origin = origin or (by.origin if by else Origin())
        return self._session.execute(
            sa.insert(AuditEvent)
            .values(
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
                before=log.without_secrets(before),
                after=log.without_secrets(after),
            )
            .returning(AuditEvent.id)
        ).scalar_one()

    def listing(
        self, wanted: Wanted, *, limit: int, cursor: str | None = None, before: UUID | None = None
    ) -> PageOf[AuditEvent]:
        """Newest first; `before` is an event that is too new."""
        last = decode(cursor, (UUID,))
        query = sa.select(AuditEvent).where(*_conditions(wanted)).order_by(AuditEvent.id.desc()).limit(limit + 1)
        if self._tenant_id is not None:
            query = query.where(AuditEvent.tenant_id == self._tenant_id)
        for bound in (before, last[0] if last else None):
            if bound is not None:
                query = query.where(AuditEvent.id < bound)
        return page(self._session.scalars(query).all(), limit, lambda event: (event.id,))


def _conditions(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.tenant_id is not None:
        found.append(AuditEvent.tenant_id == wanted.tenant_id)
    if wanted.action is not None:
        found.append(
            sa.or_(
                AuditEvent.action == wanted.action, AuditEvent.action.startswith(f"{wanted.action}.", autoescape=True)
            )
        )
    if wanted.actor is not None:
        found.append(_by(wanted.actor))
    if wanted.object_type is not None:
        found.append(AuditEvent.object_type == wanted.object_type)
    if wanted.object_id is not None:
        found.append(AuditEvent.object_id == wanted.object_id)
    # Ids are made of times, and there is an index of ids.
    if wanted.since is not None:
        found += [AuditEvent.at >= wanted.since, AuditEvent.id >= _first_id(wanted.since - EPOCH)]
    if wanted.until is not None:
        found += [AuditEvent.at < wanted.until, AuditEvent.id < _first_id(wanted.until - EPOCH + LONGEST_ACT)]
    return found


def _by(actor: str) -> sa.ColumnElement[bool]:
    try:
        return AuditEvent.actor_id == UUID(actor)
    except ValueError:
        return sa.func.lower(AuditEvent.actor) == actor.lower()


def _first_id(since_epoch: timedelta) -> UUID:
    """No UUIDv7 made at that moment or later is smaller.

    >>> _first_id(timedelta(milliseconds=1))
    UUID('00000000-0001-0000-0000-000000000000')
    >>> _first_id(timedelta(days=-1))
    UUID('00000000-0000-0000-0000-000000000000')
    """
    return UUID(int=max(0, since_epoch // timedelta(milliseconds=1)) << 80)
