"""Who acts, and what roles may do. The one home of the permission matrix (docs/access.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from app.errors import PermissionDenied

_VIEWER = ("tenant:read", "domain:read", "job:read", "result:read", "quota:read", "schedule:read")
_OPERATOR = (
    *_VIEWER,
    "domain:write", "job:run", "job:cancel", "job:schedule", "result:export", "webhook:read", "member:read", "role:read",
)  # fmt: skip
_TENANT_ADMIN = (
    *_OPERATOR,
    "domain:delete", "result:delete", "webhook:manage", "apikey:manage", "apikey:read", "member:manage", "role:manage",
    "tenant:update", "audit:read",
)  # fmt: skip
_PLATFORM_ADMIN = (
    "platform:tenants", "platform:users", "platform:queue", "platform:quota", "platform:audit", "platform:features",
)  # fmt: skip

BUILT_IN_ROLES: dict[str, tuple[str, ...]] = {
    "viewer": _VIEWER,
    "operator": _OPERATOR,
    "tenant_admin": _TENANT_ADMIN,
    "platform_admin": _PLATFORM_ADMIN,
}
PERMISSIONS: frozenset[str] = frozenset(name for names in BUILT_IN_ROLES.values() for name in names)


# What may be switched off for a tenant, and what goes with it. Without a word it is on.
FEATURES: dict[str, str] = {
    "sitemaps": "submitting scans, singly or in batches, and trying jobs again",
    "pages": "HTML pages: none are fetched (`max_pages` counts as 0), and those that jobs met are not listed",
    "schedules": "reserved: there are no schedules yet",
    "webhooks": "reserved: there are no webhooks yet",
    "exports": "downloading results as files; an audit trail's export is none of them",
}

PLATFORM_PERMISSIONS = frozenset(_PLATFORM_ADMIN)
TENANT_PERMISSIONS = PERMISSIONS - PLATFORM_PERMISSIONS  # what a tenant's own roles may hold
ADMINISTRATOR_ROLES = frozenset({"tenant_admin", "platform_admin"})  # of which the last holder stays
READ_ONLY = frozenset(_VIEWER)  # what break-glass shows of a tenant
# Who holds one of these can give rights, to others or to herself: for people who have signed in, not for an API key.
PERSONAL = frozenset(
    {"apikey:manage", "member:manage", "role:manage", "tenant:update", *_PLATFORM_ADMIN}
    - {"platform:queue", "platform:audit"}
)


Via = Literal["session", "api_key", "break_glass", "command", "nobody"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an act comes from, for the audit trail."""

    via: Via = "nobody"
    address: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What a member may do in one tenant. Plain values, so that a cache may keep them outside of the process."""

    email: str
    version: int  # of the tokens that may claim them
    active: bool  # the account is not disabled
    suspended: bool  # the tenant is
    roles: frozenset[str]
    permissions: frozenset[str]

    @property
    def usable(self) -> frozenset[str]:
        """The permissions that count today."""
        return self.permissions if self.active and not self.suspended else frozenset()


@dataclass(frozen=True, slots=True)
class Actor:
    """A signed-in caller acting in one tenant."""

    user_id: UUID
    tenant_id: UUID
    email: str
    session_id: UUID | None = None
    key_id: UUID | None = None  # of the API key, when that is the credential
    origin: Origin = Origin()
    roles: frozenset[str] = field(default_factory=frozenset)
    permissions: frozenset[str] = field(default_factory=frozenset)

    def may(self, permission: str) -> bool:
        """
        >>> from uuid import UUID
        >>> nobody = Actor(UUID(int=1), UUID(int=2), "a@example.com")
        >>> nobody.may("job:run")
        False
        """
        return permission in self.permissions

    @property
    def is_delegate(self) -> bool:
        """An API key or break-glass: part of somebody's rights, and nothing of what is her own."""
        return self.origin.via in {"api_key", "break_glass"}

    def require(self, *permissions: str) -> None:
        """Any one of them is enough.

        :raises PermissionDenied: naming what is missing
        """
        if not any(map(self.may, permissions)):
            raise PermissionDenied(f"this needs the permission {' or '.join(permissions)}")

    def require_all(self, permissions: Iterable[str]) -> None:
        """Nobody hands out, or takes away, what she does not hold.

        :raises PermissionDenied: naming what is missing
        """
        missing = sorted(set(permissions) - self.permissions)
        if missing:
            raise PermissionDenied(f"this is above your own roles: it carries {', '.join(missing)}")
