"""Users as members of tenants: who there is, and which roles each holds where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from app.repositories.keyset import PageOf, decode, page
from models import Role, Tenant, User, UserRole

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
