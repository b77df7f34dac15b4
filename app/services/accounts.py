"""Sign-in, the rotation of refresh tokens, and who a token's bearer is right now."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

import structlog

from app.access import Actor
from app.errors import AuthenticationFailed, ConfigurationError, NotFound, PermissionDenied
from app.repositories.accounts import Membership
from app.services import password_rules
from app.services.credentials import Claims, digest
from app.services.emails import canonical, looked_for
from app.services.passwords import Passwords
from app.services.rbac import RBACService
from app.services.standing import Standings
from app.settings import Settings
from app.unit_of_work import Database, SystemUnit

log = structlog.get_logger(__name__)
DEFAULT_TENANT = "default"
FIRST_ROLES = ("platform_admin", "tenant_admin")
MAX_USER_AGENT = 300


@dataclass(frozen=True, slots=True)
class Grant:
    """A session opened or prolonged: what the two tokens are made from."""

    claims: Claims
    refresh_token: str


@dataclass(frozen=True, slots=True)
class TenantRef:
    id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Profile:
    """What a signed-in person may know of herself."""

    actor: Actor
    tenant: TenantRef
    tenants: list[TenantRef]


class AccountService:
    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        passwords: Passwords,
        standings: Standings | None = None,
    ) -> None:
        self._database = database
        self._seconds = settings.refresh_token_seconds
        self._passwords = passwords
        self.standings = standings or Standings(database, RBACService(database))

    def sign_in(
        self,
        email: str,
        password: str,
        *,
        tenant: str | None = None,
        user_agent: str | None = None,
        address: str | None = None,
    ) -> Grant:
        """Open a session in `tenant` (a name or an id), by default where the membership is oldest.

        :raises AuthenticationFailed: the same for an unknown user, a disabled one and a wrong password
        :raises PermissionDenied: no member of that tenant, or the tenant is suspended
        """
        with self._database.system() as uow:
            user = uow.sign_in.user_by_email(looked_for(email))
        # No connection is held while the hash is made: it takes longer than all the statements.
        matches = self._passwords.matches(user.password_hash if user else None, password)
        if user is None or not matches or user.status != "active":
            log.info("sign-in refused", email=email, address=address)
            raise AuthenticationFailed("the e-mail address or the password is wrong")
        with self._database.system() as uow:
            member = _member(uow, user.id, _choose(uow, user.id, tenant))
            grant = self._open(uow, member, user_agent=user_agent, address=address)
            uow.commit()
        log.info("signed in", user=str(user.id), tenant=str(grant.claims.tenant_id), address=address)
        return grant

    def refresh(self, token: str) -> Grant:
        """Trade a refresh token for the next one. A token that was traded before ends its session.

        :raises AuthenticationFailed: not the newest token of a living session
        """
        session_id = _session_of(token)
        fresh = _new_token(session_id)
        with self._database.system() as uow:
            rotated = uow.sign_in.rotate(
                session_id, old_hash=digest(token), new_hash=digest(fresh), seconds=self._seconds
            )
            session = uow.sign_in.session(session_id)
            if session is None or not rotated:
                # Whoever comes with a token already traded is a thief, or was robbed by one: both must sign in anew.
                uow.sign_in.revoke(session_id)
                uow.after_commit(lambda: self.standings.forget_session(session_id))
                uow.commit()
                log.warning("refresh token refused, session ended", session=str(session_id))
                raise AuthenticationFailed("the refresh token is expired, revoked or was used before")
            member = _member(uow, session.user_id, session.tenant_id)
            uow.commit()
        return Grant(_claims(member, session_id), fresh)

    def sign_out(self, claims: Claims) -> None:
        with self._database.system() as uow:
            uow.sign_in.revoke(claims.session_id)
            uow.after_commit(lambda: self.standings.forget_session(claims.session_id))
            uow.commit()

    def sign_out_with(self, token: str) -> None:
        """End the session a refresh token belongs to; an unknown token ends nothing."""
        try:
            session_id = _session_of(token)
        except AuthenticationFailed:
            return
        with self._database.system() as uow:
            session = uow.sign_in.session(session_id)
            if session is not None and secrets.compare_digest(session.refresh_hash, digest(token)):
                uow.sign_in.revoke(session_id)
                uow.after_commit(lambda: self.standings.forget_session(session_id))
                uow.commit()

    def switch(self, actor: Actor, tenant: str, *, user_agent: str | None, address: str | None) -> Grant:
        """Go on in another tenant: a new session there, the old one ends.

        :raises PermissionDenied: no member of that tenant, or the tenant is suspended
        """
        with self._database.system() as uow:
            member = _member(uow, actor.user_id, _choose(uow, actor.user_id, tenant))
            grant = self._open(uow, member, user_agent=user_agent, address=address)
            if actor.session_id is not None:
                uow.sign_in.revoke(actor.session_id)
                uow.after_commit(partial(self.standings.forget_session, actor.session_id))
            uow.commit()
        return grant

    def forget(self, user_id: UUID) -> None:
        """For `after_commit` of what changed somebody's rights, password or status: it takes effect at once then."""
        self.standings.forget(user_id)

    def forget_tenant(self, tenant_id: UUID) -> None:
        """For `after_commit` of what changed what holds for all of a tenant's members: a role, a suspension."""
        self.standings.forget_tenant(tenant_id)

    def profile(self, actor: Actor) -> Profile:
        with self._database.system() as uow:
            tenants = [TenantRef(tenant.id, tenant.name) for tenant in uow.sign_in.tenants_of(actor.user_id)]
        with self._database.for_tenant(actor.tenant_id) as here:
            tenant = here.accounts.tenant()
        if tenant is None:
            raise NotFound
        # Break-glass acts in a tenant she is no member of.
        return Profile(actor, TenantRef(tenant.id, tenant.name), tenants)

    def _open(self, uow: SystemUnit, member: Membership, *, user_agent: str | None, address: str | None) -> Grant:
        session_id = uuid4()
        token = _new_token(session_id)
        uow.sign_in.open_session(
            session_id=session_id,
            tenant_id=member.tenant.id,
            user_id=member.user.id,
            refresh_hash=digest(token),
            seconds=self._seconds,
            user_agent=user_agent[:MAX_USER_AGENT] if user_agent else None,
            address=address,
        )
        return Grant(_claims(member, session_id), token)


def bootstrap_admin(
    database: Database, settings: Settings, *, generated: str | None = None, passwords: Passwords | None = None
) -> str | None:
    """Make the first administrator if there is none; the password if one was generated, to be shown once.

    Any number of processes may start at once: one makes it, the others find it.
    """
    chosen = settings.admin_password.get_secret_value() if settings.admin_password else None
    password = chosen or generated or secrets.token_urlsafe(18)
    email = canonical(settings.admin_email)
    with database.system() as uow:
        uow.sign_in.lock_bootstrap()
        if uow.sign_in.has_platform_admin():
            return None
        known = uow.sign_in.user_by_email(email) is not None
        _make_admin(uow, email, None if known else (passwords or Passwords()).hash(password))
        uow.commit()
    return None if chosen or known else password


def create_admin(database: Database, *, email: str, password: str, passwords: Passwords | None = None) -> None:
    """Make an administrator, or give one who exists a new password and the roles back.

    :raises InvalidInput: no address, or the password is shorter or longer than allowed, or easily guessed
    """
    email = canonical(email)
    password_rules.check(password, about=[email])
    hashed = (passwords or Passwords()).hash(password)
    with database.system() as uow:
        uow.sign_in.lock_bootstrap()
        _make_admin(uow, email, hashed)
        uow.commit()


def _make_admin(uow: SystemUnit, email: str, password_hash: str | None) -> None:
    tenant = uow.sign_in.tenant_named(DEFAULT_TENANT)
    if tenant is None:
        raise ConfigurationError("the database has no tenant `default`: run the migrations first")
    user = uow.sign_in.user_by_email(email)
    if user is None:
        user = uow.sign_in.add_user(email, password_hash or "")
    elif password_hash is not None:
        uow.sign_in.set_password(user.id, password_hash)
    for role in FIRST_ROLES:
        uow.sign_in.assign(user.id, tenant.id, role)


def _choose(uow: SystemUnit, user_id: UUID, wanted: str | None) -> UUID:
    tenants = uow.sign_in.tenants_of(user_id)
    if wanted is not None:
        tenants = [tenant for tenant in tenants if wanted in (tenant.name, str(tenant.id))]
    # Somebody in several tenants is not locked out because the oldest of them is suspended.
    tenants.sort(key=lambda tenant: tenant.status != "active")
    if not tenants:
        raise PermissionDenied("you are a member of no such tenant")
    return tenants[0].id


def _member(uow: SystemUnit, user_id: UUID, tenant_id: UUID) -> Membership:
    member = uow.sign_in.membership(user_id, tenant_id)
    if member is None or member.user.status != "active":
        raise AuthenticationFailed("the account is disabled or no longer a member here")
    if member.tenant.status != "active":
        raise PermissionDenied("this tenant is suspended")
    return member


def _claims(member: Membership, session_id: UUID) -> Claims:
    return Claims(
        user_id=member.user.id,
        tenant_id=member.tenant.id,
        session_id=session_id,
        version=member.user.authz_version,
    )


def _new_token(session_id: UUID) -> str:
    return f"{session_id.hex}.{secrets.token_urlsafe(32)}"


def _session_of(token: str) -> UUID:
    try:
        return UUID(hex=token[:32])
    except ValueError:
        raise AuthenticationFailed("this is not a refresh token") from None
