"""Who the bearer of a credential is at this moment, and what she may do.

Asked on every request, in two steps: whose the session or key is, and which rights she has (`RBACService`). Both are
cached: for three seconds in Redis, for one in each process before it. Whoever takes something away says `forget` after
the commit; where that does not reach, time does. Redis away: PostgreSQL is asked. Both away: `Unavailable`. Nobody is
let in by what cannot be looked up.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from app.access import PERSONAL, READ_ONLY, Actor, Origin, Rights
from app.errors import AuthenticationFailed, PermissionDenied
from app.services.caching import Cache, TtlCache
from app.services.credentials import Claims, Credential, PresentedKey
from app.services.rbac import RBACService
from app.unit_of_work import Database

# What is taken away is gone everywhere within 5 s: both of these, and time to spare.
SHARED_SECONDS: Final = 3.0
OWN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whose a living credential is, and where it counts. Plain values, as a cache may keep them outside."""

    user_id: UUID
    tenant_id: UUID
    digest: bytes = b""  # of the API key
    permissions: frozenset[str] = frozenset()  # the most it may ever do
    is_break_glass: bool = False


class Standings:
    def __init__(self, database: Database, rbac: RBACService, cache: Cache[str, Holder] | None = None) -> None:
        self._database = database
        self._rbac = rbac
        self._cache: Cache[str, Holder] = cache or TtlCache(seconds=SHARED_SECONDS)

    def of(self, shown: Credential) -> Actor:
        """
        :raises AuthenticationFailed: ended, expired, disabled, no longer a member, or rights changed since the token
        :raises PermissionDenied: the tenant is suspended
        :raises Unavailable: nobody can be asked
        """
        holder = self._cache.get(_name(shown)) or self._ask(shown)
        return self._actor(shown, holder, fresh=False)

    def fresh(self, shown: Credential) -> Actor:
        """The same, of PostgreSQL whatever the caches say."""
        return self._actor(shown, self._ask(shown), fresh=True)

    def known(self, shown: PresentedKey) -> bool:
        """Whether this very key was found good a moment ago. Asks no database."""
        holder = self._cache.get(_name(shown))
        return holder is not None and secrets.compare_digest(holder.digest, shown.digest)

    def forget(self, user_id: UUID) -> None:
        """Her rights have changed."""
        self._rbac.forget_user(user_id)

    def forget_tenant(self, tenant_id: UUID) -> None:
        self._rbac.forget_tenant(tenant_id)

    def forget_session(self, session_id: UUID) -> None:
        self._cache.drop(f"session:{session_id}")

    def forget_key(self, key_id: UUID) -> None:
        self._cache.drop(f"key:{key_id}")

    def _ask(self, shown: Credential) -> Holder:
        asked = time.monotonic()
        found = self._session(shown) if isinstance(shown, Claims) else self._api_key(shown)
        self._cache.put(_name(shown), found, age=time.monotonic() - asked)
        return found

    def _session(self, claims: Claims) -> Holder:
        with self._database.system() as uow:
            live = uow.credentials.session(claims.session_id, claims.tenant_id)
        if live is None:
            raise AuthenticationFailed("the session has ended; sign in again")
        return Holder(user_id=live.user_id, tenant_id=claims.tenant_id, is_break_glass=live.is_break_glass)

    def _api_key(self, shown: PresentedKey) -> Holder:
        with self._database.system() as uow:
            live = uow.credentials.api_key(shown.id)
            if live is None or not secrets.compare_digest(live.digest, shown.digest):
                raise _no_such_key()
            if not live.used_lately:
                uow.credentials.key_was_used(shown.id, live.tenant_id)
                uow.commit()
        return Holder(user_id=live.user_id, tenant_id=live.tenant_id, digest=live.digest, permissions=live.permissions)

    def _actor(self, shown: Credential, holder: Holder, *, fresh: bool) -> Actor:
        if isinstance(shown, PresentedKey):
            if not secrets.compare_digest(holder.digest, shown.digest):
                raise _no_such_key()
            rights = self._rights(holder, version=0, fresh=fresh)
            return _delegate(shown.id, holder, rights)
        if (holder.user_id, holder.tenant_id) != (shown.user_id, shown.tenant_id):
            raise AuthenticationFailed("the session has ended; sign in again")
        if holder.is_break_glass:
            return self._looking_in(shown)
        rights = self._rights(holder, version=shown.version, fresh=fresh)
        if rights.version != shown.version:
            raise _rights_changed()
        return _signed_in(shown, rights)

    def _rights(self, holder: Holder, *, version: int, fresh: bool) -> Rights:
        user, tenant = holder.user_id, holder.tenant_id
        rights = self._rbac.ask(user, tenant) if fresh else self._rbac.rights(user, tenant, version=version)
        if rights is None or not rights.active:
            raise AuthenticationFailed("the account is disabled or no longer a member here")
        if rights.suspended:
            raise PermissionDenied("this tenant is suspended")
        return rights

    def _looking_in(self, shown: Claims) -> Actor:
        """A platform administrator in a tenant she need be no member of. Seldom, so never cached."""
        with self._database.system() as uow:
            opener = uow.credentials.opener(shown.user_id)
        if opener is None:
            raise AuthenticationFailed("the account is disabled or may not look into tenants any longer")
        if opener.version != shown.version:
            raise _rights_changed()
        return Actor(
            user_id=shown.user_id,
            tenant_id=shown.tenant_id,
            email=opener.email,
            session_id=shown.session_id,
            origin=Origin("break_glass"),
            permissions=READ_ONLY,
        )


def to_json(holder: Holder) -> dict[str, Any]:
    """For a cache outside of this process.

    >>> holder = Holder(user_id=UUID(int=1), tenant_id=UUID(int=2), digest=b"x", permissions=frozenset({"job:run"}))
    >>> from_json(to_json(holder)) == holder
    True
    """
    return {
        "user": str(holder.user_id),
        "tenant": str(holder.tenant_id),
        "digest": holder.digest.hex(),
        "permissions": sorted(holder.permissions),
        "break_glass": holder.is_break_glass,
    }


def from_json(value: dict[str, Any]) -> Holder:
    """:raises KeyError, TypeError, ValueError: not what `to_json` wrote"""
    return Holder(
        user_id=UUID(value["user"]),
        tenant_id=UUID(value["tenant"]),
        digest=bytes.fromhex(value["digest"]),
        permissions=frozenset(value["permissions"]),
        is_break_glass=bool(value["break_glass"]),
    )


def _signed_in(claims: Claims, rights: Rights) -> Actor:
    return Actor(
        user_id=claims.user_id,
        tenant_id=claims.tenant_id,
        email=rights.email,
        session_id=claims.session_id,
        origin=Origin("session"),
        roles=rights.roles,
        permissions=rights.permissions,
    )


def _delegate(key_id: UUID, holder: Holder, rights: Rights) -> Actor:
    """What a key may: what it was given, as far as whoever made it may still do that herself."""
    return Actor(
        user_id=holder.user_id,
        tenant_id=holder.tenant_id,
        email=rights.email,
        key_id=key_id,
        origin=Origin("api_key"),
        permissions=(holder.permissions & rights.permissions) - PERSONAL,
    )


def _no_such_key() -> AuthenticationFailed:
    return AuthenticationFailed("the API key is unknown, revoked or expired")


def _rights_changed() -> AuthenticationFailed:
    return AuthenticationFailed("your rights have changed; refresh the token")


def _name(shown: Credential) -> str:
    return f"key:{shown.id}" if isinstance(shown, PresentedKey) else f"session:{shown.session_id}"
