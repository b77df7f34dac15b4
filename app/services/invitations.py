"""Asking people into a tenant, and their coming in.

An invitation is for one e-mail address and one role. It dies when it is used, replaced, withdrawn or too old, and when
whoever gave it may not give that role any longer: who is shown out leaves no door open.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from app.access import TENANT_PERMISSIONS, Actor, Origin
from app.errors import AuthenticationFailed, Conflict, FieldError, InvalidInput, NotFound, PermissionDenied, TokenSpent
from app.repositories.invitations import InvitationView
from app.repositories.keyset import PageOf, decode, page
from app.repositories.roles import RoleRow
from app.services.emails import canonical
from app.services.one_time import OneTimeToken
from app.services.passwords import Passwords
from app.settings import Settings
from app.unit_of_work import Database, SystemUnit
from models import Invitation, Tenant, User

MAY_INVITE = "member:manage"


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation with its token, which nobody will be shown again."""

    view: InvitationView
    token: str


@dataclass(frozen=True, slots=True)
class Joined:
    user_id: UUID
    email: str
    tenant_id: UUID
    tenant: str
    role: str


class InvitationService:
    def __init__(self, database: Database, settings: Settings, *, passwords: Passwords) -> None:
        self._database = database
        self._seconds = settings.invitation_seconds
        self._passwords = passwords

    def invite(self, actor: Actor, *, email: str, role: str) -> Invited:
        """A second invitation of the same address takes the first one's place.

        :raises InvalidInput: no e-mail address, or no such role
        :raises PermissionDenied: the role carries what the inviter does not hold, or is the platform's
        :raises Conflict: a member already
        """
        email, token = canonical(email), OneTimeToken.make()
        with self._database.for_tenant(actor.tenant_id) as uow:
            found = uow.roles.get(role)
            if found is None:
                raise InvalidInput("there is no such role", errors=(FieldError("/role", "there is no such role"),))
            actor.require_all(found.permissions)
            if not found.permissions <= TENANT_PERMISSIONS:
                raise PermissionDenied("nobody is invited to administer the platform; give a member that role")
            uow.invitations.lock(email)
            if uow.invitations.is_member(email):
                raise Conflict("somebody of this address is a member already")
            uow.invitations.revoke(email=email)
            made = uow.invitations.add(
                invitation_id=token.id,
                email=email,
                role_id=found.id,
                token_hash=token.digest,
                created_by=actor.user_id,
                seconds=self._seconds,
            )
            uow.audit.record(
                "invitation.created", by=actor, on=("invitation", made.id), after={"email": email, "role": found.name}
            )
            uow.commit()
        return Invited(InvitationView(made, found.name, actor.email), token.text)

    def listing(self, actor: Actor, *, limit: int, cursor: str | None) -> PageOf[InvitationView]:
        """Those that wait to be accepted, newest first."""
        with self._database.for_tenant(actor.tenant_id) as uow:
            rows = uow.invitations.open(after=decode(cursor, (UUID,)), limit=limit)
        return page(rows, limit, lambda row: (row.invitation.id,))

    def withdraw(self, actor: Actor, invitation_id: UUID) -> None:
        """:raises NotFound: none of that id waits"""
        with self._database.for_tenant(actor.tenant_id) as uow:
            revoked = uow.invitations.revoke(invitation_id=invitation_id)
            if not revoked:
                raise NotFound
            told = {"email": revoked[0].email}
            uow.audit.record("invitation.revoked", by=actor, on=("invitation", invitation_id), before=told)
            uow.commit()

    def address_of(self, token: str) -> str:
        """Whom it is for: attempts at her password count as hers.

        :raises TokenSpent: used, replaced, withdrawn, expired, or none
        """
        with self._database.system() as uow:
            return _opened(uow, OneTimeToken.read(token)).invitation.email

    def accept(self, token: str, *, password: str | None, caller: Actor | None, origin: Origin) -> Joined:
        """Become a member; somebody new becomes a user with this password.

        :param caller: who is signed in while she accepts, if anybody
        :raises TokenSpent: used, replaced, withdrawn, expired, or none
        :raises PermissionDenied: it is for somebody else, or the tenant is suspended
        :raises AuthenticationFailed: a user of this address exists, and the password is not hers
        :raises InvalidInput: a new user's password is missing, or not one to use
        """
        shown = OneTimeToken.read(token)
        with self._database.system() as uow:
            found = _opened(uow, shown)
        new_hash = self._checked(found, password, caller)
        with self._database.system() as uow:
            # Anew: making a hash takes its time, and whoever may give and withdraw it has not slept.
            joined = _join(uow, _opened(uow, shown), new_hash, origin)
            uow.commit()
        return joined

    def _checked(self, found: _Opened, password: str | None, caller: Actor | None) -> str | None:
        """What somebody new signs in with from now on; None for whoever has shown to be the user there is."""
        email = found.invitation.email
        if caller is not None and (caller.is_delegate or caller.email != email):
            raise PermissionDenied("this invitation is for somebody else; sign out first")
        if found.user is None:
            if password is None:
                raise InvalidInput("choose a password", errors=(FieldError("/password", "choose one"),))
            return self._passwords.hash_new(password, about=[email, found.tenant.name])
        matches = caller is not None or self._passwords.matches(found.user.password_hash, password or "")
        if not matches or found.user.status != "active":
            raise AuthenticationFailed("somebody of this address has an account, and this is not its password")
        return None


@dataclass(frozen=True, slots=True)
class _Opened:
    """An invitation as whoever holds its token finds it."""

    invitation: Invitation
    tenant: Tenant
    role: RoleRow
    user: User | None  # of its address


def _opened(uow: SystemUnit, token: OneTimeToken) -> _Opened:
    found = uow.invitations.find(token.id, token.digest)
    if found is None:
        raise TokenSpent
    invitation, tenant = found
    role = uow.roles(tenant.id).get(invitation.role_id)
    if role is None or not _may_still_give(uow, invitation, role):
        raise TokenSpent
    if tenant.status != "active":
        raise PermissionDenied("this tenant is suspended")
    return _Opened(invitation, tenant, role, uow.sign_in.user_by_email(invitation.email))


def _may_still_give(uow: SystemUnit, invitation: Invitation, role: RoleRow) -> bool:
    if invitation.created_by is None:
        return False
    giver = uow.sign_in.membership(invitation.created_by, invitation.tenant_id)
    return giver is not None and giver.user.status == "active" and {MAY_INVITE, *role.permissions} <= giver.permissions


def _join(uow: SystemUnit, found: _Opened, new_hash: str | None, origin: Origin) -> Joined:
    invitation, tenant, role = found.invitation, found.tenant, found.role
    user = found.user if new_hash is None else uow.people.add(invitation.email, new_hash)
    if user is None:
        raise Conflict("an account of this address was made this moment; accept again, with its password")
    if not uow.invitations.accept(invitation.id):
        raise TokenSpent
    by = Actor(user.id, tenant.id, user.email, origin=origin)
    if new_hash is not None:
        uow.audit.record("user.created", by=by, tenant_id=tenant.id, on=("user", user.id))
    uow.memberships(tenant.id).give(user.id, role.id)
    joined = {"user": str(user.id), "role": role.name}
    uow.audit.record("invitation.accepted", by=by, tenant_id=tenant.id, on=("invitation", invitation.id), after=joined)
    return Joined(user.id, user.email, tenant.id, tenant.name, role.name)
