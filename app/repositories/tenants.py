"""Tenants: names, states, shares, limits, and the parts of the platform that are switched off for them."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.errors import Conflict
from app.repositories.keyset import PageOf, decode, page
from models import Permission, Role, RolePermission, Tenant, TenantFeature, User, UserRole

LIMITS = ("max_batch_domains", "max_open_jobs", "max_urls", "max_host_requests")


class TenantView(NamedTuple):
    tenant: Tenant
    off: frozenset[str]  # features


class Tenants:
    """Bound to a tenant, or (`None`, system role) over all of them."""

    def __init__(self, session: Session, tenant_id: UUID | None) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def own(self) -> Tenant:
        """The tenant this is bound to; no tenant is ever deleted."""
        return self._session.scalars(self._tenants()).one()

    def get(self, tenant_id: UUID) -> TenantView | None:
        views = self._views(self._tenants().where(Tenant.id == tenant_id))
        return views[0] if views else None

    def listing(
        self, *, limit: int, cursor: str | None, status: str | None, within: frozenset[UUID] | None
    ) -> PageOf[TenantView]:
        """In the order they were made; `within` those only."""
        last = decode(cursor, (UUID,))
        query = self._tenants().order_by(Tenant.id).limit(limit + 1)
        if last is not None:
            query = query.where(Tenant.id > last[0])
        if status is not None:
            query = query.where(Tenant.status == status)
        if within is not None:
            query = query.where(Tenant.id.in_(within))
        return page(self._views(query), limit, lambda view: (view.tenant.id,))

    def lock(self, tenant_id: UUID) -> Tenant | None:
        """The tenant, held until the transaction ends; who submits in it meanwhile is not kept waiting."""
        query = self._tenants().where(Tenant.id == tenant_id).with_for_update(key_share=True)
        return self._session.scalars(query).one_or_none()

    def add(self, values: dict[str, Any]) -> Tenant:
        """:raises Conflict: another tenant has that name"""
        tenant = Tenant(**values)
        self._session.add(tenant)
        self._flush()
        return tenant

    def change(self, tenant: Tenant, values: dict[str, Any]) -> None:
        """:raises Conflict: another tenant has that name"""
        for name, value in values.items():
            setattr(tenant, name, value)
        self._flush()

    def off(self, tenant_id: UUID) -> frozenset[str]:
        """Features that are switched off."""
        query = sa.select(TenantFeature.name).where(TenantFeature.tenant_id == tenant_id, ~TenantFeature.enabled)
        return frozenset(self._session.scalars(query))

    def switch(self, tenant_id: UUID, feature: str, *, enabled: bool) -> None:
        self._session.execute(
            insert(TenantFeature)
            .values(tenant_id=tenant_id, name=feature, enabled=enabled)
            .on_conflict_do_update(index_elements=["tenant_id", "name"], set_={"enabled": enabled})
        )

    def readable_by(self, user_id: UUID) -> frozenset[UUID]:
        """Where a role of hers holds `tenant:read`."""
        query = (
            sa.select(UserRole.tenant_id)
            .join(RolePermission, RolePermission.role_id == UserRole.role_id)
            .join(Permission, Permission.id == RolePermission.permission_id)
            .where(UserRole.user_id == user_id, Permission.name == "tenant:read")
        )
        return frozenset(self._session.scalars(query))

    def holds_last_platform_admin(self, tenant_id: UUID) -> bool:
        """Whether those who may administer the platform all do so from this tenant."""
        query = (
            sa.select(UserRole.tenant_id)
            .join(Role, Role.id == UserRole.role_id)
            .join(User, User.id == UserRole.user_id)
            .join(Tenant, Tenant.id == UserRole.tenant_id)
            .where(Role.name == "platform_admin", Role.tenant_id.is_(None))
            .where(User.status == "active", Tenant.status == "active")
            .distinct()
        )
        return self._session.scalars(query).all() == [tenant_id]

    def _tenants(self) -> sa.Select[Tenant]:
        query = sa.select(Tenant).execution_options(populate_existing=True)
        return query if self._tenant_id is None else query.where(Tenant.id == self._tenant_id)

    def _views(self, query: sa.Select[Tenant]) -> list[TenantView]:
        off = (
            sa.select(sa.func.array_agg(TenantFeature.name))
            .where(TenantFeature.tenant_id == Tenant.id, ~TenantFeature.enabled)
            .correlate(Tenant)
            .scalar_subquery()
        )
        rows = self._session.execute(query.add_columns(off))
        return [TenantView(tenant, frozenset(names or ())) for tenant, names in rows]

    def _flush(self) -> None:
        try:
            self._session.flush()
        except sa.exc.IntegrityError as error:
            if isinstance(error.orig, psycopg.errors.UniqueViolation):
                raise Conflict("another tenant has this name") from error
            raise
