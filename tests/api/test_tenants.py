"""Tenants: made, named, limited, suspended; and what is switched off for them."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.api.answers import problem, without_id
from tests.conftest import PASSWORD
from tests.running import until

TENANTS = "/api/v2/tenants"
ME = "/api/v2/auth/me"
FEATURES = "/api/v2/features"
USAGE = "/api/v2/usage"
NO_LIMITS = {"max_batch_domains": None, "max_open_jobs": None, "max_urls": None, "max_host_requests": None}


@pytest.fixture
def platform(login):
    return login("platform_admin")


@pytest.fixture
def make(client, platform):
    def post(name="Acme", **more):
        return client.post(TENANTS, headers=platform, json={"name": name, **more})

    return post


@pytest.fixture
def acme(make):
    return make().json


@pytest.fixture
def patch(client, platform):
    def send(tenant, headers=None, **changes):
        return client.patch(f"{TENANTS}/{tenant['id']}", headers=headers or platform, json=changes)

    return send


@pytest.fixture
def trail(superuser_here):
    """What was audited of a tenant."""

    def read(tenant_id):
        return superuser_here.execute(
            "SELECT action, actor, before, after FROM audit_events WHERE object_type = 'tenant' AND object_id = %s "
            "AND tenant_id = %s ORDER BY id",
            [str(tenant_id), tenant_id],
        ).fetchall()

    return read


def test_a_tenant_is_made_and_can_be_looked_at(client, make, platform, trail):
    answer = make("  Acme  ", weight=3, max_running=10, limits={"max_open_jobs": 5})
    assert answer.status_code == 201, answer.text
    tenant = answer.json
    assert answer.headers["Location"] == tenant["links"]["self"]
    assert (tenant["name"], tenant["status"], tenant["weight"], tenant["max_running"]) == ("Acme", "active", 3, 10)
    assert tenant["limits"] == {**NO_LIMITS, "max_open_jobs": 5}
    assert set(tenant["features"].values()) == {True}
    assert client.get(tenant["links"]["self"], headers=platform).json == tenant
    [(action, actor, before, after)] = trail(tenant["id"])
    assert (action, before) == ("tenant.created", None)
    assert actor.startswith("platform_admin")
    assert (after["name"], after["max_open_jobs"]) == ("Acme", 5)


@pytest.mark.parametrize("name", ["ACME", " acme ", "Default"])
def test_names_are_unique_whatever_their_case(acme, make, name):
    problem(make(name), 409, "conflict")


def test_capitals_of_any_alphabet_are_no_difference(make):
    assert make("Ärzte Ωμέγα Жук").status_code == 201
    problem(make("ÄRZTE ΩΜΈΓΑ ЖУК"), 409, "conflict")
    problem(make("A\u0308rzte Ωμέγα Жук"), 409, "conflict")  # the same letters, put together otherwise


@pytest.mark.parametrize(
    "name",
    ["", "   ", "a\nb", "a\x00b", "a\u202eb", "a\u200bb", "x" * 101, str(uuid4()), uuid4().hex, 7, None],
    ids=["empty", "blank", "newline", "nul", "bidi", "zero-width", "long", "uuid", "hex", "number", "null"],
)
def test_names_that_would_mislead_are_refused(make, name):
    answer = problem(make(name), 422, "invalid_input")
    assert [error["pointer"] for error in answer["errors"]] == ["/name"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"weight": 0}, "/weight"),
        ({"weight": 101}, "/weight"),
        ({"weight": True}, "/weight"),
        ({"max_running": 0}, "/max_running"),
        ({"limits": {"max_urls": 0}}, "/limits/max_urls"),
        ({"limits": {"max_urls": 10**30}}, "/limits/max_urls"),
        ({"limits": {"max_host_requests": 65}}, "/limits/max_host_requests"),
        ({"limits": {"max_open_jobs": "5"}}, "/limits/max_open_jobs"),
        ({"limits": {"max_fun": 1}}, "/limits/max_fun"),
        ({"limits": None}, "/limits"),
        ({"status": "suspended"}, "/status"),
        ({"id": str(uuid4())}, "/id"),
        ({"features": {"pages": False}}, "/features"),
    ],
)
def test_what_is_no_limit_is_refused_by_name(patch, acme, body, pointer):
    answer = problem(patch(acme, **body), 422, "invalid_input")
    assert [error["pointer"] for error in answer["errors"]] == [pointer]


def test_changes_leave_the_rest_as_it_was_and_are_audited(patch, acme, trail):
    assert patch(acme, weight=2, limits={"max_urls": 1000, "max_open_jobs": 9}).status_code == 200
    changed = patch(acme, name="Acme Ltd", limits={"max_open_jobs": None, "max_urls": 1000}).json
    assert (changed["name"], changed["weight"]) == ("Acme Ltd", 2)
    assert changed["limits"] == {**NO_LIMITS, "max_urls": 1000}
    patch(acme, name="Acme Ltd", weight=2)  # no change
    _, first, second = trail(acme["id"])
    assert first[2:] == (
        {"weight": 1, "max_urls": None, "max_open_jobs": None},
        {"weight": 2, "max_urls": 1000, "max_open_jobs": 9},
    )
    assert second[0] == "tenant.changed"
    assert second[2:] == ({"name": "Acme", "max_open_jobs": 9}, {"name": "Acme Ltd", "max_open_jobs": None})


def test_renaming_to_anothers_name_changes_nothing(client, patch, acme, platform):
    problem(patch(acme, name="DEFAULT", weight=9), 409, "conflict")
    assert client.get(acme["links"]["self"], headers=platform).json == acme
    assert patch(acme, name="ACME").json["name"] == "ACME"  # its own name in another case


def test_administrators_rename_their_own_tenant_and_set_no_limits(patch, login, acme, tenant_id, trail):
    mine = {"id": tenant_id}
    admin = login("tenant_admin")
    assert patch(mine, admin, name="Ours").json["name"] == "Ours"
    assert trail(tenant_id)[-1][0] == "tenant.changed"
    for body in ({"weight": 100}, {"max_running": None}, {"limits": {"max_urls": 10**9}}, {"name": "x", "weight": 2}):
        problem(patch(mine, admin, **body), 403, "permission_denied")
    problem(patch(mine, login("operator"), name="Mine"), 403, "permission_denied")
    missing = patch({"id": uuid4()}, admin, name="Stolen")
    assert without_id(patch(acme, admin, name="Stolen")) == without_id(missing)
    assert missing.status_code == 404


def test_a_member_elsewhere_may_look_but_renames_only_where_she_acts(client, new_user, acme, patch, app):
    email = new_user("tenant_admin")
    new_user("tenant_admin", tenant=acme["id"], email=email)
    headers = signed_in(client, email, "default")
    assert [tenant["name"] for tenant in client.get(TENANTS, headers=headers).json["items"]] == ["default", "Acme"]
    assert client.get(acme["links"]["self"], headers=headers).status_code == 200
    problem(patch(acme, headers, name="Elsewhere"), 403, "permission_denied")
    assert patch(acme, signed_in(client, email, "Acme"), name="Here").json["name"] == "Here"


def test_others_see_their_own_tenants_alone(client, login, acme, platform, tenant_id):
    def listed(headers, query=""):
        return [tenant["id"] for tenant in client.get(f"{TENANTS}{query}", headers=headers).json["items"]]

    viewer = login("viewer", tenant=acme["id"])
    assert listed(viewer) == [acme["id"]]
    assert listed(platform) == [str(tenant_id), acme["id"]]
    assert listed(platform, "?status=suspended") == []
    hidden = client.get(f"{TENANTS}/{tenant_id}", headers=viewer)
    assert without_id(hidden) == without_id(client.get(f"{TENANTS}/{uuid4()}", headers=viewer))
    assert hidden.status_code == 404


def test_tenants_are_paged(client, make, platform):
    for n in range(4):
        make(f"t{n}")
    found, cursor = [], ""
    while cursor is not None:
        answer = client.get(f"{TENANTS}?limit=2{cursor and '&cursor=' + cursor}", headers=platform).json
        found += [tenant["name"] for tenant in answer["items"]]
        cursor = answer["next_cursor"]
    assert found == ["default", "t0", "t1", "t2", "t3"]


def test_suspending_shuts_a_tenants_people_out_and_nobody_else(client, acme, platform, login, trail):
    member, other = login("tenant_admin", tenant=acme["id"]), login("viewer")
    body = {"name": "robot", "permissions": ["quota:read"], "expires_in_days": 1}
    key = {"X-API-Key": client.post("/api/v2/api-keys", headers=member, json=body).json["key"]}
    assert client.get(ME, headers=member).status_code == client.get(USAGE, headers=key).status_code == 200
    suspended = client.post(f"{acme['links']['self']}/suspend", headers=platform)
    assert (suspended.status_code, suspended.json["status"]) == (200, "suspended")
    shut_out(client, member)
    problem(client.get(USAGE, headers=key), 403, "permission_denied")
    problem(client.post("/api/v2/scans", headers=member, json={"domain": "a.example"}), 403, "permission_denied")
    assert client.get(ME, headers=other).status_code == 200
    assert client.post(f"{acme['links']['self']}/suspend", headers=platform).status_code == 200
    assert client.post(f"{acme['links']['self']}/resume", headers=platform).json["status"] == "active"
    until(lambda: client.get(ME, headers=member).status_code == 200, seconds=5, what="being let in again")
    assert client.get(USAGE, headers=key).status_code == 200
    assert [event[0] for event in trail(acme["id"])] == ["tenant.created", "tenant.suspended", "tenant.resumed"]


def test_the_last_platform_administrator_is_not_locked_out(client, platform, tenant_id, acme, new_user):
    suspend = f"{TENANTS}/{tenant_id}/suspend"
    problem(client.post(suspend, headers=platform), 409, "conflict")
    email = new_user("platform_admin", tenant=acme["id"])
    assert client.post(suspend, headers=platform).status_code == 200
    shut_out(client, platform)
    elsewhere = signed_in(client, email, "Acme")
    problem(client.post(f"{acme['links']['self']}/suspend", headers=elsewhere), 409, "conflict")
    assert client.post(f"{TENANTS}/{tenant_id}/resume", headers=elsewhere).status_code == 200


def test_only_the_platform_makes_suspends_and_switches(client, login, tenant_id, acme):
    admin = login("tenant_admin")
    for path, method, body in (
        ("", "POST", {"name": "Mine"}),
        (f"/{tenant_id}/suspend", "POST", None),
        (f"/{tenant_id}/resume", "POST", None),
        (f"/{acme['id']}/suspend", "POST", None),
        (f"/{tenant_id}/features/pages", "PUT", {"enabled": True}),
    ):
        problem(client.open(f"{TENANTS}{path}", method=method, headers=admin, json=body), 403, "permission_denied")


@pytest.mark.parametrize("path", ["suspend", "resume"])
def test_what_is_no_tenant_is_not_found(client, platform, path):
    for key in (uuid4(), "nothing", "0"):
        problem(client.post(f"{TENANTS}/{key}/{path}", headers=platform), 404, "not_found")
        problem(client.get(f"{TENANTS}/{key}", headers=platform), 404, "not_found")


def test_features_are_switched_for_one_tenant_and_audited(client, platform, login, acme, tenant_id, trail):
    member, other = login("viewer", tenant=acme["id"]), login("viewer")
    assert set(client.get(FEATURES, headers=member).json.values()) == {True}
    url = f"{acme['links']['self']}/features/pages"
    assert client.put(url, headers=platform, json={"enabled": False}).json == {"name": "pages", "enabled": False}
    assert client.get(FEATURES, headers=member).json["pages"] is False
    assert client.get(acme["links"]["self"], headers=member).json["features"]["pages"] is False
    assert client.get(FEATURES, headers=other).json["pages"] is True
    client.put(url, headers=platform, json={"enabled": False})  # no change
    client.put(url, headers=platform, json={"enabled": True})
    assert client.get(FEATURES, headers=member).json["pages"] is True
    switched = [event[2:] for event in trail(acme["id"]) if event[0] == "feature.switched"]
    assert switched == [({"pages": True}, {"pages": False}), ({"pages": False}, {"pages": True})]


def test_what_is_no_feature_is_not_found(client, platform, acme):
    for path in (f"{acme['id']}/features/fun", f"{uuid4()}/features/pages"):
        problem(client.put(f"{TENANTS}/{path}", headers=platform, json={"enabled": False}), 404, "not_found")
    url = f"{acme['links']['self']}/features/pages"
    for body in ({}, {"enabled": "no"}, {"enabled": None}, {"enabled": False, "name": "exports"}):
        problem(client.put(url, headers=platform, json=body), 422, "invalid_input")


def signed_in(client, email, tenant):
    answer = client.post("/api/v2/auth/login", json={"email": email, "password": PASSWORD, "tenant": tenant})
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json['access_token']}"}


def shut_out(client, headers):
    """Within five seconds, and with a word that says why."""
    until(lambda: client.get(ME, headers=headers).status_code == 403, seconds=5, what="a refusal")
    problem(client.get(ME, headers=headers), 403, "permission_denied")
