"""Sign-in, the rotation of refresh tokens, and who a token's bearer is right now."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from app.access import Actor, Origin
from app.errors import AuthenticationFailed, NotFound, PermissionDenied
from app.repositories.accounts import Membership
from app.services.credentials import Claims, digest
from app.services.emails import looked_for
from app.services.passwords import Passwords
from app.services.rbac import RBACService
from app.services.refusals import Refusals
from app.services.standing import Standings
from app.settings import Settings
from app.unit_of_work import Database, SystemUnit
from models import Session

log = structlog.get_logger(__name__)
NOWHERE = Origin()
MAX_USER_AGENT = 300


@dataclass(frozen=True, slots=True)
class Grant:
    """A session opened or prolonged: what the two tokens are made from."""

    claims: Claims
    refresh_token: str
    ends_at: datetime | None = None  # when it ends however often it is refreshed


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
        self._refusals = Refusals(database)
        self.standings = standings or Standings(database, RBACService(database))

    def sign_in(
        self,
        email: str,
        password: str,
        *,
        tenant: str | None = None,
        user_agent: str | None = None,
        origin: Origin = NOWHERE,
    ) -> Grant:
        """Open a session in `tenant` (a name or an id), by default where the membership is oldest.

        :raises AuthenticationFailed: the same for an unknown user, a disabled one and a wrong password
        :raises PermissionDenied: no member of that tenant, or the tenant is suspended
        """
        claimed = looked_for(email)
        with self._database.system() as uow:
            user = uow.sign_in.user_by_email(claimed)
        # No connection is held while the hash is made: it takes longer than all the statements.
        matches = self._passwords.matches(user.password_hash if user else None, password)
        if user is None or not matches or user.status != "active":
            reason = "unknown account" if user is None else "disabled account" if matches else "wrong password"
            self._refusals.record(claimed, user, reason, origin)
            raise AuthenticationFailed("the e-mail address or the password is wrong")
        try:
            with self._database.system() as uow:
                # Whatever ends her sessions is over by now, or will find this one.
                held = uow.people.hold(user.id)
                if held is None or held.password_hash != user.password_hash:
                    raise AuthenticationFailed("the password was changed this moment")
                chosen = _choose(uow, user.id, tenant)
                if chosen is None:
                    raise PermissionDenied("you are a member of no such tenant")
                member = _member(uow, user.id, chosen)
                grant = self._open(uow, member, user_agent=user_agent, origin=origin)
                uow.commit()
        except PermissionDenied as error:
            self._refusals.record(claimed, user, error.detail, origin)
            raise
        log.info("signed in", user=str(user.id), tenant=str(grant.claims.tenant_id), address=origin.address)
        return grant

    def refresh(self, token: str, *, origin: Origin = NOWHERE) -> Grant:
        """Trade a refresh token for the next one. A token that was traded before ends its session.

        :raises AuthenticationFailed: not the newest token of a living session, or no member any longer
        :raises PermissionDenied: the tenant is suspended
        """
        session_id = _session_of(token)
        fresh = new_token(session_id)
        with self._database.system() as uow:
            session = uow.sign_in.rotate(
                session_id, old_hash=digest(token), new_hash=digest(fresh), seconds=self._seconds
            )
            if session is None:
                # Whoever comes with a token already traded is a thief, or was robbed by one: both must sign in anew.
                self._end(uow, uow.sessions.end(session_id), "session.reused", origin)
                log.warning("refresh token refused", session=str(session_id), address=origin.address)
                raise AuthenticationFailed("the refresh token is expired, revoked or was used before")
            if session.reason is not None:
                return self._go_on_looking(uow, session, fresh)
            member = _member(uow, session.user_id, session.tenant_id)
            uow.commit()
        return Grant(_claims(member, session_id), fresh)

    def sign_out(self, claims: Claims, *, origin: Origin = NOWHERE) -> None:
        with self._database.system() as uow:
            self._end(uow, uow.sessions.end(claims.session_id), "session.ended", origin)

    def sign_out_with(self, token: str, *, origin: Origin = NOWHERE) -> None:
        """End the session a refresh token belongs to; an unknown token ends nothing."""
        try:
            session_id = _session_of(token)
        except AuthenticationFailed:
            return
        with self._database.system() as uow:
            self._end(uow, uow.sessions.end(session_id, refresh_hash=digest(token)), "session.ended", origin)

    def switch(self, actor: Actor, tenant: str, *, user_agent: str | None) -> Grant:
        """Go on in another tenant: a new session there, the old one ends.

        :raises NotFound: no member of that tenant, or there is no such tenant: which of both is nobody else's business
        :raises PermissionDenied: the tenant is suspended
        """
        with self._database.system() as uow:
            uow.people.hold(actor.user_id)
            chosen = _choose(uow, actor.user_id, tenant)
            if chosen is None:
                raise NotFound
            member = _member(uow, actor.user_id, chosen)
            grant = self._open(uow, member, user_agent=user_agent, origin=actor.origin)
            ended = uow.sessions.end(actor.session_id) if actor.session_id else None
            if ended is None:
                raise AuthenticationFailed("the session has ended; sign in again")
            self._end(uow, ended, "session.ended", actor.origin)
        return grant

    def forget(self, user_id: UUID) -> None:
        """For `after_commit` of what changed somebody's rights, password or status: it takes effect at once then."""
        self.standings.forget(user_id)

    def forget_tenant(self, tenant_id: UUID) -> None:
        """For `after_commit` of what changed what holds for all of a tenant's members: a role, a suspension."""
        self.standings.forget_tenant(tenant_id)

    def profile(self, actor: Actor) -> Profile:
        with self._database.for_tenant(actor.tenant_id) as uow:
            tenant = uow.accounts.tenant()
        if tenant is None:
            raise NotFound
        here = TenantRef(tenant.id, tenant.name)
        if actor.is_delegate:  # where else its maker belongs is not a program's business, nor the tenant's looked into
            return Profile(actor, here, [here])
        with self._database.system() as system:
            tenants = [TenantRef(one.id, one.name) for one in system.sign_in.tenants_of(actor.user_id)]
        return Profile(actor, here, tenants)

    def _open(self, uow: SystemUnit, member: Membership, *, user_agent: str | None, origin: Origin) -> Grant:
        session_id = uuid7()
        token = new_token(session_id)
        uow.sign_in.open_session(
            session_id=session_id,
            tenant_id=member.tenant.id,
            user_id=member.user.id,
            refresh_hash=digest(token),
            seconds=self._seconds,
            user_agent=_shown(user_agent),
            address=origin.address,
        )
        by = Actor(member.user.id, member.tenant.id, member.user.email, session_id=session_id, origin=origin)
        uow.audit.record("session.opened", by=by, tenant_id=member.tenant.id, on=("session", session_id))
        return Grant(_claims(member, session_id), token)

    def _go_on_looking(self, uow: SystemUnit, session: Session, token: str) -> Grant:
        """Break-glass: no membership is asked for, and the end stays where it was."""
        opener = uow.credentials.opener(session.user_id)
        if opener is None:
            raise AuthenticationFailed("the account is disabled or may not look into tenants any longer")
        uow.commit()
        claims = Claims(
            user_id=session.user_id, tenant_id=session.tenant_id, session_id=session.id, version=opener.version
        )
        return Grant(claims, token, session.expires_at)

    def _end(self, uow: SystemUnit, ended: Session | None, action: str, origin: Origin) -> None:
        """Tell of a session that ended by its own tokens, once: whoever comes again ends nothing."""
        user = uow.people.find(ended.user_id) if ended else None
        if ended is None or user is None:
            return
        by = Actor(user.id, ended.tenant_id, user.email, session_id=ended.id, origin=origin)
        uow.audit.record(action, by=by, tenant_id=ended.tenant_id, on=("session", ended.id))
        uow.after_commit(partial(self.standings.forget_session, ended.id))
        uow.commit()


def _shown(user_agent: str | None) -> str | None:
    """What a column of text can hold and a terminal may show."""
    return "".join(filter(str.isprintable, user_agent or ""))[:MAX_USER_AGENT] or None


def _choose(uow: SystemUnit, user_id: UUID, wanted: str | None) -> UUID | None:
    tenants = uow.sign_in.tenants_of(user_id)
    if wanted is not None:
        tenants = [tenant for tenant in tenants if wanted in (tenant.name, str(tenant.id))]
    # Somebody in several tenants is not locked out because the oldest of them is suspended.
    tenants.sort(key=lambda tenant: tenant.status != "active")
    return tenants[0].id if tenants else None


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


def new_token(session_id: UUID) -> str:
    return f"{session_id.hex}.{secrets.token_urlsafe(32)}"


def _session_of(token: str) -> UUID:
    try:
        return UUID(hex=token[:32])
    except ValueError:
        raise AuthenticationFailed("this is not a refresh token") from None
