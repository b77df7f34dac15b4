"""Roles as a tenant sees them: the built-in ones, which nobody changes, and its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as DbSession

from app.repositories.keyset import PageOf, decode, page
from models import Invitation, Permission, Role, RolePermission, UserRole


@dataclass(frozen=True, slots=True)
class RoleRow:
    id: int
    name: str
    description: str | None
    built_in: bool
    permissions: frozenset[str]
    created_at: datetime


class Roles:
    def __init__(self, session: DbSession, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def get(self, key: int | str) -> RoleRow | None:
        """By id or name: no name is a number, and a tenant's own role has no built-in one's."""
        which = Role.id == key if isinstance(key, int) else Role.name == key
        return next(iter(self._with_permissions(self._session.scalars(self._seen().where(which)).all())), None)

    def hold(self, role_id: int) -> bool:
        """Keep one of the tenant's own as it is, and out of anybody's hands, until the transaction ends."""
        held = self._session.scalar(
            sa.select(Role.id).where(Role.id == role_id, Role.tenant_id == self._tenant_id).with_for_update()
        )
        return held is not None

    def listing(self, *, limit: int, cursor: str | None) -> PageOf[RoleRow]:
        last = decode(cursor, (str,))
        query = self._seen().order_by(Role.name).limit(limit + 1)
        if last is not None:
            query = query.where(Role.name > last[0])
        return page(self._with_permissions(self._session.scalars(query).all()), limit, lambda role: (role.name,))

    def permissions(self, *, limit: int, cursor: str | None) -> PageOf[str]:
        """Those there are."""
        last = decode(cursor, (str,))
        query = sa.select(Permission.name).order_by(Permission.name).limit(limit + 1)
        if last is not None:
            query = query.where(Permission.name > last[0])
        return page(self._session.scalars(query).all(), limit, lambda name: (name,))

    def own(self) -> int:
        """How many are the tenant's own."""
        query = sa.select(sa.func.count()).select_from(Role).where(Role.tenant_id == self._tenant_id)
        return self._session.scalar(query) or 0

    def add(self, name: str, description: str | None) -> int | None:
        """Its id; None when the name is taken."""
        return self._session.scalar(
            insert(Role)
            .values(tenant_id=self._tenant_id, name=name, description=description)
            .on_conflict_do_nothing(index_elements=["tenant_id", "name"])
            .returning(Role.id)
        )

    def describe(self, role_id: int, *, name: str, description: str | None) -> bool:
        """False when the name is taken; the transaction is good for nothing then."""
        try:
            self._session.execute(
                sa.update(Role)
                .where(Role.id == role_id, Role.tenant_id == self._tenant_id)
                .values(name=name, description=description)
            )
        except IntegrityError:
            return False
        return True

    def carry(self, role_id: int, *, more: Collection[str], less: Collection[str]) -> None:
        """Put permissions into a role of the tenant's own, and take others out."""
        named = sa.select(sa.literal(role_id), Permission.id).where(Permission.name.in_(more))
        self._session.execute(insert(RolePermission).from_select(["role_id", "permission_id"], named))
        gone = sa.select(Permission.id).where(Permission.name.in_(less))
        self._session.execute(
            sa.delete(RolePermission).where(RolePermission.role_id == role_id, RolePermission.permission_id.in_(gone))
        )

    def in_use(self, role_id: int) -> bool:
        """Somebody holds it, or is invited to."""
        held = sa.exists().where(UserRole.role_id == role_id)
        promised = sa.exists().where(
            Invitation.role_id == role_id,
            Invitation.accepted_at.is_(None),
            Invitation.revoked_at.is_(None),
            Invitation.expires_at > sa.func.now(),
        )
        return bool(self._session.scalar(sa.select(sa.or_(held, promised))))

    def delete(self, role_id: int) -> None:
        self._session.execute(sa.delete(Role).where(Role.id == role_id, Role.tenant_id == self._tenant_id))

    def _seen(self) -> sa.Select[Role]:
        mine = sa.or_(Role.tenant_id.is_(None), Role.tenant_id == self._tenant_id)
        return sa.select(Role).where(mine).execution_options(populate_existing=True)

    def _with_permissions(self, roles: Sequence[Role]) -> list[RoleRow]:
        query = (
            sa.select(RolePermission.role_id, sa.func.array_agg(Permission.name))
            .join(Permission, Permission.id == RolePermission.permission_id)
            .where(RolePermission.role_id.in_([role.id for role in roles]))
            .group_by(RolePermission.role_id)
        )
        carried = {role_id: frozenset(names) for role_id, names in self._session.execute(query)}
        return [
            RoleRow(
                id=role.id,
                name=role.name,
                description=role.description,
                built_in=role.tenant_id is None,
                permissions=carried.get(role.id, frozenset()),
                created_at=role.created_at,
            )
            for role in roles
        ]
