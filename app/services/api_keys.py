"""API keys: made by a person for her programs, shown once, revoked by whoever administers the tenant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from uuid_utils.compat import uuid7

from app.access import PERMISSIONS, PERSONAL, Actor
from app.errors import FieldError, InvalidInput, NotFound, PermissionDenied, QuotaExceeded
from app.repositories.api_keys import KeyRow
from app.repositories.keyset import PageOf, decode, page
from app.services.credentials import digest, new_key
from app.services.standing import Standings
from app.settings import Settings
from app.unit_of_work import Database

MAX_LIVING: Final = 1_000  # of one tenant


@dataclass(frozen=True, slots=True)
class MadeKey:
    row: KeyRow
    secret: str  # the only time it is seen


class ApiKeyService:
    def __init__(self, database: Database, settings: Settings, standings: Standings) -> None:
        self._database = database
        self._standings = standings
        self._days, self._max_days = settings.api_key_days, settings.api_key_max_days

    def create(
        self,
        actor: Actor,
        *,
        name: str,
        permissions: Sequence[str],
        expires_at: datetime | None = None,
        expires_in_days: int | None = None,
    ) -> MadeKey:
        """
        :raises InvalidInput: a permission that there is not or that no key has, or an end too early or too late
        :raises PermissionDenied: a permission that the caller has not herself
        :raises QuotaExceeded: the tenant has too many keys
        """
        wanted = _checked(permissions, actor)
        ends = self._end(expires_at, expires_in_days, datetime.now(UTC))
        key_id = uuid7()
        secret = new_key(key_id)
        with self._database.for_tenant(actor.tenant_id) as uow:
            if uow.api_keys.living() >= MAX_LIVING:
                raise QuotaExceeded(f"a tenant has at most {MAX_LIVING:,} living API keys; revoke some")
            uow.api_keys.add(
                key_id=key_id,
                name=name,
                key_hash=digest(secret),
                permissions=wanted,
                created_by=actor.user_id,
                expires_at=ends,
            )
            row = _found(uow.api_keys.get(key_id))
            uow.audit.record("api_key.created", by=actor, on=("api_key", key_id), after=_told(row))
            uow.commit()
        return MadeKey(row, secret)

    def listing(self, actor: Actor, *, limit: int, cursor: str | None) -> PageOf[KeyRow]:
        """All of the tenant, newest first, dead ones too."""
        after = decode(cursor, (UUID,))
        with self._database.for_tenant(actor.tenant_id) as uow:
            rows = uow.api_keys.listing(after=after, limit=limit)
        return page(rows, limit, lambda row: (row.key.id,))

    def get(self, actor: Actor, key_id: UUID) -> KeyRow:
        """:raises NotFound: no such key in the caller's tenant"""
        with self._database.for_tenant(actor.tenant_id) as uow:
            return _found(uow.api_keys.get(key_id))

    def revoke(self, actor: Actor, key_id: UUID) -> None:
        """For good; repeatable without harm.

        :raises NotFound: no such key in the caller's tenant
        """
        with self._database.for_tenant(actor.tenant_id) as uow:
            row = _found(uow.api_keys.get(key_id))
            if uow.api_keys.revoke(key_id):
                uow.audit.record("api_key.revoked", by=actor, on=("api_key", key_id), before=_told(row))
                uow.after_commit(partial(self._standings.forget_key, key_id))
                uow.commit()

    def _end(self, at: datetime | None, days: int | None, now: datetime) -> datetime:
        if at is not None and days is not None:
            raise _wrong("/expires_at", "send this or `expires_in_days`, not both")
        ends = at or now + timedelta(days=days or min(self._days, self._max_days))
        field = "/expires_in_days" if at is None else "/expires_at"
        if ends <= now:
            raise _wrong(field, "has passed already")
        if ends > now + timedelta(days=self._max_days):
            raise _wrong(field, f"is more than {self._max_days} days away")
        return ends


def _checked(permissions: Collection[str], actor: Actor) -> list[str]:
    wanted = sorted(set(permissions))
    for name in wanted:
        if name not in PERMISSIONS:
            raise _wrong("/permissions", f"there is no permission {name!r}")
        if name in PERSONAL:
            raise _wrong("/permissions", f"{name} is for people who sign in, never for a key")
    beyond = [name for name in wanted if not actor.may(name)]
    if beyond:
        raise PermissionDenied(f"you have no permission {', '.join(beyond)} to give")
    return wanted


def _wrong(pointer: str, detail: str) -> InvalidInput:
    return InvalidInput(f"{pointer}: {detail}", errors=(FieldError(pointer, detail),))


def _found(row: KeyRow | None) -> KeyRow:
    if row is None:
        raise NotFound
    return row


def _told(row: KeyRow) -> dict[str, Any]:
    key = row.key
    return {"name": key.name, "permissions": key.permissions, "expires_at": key.expires_at.isoformat()}
