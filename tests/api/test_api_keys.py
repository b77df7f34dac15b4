"""API keys: what they may do, and when they end."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.access import PERMISSIONS, PERSONAL
from app.api import limits
from app.api.core import KEY
from app.services.credentials import digest, new_key
from tests.api.answers import problem, without_id
from tests.conftest import PASSWORD

KEYS, ME = "/api/v2/api-keys", "/api/v2/auth/me"


@pytest.fixture
def admin(login):
    return login("tenant_admin")


@pytest.fixture
def make(client, admin):
    """`make("job:run", …)` → the answer to whoever asks for such a key."""

    def create(*permissions, headers=admin, **body):
        return client.post(KEYS, headers=headers, json={"name": "a key", "permissions": list(permissions), **body})

    return create


@pytest.fixture
def key(make):
    return make("job:read", "job:run").json


def by(key):
    return {"X-API-Key": key["key"]}


@pytest.fixture
def later(app):
    """`later(4.9)`: so many seconds have passed for every cache in this process."""
    parts = app.extensions[KEY]

    def forward(seconds):
        for cache in (parts.accounts.standings._cache, parts.rbac._cache):
            cache._clock = lambda: time.monotonic() + seconds

    return forward


# ---- making one --------------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_kept_as_a_hash(client, make, admin, superuser_here):
    made = make("job:run", "job:read", "job:run")
    assert made.status_code == 201
    assert made.json["permissions"] == ["job:read", "job:run"]
    assert made.json["status"] == "active"
    assert made.json["key"].startswith("ssk_")
    assert made.headers["Location"] == f"{KEYS}/{made.json['id']}"
    (kept,) = superuser_here.execute("SELECT key_hash FROM api_keys").fetchone()
    assert kept == digest(made.json["key"])
    shown = client.get(made.headers["Location"], headers=admin)
    assert {**shown.json, "key": made.json["key"]} == made.json
    listed = client.get(KEYS, headers=admin)
    assert listed.json["items"] == [shown.json]
    assert made.json["key"].split("_", 2)[2] not in shown.text + listed.text


def test_two_keys_share_nothing_secret(make):
    first, second = (make("job:run").json["key"] for _ in range(2))
    assert len(first.split("_", 2)[2]) == 43  # 256 bits
    assert first.split("_", 2)[2] != second.split("_", 2)[2]


def test_an_end_is_set_whatever_is_asked_for(make):
    def days(answer):
        return (datetime.fromisoformat(answer.json["expires_at"]) - datetime.now(UTC)) / timedelta(days=1)

    assert days(make("job:run")) == pytest.approx(90, abs=0.1)
    assert days(make("job:run", expires_in_days=365)) == pytest.approx(365, abs=0.1)
    soon = (datetime.now(UTC) + timedelta(hours=12)).isoformat()
    assert days(make("job:run", expires_at=soon)) == pytest.approx(0.5, abs=0.1)


WRONG_WISHES = [
    {"expires_in_days": 366},
    {"expires_in_days": 0},
    {"expires_in_days": 1.5},
    {"expires_in_days": True},
    {"expires_in_days": 10**9},
    {"expires_at": "2020-01-01T00:00:00Z"},
    {"expires_at": "0001-01-01T00:00:00+14:00"},
    {"expires_at": "9999-12-31T23:59:59-14:00"},
    {"expires_at": "tomorrow"},
    {"expires_at": "2027-01-01T00:00:00Z", "expires_in_days": 3},
    {"permissions": []},
    {"permissions": ["job:fly"]},
    {"permissions": "job:run"},
    {"name": ""},
    {"name": "x" * 101},
    {"name": "two\nlines"},
    {"tenant_id": "0193c0de-0000-7000-8000-000000000001"},
    {"key_hash": "00"},
    {"created_by": "0193c0de-0000-7000-8000-000000000001"},
    {"id": "0193c0de-0000-7000-8000-000000000001"},
]


def test_a_wrong_wish_is_told_where(make):
    for body in WRONG_WISHES:
        assert problem(make("job:run", **body), 422, "invalid_input")["errors"], body


def test_what_gives_rights_is_never_a_keys(make, login):
    mighty = login("tenant_admin", "platform_admin")
    for permission in sorted(PERSONAL):
        problem(make(permission, headers=mighty), 422, "invalid_input")


def test_nobody_gives_a_key_more_than_she_has(make):
    answer = problem(make("job:run", "platform:queue"), 403, "permission_denied")
    assert "platform:queue" in answer["detail"]
    assert "job:run" not in answer["detail"]


def test_who_sees_and_who_makes_keys(client, login, make):
    expected = {"viewer": (403, 403), "operator": (403, 403), "tenant_admin": (200, 201), "platform_admin": (403, 403)}
    for role, (reads, makes) in expected.items():
        headers = login(role)
        assert client.get(KEYS, headers=headers).status_code == reads, role
        assert make("job:read", headers=headers).status_code == makes, role


def test_making_and_revoking_are_audited_without_the_secret(client, make, admin):
    made = make("job:run").json
    client.delete(f"{KEYS}/{made['id']}", headers=admin)
    client.delete(f"{KEYS}/{made['id']}", headers=admin)
    events = client.get("/api/v2/audit-events?action=api_key", headers=admin)
    assert [event["action"] for event in events.json["items"]] == ["api_key.revoked", "api_key.created"]
    assert {event["object"]["id"] for event in events.json["items"]} == {made["id"]}
    assert events.json["items"][1]["after"]["permissions"] == ["job:run"]
    assert made["key"].split("_", 2)[2] not in events.text


# ---- using one ---------------------------------------------------------------------------------------------------


def test_a_key_acts_for_whoever_made_it_within_its_permissions(client, key, tenant_id):
    me = client.get(ME, headers=by(key))
    assert me.status_code == 200
    assert me.json["tenant"]["id"] == str(tenant_id)
    assert me.json["permissions"] == ["job:read", "job:run"]
    assert me.json["roles"] == []
    scan = client.post("/api/v2/scans", headers=by(key), json={"domain": "example.com"})
    assert scan.status_code == 202
    assert client.get(scan.headers["Location"], headers=by(key)).status_code == 200
    problem(client.get("/api/v2/domains", headers=by(key)), 403, "permission_denied")


def test_version_one_takes_it_too(client, key):
    answer = client.post("/api/v1/scrapersky", headers=by(key), json={"base_url": "example.com"})
    assert answer.status_code == 200


A_PERSONS_OWN = [
    ("GET", "/api/v2/sessions"),
    ("DELETE", "/api/v2/sessions"),
    ("DELETE", "/api/v2/sessions/0193c0de-0000-7000-8000-00000000dead"),
    ("POST", "/api/v2/auth/switch"),
    ("POST", KEYS),
    ("DELETE", f"{KEYS}/0193c0de-0000-7000-8000-00000000dead"),
    ("POST", "/api/v2/roles"),
]


def test_no_key_manages_keys_roles_or_sessions(client, make):
    everything = make(*sorted(PERMISSIONS - PERSONAL - {"platform:queue", "platform:audit"})).json
    assert client.get(KEYS, headers=by(everything)).status_code == 200
    for method, path in A_PERSONS_OWN:
        problem(client.open(path, method=method, headers=by(everything), json={}), 403, "permission_denied")


def test_a_permission_smuggled_into_the_row_counts_for_nothing(client, key, superuser_here, later):
    superuser_here.execute("UPDATE api_keys SET permissions = '{apikey:manage,platform:tenants,job:read,job:fly}'")
    later(5)
    assert client.get(ME, headers=by(key)).json["permissions"] == ["job:read"]


NOT_THE_KEY = [
    lambda key: "",
    lambda key: "x",
    lambda key: key[:-1],
    lambda key: key + "A",
    lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"),
    lambda key: key.upper(),
    lambda key: key.replace("ssk_", "sk_"),
    lambda key: key[:37] + new_key_of_another()[37:],
    lambda key: new_key_of_another(),
    lambda key: f"Bearer {key}",
    lambda key: f"{key},{key}",
    lambda key: "ssk_" + "0" * 32 + "_" + "A" * 43,
    lambda key: "k" * 100_000,
    lambda key: "é" * 80,
    lambda key: "' OR 1=1 --",
]


def test_what_is_not_the_key_is_401_and_says_nothing_more(client, key):
    assert client.get(ME, headers=by(key)).status_code == 200  # so that it is cached
    for broken in NOT_THE_KEY:
        answer = client.get(ME, headers={"X-API-Key": broken(key["key"])})
        problem(answer, 401, "authentication_failed")


def new_key_of_another():
    return new_key(UUID(int=5))


def test_an_unknown_a_wrong_and_a_revoked_key_are_answered_alike(client, admin, key):
    revoked = client.post(KEYS, headers=admin, json={"name": "x", "permissions": ["job:read"]}).json
    client.delete(f"{KEYS}/{revoked['id']}", headers=admin)
    wrong = key["key"][:-43] + revoked["key"][-43:]
    answers = [client.get(ME, headers={"X-API-Key": sent}) for sent in (new_key_of_another(), wrong, revoked["key"])]
    assert [answer.status_code for answer in answers] == [401] * 3
    assert [without_id(answer) for answer in answers] == [without_id(answers[0])] * 3


def test_a_key_and_a_token_at_once_are_refused(client, admin, key):
    for other in (admin, {"Authorization": "Basic YWRtaW46YWRtaW4="}, {"Authorization": ""}):
        problem(client.get(ME, headers={**by(key), **other}), 401, "authentication_failed")


def test_a_key_is_no_bearer_token_and_is_not_read_from_elsewhere(client, key):
    text = key["key"]
    assert client.get(ME, headers={"Authorization": f"Bearer {text}"}).status_code == 401
    assert client.get(f"{ME}?api_key={text}").status_code == 401
    assert client.get(ME, headers={"Cookie": f"X-API-Key={text}"}).status_code == 401


def test_a_key_counts_in_its_own_tenant_only(client, key, login, new_tenant):
    acme = new_tenant("acme")
    there = login("tenant_admin", tenant=acme)
    for method in ("get", "delete"):
        mine = getattr(client, method)(f"{KEYS}/{key['id']}", headers=there)
        nobodys = getattr(client, method)(f"{KEYS}/0193c0de-0000-7000-8000-00000000dead", headers=there)
        problem(mine, 404, "not_found")
        assert without_id(mine) == without_id(nobodys)
    assert client.get(KEYS, headers=there).json["items"] == []
    assert client.get(ME, headers=by(key)).status_code == 200


def test_last_use_is_told_and_costs_a_write_a_minute_at_most(client, admin, key, superuser_here, later):
    def used():
        return superuser_here.execute("SELECT last_used_at FROM api_keys").fetchone()[0]

    assert used() is None
    client.get(ME, headers=by(key))
    first = used()
    assert client.get(f"{KEYS}/{key['id']}", headers=admin).json["last_used_at"] is not None
    later(5)  # the cache has forgotten it, a minute is not over
    client.get(ME, headers=by(key))
    assert used() == first
    superuser_here.execute("UPDATE api_keys SET last_used_at = last_used_at - interval '61 seconds'")
    later(10)
    client.get(ME, headers=by(key))
    assert used() >= first


def test_many_at_once_with_a_fresh_key(app, key):
    def ask(_):
        return app.test_client().get(ME, headers=by(key)).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(ask, range(24))) == {200}


def test_requests_are_limited_by_key(client, key):
    with client.application.test_request_context(headers=by(key)):
        assert limits.caller().startswith("address:")  # nobody has vouched for it yet
    client.get(ME, headers=by(key))
    with client.application.test_request_context(headers=by(key)):
        assert limits.caller() == f"key:{key['id']}"
    with client.application.test_request_context(headers={"X-API-Key": key["key"][:-1] + "!"}):
        assert limits.caller().startswith("address:")


# ---- its end -----------------------------------------------------------------------------------------------------


def test_a_revoked_key_is_refused_at_once_and_stays_listed(client, admin, key):
    assert client.get(ME, headers=by(key)).status_code == 200
    assert client.delete(f"{KEYS}/{key['id']}", headers=admin).status_code == 204
    problem(client.get(ME, headers=by(key)), 401, "authentication_failed")
    assert client.get(f"{KEYS}/{key['id']}", headers=admin).json["status"] == "revoked"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("UPDATE api_keys SET revoked_at = now()", 401),
        ("UPDATE api_keys SET expires_at = now()", 401),
        ("UPDATE users SET status = 'disabled'", 401),
        ("DELETE FROM user_roles", 401),
        ("DELETE FROM users", 401),
        ("UPDATE tenants SET status = 'suspended'", 403),
        ("UPDATE api_keys SET key_hash = sha256('another')", 401),
    ],
)
def test_it_ends_with_what_it_lives_by(client, key, superuser_here, later, change, status):
    assert client.get(ME, headers=by(key)).status_code == 200
    superuser_here.execute(change)
    later(4.9)
    assert client.get(ME, headers=by(key)).status_code == status


def test_it_loses_what_its_maker_loses_and_has_it_again_with_her(client, key, superuser_here, later):
    superuser_here.execute("UPDATE user_roles SET role_id = (SELECT id FROM roles WHERE name = 'viewer')")
    later(5)
    assert client.get(ME, headers=by(key)).json["permissions"] == ["job:read"]
    problem(client.post("/api/v2/scans", headers=by(key), json={"domain": "example.com"}), 403, "permission_denied")
    superuser_here.execute("UPDATE user_roles SET role_id = (SELECT id FROM roles WHERE name = 'operator')")
    later(10)
    assert client.get(ME, headers=by(key)).json["permissions"] == ["job:read", "job:run"]


def test_an_ended_membership_ends_the_key_for_good(client, login, new_user, make, superuser_here):
    email = new_user("tenant_admin", "viewer")
    token = client.post("/api/v2/auth/login", json={"email": email, "password": PASSWORD}).json["access_token"]
    key = make("job:read", headers={"Authorization": f"Bearer {token}"}).json
    boss = login("tenant_admin")
    user = client.get(ME, headers={"Authorization": f"Bearer {token}"}).json["user"]["id"]
    assert client.delete(f"/api/v2/users/{user}", headers=boss).status_code == 204
    problem(client.get(ME, headers=by(key)), 401, "authentication_failed")
    new_user("tenant_admin", email=email)
    problem(client.get(ME, headers=by(key)), 401, "authentication_failed")
