"""Administrators made from the command line: the first one, and whoever must get in when nobody can."""

from __future__ import annotations

import secrets
from uuid import UUID

from app.access import Origin
from app.errors import ConfigurationError, NotFound
from app.services.emails import canonical
from app.services.passwords import Passwords
from app.settings import Settings
from app.unit_of_work import Database, SystemUnit
from models import User

DEFAULT_TENANT = "default"
FIRST_ROLES = ("platform_admin", "tenant_admin")
COMMAND = Origin("command")


def bootstrap_admin(
    database: Database, settings: Settings, *, generated: str | None = None, passwords: Passwords | None = None
) -> str | None:
    """Make the first administrator if there is none; the password if one was generated, to be shown once.

    Any number of processes may start at once: one makes it, the others find it.

    :raises InvalidInput: the address is none, or the password is too short or, in production, easily guessed
    """
    chosen = settings.admin_password.get_secret_value() if settings.admin_password else None
    password = chosen or generated or secrets.token_urlsafe(18)
    email, hashing = canonical(settings.admin_email), passwords or Passwords()
    with database.system() as uow:
        uow.sign_in.lock_bootstrap()
        if uow.sign_in.has_platform_admin():
            return None
        user = uow.sign_in.user_by_email(email)
        known = user is not None
        if user is None:
            hashed = hashing.hash_new(password, about=[email]) if settings.is_production else hashing.hash(password)
            user = uow.sign_in.add_user(email, hashed)
        _give(uow, user, _tenant(uow, None), FIRST_ROLES, "user.created")
        uow.commit()
    return None if chosen or known else password


def create_admin(
    database: Database, *, email: str, password: str, tenant: str | None = None, passwords: Passwords | None = None
) -> None:
    """Make an administrator, of the platform or of one tenant; one who exists is let in again.

    She gets the password and the roles, a disabled account is opened, and whatever sessions there were end.

    :raises InvalidInput: no address, or a password not to use
    :raises NotFound: no such tenant
    """
    email = canonical(email)
    hashed = (passwords or Passwords()).hash_new(password, about=[email, tenant or DEFAULT_TENANT])
    with database.system() as uow:
        uow.sign_in.lock_bootstrap()
        place = _tenant(uow, tenant)
        user, action = uow.sign_in.user_by_email(email), "user.recovered"
        if user is None:
            user, action = uow.sign_in.add_user(email, hashed), "user.created"
        else:
            _let_in(uow, user, hashed)
        _give(uow, user, place, FIRST_ROLES if tenant is None else ("tenant_admin",), action)
        uow.commit()


def _let_in(uow: SystemUnit, user: User, hashed: str) -> None:
    uow.sign_in.set_password(user.id, hashed)
    uow.people.set_status(user.id, "active")
    uow.people.spend_resets_of(user.id)
    uow.sessions.end_all(user.id)


def _give(uow: SystemUnit, user: User, tenant_id: UUID, roles: tuple[str, ...], action: str) -> None:
    for role in roles:
        uow.sign_in.assign(user.id, tenant_id, role)
    given = {"email": user.email, "roles": list(roles)}
    uow.audit.record(action, origin=COMMAND, tenant_id=tenant_id, on=("user", user.id), after=given)


def _tenant(uow: SystemUnit, name: str | None) -> UUID:
    """By its name, else the one that the migrations made: whatever it is called now, and whoever took its name."""
    tenant = uow.sign_in.first_tenant() if name is None else uow.sign_in.tenant_named(name)
    if tenant is not None:
        return tenant.id
    if name is None:
        raise ConfigurationError("the database has no tenant: run the migrations first")
    raise NotFound(f"there is no tenant {name}")
