"""Break-glass: a platform administrator looks into a tenant, and is seen doing it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import jwt
import pytest

from tests.api.answers import problem, without_id

ME, REFRESH, AUDIT = "/api/v2/auth/me", "/api/v2/auth/refresh", "/api/v2/audit-events"
WHY = {"reason": "ticket 4711", "minutes": 30}


def opening(tenant):
    return f"/api/v2/tenants/{tenant}/break-glass"


def bearer(tokens):
    return {"Authorization": f"Bearer {tokens['access_token']}"}


@pytest.fixture
def acme(new_tenant):
    return new_tenant("acme")


@pytest.fixture
def platform(login):
    return login("platform_admin")


@pytest.fixture
def tokens(client, platform, acme):
    answer = client.post(opening(acme), headers=platform, json=WHY)
    assert answer.status_code == 200, answer.text
    return answer.json


@pytest.fixture
def seen(client, login, acme):
    """What the tenant's own administrator reads of it."""
    owner = login("tenant_admin", tenant=acme)

    def events(action):
        return client.get(f"{AUDIT}?action={action}", headers=owner).json["items"]

    return events


def test_she_reads_what_a_viewer_reads_and_changes_nothing(client, login, acme, tokens):
    operator = login("operator", tenant=acme)
    job = client.post("/api/v2/scans", headers=operator, json={"domain": "example.com"}).headers["Location"]
    me = client.get(ME, headers=bearer(tokens)).json
    assert me["tenant"] == {"id": str(acme), "name": "acme"}
    assert client.get(job, headers=bearer(tokens)).status_code == 200
    for method, path in (
        ("POST", "/api/v2/scans"),
        ("POST", f"{job}/cancel"),
        ("GET", "/api/v2/api-keys"),
        ("GET", AUDIT),
        ("POST", opening(acme)),
        ("POST", "/api/v2/auth/switch"),
        ("DELETE", "/api/v2/sessions"),
        ("POST", f"/api/v2/tenants/{acme}/suspend"),
    ):
        answer = client.open(path, method=method, headers=bearer(tokens), json={} if method == "POST" else None)
        problem(answer, 403, "permission_denied")


def test_the_tenant_sees_who_opened_it_why_and_until_when_and_each_request(client, platform, tokens, seen):
    (opened,) = seen("break_glass.opened")
    email = client.get(ME, headers=platform).json["user"]["email"]
    assert opened["actor"]["email"] == email
    assert (opened["after"]["reason"], opened["after"]["minutes"]) == (WHY["reason"], WHY["minutes"])
    left = datetime.fromisoformat(opened["after"]["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=29) < left <= timedelta(minutes=30)
    client.get("/api/v2/jobs?status=failed", headers=bearer(tokens))
    client.post("/api/v2/scans", headers=bearer(tokens), json={"domain": "example.com"})
    client.get("/api/v2/domains/%c3%a9%01%00%7fforged", headers=bearer(tokens))
    requests = seen("break_glass.request")
    assert [event["object"]["id"] for event in requests] == [
        "GET /api/v2/domains/%C3%A9%01%00%7Fforged",
        "POST /api/v2/scans",
        "GET /api/v2/jobs",
    ]
    assert requests[2]["after"] == {"query": "status=failed"}
    assert {(event["via"], event["actor"]["email"]) for event in requests} == {("break_glass", email)}


def test_it_ends_with_its_time_however_often_it_is_refreshed(client, tokens, superuser_here):
    def ends():
        return superuser_here.execute("SELECT expires_at FROM sessions WHERE reason IS NOT NULL").fetchone()[0]

    before = ends()
    again = client.post(REFRESH, json={"refresh_token": tokens["refresh_token"]})
    assert again.status_code == 200
    assert ends() == before
    superuser_here.execute("UPDATE sessions SET expires_at = now() + interval '90 seconds' WHERE reason IS NOT NULL")
    short = client.post(REFRESH, json={"refresh_token": again.json["refresh_token"]}).json
    claims = jwt.decode(short["access_token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] <= 90
    assert short["expires_in"] <= 90
    superuser_here.execute("UPDATE sessions SET expires_at = now() WHERE reason IS NOT NULL")
    problem(client.post(REFRESH, json={"refresh_token": short["refresh_token"]}), 401, "authentication_failed")


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM user_roles u USING roles r WHERE u.role_id = r.id AND r.name = 'platform_admin'",
        "UPDATE users SET status = 'disabled'",
        "UPDATE users SET authz_version = authz_version + 1",
        "UPDATE tenants SET status = 'suspended' WHERE name = 'default'",
    ],
)
def test_it_ends_at_once_with_her_own_rights(client, tokens, superuser_here, change):
    assert client.get(ME, headers=bearer(tokens)).status_code == 200
    superuser_here.execute(change)
    problem(client.get(ME, headers=bearer(tokens)), 401, "authentication_failed")


def test_a_tenant_that_is_suspended_can_be_looked_into(client, tokens, superuser_here):
    superuser_here.execute("UPDATE tenants SET status = 'suspended' WHERE name = 'acme'")
    assert client.get("/api/v2/jobs", headers=bearer(tokens)).status_code == 200


def test_she_ends_it_by_signing_out(client, tokens, seen):
    assert client.post("/api/v2/auth/logout", headers=bearer(tokens)).status_code == 204
    problem(client.get(ME, headers=bearer(tokens)), 401, "authentication_failed")
    assert [event["via"] for event in seen("session.ended")]


def test_only_who_may_open_tenants_opens_one_and_only_with_a_reason_and_an_end(client, login, platform, acme):
    for role in ("viewer", "operator", "tenant_admin"):
        problem(client.post(opening(acme), headers=login(role), json=WHY), 403, "permission_denied")
        problem(client.post(opening(acme), headers=login(role, tenant=acme), json=WHY), 403, "permission_denied")
    wrong = [
        {},
        {"reason": "x"},
        {"minutes": 5},
        *({**WHY, "minutes": value} for value in (0, 61, -1, 1.5, "5", True, 10**30)),
    ]
    wrong += [{**WHY, "reason": value} for value in ("", "   ", "a\nb", "x" * 301, None, 5)]
    wrong += [{**WHY, "permissions": ["job:run"]}, {**WHY, "tenant_id": str(acme)}]
    for body in wrong:
        problem(client.post(opening(acme), headers=platform, json=body), 422, "invalid_input")
    nowhere = [
        client.post(opening(key), headers=platform, json=WHY) for key in ("0193c0de-0000-7000-8000-00000000dead", "x")
    ]
    assert [answer.status_code for answer in nowhere] == [404, 404]
    assert without_id(nowhere[0]) == without_id(nowhere[1])
