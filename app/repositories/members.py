"""Users as members of tenants: who there is, and which roles each holds where."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as DbSession
from sqlalchemy.orm import aliased

from app.access import ADMINISTRATOR_ROLES
from app.errors import NotFound
from app.repositories.accounts import ADMINISTRATORS
from app.repositories.keyset import PageOf, decode, page
from models import ApiKey, Permission, Role, RolePermission, Session, Tenant, User, UserRole

# Not the entity: the app role may not read password hashes.
_COLUMNS = (User.id, User.email, User.status, User.created_at)


@dataclass(frozen=True, slots=True)
class Place:
    """A tenant, and the roles somebody holds there."""

    id: UUID
    name: str
    roles: list[str]


@dataclass(frozen=True, slots=True)
class Member:
    id: UUID
    email: str
    status: str
    created_at: datetime
    places: list[Place]

    def roles_in(self, tenant: UUID) -> list[str]:
        return next((place.roles for place in self.places if place.id == tenant), [])


class Members:
    """Bound to a tenant, or (`None`, system role) to none: then it knows every user and where each belongs."""

    def __init__(self, session: DbSession, tenant_id: UUID | None) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def get(self, user_id: UUID) -> Member | None:
        rows = self._session.execute(self._people().where(User.id == user_id)).all()
        return next(iter(self._with_places(rows)), None)

    def listing(self, *, limit: int, cursor: str | None, email: str | None) -> PageOf[Member]:
        """In the order of addresses; `email` matches the start."""
        last = decode(cursor, (str,))
        address = sa.func.lower(User.email)
        query = self._people().order_by(address).limit(limit + 1)
        if last is not None:
            query = query.where(address > last[0])
        if email is not None:
            query = query.where(address.startswith(email.lower(), autoescape=True))
        members = self._with_places(self._session.execute(query).all())
        return page(members, limit, lambda member: (member.email.lower(),))

    def bump(self, user_ids: Sequence[UUID]) -> list[UUID]:
        """Make tokens that are out worthless, and hold these users until the transaction ends; those it found."""
        found = self._people().with_only_columns(User.id).where(User.id.in_(user_ids))
        in_order = found.order_by(User.id).with_for_update(
            key_share=True
        )  # whoever else wants several waits at the first
        query = (
            sa.update(User)
            .where(User.id.in_(in_order))
            .values(authz_version=User.authz_version + 1)
            .returning(User.id)
            .execution_options(synchronize_session=False)
        )
        return list(self._session.scalars(query))

    def lock_administrators(self) -> None:
        """One at a time takes rights from administrators, so that two cannot at once take each other's."""
        self._session.execute(sa.select(sa.func.pg_advisory_xact_lock(ADMINISTRATORS)))

    def sole_administrator_of(self, user_id: UUID) -> list[tuple[str, str]]:
        """Tenants, and administrators' roles there, that nobody else active holds."""
        return _vacated(self._session, user_id, self._tenant_id)

    def _people(self) -> sa.Select[UUID, str, str, datetime]:
        query = sa.select(*_COLUMNS)
        if self._tenant_id is None:
            return query
        return query.where(sa.exists().where(UserRole.user_id == User.id, UserRole.tenant_id == self._tenant_id))

    def _with_places(self, people: Sequence[sa.Row[UUID, str, str, datetime]]) -> list[Member]:
        members = {row.id: Member(row.id, row.email, row.status, row.created_at, []) for row in people}
        query = (
            sa.select(UserRole.user_id, Tenant.id, Tenant.name, sa.func.array_agg(Role.name))
            .join(Tenant, Tenant.id == UserRole.tenant_id)
            .join(Role, Role.id == UserRole.role_id)
            .where(UserRole.user_id.in_(members))
            .group_by(UserRole.user_id, Tenant.id)
            .order_by(Tenant.name)
        )
        if self._tenant_id is not None:
            query = query.where(UserRole.tenant_id == self._tenant_id)
        for user_id, tenant_id, name, roles in self._session.execute(query):
            members[user_id].places.append(Place(tenant_id, name, sorted(roles)))
        return list(members.values())


class Memberships:
    """Who holds which role in one tenant."""

    def __init__(self, session: DbSession, tenant_id: UUID) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def vacated(self, user_id: UUID, roles: Collection[str]) -> list[str]:
        """Those of the administrators' roles that nobody active would hold once this user has lost `roles` here."""
        return [role for _, role in _vacated(self._session, user_id, self._tenant_id) if role in roles]

    def roles_of(self, user_id: UUID) -> dict[int, str]:
        query = (
            sa.select(Role.id, Role.name)
            .join(UserRole, UserRole.role_id == Role.id)
            .where(UserRole.user_id == user_id, UserRole.tenant_id == self._tenant_id)
            .order_by(Role.name)
        )
        return {role_id: name for role_id, name in self._session.execute(query)}  # noqa: C416 - dict() takes a result for a mapping

    def permissions_of(self, user_id: UUID) -> set[str]:
        """Whatever the user's or the tenant's status."""
        query = (
            sa.select(Permission.name)
            .join(RolePermission, RolePermission.permission_id == Permission.id)
            .join(UserRole, UserRole.role_id == RolePermission.role_id)
            .where(UserRole.user_id == user_id, UserRole.tenant_id == self._tenant_id)
        )
        return set(self._session.scalars(query))

    def holders(self, role_id: int) -> list[UUID]:
        query = sa.select(UserRole.user_id).where(UserRole.role_id == role_id, UserRole.tenant_id == self._tenant_id)
        return list(self._session.scalars(query))

    def give(self, user_id: UUID, role_id: int) -> bool:
        """False when it is held already, or there is no such role here any more.

        :raises NotFound: the role, the user or the tenant goes this moment
        """
        here = sa.or_(Role.tenant_id.is_(None), Role.tenant_id == self._tenant_id)
        row = sa.select(sa.literal(self._tenant_id), sa.literal(user_id), Role.id).where(Role.id == role_id, here)
        given = (
            insert(UserRole)
            .from_select(["tenant_id", "user_id", "role_id"], row)
            .on_conflict_do_nothing()
            .returning(UserRole.role_id)
        )
        try:
            return self._session.scalar(given) is not None
        except IntegrityError:
            raise NotFound from None

    def take(self, user_id: UUID, role_id: int) -> None:
        self._session.execute(
            sa.delete(UserRole).where(
                UserRole.tenant_id == self._tenant_id, UserRole.user_id == user_id, UserRole.role_id == role_id
            )
        )

    def end(self, user_id: UUID) -> None:
        """All roles here, and with them the sessions and API keys that acted by them."""
        for table, owner in ((Session, Session.user_id), (ApiKey, ApiKey.created_by)):
            self._session.execute(
                sa.update(table)
                .where(table.tenant_id == self._tenant_id, owner == user_id, table.revoked_at.is_(None))
                .values(revoked_at=sa.func.now())
            )
        self._session.execute(
            sa.delete(UserRole).where(UserRole.tenant_id == self._tenant_id, UserRole.user_id == user_id)
        )


def _vacated(session: DbSession, user_id: UUID, tenant_id: UUID | None) -> list[tuple[str, str]]:
    """Tenant and administrators' role of each that nobody active would hold without this user's memberships.

    :param tenant_id: without those there only. A tenant has administrators of its own; the platform's may sit in any
        tenant that is not suspended.
    """
    lost, other, seat = aliased(UserRole), aliased(UserRole), aliased(Tenant)
    lost_too = other.user_id == user_id
    if tenant_id is not None:
        lost_too = sa.and_(lost_too, other.tenant_id == tenant_id)
    elsewhere = sa.and_(Role.name == "platform_admin", seat.status == "active")
    left = (
        sa.select(other.user_id)  # not `*`: the app role may not read all of users
        .join(User, User.id == other.user_id)
        .join(seat, seat.id == other.tenant_id)
        .where(other.role_id == lost.role_id, sa.not_(lost_too), User.status == "active")
        .where(sa.or_(other.tenant_id == lost.tenant_id, elsewhere))
        .correlate(lost, Role)
        .exists()
    )
    query = (
        sa.select(Tenant.name, Role.name)
        .join(lost, lost.tenant_id == Tenant.id)
        .join(Role, Role.id == lost.role_id)
        .where(lost.user_id == user_id, Role.tenant_id.is_(None), Role.name.in_(ADMINISTRATOR_ROLES), ~left)
    )
    if tenant_id is not None:
        query = query.where(lost.tenant_id == tenant_id)
    return [(tenant, role) for tenant, role in session.execute(query)]
