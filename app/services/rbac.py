"""Who may do what in which tenant: the one place that answers, and the one place that changes it."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import asdict
from typing import Any
from uuid import UUID

from app.access import Rights
from app.errors import PermissionDenied
from app.repositories.accounts import Membership
from app.services.caching import Cache, TtlCache
from app.unit_of_work import Database

# A change of rights takes effect everywhere within 5 s: this, and time to spare.
RIGHTS_SECONDS = 3.0
RightsKey = tuple[UUID, UUID]  # user, tenant


def tags(key: RightsKey) -> Collection[str]:
    """What an entry of the cache can be dropped by."""
    return f"user:{key[0]}", f"tenant:{key[1]}"


class RBACService:
    def __init__(self, database: Database, *, cache: Cache[RightsKey, Rights] | None = None) -> None:
        self._database = database
        self._cache: Cache[RightsKey, Rights] = cache or TtlCache(seconds=RIGHTS_SECONDS, tags=tags)

    def rights(self, user: UUID, tenant: UUID, *, version: int = 0) -> Rights | None:
        """None for whoever is no member. One query, or none while the cache knows.

        :param version: the least that will do: a token may be newer than what the cache remembers
        """
        known = self._cache.get((user, tenant))
        if known is not None and known.version >= version:
            return known
        return self.ask(user, tenant)

    def ask(self, user: UUID, tenant: UUID) -> Rights | None:
        """The same, of PostgreSQL whatever the cache says."""
        asked = time.monotonic()
        with self._database.system() as uow:
            member = uow.sign_in.membership(user, tenant)
        if member is None:
            return None
        found = _rights(member)
        self._cache.put((user, tenant), found, age=time.monotonic() - asked)
        return found

    def permissions_of(self, user: UUID, tenant: UUID) -> frozenset[str]:
        """None at all for a disabled user, in a suspended tenant, and for whoever is no member."""
        found = self.rights(user, tenant)
        return found.usable if found else frozenset()

    def check_permission(self, user: UUID, permission: str, tenant: UUID) -> None:
        """:raises PermissionDenied: none of the user's roles in that tenant carries it"""
        if permission not in self.permissions_of(user, tenant):
            raise PermissionDenied(f"this needs the permission {permission}")

    def forget(self, user: UUID, tenant: UUID) -> None:
        """Look it up anew the next time. For `after_commit` of whatever changed it."""
        self._cache.drop((user, tenant))

    def forget_user(self, user: UUID) -> None:
        """The same, in whichever tenant."""
        self._cache.drop_tagged(f"user:{user}")

    def forget_tenant(self, tenant: UUID) -> None:
        """The same, for all of its members."""
        self._cache.drop_tagged(f"tenant:{tenant}")


def name(key: RightsKey) -> str:
    return f"{key[0]}:{key[1]}"


def to_json(rights: Rights) -> dict[str, Any]:
    """For a cache outside of this process.

    >>> rights = Rights(
    ...     email="a@example.com", version=3, active=True, suspended=False,
    ...     roles=frozenset({"viewer"}), permissions=frozenset({"job:read"}),
    ... )
    >>> from_json(to_json(rights)) == rights
    True
    """
    return {**asdict(rights), "roles": sorted(rights.roles), "permissions": sorted(rights.permissions)}


def from_json(value: dict[str, Any]) -> Rights:
    """:raises KeyError, TypeError: not what `to_json` wrote"""
    sets = {name: frozenset(value[name]) for name in ("roles", "permissions")}
    return Rights(**{**value, **sets})


def _rights(member: Membership) -> Rights:
    return Rights(
        email=member.user.email,
        version=member.user.authz_version,
        active=member.user.status == "active",
        suspended=member.tenant.status != "active",
        roles=member.roles,
        permissions=member.permissions,
    )
