"""What becomes of an account: shut, opened again, given another password.

Each is one transaction with its line in the audit trail of every tenant the user belongs to, and ends what the old
state let in: tokens lose their version, sessions end, tokens for a new password die.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.access import Actor, Origin
from app.errors import AuthenticationFailed, NotFound, PermissionDenied, TokenSpent
from app.repositories.audit import PLATFORM
from app.services.one_time import OneTimeToken
from app.services.passwords import Passwords
from app.services.rbac import RBACService
from app.unit_of_work import Database, SystemUnit
from models import User

RESET_SECONDS = 3600
EVERYBODY = "platform:users"
MEMBERS = "member:manage"
Forget = Callable[[UUID], None]


@dataclass(frozen=True, slots=True)
class ResetToken:
    """Shown once."""

    text: str
    expires_at: datetime


class UserService:
    """:param forget: drops what is cached of a user's rights; called after each commit that changes them"""

    def __init__(self, database: Database, *, passwords: Passwords, forget: Forget) -> None:
        self._database = database
        self._passwords = passwords
        self._forget = forget

    def disable(self, actor: Actor, user_id: UUID) -> None:
        """Shut an account out everywhere; harmless when it is.

        :raises NotFound: the actor sees no such user
        :raises PermissionDenied: the user belongs elsewhere too, or may more than the actor
        :raises Conflict: a tenant or the platform would have no administrator left
        """
        with self._database.system() as uow:
            uow.members.lock_administrators()  # before the user is held: everybody takes the two in this order
            user = self._governed(uow, actor, user_id)
            RBACService.keep_administrators(uow, user.id)
            if uow.people.set_status(user.id, "disabled"):
                uow.sessions.end_all(user.id)
                uow.people.spend_resets_of(user.id)
                _tell(uow, "user.disabled", user, by=actor)
                self._commit(uow, user)

    def enable(self, actor: Actor, user_id: UUID) -> None:
        """Let an account in again. Raises as `disable` does, but for `Conflict`."""
        with self._database.system() as uow:
            user = self._governed(uow, actor, user_id)
            if uow.people.set_status(user.id, "active"):
                _tell(uow, "user.enabled", user, by=actor)
                self._commit(uow, user)

    def make_reset(self, actor: Actor, user_id: UUID) -> ResetToken:
        """A token by which the user may set a password; one made before dies.

        :raises NotFound, PermissionDenied: as `disable`, and for oneself
        """
        if user_id == actor.user_id:
            raise PermissionDenied("change your own password with the one you have, at /api/v2/auth/password")
        token = OneTimeToken.make()
        with self._database.system() as uow:
            user = self._governed(uow, actor, user_id)
            uow.people.spend_resets_of(user.id)
            made = uow.people.add_reset(
                reset_id=token.id,
                user_id=user.id,
                token_hash=token.digest,
                created_by=actor.user_id,
                seconds=RESET_SECONDS,
            )
            _tell(uow, "user.reset_token_made", user, by=actor)
            uow.commit()
        return ResetToken(token.text, made.expires_at)

    def reset_password(self, token: str, password: str, *, origin: Origin) -> None:
        """
        :raises TokenSpent: used, expired, made before the last change of password, of a disabled user, or none; or
            whoever made it might not make it any longer
        :raises InvalidInput: not a password to use; the token stays good
        """
        shown = OneTimeToken.read(token)
        with self._database.system() as uow:
            user = _resetting(uow, shown)
            about = _known_of(uow, user)
        new_hash = self._passwords.hash_new(password, about=about)
        with self._database.system() as uow:
            user = _resetting(uow, shown)
            if not uow.people.spend_reset(shown.id):
                raise TokenSpent
            self._set_password(uow, user, new_hash, keep=None)
            _tell(uow, "user.password_reset", user, origin=origin)
            self._commit(uow, user)

    def change_password(self, actor: Actor, *, current: str, new: str) -> None:
        """All sessions but this one end; this one's access token does too, its refresh token goes on.

        :raises AuthenticationFailed: `current` is not the password
        :raises PermissionDenied: an API key or break-glass asks
        :raises InvalidInput: not a password to use
        """
        if actor.is_delegate:
            raise PermissionDenied("sign in with the password to change it")
        with self._database.system() as uow:
            user = uow.people.find(actor.user_id)
            about = _known_of(uow, user) if user else []
        if user is None or not self._passwords.matches(user.password_hash, current):
            raise AuthenticationFailed("this is not the current password")
        new_hash = self._passwords.hash_new(new, about=about, pointer="/new")
        with self._database.system() as uow:
            held = uow.people.find(actor.user_id, locked=True)
            if held is None or held.password_hash != user.password_hash:
                raise AuthenticationFailed("the password was changed this moment")
            self._set_password(uow, held, new_hash, keep=actor.session_id)
            _tell(uow, "user.password_changed", held, by=actor)
            self._commit(uow, held)

    def _set_password(self, uow: SystemUnit, user: User, new_hash: str, *, keep: UUID | None) -> None:
        uow.sign_in.set_password(user.id, new_hash)
        uow.people.spend_resets_of(user.id)
        uow.sessions.end_all(user.id, but=keep)

    def _governed(self, uow: SystemUnit, actor: Actor, user_id: UUID) -> User:
        """The user, held, if the actor may decide over the whole account and not just over a membership.

        :raises NotFound: the actor sees no such user
        :raises PermissionDenied: the user belongs elsewhere too, or may more than the actor
        """
        user = uow.people.find(user_id, locked=True)
        if actor.may(EVERYBODY) and user is not None:
            return user
        here = uow.sign_in.membership(user_id, actor.tenant_id)
        if user is None or here is None or not actor.may(MEMBERS):
            raise NotFound
        if len(uow.sign_in.tenants_of(user_id)) > 1:
            raise PermissionDenied("she belongs to other tenants too; you may end the membership in yours")
        actor.require_all(here.permissions)
        return user

    def _commit(self, uow: SystemUnit, user: User) -> None:
        uow.after_commit(lambda: self._forget(user.id))
        uow.commit()


def _resetting(uow: SystemUnit, token: OneTimeToken) -> User:
    found = uow.people.open_reset(token.id, token.digest)
    user = uow.people.find(found.user_id, locked=True) if found else None
    if found is None or user is None or user.status != "active" or not _might_make(uow, found.created_by, user):
        raise TokenSpent
    return user


def _might_make(uow: SystemUnit, giver: UUID | None, user: User) -> bool:
    """Whether whoever made a token might make it now: who is shown out leaves no door open, nor to one who rose."""
    if giver is None:
        return False
    places = [uow.sign_in.membership(giver, tenant.id) for tenant in uow.sign_in.tenants_of(giver)]
    rights = {
        place.tenant.id: place.permissions
        for place in places
        if place is not None and place.user.status == place.tenant.status == "active"
    }
    if any(EVERYBODY in permissions for permissions in rights.values()):
        return True
    homes = uow.sign_in.tenants_of(user.id)
    here = uow.sign_in.membership(user.id, homes[0].id) if len(homes) == 1 else None
    return here is not None and {MEMBERS, *here.permissions} <= rights.get(here.tenant.id, frozenset())


def _known_of(uow: SystemUnit, user: User) -> list[str]:
    """What a password must not be made of."""
    return [user.email, *(tenant.name for tenant in uow.sign_in.tenants_of(user.id))]


def _tell(uow: SystemUnit, action: str, user: User, *, by: Actor | None = None, origin: Origin | None = None) -> None:
    """In each tenant the user belongs to: it loses or regains somebody."""
    for tenant_id in [tenant.id for tenant in uow.sign_in.tenants_of(user.id)] or [PLATFORM]:
        uow.audit.record(
            action, by=by, origin=origin, claimed=user.email if by is None else None, tenant_id=tenant_id,
            on=("user", user.id),
        )  # fmt: skip
