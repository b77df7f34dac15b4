"""Roles of a tenant's own, and who may give and take which, over HTTP."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from app.access import BUILT_IN_ROLES, PERMISSIONS
from app.api.core import KEY
from app.errors import Conflict
from app.repositories.members import Memberships
from tests.api.answers import problem, without_id
from tests.conftest import PASSWORD

ROLES, USERS, ME = "/api/v2/roles", "/api/v2/users", "/api/v2/auth/me"
READER = {"name": "report_reader", "description": "reads", "permissions": ["result:read", "job:read", "job:read"]}


@pytest.fixture
def admin(login):
    return login("tenant_admin")


@pytest.fixture
def root(login):
    return login("platform_admin")


@pytest.fixture
def make_role(client, admin):
    def make(name, *permissions, headers=None):
        body = {"name": name, "permissions": list(permissions)}
        answer = client.post(ROLES, headers=headers or admin, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json

    return make


@pytest.fixture
def user_id(client, superuser_here):
    def find(email):
        return str(superuser_here.execute("SELECT id FROM users WHERE email = %s", [email]).fetchone()[0])

    return find


@pytest.fixture
def sign_in(client):
    def enter(email, tenant=None):
        body = {"email": email, "password": PASSWORD, **({"tenant": tenant} if tenant else {})}
        answer = client.post("/api/v2/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json['access_token']}"}

    return enter


@pytest.fixture
def holder(client, new_user, user_id, sign_in, admin):
    """`holder("role")` → id and headers of a user who holds this role alone."""

    def make(role):
        email = new_user("viewer")
        user = user_id(email)
        assert client.put(f"{USERS}/{user}/roles/{role}", headers=admin).status_code == 200
        assert client.delete(f"{USERS}/{user}/roles/viewer", headers=admin).status_code == 204
        return user, sign_in(email)

    return make


def events(superuser_here, action):
    return superuser_here.execute(
        "SELECT actor, object_id, before, after FROM audit_events WHERE action = %s ORDER BY id", [action]
    ).fetchall()


class TestOwnRoles:
    def test_one_is_made_shown_and_listed_among_the_built_in_ones(self, client, admin, make_role, login):
        answer = client.post(ROLES, headers=admin, json=READER)
        assert answer.status_code == 201
        made = answer.json
        assert {name: made[name] for name in READER} == {**READER, "permissions": ["job:read", "result:read"]}
        assert made["built_in"] is False
        for key in (made["id"], "report_reader"):
            assert client.get(f"{ROLES}/{key}", headers=login("operator")).json == made
        assert client.get(answer.headers["Location"], headers=admin).json == made
        listed = client.get(ROLES, headers=admin).json["items"]
        assert [role["name"] for role in listed] == sorted([*BUILT_IN_ROLES, "report_reader"])
        for role in listed:
            if role["built_in"]:
                assert role["permissions"] == sorted(BUILT_IN_ROLES[role["name"]])

    def test_lists_come_in_pages(self, client, admin, make_role):
        for path, names in ((ROLES, sorted(BUILT_IN_ROLES)), ("/api/v2/permissions", sorted(PERMISSIONS))):
            seen, cursor = [], ""
            while cursor is not None:
                page = client.get(f"{path}?limit=3{cursor}", headers=admin).json
                seen += [item["name"] for item in page["items"]]
                cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
            assert seen == names

    def test_permissions_tell_which_are_the_platforms(self, client, admin):
        items = client.get("/api/v2/permissions", headers=admin).json["items"]
        platform = {item["name"] for item in items if item["scope"] == "platform"}
        assert platform == set(BUILT_IN_ROLES["platform_admin"])

    def test_it_lets_do_what_it_carries_and_nothing_else(self, client, make_role, holder):
        make_role("starter", "job:run")
        _, headers = holder("starter")
        me = client.get(ME, headers=headers).json
        assert (me["roles"], me["permissions"]) == (["starter"], ["job:run"])
        assert client.post("/api/v2/scans", headers=headers, json={"domain": "example.com"}).status_code == 202
        assert client.get("/api/v2/jobs", headers=headers).status_code == 403

    def test_roles_add_up(self, client, make_role, new_user, user_id, sign_in, admin):
        make_role("starter", "job:run")
        email = new_user("viewer")
        client.put(f"{USERS}/{user_id(email)}/roles/starter", headers=admin)
        me = client.get(ME, headers=sign_in(email)).json
        assert me["roles"] == ["starter", "viewer"]
        assert set(me["permissions"]) == {"job:run", *BUILT_IN_ROLES["viewer"]}

    @pytest.mark.parametrize("name", [*BUILT_IN_ROLES, "mine"])
    def test_a_name_is_given_once_and_never_a_built_in_roles(self, client, admin, make_role, name):
        make_role("mine")
        make_role("other")
        problem(client.post(ROLES, headers=admin, json={"name": name}), 409, "conflict")
        problem(client.patch(f"{ROLES}/other", headers=admin, json={"name": name}), 409, "conflict")

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"name": "Reader"}, "/name"),
            ({"name": "12"}, "/name"),
            ({"name": "a" * 64}, "/name"),
            ({"name": "a\nb"}, "/name"),
            ({"name": ""}, "/name"),
            ({"name": "ok", "permissions": ["job:read", "job:fly"]}, "/permissions/1"),
            ({"name": "ok", "permissions": ["platform:users"]}, "/permissions/0"),
            ({"name": "ok", "permissions": "job:read"}, "/permissions"),
            ({"name": "ok", "permissions": [1]}, "/permissions/0"),
            ({"name": "ok", "description": "x\0"}, "/description"),
            ({"name": "ok", "built_in": True}, "/built_in"),
            ({"name": "ok", "tenant_id": "0193c0de-0000-7000-8000-000000000001"}, "/tenant_id"),
            ({}, "/name"),
        ],
    )
    def test_what_is_no_role_is_refused_by_name(self, client, login, admin, body, pointer):
        both = login("tenant_admin", "platform_admin")
        for headers in (admin, both):
            said = problem(client.post(ROLES, headers=headers, json=body), 422, "invalid_input")
            assert pointer in [error["pointer"] for error in said["errors"]]

    def test_a_platform_permission_is_never_put_into_one(self, client, login, make_role):
        make_role("mine")
        both = login("tenant_admin", "platform_admin")
        answer = client.patch(f"{ROLES}/mine", headers=both, json={"permissions": ["platform:queue"]})
        problem(answer, 422, "invalid_input")

    @pytest.mark.parametrize("role", BUILT_IN_ROLES)
    def test_built_in_roles_do_not_change(self, client, login, role):
        both = login("tenant_admin", "platform_admin")
        problem(client.patch(f"{ROLES}/{role}", headers=both, json={"permissions": []}), 409, "conflict")
        problem(client.delete(f"{ROLES}/{role}", headers=both), 409, "conflict")

    def test_changes_change_what_is_given(self, client, admin, make_role, superuser_here):
        made = make_role("mine", "job:read")
        changed = client.patch(f"{ROLES}/mine", headers=admin, json={"name": "ours", "description": "d"}).json
        assert changed == {**made, "name": "ours", "description": "d"}
        assert client.patch(f"{ROLES}/ours", headers=admin, json={}).json == changed
        assert client.patch(f"{ROLES}/ours", headers=admin, json={"description": None}).json["description"] is None
        assert client.patch(f"{ROLES}/{made['id']}", headers=admin, json={"permissions": []}).json["permissions"] == []
        told = [(before, after) for _, _, before, after in events(superuser_here, "role.changed")]
        assert told[0] == (
            {"name": "mine", "description": None, "permissions": ["job:read"]},
            {"name": "ours", "description": "d", "permissions": ["job:read"]},
        )
        assert len(told) == 3  # what changed nothing leaves no trace

    def test_one_that_somebody_holds_stays(self, client, admin, make_role, holder, superuser_here):
        made = make_role("mine", "job:read")
        user, _ = holder("mine")
        problem(client.delete(f"{ROLES}/mine", headers=admin), 409, "conflict")
        client.put(f"{USERS}/{user}/roles/viewer", headers=admin)
        client.delete(f"{USERS}/{user}/roles/mine", headers=admin)
        assert client.delete(f"{ROLES}/mine", headers=admin).status_code == 204
        problem(client.get(f"{ROLES}/mine", headers=admin), 404, "not_found")
        problem(client.delete(f"{ROLES}/mine", headers=admin), 404, "not_found")
        ((_, on, before, after),) = events(superuser_here, "role.deleted")
        assert (on, before["permissions"], after) == (str(made["id"]), ["job:read"], None)

    def test_one_that_somebody_is_invited_to_stays(self, client, admin, make_role, superuser_here, tenant_id):
        made = make_role("mine", "job:read")
        superuser_here.execute(
            "INSERT INTO invitations (tenant_id, email, role_id, token_hash, expires_at) "
            "VALUES (%s, 'a@example.com', %s, 'x', now() + interval '1 day')",
            [tenant_id, made["id"]],
        )
        problem(client.delete(f"{ROLES}/mine", headers=admin), 409, "conflict")
        superuser_here.execute("UPDATE invitations SET revoked_at = now()")
        assert client.delete(f"{ROLES}/mine", headers=admin).status_code == 204

    def test_there_is_an_end_to_how_many(self, client, admin, superuser_here, tenant_id):
        superuser_here.execute(
            "INSERT INTO roles (tenant_id, name) SELECT %s, 'role' || n FROM generate_series(1, 100) n", [tenant_id]
        )
        problem(client.post(ROLES, headers=admin, json={"name": "more"}), 403, "quota_exceeded")

    def test_another_tenants_role_is_answered_as_none(self, client, login, admin, make_role, new_tenant, user_id):
        theirs = login("tenant_admin", tenant=new_tenant("other"))
        made = make_role("secret", "job:read", headers=theirs)
        asked = [
            f"{ROLES}/{key}" for key in (made["id"], "secret", 2_000_000_000, "9" * 40, "no such", "%00", "viewer%00")
        ]
        for method in ("GET", "PATCH", "DELETE"):
            body = {"json": {}} if method == "PATCH" else {}
            answers = [client.open(path, method=method, headers=admin, **body) for path in asked]
            problem(answers[0], 404, "not_found")
            assert all(without_id(answer) == without_id(answers[0]) for answer in answers)
        assert "secret" not in client.get(ROLES, headers=admin).text
        assert client.get(f"{ROLES}/secret", headers=theirs).json == made


class TestGivingAndTaking:
    def test_a_role_is_given_shown_and_taken(self, client, admin, new_user, user_id, superuser_here):
        user = user_id(new_user("viewer"))
        path = f"{USERS}/{user}/roles/operator"
        assert client.put(path, headers=admin).json["roles"] == ["operator", "viewer"]
        assert client.put(path, headers=admin).json["roles"] == ["operator", "viewer"]
        assert client.delete(path, headers=admin).status_code == 204
        problem(client.delete(path, headers=admin), 404, "not_found")
        ((who, on, before, after),) = events(superuser_here, "member.role_assigned")  # the second changed nothing
        assert who.startswith("tenant_admin")
        assert (on, before, after) == (user, {"roles": ["viewer"]}, {"roles": ["operator", "viewer"]})
        ((_, on, before, after),) = events(superuser_here, "member.role_revoked")
        assert (on, before, after) == (user, {"roles": ["operator", "viewer"]}, {"roles": ["viewer"]})

    def test_tokens_end_with_what_they_were_for(self, client, admin, new_user, user_id, sign_in):
        email = new_user("viewer")
        for method in ("PUT", "DELETE"):
            headers = sign_in(email)
            assert client.get(ME, headers=headers).status_code == 200
            client.open(f"{USERS}/{user_id(email)}/roles/operator", method=method, headers=admin)
            assert client.get(ME, headers=headers).status_code == 401

    def test_what_changed_nothing_ends_no_token(self, client, admin, new_user, user_id, sign_in):
        email = new_user("viewer")
        headers = sign_in(email)
        client.put(f"{USERS}/{user_id(email)}/roles/viewer", headers=admin)
        client.delete(f"{USERS}/{user_id(email)}/roles/viewer", headers=admin)
        assert client.get(ME, headers=headers).status_code == 200

    def test_a_roles_change_reaches_all_its_holders_and_nobody_else(self, client, admin, login, make_role, holder):
        make_role("mine", "job:read")
        held = [holder("mine")[1] for _ in range(3)]
        other = login("viewer")
        assert {client.get("/api/v2/jobs", headers=headers).status_code for headers in (*held, other)} == {200}
        assert client.patch(f"{ROLES}/mine", headers=admin, json={"permissions": ["domain:read"]}).status_code == 200
        assert [client.get(ME, headers=headers).status_code for headers in held] == [401] * 3
        assert client.get("/api/v2/jobs", headers=other).status_code == 200

    def test_a_new_name_or_description_ends_no_token_and_is_seen(self, client, admin, make_role, holder):
        make_role("mine", "job:read")
        _, headers = holder("mine")
        assert client.get(ME, headers=headers).json["roles"] == ["mine"]
        client.patch(f"{ROLES}/mine", headers=admin, json={"name": "ours"})
        assert client.get(ME, headers=headers).json["roles"] == ["ours"]

    def test_the_only_role_is_the_membership_and_is_not_taken_alone(self, client, admin, new_user, user_id):
        user = user_id(new_user("viewer"))
        problem(client.delete(f"{USERS}/{user}/roles/viewer", headers=admin), 409, "conflict")

    def test_a_member_leaves_with_sessions_and_keys(self, client, admin, new_user, user_id, sign_in, superuser_here):
        email = new_user("viewer", "operator")
        user, headers = user_id(email), sign_in(email)
        superuser_here.execute(
            "INSERT INTO api_keys (tenant_id, name, key_hash, permissions, created_by, expires_at) "
            "SELECT tenant_id, 'k', 'x', '{}', user_id, now() + interval '1 day' FROM user_roles WHERE user_id = %s LIMIT 1",
            [user],
        )
        assert client.get(ME, headers=headers).status_code == 200
        assert client.delete(f"{USERS}/{user}", headers=admin).status_code == 204
        assert client.get(ME, headers=headers).status_code == 401
        problem(client.get(f"{USERS}/{user}", headers=admin), 404, "not_found")
        problem(client.delete(f"{USERS}/{user}", headers=admin), 404, "not_found")
        for table in ("sessions WHERE user_id = %s", "api_keys WHERE created_by = %s"):
            left = superuser_here.execute(f"SELECT revoked_at FROM {table}", [user]).fetchall()
            assert left
            assert all(revoked for (revoked,) in left)
        ((_, on, before, after),) = events(superuser_here, "member.removed")
        assert (on, before, after) == (user, {"roles": ["operator", "viewer"]}, {"roles": []})

    def test_another_membership_stays(self, client, admin, new_user, new_tenant, user_id, sign_in):
        email = new_user("viewer")
        new_user("viewer", tenant=new_tenant("other"), email=email)
        assert client.delete(f"{USERS}/{user_id(email)}", headers=admin).status_code == 204
        assert client.get(ME, headers=sign_in(email)).json["tenant"]["name"] == "other"

    def test_somebody_elses_people_cannot_be_drawn_in_or_put_out(self, client, admin, new_user, new_tenant, user_id):
        stranger = user_id(new_user("viewer", tenant=new_tenant("other")))
        nobody = "00000000-0000-7000-8000-000000000000"
        for method, path in (("PUT", "/roles/viewer"), ("DELETE", "/roles/viewer"), ("DELETE", "")):
            answers = [
                client.open(f"{USERS}/{user}{path}", method=method, headers=admin) for user in (stranger, nobody, "x")
            ]
            problem(answers[0], 404, "not_found")
            assert without_id(answers[0]) == without_id(answers[1]) == without_id(answers[2])

    def test_another_tenant_is_none_to_a_tenants_admin(self, client, admin, new_user, new_tenant, user_id):
        other = new_tenant("other")
        stranger = user_id(new_user("viewer", tenant=other))
        for tenant in (other, "00000000-0000-7000-8000-000000000000"):
            answer = client.put(f"{USERS}/{stranger}/roles/operator?tenant={tenant}", headers=admin)
            problem(answer, 404, "not_found")

    def test_an_unknown_role_is_none(self, client, admin, new_user, user_id):
        user = user_id(new_user("viewer"))
        for role in ("no-such", "2000000000", "9" * 40):
            problem(client.put(f"{USERS}/{user}/roles/{role}", headers=admin), 404, "not_found")


class TestNobodyRisesAboveHerself:
    @pytest.fixture
    def clerk(self, make_role, holder):
        """Keeps members and roles, and may else read jobs."""
        make_role("clerk", "member:manage", "member:read", "role:manage", "role:read", "job:read")
        return holder("clerk")

    def test_nobody_gives_what_she_does_not_hold(self, client, clerk, new_user, user_id, make_role):
        make_role("starter", "job:run")
        me, headers = clerk
        user = user_id(new_user("viewer"))
        for role in ("viewer", "operator", "tenant_admin", "platform_admin", "starter"):
            for to in (me, user):
                said = problem(client.put(f"{USERS}/{to}/roles/{role}", headers=headers), 403, "permission_denied")
                assert "above" in said["detail"]
        make_role("reader", "job:read")
        assert client.put(f"{USERS}/{user}/roles/reader", headers=headers).status_code == 200

    def test_nobody_takes_what_she_does_not_hold(self, client, clerk, new_user, user_id):
        _, headers = clerk
        user = user_id(new_user("tenant_admin", "viewer"))
        problem(client.delete(f"{USERS}/{user}/roles/tenant_admin", headers=headers), 403, "permission_denied")
        problem(client.delete(f"{USERS}/{user}", headers=headers), 403, "permission_denied")

    def test_nobody_makes_or_changes_a_role_beyond_herself(self, client, clerk, make_role):
        _, headers = clerk
        body = {"name": "mine", "permissions": ["job:read", "job:run"]}
        said = problem(client.post(ROLES, headers=headers, json=body), 403, "permission_denied")
        assert "job:run" in said["detail"]
        assert "job:read" not in said["detail"]
        make_role("starter", "job:cancel", "job:read")
        for role, permissions in (
            ("clerk", ["job:read", "job:run", "member:manage", "member:read", "role:manage", "role:read"]),
            ("starter", ["job:cancel", "job:read", "job:run"]),
            ("starter", ["job:read"]),
        ):
            answer = client.patch(f"{ROLES}/{role}", headers=headers, json={"permissions": permissions})
            problem(answer, 403, "permission_denied")
        kept = {"name": "begin", "permissions": ["job:cancel"]}
        assert client.patch(f"{ROLES}/starter", headers=headers, json=kept).status_code == 200

    def test_nobody_in_a_tenant_makes_or_unmakes_a_platform_administrator(self, client, admin, new_user, user_id):
        user = user_id(new_user("viewer"))
        problem(client.put(f"{USERS}/{user}/roles/platform_admin", headers=admin), 403, "permission_denied")
        chief = user_id(new_user("platform_admin", "viewer"))
        problem(client.delete(f"{USERS}/{chief}/roles/platform_admin", headers=admin), 403, "permission_denied")
        problem(client.delete(f"{USERS}/{chief}", headers=admin), 403, "permission_denied")

    def test_a_platform_administrator_makes_and_unmakes_one(self, client, root, new_user, user_id, sign_in):
        email = new_user("viewer")
        path = f"{USERS}/{user_id(email)}/roles/platform_admin"
        shown = client.put(path, headers=root).json
        assert shown["roles"] == ["platform_admin", "viewer"]
        assert "platform:users" in client.get(ME, headers=sign_in(email)).json["permissions"]
        assert client.delete(path, headers=root).status_code == 204
        assert "platform:users" not in client.get(ME, headers=sign_in(email)).json["permissions"]

    def test_a_platform_administrator_appoints_others_anywhere_and_never_herself(
        self, client, new_user, new_tenant, user_id, sign_in, superuser_here
    ):
        other = new_tenant("other")
        chief, email = new_user("platform_admin"), new_user("viewer")
        root = sign_in(chief)
        at = f"roles/tenant_admin?tenant={other}"
        shown = client.put(f"{USERS}/{user_id(email)}/{at}", headers=root).json
        assert {place["name"]: place["roles"] for place in shown["tenants"]}["other"] == ["tenant_admin"]
        assert "member:manage" in client.get(ME, headers=sign_in(email, "other")).json["permissions"]
        for path in (at, "roles/viewer"):
            problem(client.put(f"{USERS}/{user_id(chief)}/{path}", headers=root), 403, "permission_denied")
        tenant = superuser_here.execute(
            "SELECT tenant_id FROM audit_events WHERE action = 'member.role_assigned'"
        ).fetchone()[0]
        assert tenant == other
        nowhere = f"roles/viewer?tenant={user_id(email)}"
        problem(client.put(f"{USERS}/{user_id(email)}/{nowhere}", headers=root), 404, "not_found")


class TestTheLastAdministratorStays:
    @pytest.fixture
    def alone(self, new_user, new_tenant, user_id, sign_in):
        """The one administrator of a tenant of her own, and that tenant."""
        tenant = new_tenant("small")
        email = new_user("tenant_admin", "viewer", tenant=tenant)
        return user_id(email), sign_in(email), tenant

    def test_of_a_tenant(self, client, alone, new_user, user_id):
        me, headers, tenant = alone
        problem(client.delete(f"{USERS}/{me}/roles/tenant_admin", headers=headers), 409, "conflict")
        problem(client.delete(f"{USERS}/{me}", headers=headers), 409, "conflict")
        assert client.get(ME, headers=headers).status_code == 200
        second = user_id(new_user("viewer", tenant=tenant))
        client.put(f"{USERS}/{second}/roles/tenant_admin", headers=headers)
        assert client.delete(f"{USERS}/{me}/roles/tenant_admin", headers=headers).status_code == 204

    def test_of_a_tenant_whoever_asks(self, client, alone, root):
        me, _, tenant = alone
        for path in (f"{USERS}/{me}/roles/tenant_admin", f"{USERS}/{me}"):
            problem(client.delete(f"{path}?tenant={tenant}", headers=root), 409, "conflict")

    def test_who_is_disabled_does_not_count(self, client, alone, new_user, superuser_here):
        me, headers, tenant = alone
        second = new_user("tenant_admin", tenant=tenant)
        superuser_here.execute("UPDATE users SET status = 'disabled' WHERE email = %s", [second])
        problem(client.delete(f"{USERS}/{me}", headers=headers), 409, "conflict")

    def test_another_tenants_administrators_do_not_count(self, client, alone, new_user):
        me, headers, _ = alone
        new_user("tenant_admin")
        problem(client.delete(f"{USERS}/{me}", headers=headers), 409, "conflict")

    def test_of_the_platform(self, client, new_user, new_tenant, user_id, sign_in, superuser_here):
        email = new_user("platform_admin", "viewer")
        me, headers = user_id(email), sign_in(email)
        elsewhere = new_tenant("elsewhere")
        new_user("platform_admin", tenant=elsewhere)
        superuser_here.execute("UPDATE tenants SET status = 'suspended' WHERE id = %s", [elsewhere])
        problem(client.delete(f"{USERS}/{me}/roles/platform_admin", headers=headers), 409, "conflict")
        problem(client.delete(f"{USERS}/{me}", headers=headers), 409, "conflict")
        superuser_here.execute("UPDATE tenants SET status = 'active' WHERE id = %s", [elsewhere])
        assert client.delete(f"{USERS}/{me}/roles/platform_admin", headers=headers).status_code == 204

    @pytest.mark.parametrize(
        ("role", "path"),
        [
            ("tenant_admin", ""),
            ("tenant_admin", "/roles/tenant_admin"),
            ("platform_admin", ""),
            ("platform_admin", "/roles/platform_admin"),
        ],
    )
    def test_of_two_who_remove_each_other_at_once_one_stays(
        self, app, new_user, new_tenant, user_id, sign_in, superuser_here, monkeypatch, role, path
    ):
        tenant = new_tenant("two")
        emails = [new_user(role, "viewer", tenant=tenant) for _ in range(2)]
        users, headers = [user_id(email) for email in emails], [sign_in(email) for email in emails]
        both_have_looked, look = threading.Barrier(2), Memberships.vacated

        def look_and_wait(*args):
            found = look(*args)
            with suppress(threading.BrokenBarrierError):
                both_have_looked.wait(timeout=2)  # who comes alone goes on: the other is kept out
            return found

        monkeypatch.setattr(Memberships, "vacated", look_and_wait)

        def remove(mine, theirs):
            return app.test_client().delete(f"{USERS}/{theirs}{path}", headers=mine).status_code

        with ThreadPoolExecutor(2) as pool:
            codes = sorted(pool.map(remove, headers, reversed(users)))
        assert codes == [204, 409]
        held = "SELECT count(*) FROM user_roles m JOIN roles r ON r.id = role_id WHERE r.name = %s AND m.tenant_id = %s"
        assert superuser_here.execute(held, [role, tenant]).fetchone()[0] == 1

    def test_disabling_is_asked_for_the_same_way(self, app, alone):
        """For app/services/users.py, which disables."""
        core = app.extensions[KEY]
        with core.database.system() as uow, pytest.raises(Conflict, match="tenant_admin of small"):
            core.rbac.keep_administrators(uow, alone[0])
