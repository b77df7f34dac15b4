"""Who may give and take what, as rules of values."""

from __future__ import annotations

from uuid import UUID

import pytest

from app.access import BUILT_IN_ROLES, PLATFORM_PERMISSIONS, Actor
from app.errors import PermissionDenied
from app.services.rbac import may_give, may_take

ME, SOMEBODY, TENANT = UUID(int=1), UUID(int=2), UUID(int=3)
ROLES = {name: frozenset(permissions) for name, permissions in BUILT_IN_ROLES.items()}


def actor(*roles, permissions=()):
    held = frozenset(permissions).union(*(ROLES[role] for role in roles))
    return Actor(ME, TENANT, "me@example.com", permissions=held)


def allowed(rule, *args):
    try:
        rule(*args)
    except PermissionDenied:
        return False
    return True


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("user", [ME, SOMEBODY])
def test_within_a_tenant_one_gives_and_takes_what_one_holds(role, user):
    for mine in ("viewer", "operator", "tenant_admin"):
        expected = ROLES[role] <= ROLES[mine]
        assert allowed(may_give, actor(mine), user, ROLES[role]) is expected
        assert allowed(may_take, actor(mine), ROLES[role]) is expected


def test_one_permission_too_many_is_too_many():
    for missing in ROLES["tenant_admin"]:
        almost = actor(permissions=ROLES["tenant_admin"] - {missing})
        with pytest.raises(PermissionDenied, match=missing):
            may_give(almost, SOMEBODY, ROLES["tenant_admin"])
        with pytest.raises(PermissionDenied, match=missing):
            may_take(almost, ROLES["tenant_admin"])


@pytest.mark.parametrize("role", ROLES)
def test_whoever_keeps_the_platforms_users_gives_every_role_to_others_and_takes_every_one(role):
    assert allowed(may_give, actor("platform_admin"), SOMEBODY, ROLES[role])
    assert allowed(may_take, actor("platform_admin"), ROLES[role])


@pytest.mark.parametrize("role", ["viewer", "operator", "tenant_admin"])
def test_she_gives_herself_none_of_a_tenant_but_what_she_holds(role):
    assert not allowed(may_give, actor("platform_admin"), ME, ROLES[role])
    assert allowed(may_give, actor("platform_admin", "tenant_admin"), ME, ROLES[role])


@pytest.mark.parametrize("missing", sorted(PLATFORM_PERMISSIONS - {"platform:users"}))
def test_keeping_users_alone_makes_no_platform_administrator(missing):
    almost = actor(permissions=PLATFORM_PERMISSIONS - {missing})
    assert not allowed(may_give, almost, SOMEBODY, ROLES["platform_admin"])
    assert not allowed(may_take, almost, ROLES["platform_admin"])


def test_what_carries_nothing_is_anybodys():
    assert allowed(may_give, actor(), SOMEBODY, frozenset())
    assert allowed(may_take, actor(), frozenset())
