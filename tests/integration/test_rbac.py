"""RBACService itself: what it answers, and what it holds to while others change the same things."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from app.access import BUILT_IN_ROLES, Actor
from app.errors import Conflict, InvalidInput, NotFound, PermissionDenied
from app.repositories.members import Memberships
from app.services.caching import TtlCache
from app.services.rbac import RBACService, tags


@pytest.fixture
def cache():
    return TtlCache(seconds=3600, tags=tags)


@pytest.fixture
def rbac(database, cache):
    return RBACService(database, cache=cache)


@pytest.fixture
def user(new_user, superuser_here):
    """`user("viewer")` → the id of a new one."""

    def make(*roles, **where):
        email = new_user(*roles, **where)
        return superuser_here.execute("SELECT id FROM users WHERE email = %s", [email]).fetchone()[0]

    return make


@pytest.fixture
def admin(user, tenant_id):
    return Actor(
        user("tenant_admin"), tenant_id, "a@example.com", permissions=frozenset(BUILT_IN_ROLES["tenant_admin"])
    )


class TestAnswers:
    def test_permissions_are_those_of_all_roles_in_that_tenant(self, rbac, user, tenant_id, new_tenant):
        other = new_tenant("other")
        somebody = user("viewer", "platform_admin")
        held = {*BUILT_IN_ROLES["viewer"], *BUILT_IN_ROLES["platform_admin"]}
        assert rbac.permissions_of(somebody, tenant_id) == held
        assert rbac.permissions_of(somebody, other) == frozenset()
        assert rbac.permissions_of(uuid4(), tenant_id) == frozenset()
        rbac.check_permission(somebody, "job:read", tenant_id)
        for permission, tenant in (("job:run", tenant_id), ("job:read", other), ("no such", tenant_id)):
            with pytest.raises(PermissionDenied, match=permission):
                rbac.check_permission(somebody, permission, tenant)

    @pytest.mark.parametrize(
        "statement", ["UPDATE users SET status = 'disabled'", "UPDATE tenants SET status = 'suspended'"]
    )
    def test_who_is_disabled_or_suspended_may_nothing(self, rbac, user, tenant_id, superuser_here, statement):
        somebody = user("viewer")
        superuser_here.execute(statement)
        assert rbac.permissions_of(somebody, tenant_id) == frozenset()

    def test_a_change_is_seen_at_once_whatever_the_cache_holds(self, rbac, user, admin, tenant_id):
        somebody = user("viewer")
        rbac.create_role("starter", ["job:run"], by=admin)
        seen = [rbac.permissions_of(somebody, tenant_id)]
        for change in (
            lambda: rbac.assign_role(somebody, "starter", tenant_id, by=admin),
            lambda: rbac.grant("starter", "job:cancel", by=admin),
            lambda: rbac.revoke("starter", "job:run", by=admin),
            lambda: rbac.revoke_role(somebody, "viewer", tenant_id, by=admin),
            lambda: rbac.remove_member(somebody, tenant_id, by=admin),
        ):
            change()
            seen.append(rbac.permissions_of(somebody, tenant_id))
        viewer = frozenset(BUILT_IN_ROLES["viewer"])
        assert seen == [
            viewer,
            viewer | {"job:run"},
            viewer | {"job:run", "job:cancel"},
            viewer | {"job:cancel"},
            {"job:cancel"},
            frozenset(),
        ]

    def test_what_is_granted_twice_or_revoked_in_vain_changes_nothing(
        self, rbac, admin, user, tenant_id, superuser_here
    ):
        somebody = user("viewer")
        rbac.create_role("starter", ["job:run"], by=admin)
        rbac.assign_role(somebody, "starter", tenant_id, by=admin)
        version = "SELECT authz_version FROM users WHERE id = %s"
        before = superuser_here.execute(version, [somebody]).fetchone()
        assert rbac.grant("starter", "job:run", by=admin) == rbac.revoke("starter", "job:read", by=admin)
        assert superuser_here.execute(version, [somebody]).fetchone() == before

    def test_only_a_tenants_permissions_are_granted(self, rbac, admin):
        rbac.create_role("starter", [], by=admin)
        for permission in ("platform:users", "job:fly"):
            with pytest.raises(InvalidInput):
                rbac.grant("starter", permission, by=admin)
        with pytest.raises(Conflict):
            rbac.grant("viewer", "job:run", by=admin)
        with pytest.raises(NotFound):
            rbac.grant("no-such", "job:run", by=admin)

    def test_a_failed_change_leaves_nothing_behind(self, rbac, admin, user, tenant_id, superuser_here):
        somebody = user("viewer")
        version = "SELECT authz_version FROM users WHERE id = %s"
        before = superuser_here.execute(version, [somebody]).fetchone()
        with pytest.raises(PermissionDenied):
            rbac.assign_role(somebody, "platform_admin", tenant_id, by=admin)
        with pytest.raises(Conflict):
            rbac.revoke_role(somebody, "viewer", tenant_id, by=admin)
        assert superuser_here.execute(version, [somebody]).fetchone() == before
        assert (
            superuser_here.execute("SELECT count(*) FROM audit_events WHERE action LIKE 'member.%'").fetchone()[0] == 0
        )


class TestMeanwhile:
    """Something happens between a look and the act that follows from it."""

    @pytest.fixture
    def just_before_giving(self, monkeypatch):
        def arrange(happens):
            give = Memberships.give

            def meanwhile(*args):
                happens()
                return give(*args)

            monkeypatch.setattr(Memberships, "give", meanwhile)

        return arrange

    def test_a_role_that_grew_is_not_given_by_who_holds_less(
        self, rbac, admin, user, tenant_id, just_before_giving, superuser_here
    ):
        somebody = user("viewer")
        rbac.create_role("mine", ["job:read"], by=admin)
        clerk = Actor(uuid4(), tenant_id, "c@example.com", permissions=frozenset({"member:manage", "job:read"}))
        just_before_giving(lambda: rbac.grant("mine", "job:run", by=admin))
        with pytest.raises(PermissionDenied, match="job:run"):
            rbac.assign_role(somebody, "mine", tenant_id, by=clerk)
        assert "job:run" not in rbac.permissions_of(somebody, tenant_id)

    def test_a_role_that_went_is_not_found(self, rbac, admin, user, tenant_id, just_before_giving):
        somebody = user("viewer")
        rbac.create_role("mine", ["job:read"], by=admin)
        just_before_giving(lambda: rbac.delete_role("mine", by=admin))
        with pytest.raises(NotFound):
            rbac.assign_role(somebody, "mine", tenant_id, by=admin)

    def test_a_member_who_went_is_not_drawn_in_again(self, rbac, admin, user, tenant_id, just_before_giving):
        somebody = user("viewer")
        just_before_giving(lambda: rbac.remove_member(somebody, tenant_id, by=admin))
        with pytest.raises(NotFound):
            rbac.assign_role(somebody, "operator", tenant_id, by=admin)
        assert rbac.permissions_of(somebody, tenant_id) == frozenset()

    def test_a_role_is_given_and_taken_while_it_changes(self, rbac, admin, user, tenant_id):
        """Whoever holds a user and wants a role never waits for who holds the role and wants the user."""
        somebody = user("viewer")
        rbac.create_role("mine", [], by=admin)

        def give_and_take():
            for _ in range(15):
                rbac.assign_role(somebody, "mine", tenant_id, by=admin)
                rbac.revoke_role(somebody, "mine", tenant_id, by=admin)

        def change():
            for turn in range(15):
                rbac.update_role("mine", by=admin, permissions=["job:run"] if turn % 2 else ["job:read"])

        with ThreadPoolExecutor(3) as pool:
            done = [pool.submit(work) for work in (give_and_take, change, change)]
        assert [work.result() for work in done] == [None] * 3
