"""Tenants: making them, naming them, what they may use, suspending them. Every change is audited."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from app.access import FEATURES, Actor, Origin
from app.errors import Conflict, FieldError, InvalidInput, NotFound, PermissionDenied
from app.repositories.keyset import PageOf
from app.repositories.tenants import TenantView
from app.services.features import Features
from app.unit_of_work import Database, SystemUnit
from models import Tenant

MANAGES: Final = "platform:tenants"
SETS_LIMITS: Final = "platform:quota"
RENAMES: Final = "tenant:update"
MAX_NAME: Final = 100
COMMAND: Final = Origin(via="command")


class Tenants:
    """`actor` None: whoever runs `manage.py` has the database itself.

    :param forget: drops what is remembered of a tenant's members
    """

    def __init__(self, database: Database, features: Features, *, forget: Callable[[UUID], None]) -> None:
        self._database = database
        self._features = features
        self._forget = forget

    def listing(self, actor: Actor | None, *, limit: int, cursor: str | None, status: str | None) -> PageOf[TenantView]:
        """All of them for whoever manages tenants, else those the caller may look at."""
        with self._database.system() as uow:
            within = None if _manages(actor) else _readable(uow, actor)
            return uow.tenants.listing(limit=limit, cursor=cursor, status=status, within=within)

    def get(self, actor: Actor, tenant_id: UUID) -> TenantView:
        """:raises NotFound: there is none, or it is not one she may look at"""
        with self._database.system() as uow:
            return _seen(uow, actor, tenant_id)

    def named(self, text: str) -> UUID:
        """By name or id.

        :raises NotFound: there is none
        """
        with self._database.system() as uow:
            found = uow.tenants.get(UUID(text)) if _is_uuid(text) else None
            tenant = found.tenant if found else uow.sign_in.tenant_named(text)
        if tenant is None:
            raise NotFound(f"there is no tenant {text}")
        return tenant.id

    def create(self, actor: Actor | None, values: dict[str, Any]) -> TenantView:
        """
        :raises InvalidInput: it cannot have that name
        :raises Conflict: another tenant has it
        """
        values = {**values, "name": clean_name(values["name"])}
        with self._database.system() as uow:
            tenant = uow.tenants.add(values)
            _record(uow, actor, "tenant.created", tenant.id, after=values)
            uow.commit()
            return _found(uow, tenant.id)

    def change(self, actor: Actor, tenant_id: UUID, values: dict[str, Any]) -> TenantView:
        """Give it another name, share or limits. What does not differ is no change.

        :raises NotFound: there is none, or it is not one she may look at
        :raises PermissionDenied: the name is its own administrators' (or the platform's), the rest the platform's
        :raises InvalidInput: it cannot have that name
        :raises Conflict: another tenant has it
        """
        if "name" in values:
            values = {**values, "name": clean_name(values["name"])}
        with self._database.system() as uow:
            _seen(uow, actor, tenant_id)
            _check_rights(actor, tenant_id, values)
            tenant = _held(uow, tenant_id)
            before = {name: getattr(tenant, name) for name, value in values.items() if getattr(tenant, name) != value}
            if before:
                after = {name: values[name] for name in before}
                uow.tenants.change(tenant, after)
                _record(uow, actor, "tenant.changed", tenant_id, before=before, after=after)
                uow.commit()
            return _found(uow, tenant_id)

    def suspend(self, actor: Actor | None, tenant_id: UUID) -> TenantView:
        """Nobody gets in, nothing of it is worked on, until it is resumed. Its data stay.

        :raises NotFound: there is none
        :raises Conflict: nobody could administer the platform any more
        """
        with self._database.system() as uow:
            uow.sign_in.lock_bootstrap()  # two who suspend each other's tenant would both see the other
            tenant = _held(uow, tenant_id)
            if tenant.status == "active":
                if uow.tenants.holds_last_platform_admin(tenant_id):
                    raise Conflict("the last administrator of the platform would be locked out")
                self._set_status(uow, actor, tenant, "suspended", "tenant.suspended")
            return _found(uow, tenant_id)

    def resume(self, actor: Actor | None, tenant_id: UUID) -> TenantView:
        """:raises NotFound: there is none"""
        with self._database.system() as uow:
            tenant = _held(uow, tenant_id)
            if tenant.status != "active":
                self._set_status(uow, actor, tenant, "active", "tenant.resumed")
            return _found(uow, tenant_id)

    def switch(self, actor: Actor, tenant_id: UUID, feature: str, *, enabled: bool) -> None:
        """:raises NotFound: there is no such tenant, or no such feature"""
        if feature not in FEATURES:
            raise NotFound
        with self._database.system() as uow:
            _held(uow, tenant_id)
            before = feature not in uow.tenants.off(tenant_id)
            if before != enabled:
                uow.tenants.switch(tenant_id, feature, enabled=enabled)
                _record(uow, actor, "feature.switched", tenant_id, before={feature: before}, after={feature: enabled})
                uow.after_commit(lambda: self._features.forget(tenant_id))
                uow.commit()

    def _set_status(self, uow: SystemUnit, actor: Actor | None, tenant: Tenant, status: str, action: str) -> None:
        before = {"status": tenant.status}
        uow.tenants.change(tenant, {"status": status})
        _record(uow, actor, action, tenant.id, before=before, after={"status": status})
        uow.after_commit(lambda: self._forget(tenant.id))
        uow.commit()


def clean_name(text: str) -> str:
    """A name as it is kept. What looks like an id is none, or signing in to one tenant could lead into another.

    >>> clean_name("  Acme GmbH ")
    'Acme GmbH'

    :raises InvalidInput: empty, long, with characters that do not show, or a UUID
    """
    name = unicodedata.normalize("NFC", text.strip())
    if not name or len(name) > MAX_NAME:
        raise _bad_name(f"send 1 to {MAX_NAME} characters")
    if not name.isprintable():
        raise _bad_name("holds characters that do not show")
    if _is_uuid(name):
        raise _bad_name("looks like an id")
    return name


def _bad_name(detail: str) -> InvalidInput:
    return InvalidInput(f"/name: {detail}", errors=(FieldError("/name", detail),))


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _manages(actor: Actor | None) -> bool:
    return actor is None or actor.may(MANAGES)


def _readable(uow: SystemUnit, actor: Actor | None) -> frozenset[UUID]:
    """Where the caller acts, and, signed in herself, where else she might."""
    assert actor is not None
    here = frozenset((actor.tenant_id,))
    herself = actor.key_id is None and actor.origin.via != "break_glass"
    return here | uow.tenants.readable_by(actor.user_id) if herself else here


def _seen(uow: SystemUnit, actor: Actor, tenant_id: UUID) -> TenantView:
    sees_all = _manages(actor) or actor.may(SETS_LIMITS)
    if not sees_all and tenant_id not in _readable(uow, actor):
        raise NotFound
    return _found(uow, tenant_id)


def _check_rights(actor: Actor, tenant_id: UUID, values: dict[str, Any]) -> None:
    if actor.may(MANAGES):
        return
    if "name" in values and not (tenant_id == actor.tenant_id and actor.may(RENAMES)):
        raise PermissionDenied(f"a name wants the permission {RENAMES} in that very tenant, or {MANAGES}")
    if values.keys() - {"name"}:
        actor.require(SETS_LIMITS, MANAGES)


def _record(
    uow: SystemUnit,
    actor: Actor | None,
    action: str,
    tenant_id: UUID,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """In the trail of the tenant it is about, whoever did it."""
    origin = COMMAND if actor is None else None
    on = ("tenant", tenant_id)
    uow.audit.record(action, by=actor, origin=origin, tenant_id=tenant_id, on=on, before=before, after=after)


def _held(uow: SystemUnit, tenant_id: UUID) -> Tenant:
    tenant = uow.tenants.lock(tenant_id)
    if tenant is None:
        raise NotFound
    return tenant


def _found(uow: SystemUnit, tenant_id: UUID) -> TenantView:
    view = uow.tenants.get(tenant_id)
    if view is None:
        raise NotFound
    return view
