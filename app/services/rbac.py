"""Who may do what in which tenant: the one place that answers, and the one place that changes it.

Every change is one transaction with its line in the audit trail, and ends the tokens of everybody whose rights it
changes. Nobody hands out what she does not hold, and each administrators' role keeps a holder.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import EllipsisType
from typing import Any, Final
from uuid import UUID

from app.access import ADMINISTRATOR_ROLES, BUILT_IN_ROLES, PERMISSIONS, TENANT_PERMISSIONS, Actor, Rights
from app.errors import Conflict, FieldError, InvalidInput, NotFound, PermissionDenied, QuotaExceeded
from app.repositories.accounts import Membership
from app.repositories.keyset import PageOf
from app.repositories.members import Memberships
from app.repositories.roles import RoleRow, Roles
from app.services.caching import Cache, TtlCache
from app.unit_of_work import Database, SystemUnit, TenantUnit

EVERYBODY: Final = "platform:users"
MAX_ROLES = 100  # of one tenant's own: each costs those who hold it a little at every look-up
_TAKEN = "a role of that name is there already, built in or the tenant's own"
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

    def forget_user(self, user: UUID) -> None:
        """Look her rights up anew the next time, in whichever tenant. For `after_commit` of whatever changed them."""
        self._cache.drop_tagged(f"user:{user}")

    def forget_tenant(self, tenant: UUID) -> None:
        """The same, for all of its members."""
        self._cache.drop_tagged(f"tenant:{tenant}")

    # ---- who holds which role ------------------------------------------------------------------------------------

    def assign_role(self, user: UUID, role: int | str, tenant: UUID, *, by: Actor) -> None:
        """Give a role; harmless when it is held already.

        :raises NotFound: no such role or user in that tenant
        :raises PermissionDenied: the role carries what the giver does not hold
        """
        with self._memberships(by, tenant) as act:
            act.member(user)
            found = act.role(role)
            may_give(by, user, found.permissions)
            given = act.memberships.give(user, found.id)
            # The new row's foreign key holds the role: nobody puts more into it from here on, nor deletes it. Roles are
            # held before users, as in `_change`.
            held = act.role(found.id)
            if not given:
                return
            may_give(by, user, held.permissions)
            act.hold(user)
            before = act.others(user, found.id)
            act.done("member.role_assigned", user, before)

    def revoke_role(self, user: UUID, role: int | str, tenant: UUID, *, by: Actor) -> None:
        """Take a role away.

        :raises NotFound: no such role or user in that tenant, or the user does not hold it
        :raises PermissionDenied: the role carries what the taker does not hold
        :raises Conflict: nobody would administer the tenant or the platform, or it is the user's only role there
        """
        with self._memberships(by, tenant) as act:
            found = act.role(role)
            act.hold(user, among_administrators=found.name in ADMINISTRATOR_ROLES)
            before = act.memberships.roles_of(user)
            if found.id not in before:
                raise NotFound
            may_take(by, found.permissions)
            act.keep_administrators(user, {found.name})
            if len(before) == 1:
                raise Conflict("it is the only role held here; end the membership instead")
            act.memberships.take(user, found.id)
            act.done("member.role_revoked", user, before)

    def remove_member(self, user: UUID, tenant: UUID, *, by: Actor) -> None:
        """End a membership, and the sessions and API keys that live by it.

        :raises NotFound: no such member
        :raises PermissionDenied: the member's roles carry what the remover does not hold
        :raises Conflict: nobody would administer the tenant or the platform
        """
        with self._memberships(by, tenant) as act:
            act.hold(user, among_administrators=True)
            before = act.memberships.roles_of(user)
            if not before:
                raise NotFound
            may_take(by, act.memberships.permissions_of(user))
            act.keep_administrators(user, ADMINISTRATOR_ROLES)
            act.memberships.end(user)
            act.done("member.removed", user, before)

    @staticmethod
    def keep_administrators(uow: SystemUnit, user: UUID) -> None:
        """For whoever is about to disable a user: hold the administrators, and refuse if there is no other.

        :raises Conflict: a tenant or the platform would have no administrator left
        """
        uow.members.lock_administrators()
        left = uow.members.sole_administrator_of(user)
        if left:
            raise Conflict(f"nobody else active is {' or '.join(f'{role} of {tenant}' for tenant, role in left)}")

    # ---- tenants' own roles --------------------------------------------------------------------------------------

    def role(self, key: int | str, *, by: Actor) -> RoleRow:
        """:raises NotFound: neither built in nor of the actor's tenant"""
        with self._database.for_tenant(by.tenant_id) as uow:
            return _found(uow.roles.get(key))

    def roles(self, *, by: Actor, limit: int, cursor: str | None) -> PageOf[RoleRow]:
        with self._database.for_tenant(by.tenant_id) as uow:
            return uow.roles.listing(limit=limit, cursor=cursor)

    def permissions(self, *, by: Actor, limit: int, cursor: str | None) -> PageOf[str]:
        with self._database.for_tenant(by.tenant_id) as uow:
            return uow.roles.permissions(limit=limit, cursor=cursor)

    def create_role(
        self, name: str, permissions: Sequence[str], *, by: Actor, description: str | None = None
    ) -> RoleRow:
        """
        :raises InvalidInput: not permissions of a tenant
        :raises PermissionDenied: it would carry what its maker does not hold
        :raises Conflict: the name is taken, by a built-in role or another
        :raises QuotaExceeded: the tenant has too many
        """
        _check(permissions)
        by.require_all(permissions)
        with self._database.for_tenant(by.tenant_id) as uow:
            if uow.roles.own() >= MAX_ROLES:
                raise QuotaExceeded(f"a tenant has {MAX_ROLES} roles of its own at most")
            role_id = None if name in BUILT_IN_ROLES else uow.roles.add(name, description)
            if role_id is None:
                raise Conflict(_TAKEN)
            uow.roles.carry(role_id, more=permissions, less=())
            made = _found(uow.roles.get(role_id))
            uow.audit.record("role.created", by=by, on=("role", role_id), after=_told(made))
            uow.commit()
        return made

    def update_role(
        self,
        role: int | str,
        *,
        by: Actor,
        name: str | None = None,
        description: str | EllipsisType | None = ...,
        permissions: Sequence[str] | None = None,
    ) -> RoleRow:
        """Change what is given; the tokens of all who hold the role end if what it carries changes.

        :raises InvalidInput: not permissions of a tenant
        :raises NotFound: the tenant has no such role
        :raises PermissionDenied: what is put in or taken out is more than the changer holds
        :raises Conflict: the role is built in, or the name is taken
        """
        _check(permissions or ())
        with self._own_role(role, by) as (uow, before):
            after = replace(
                before,
                name=name or before.name,
                description=before.description if isinstance(description, EllipsisType) else description,
                permissions=before.permissions if permissions is None else frozenset(permissions),
            )
            return self._change(uow, by, before, after)

    def grant(self, role: int | str, permission: str, *, by: Actor) -> RoleRow:
        """Put one permission into a role of the tenant's own. Raises as `update_role` does."""
        _check([permission])
        with self._own_role(role, by) as (uow, before):
            return self._change(uow, by, before, replace(before, permissions=before.permissions | {permission}))

    def revoke(self, role: int | str, permission: str, *, by: Actor) -> RoleRow:
        """Take one permission out of a role of the tenant's own. Raises as `update_role` does."""
        with self._own_role(role, by) as (uow, before):
            return self._change(uow, by, before, replace(before, permissions=before.permissions - {permission}))

    def delete_role(self, role: int | str, *, by: Actor) -> None:
        """
        :raises NotFound: the tenant has no such role
        :raises Conflict: the role is built in, or somebody holds it or is invited to
        """
        with self._own_role(role, by) as (uow, before):
            if uow.roles.in_use(before.id):
                raise Conflict("somebody holds this role or is invited to it; take it from them first")
            uow.roles.delete(before.id)
            uow.audit.record("role.deleted", by=by, on=("role", before.id), before=_told(before))
            uow.commit()

    @contextmanager
    def _own_role(self, key: int | str, by: Actor) -> Iterator[tuple[TenantUnit, RoleRow]]:
        """The role as it is, and stays until the unit ends but for what is done to it there."""
        with self._database.for_tenant(by.tenant_id) as uow:
            found = _found(uow.roles.get(key))
            if found.built_in:
                raise Conflict("built-in roles are the same for every tenant and do not change")
            if not uow.roles.hold(found.id):
                raise NotFound  # it went this moment
            yield uow, _found(uow.roles.get(found.id))

    def _change(self, uow: TenantUnit, by: Actor, before: RoleRow, after: RoleRow) -> RoleRow:
        if after == before:
            return before
        by.require_all(before.permissions ^ after.permissions)
        if after.name in BUILT_IN_ROLES or not uow.roles.describe(
            before.id, name=after.name, description=after.description
        ):
            raise Conflict(_TAKEN)
        uow.roles.carry(
            before.id, more=after.permissions - before.permissions, less=before.permissions - after.permissions
        )
        self._end_tokens_of_holders(uow, before, after)
        uow.audit.record("role.changed", by=by, on=("role", before.id), before=_told(before), after=_told(after))
        uow.commit()
        return after

    def _end_tokens_of_holders(self, uow: TenantUnit, before: RoleRow, after: RoleRow) -> None:
        holders = uow.memberships.holders(before.id)
        if after.permissions != before.permissions:
            uow.members.bump(holders)
        for user in holders:
            uow.after_commit(partial(self.forget_user, user))

    @contextmanager
    def _memberships(self, by: Actor, tenant: UUID) -> Iterator[_Act]:
        """Memberships of `tenant` to change: of one's own, or with `platform:users` of any.

        :raises NotFound: another's, without that permission
        """
        if by.may(EVERYBODY):
            with self._database.system() as system:
                yield _Act(self, by, tenant, system, system.memberships(tenant), system.roles(tenant))
        elif tenant == by.tenant_id:
            with self._database.for_tenant(tenant) as uow:
                yield _Act(self, by, tenant, uow, uow.memberships, uow.roles)
        else:
            raise NotFound


def may_give(by: Actor, user: UUID, permissions: Collection[str]) -> None:
    """Whoever keeps the platform's users appoints tenants' people; her own way into a tenant is break-glass.

    :raises PermissionDenied: naming what the giver does not hold
    """
    appoints = by.may(EVERYBODY) and user != by.user_id
    by.require_all(set(permissions) - TENANT_PERMISSIONS if appoints else permissions)


def may_take(by: Actor, permissions: Collection[str]) -> None:
    """:raises PermissionDenied: naming what the taker does not hold"""
    by.require_all(set(permissions) - TENANT_PERMISSIONS if by.may(EVERYBODY) else permissions)


@dataclass(frozen=True, slots=True)
class _Act:
    """One change of somebody's memberships, in its transaction."""

    rbac: RBACService
    by: Actor
    tenant: UUID
    uow: SystemUnit | TenantUnit
    memberships: Memberships
    roles: Roles

    def role(self, key: int | str) -> RoleRow:
        return _found(self.roles.get(key))

    def member(self, user: UUID) -> None:
        """:raises NotFound: nobody to give anything"""
        if self.uow.members.get(user) is None:
            raise NotFound

    def others(self, user: UUID, given: int) -> dict[int, str]:
        """What she held before she was given this one.

        :raises NotFound: nothing, as her membership ended this moment
        """
        before = {role: name for role, name in self.memberships.roles_of(user).items() if role != given}
        if not before and not self.by.may(EVERYBODY):
            raise NotFound
        return before

    def hold(self, user: UUID, *, among_administrators: bool = False) -> None:
        """Her tokens end with this; until it does nobody else changes what she holds.

        :param among_administrators: nor, before that, what any administrator does
        """
        if among_administrators:
            self.uow.members.lock_administrators()
        if not self.uow.members.bump([user]):
            raise NotFound

    def keep_administrators(self, user: UUID, lost: Collection[str]) -> None:
        vacated = self.memberships.vacated(user, lost)
        if vacated:
            raise Conflict(f"nobody else active is {' or '.join(vacated)}; give the role to somebody else first")

    def done(self, action: str, user: UUID, before: dict[int, str]) -> None:
        after = self.memberships.roles_of(user)
        self.uow.audit.record(
            action,
            by=self.by,
            tenant_id=self.tenant,
            on=("user", user),
            before={"roles": list(before.values())},
            after={"roles": list(after.values())},
        )
        self.uow.after_commit(partial(self.rbac.forget_user, user))
        self.uow.commit()


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


def _found(role: RoleRow | None) -> RoleRow:
    if role is None:
        raise NotFound
    return role


def _check(permissions: Sequence[str]) -> None:
    wrong = [
        FieldError(f"/permissions/{index}", _why(name))
        for index, name in enumerate(permissions)
        if name not in TENANT_PERMISSIONS
    ]
    if wrong:
        raise InvalidInput("a tenant's own role cannot carry this", errors=tuple(wrong))


def _why(permission: str) -> str:
    return "a permission of the platform" if permission in PERMISSIONS else "there is no such permission"


def _told(role: RoleRow) -> dict[str, Any]:
    """For the audit trail."""
    return {"name": role.name, "description": role.description, "permissions": sorted(role.permissions)}
