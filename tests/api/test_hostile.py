"""What an attacker tries over HTTP who has an account, or none: one test for each case handed to the project
(`../shared/cases/adversarial.json`), whichever file it stands in, and what else occurred to us. Forged tokens are in
`test_tokens.py`.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from app.api.openapi import document
from app.factory import create_app
from app.services.administrators import create_admin
from tests.api.answers import problem, without_id
from tests.api.samples import NOTHING, Tenant, documented
from tests.conftest import PASSWORD
from tests.unit.replay import adversarial_cases, needs_cases

AREAS = ("auth", "rbac-tenant")
LOGIN, ME, REFRESH, SWITCH = (f"/api/v2/auth/{name}" for name in ("login", "me", "refresh", "switch"))
ONE_TIME = ("accept", "reset")
EVIL = "evil.example"
# Where the test of each case is, when it is not in this file.
ELSEWHERE = {
    "AUTH-001": "api/test_auth.py::test_unknown_user_wrong_password_and_disabled_user_get_one_answer_after_the_same_work",
    "AUTH-009": "unit/test_password_rules.py::test_what_everybody_tries_first_is_refused",
    "AUTH-012": "api/test_accounts.py::test_every_dead_token_gets_one_answer",
    "AUTH-013": "api/test_problems.py::test_an_untrusted_host_is_400",
    "AUTH-015": "api/test_auth.py::test_a_hundred_sign_ins_at_once_leave_the_api_free",
    "AUTH-016": "unit/test_emails.py::test_spellings_of_one_account_become_one",
    "RBAC-001": "api/test_matrix.py::test_whoever_may_not_is_refused",
    "RBAC-002": "api/test_matrix.py::test_whoever_may_not_is_refused",
    "RBAC-003": "api/test_matrix.py::test_what_is_ours_is_to_another_tenants_administrator_as_if_it_were_not",
    "RBAC-005": "api/test_access.py::test_a_view_that_declares_nothing_stops_the_start",
    "RBAC-010": "api/test_matrix.py::test_what_is_ours_is_to_another_tenants_administrator_as_if_it_were_not",
    "RBAC-043": "api/test_quotas.py::test_a_list_longer_than_a_batch_may_be_is_refused",
    "RBAC-047": "api/test_api_keys.py::test_an_ended_membership_ends_the_key_for_good",
    "RBAC-050": "api/test_break_glass.py::test_the_tenant_sees_who_opened_it_why_and_until_when_and_each_request",
    "RBAC-055": "api/test_invitations.py::test_somebody_else_cannot_take_it_whatever_the_password",
    "RBAC-051": "api/test_matrix.py::test_whoever_may_not_is_refused",
    "RBAC-056": "api/test_streaming.py::test_it_breaks_off_within_seconds_of_lost_rights",
    "RBAC-057": "api/test_limits.py::test_users_behind_one_address_have_a_limit_each",
}
TESTS = Path(__file__).resolve().parents[1]


@needs_cases
@pytest.mark.parametrize("case", adversarial_cases(*AREAS))
def test_every_case_has_a_test(case):
    """In this file a test names its cases in its first line; elsewhere `ELSEWHERE` names the test."""
    if case["id"] not in ELSEWHERE:
        assert case["id"] in here(), f"no test for {case['id']}: {case['input']} → {case['expected']}"
        return
    path, name = ELSEWHERE[case["id"]].split("::")
    assert f"def {name}(" in (TESTS / path).read_text(encoding="utf-8"), f"{case['id']}: {name} is gone"


def here():
    documents = [test.__doc__ or "" for name, test in globals().items() if name.startswith("test_")]
    return {name for text in documents for name in re.findall(r"[A-Z]+-\d{3}", text.split("\n")[0])}


@pytest.fixture
def acme(new_tenant):
    """The attacker's tenant; the attacked one is `default`."""
    return new_tenant("acme")


@pytest.fixture
def inhabited(app, superuser_here, new_user, tenant_id):
    return Tenant(app, superuser_here, new_user, tenant_id, "everything")


@pytest.fixture
def spec(app):
    with app.app_context():
        return document(app)


@pytest.fixture
def made(settings, queue, passwords):
    """`made(login_rate=…)` → an application's client, with other settings."""
    applications = []

    def make(**changes):
        app = create_app(settings.model_copy(update=changes), queue=queue, passwords=passwords)
        applications.append(app)
        return app.test_client()

    yield make
    for app in applications:
        app.extensions["scrapersky"].database.close()


def sign_in(client, email, password=PASSWORD, **more):
    return client.post(LOGIN, json={"email": email, "password": password, **more})


# ---- accounts ------------------------------------------------------------------------------------------------------


def test_nothing_can_be_asked_by_an_address_alone(client, new_user):
    """AUTH-003: no mail is sent, so nobody can ask for one; a known address is answered as an unknown one."""
    answers = [
        client.post(f"/api/v2/auth/{path}", json={"email": email})
        for path in ("forgot", "register", "resend")
        for email in (new_user("viewer"), "nobody@example.com")
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({json.dumps(without_id(answer)) for answer in answers}) == 1


def test_a_forwarded_address_that_nobody_vouches_for_buys_no_tries(made):
    """AUTH-005"""
    client = made(login_rate="3/minute")
    codes = [
        client.post(
            LOGIN,
            json={"email": f"user{n}@example.com", "password": "wrong password"},
            headers={
                "X-Forwarded-For": f"203.0.113.{n}",
                "X-Real-IP": f"203.0.113.{n}",
                "Forwarded": f"for=203.0.113.{n}",
            },
        ).status_code
        for n in range(5)
    ]
    assert codes == [401, 401, 401, 429, 429]


@pytest.mark.parametrize(("length", "status"), [(1_024, 401), (8_193, 422), (1 << 20, 413)])
def test_an_endless_password_is_not_hashed(client, new_user, length, status):
    """AUTH-006: a megabyte is refused before it is read as JSON."""
    assert sign_in(client, new_user("viewer"), "x" * length).status_code == status


def test_every_byte_of_a_password_counts(client, database, passwords, new_user):
    """AUTH-008 AUTH-010"""
    email = new_user("viewer")
    with database.system() as uow:
        user = uow.sign_in.user_by_email(email)
        uow.sign_in.set_password(user.id, passwords.hash("abcdefgh" * 9 + "x"))
        uow.commit()
    for wrong in ("abcdefgh" * 9 + "y", "abcdefgh" * 9, "abcdefgh" * 9 + "x ", "Abcdefgh" + "abcdefgh" * 8 + "x"):
        assert sign_in(client, email, wrong).status_code == 401, wrong
    for cut in ("abcdefgh" * 9 + "x\0", "abcdefgh" * 9 + "x\0y"):
        assert sign_in(client, email, cut).status_code == 422, cut
    assert sign_in(client, email, "abcdefgh" * 9 + "x").status_code == 200


def test_headers_for_proxies_are_nobodys_word_without_one(client, login):
    """AUTH-014: they change neither the path, nor the method, nor what answers point to."""
    lies = {
        "X-Forwarded-Host": EVIL, "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Port": "1",
        "X-Original-URL": "/api/v2/auth/me", "X-Rewrite-URL": "/api/v2/auth/me", "Forwarded": f"host={EVIL};proto=https",
        "X-HTTP-Method-Override": "DELETE", "X-HTTP-Method": "DELETE", "X-Method-Override": "DELETE",
    }  # fmt: skip
    answer = client.post("/api/v2/scans", json={"domain": "example.com"}, headers={**lies, **login("operator")})
    assert answer.status_code == 202
    assert EVIL not in answer.text + str(answer.headers)
    assert answer.headers["Location"].startswith("/api/v2/jobs/")
    assert "Strict-Transport-Security" not in answer.headers
    answer = client.post("/api/v2/scans?_method=GET", json={"domain": "example.com"}, headers=login("operator"))
    problem(answer, 422, "invalid_input")
    assert client.get("/nothing", headers=lies).status_code == 404


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_no_other_site_may_read_or_ask(client, login, method):
    """AUTH-017"""
    ask = {"Origin": f"https://{EVIL}", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "*"}
    for path in (ME, LOGIN, "/openapi.json", "/health", "/nothing"):
        answer = client.open(path, method=method, headers={**login("viewer"), **ask})
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")], path
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_cookie_is_no_credential_and_none_is_set(app, client, new_user):
    """AUTH-018"""
    answer = sign_in(client, new_user("tenant_admin"))
    assert "Set-Cookie" not in answer.headers
    token = answer.json["access_token"]
    for name in ("access_token_cookie", "access_token", "session", "Authorization", "jwt"):
        client.set_cookie(name, token)
    assert client.get(ME).status_code == 401
    assert client.post("/api/v2/scans", json={"domain": "example.com"}).status_code == 401
    refused = client.post(REFRESH, headers={"X-CSRF-TOKEN": "x"})
    assert refused.status_code == 401
    assert "Set-Cookie" not in refused.headers


@pytest.mark.parametrize("place", ["query", "form", "json", "path"])
def test_a_token_counts_in_its_header_alone(client, new_user, place):
    token = sign_in(client, new_user("viewer")).json["access_token"]
    answer = {
        "query": lambda: client.get(f"{ME}?jwt={token}&access_token={token}&token={token}"),
        "form": lambda: client.post("/api/v2/scans", data={"access_token": token}),
        "json": lambda: client.post("/api/v2/scans", json={"access_token": token, "domain": "example.com"}),
        "path": lambda: client.get(f"{ME};jwt={token}"),
    }[place]()
    assert answer.status_code == (404 if place == "path" else 401)
    assert token not in answer.text


def test_two_authorization_headers_are_none(app, new_user):
    """As gunicorn hands them over: joined by a comma."""
    token = sign_in(app.test_client(), new_user("viewer")).json["access_token"]
    environ = EnvironBuilder(path=ME).get_environ()
    environ["HTTP_AUTHORIZATION"] = f"Bearer {token},Bearer {token}"
    assert TestResponse(*run_wsgi_app(app, environ), None).status_code == 401


def test_tokens_of_one_kind_are_none_of_another(client, new_user, inhabited):
    """Access for refresh, refresh for access, either as an API key or as a one-time token."""
    tokens = sign_in(client, new_user("tenant_admin")).json
    access, fresh = tokens["access_token"], tokens["refresh_token"]
    assert client.post(REFRESH, headers={"Authorization": f"Bearer {access}"}).status_code == 401
    assert client.get(ME, headers={"Authorization": f"Bearer {fresh}"}).status_code == 401
    for token in (access, fresh):
        assert client.get(ME, headers={"X-API-Key": token}).status_code == 401
        for path in ONE_TIME:
            answer = client.post(
                f"/api/v2/auth/{path}", json={"token": token[:200], "password": "another long password"}
            )
            problem(answer, 400, "token_spent")
    once = {path: inhabited.body(f"POST /api/v2/auth/{path}")["token"] for path in ONE_TIME}
    for path, other in zip(ONE_TIME, reversed(ONE_TIME), strict=True):
        body = {"token": once[path], "password": "a word for every door"}
        problem(client.post(f"/api/v2/auth/{other}", json=body), 400, "token_spent")
        assert client.get(ME, headers={"Authorization": f"Bearer {once[path]}"}).status_code == 401
        assert client.post(REFRESH, json={"refresh_token": once[path]}).status_code == 401
        assert client.post(f"/api/v2/auth/{path}", json=body).status_code in {201, 204}
    assert client.get(ME, headers={"Authorization": f"Bearer {access}"}).status_code == 200


# ---- other tenants -------------------------------------------------------------------------------------------------


def test_neighbouring_numbers_are_nobodys_business(client, login, inhabited, acme):
    number = int(client.get("/api/v2/jobs", headers=inhabited.headers()).json["items"][0]["number"])
    headers = login("tenant_admin", tenant=acme)
    answers = [
        client.get(f"{path}/{guess}", headers=headers)
        for path in ("/api/v2/jobs", "/api/v1/status")
        for guess in (
            number,
            number + 1,
            number - 1,
            10**15,
            2**63,
            2**64,
            -1,
            f"0{number}",
            f"+{number}",
            f"{number}.0",
            f"{number}e0",
            f"١{number}",
        )
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({json.dumps(without_id(answer)) for answer in answers}) == 1


def test_what_one_tenant_lacks_no_request_lends(client, new_user, acme, inhabited):
    """RBAC-017: an administrator there is a viewer here, and sees nothing of here from there."""
    email = new_user("viewer")
    new_user("tenant_admin", tenant=acme, email=email)
    here, there = (
        {"Authorization": "Bearer " + sign_in(client, email, tenant=name).json["access_token"]}
        for name in ("default", "acme")
    )
    assert client.get("/api/v2/domains/example.com", headers=here).status_code == 200
    assert client.get("/api/v2/domains/example.com", headers=there).status_code == 404
    assert client.post("/api/v2/scans", json={"domain": "example.com"}, headers=here).status_code == 403
    assert client.post("/api/v2/roles", json={"name": "mine", "permissions": []}, headers=here).status_code == 403
    for name in ("X-Tenant-ID", "X-Tenant", "Tenant"):
        assert client.get("/api/v2/domains/example.com", headers={**there, name: "default"}).status_code == 404
    assert client.get("/api/v2/domains/example.com?tenant=default", headers=there).status_code == 422
    assert (
        client.post(
            "/api/v1/scrapersky", json={"base_url": "example.com", "tenant_id": "default"}, headers=there
        ).status_code
        == 403
    )


def test_going_where_one_is_no_member_is_going_nowhere(client, login, acme):
    """RBAC-018"""
    headers = login("tenant_admin")
    answers = [
        client.post(SWITCH, json={"tenant": name}, headers=headers) for name in ("acme", str(acme), "nowhere", NOTHING)
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({json.dumps(without_id(answer)) for answer in answers}) == 1
    assert client.get(ME, headers=headers).status_code == 200


def test_an_export_is_for_whoever_may_export(client, login):
    """RBAC-020: exports are made while they are read; there is none of somebody else's to fetch."""
    assert client.get(f"/api/v2/exports/{NOTHING}", headers=login("tenant_admin")).status_code == 404
    assert client.get("/api/v2/audit-events/export?format=jsonl", headers=login("viewer")).status_code == 403


def test_lists_counts_and_filters_know_one_tenant(app, client, login, inhabited, acme):
    """RBAC-021"""
    headers = login("tenant_admin", tenant=acme)
    mine = {row["id"] for row in client.get("/api/v2/users", headers=headers).json["items"]}
    for query in (
        "jobs",
        "jobs?domain=example",
        "jobs?status=pending",
        "batches",
        "batches?status=pending",
        "domains",
        "domains?host=e",
    ):
        assert client.get(f"/api/v2/{query}", headers=headers).json == {"items": [], "next_cursor": None}, query
    assert {row["id"] for row in client.get("/api/v2/users?email=", headers=headers).json.get("items", [])} <= mine
    assert client.get("/api/v2/users?email=spare", headers=headers).json["items"] == []
    assert not [role for role in client.get("/api/v2/roles", headers=headers).json["items"] if role["name"] == "seeded"]
    queue = client.get("/api/v2/queue", headers=headers).json
    assert (queue["depths"]["pending"], queue["oldest"], queue["hosts"], queue["window"]["queued"]) == (0, None, [], 0)
    events = client.get("/api/v2/audit-events", headers=headers).json["items"]
    assert {event["tenant"] if isinstance(event.get("tenant"), str) else str(acme) for event in events} <= {
        str(acme),
        "acme",
    }


def test_a_cursor_is_good_for_its_own_list_alone(client, login, acme):
    """RBAC-022"""
    ours, theirs = login("tenant_admin"), login("tenant_admin", tenant=acme)
    batches = []
    for headers in (ours, ours, theirs):
        body = {"domains": [f"{n}.example.com" for n in range(3)]}
        batches.append(client.post("/api/v2/batches", json=body, headers=headers).json["links"]["jobs"])
    cursor = client.get(f"{batches[0]}?limit=1", headers=ours).json["next_cursor"]

    def asked(path, cursor, headers):
        return client.get(path, query_string={"limit": 1, "cursor": cursor}, headers=headers)

    assert asked(batches[0], cursor, ours).status_code == 200
    place, key, seal = cursor.split(".")
    for path, wrong, headers in (
        (batches[2], cursor, theirs), ("/api/v2/jobs", cursor, theirs), (batches[1], cursor, ours),
        ("/api/v2/jobs", cursor, ours), ("/api/v2/batches", cursor, ours), (batches[0], place, ours),
        (batches[0], f"{place}.{key}.{seal[::-1]}", ours), (batches[0], f"{place}x.{key}.{seal}", ours),
        (batches[0], f"{place}.{key[::-1]}.{seal}", ours), (batches[0], f"{place}.{key}.", ours), (batches[0], "..", ours),
        (batches[0], f"{cursor}é", ours),
    ):  # fmt: skip
        refused = problem(asked(path, wrong, headers), 422, "invalid_input")
        assert [error["pointer"] for error in refused["errors"]] == ["cursor"]


def test_events_of_another_tenants_batch_are_not_there(client, login, inhabited, acme):
    """RBAC-024"""
    batch = inhabited.named("/api/v2/batches/")
    for path in (f"/api/v2/batches/{batch}/events", f"/api/v2/events?job={batch}", f"/events?job={batch}"):
        answer = client.get(path, headers={**login("viewer", tenant=acme), "Accept": "text/event-stream"})
        problem(answer, 404, "not_found")
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "eA==",
    }
    assert client.get("/ws", headers={**login("viewer"), **upgrade}).status_code == 404


def test_sharing_a_site_with_another_tenant_does_not_show(client, login, inhabited, acme):
    """RBAC-044"""
    headers = login("operator", tenant=acme)
    known, fresh = (
        client.post("/api/v2/scans", json={"domain": domain}, headers=headers)
        for domain in ("example.com", "example.edu")
    )
    assert (known.status_code, fresh.status_code) == (202, 202)
    shapes = [
        re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d\d\d\d-[^\"]*Z|\"number\": ?\d+|example\.(com|edu)", "", answer.text)
        for answer in (known, fresh)
    ]
    assert shapes[0] == shapes[1]
    domains = [client.get(answer.json["links"]["domain"], headers=headers).json for answer in (known, fresh)]
    own = dict.fromkeys(("id", "name", "host", "url", "created_at", "links"))
    assert {**domains[0], **own} == {**domains[1], **own}
    survey = client.post("/api/v2/batches/preflight", json={"domains": ["example.org"]}, headers=headers).json
    assert (survey["valid"], survey["duplicates"]) == (1, 0)


# ---- what a role may not -------------------------------------------------------------------------------------------


def test_head_and_options_open_no_side_door(app, client, login, inhabited):
    """RBAC-006"""
    callers = {"nobody": {}, "viewer": login("viewer"), "tenant_admin": inhabited.headers()}
    for rule, method, _access in documented(app):
        path, _ = inhabited.path(rule)
        for name, headers in callers.items():
            if method == "GET" and not rule.startswith("/health"):
                head = client.head(path, headers=headers)
                assert head.status_code == client.get(path, headers=headers).status_code, f"{path} as {name}"
                assert head.data == b"", f"{path} as {name}"
            options = client.options(path, headers=headers)
            assert options.status_code == 405, f"{path} as {name}"


@pytest.mark.parametrize(
    ("method", "path", "role", "statuses"),
    [
        pytest.param("GET", "/api/v2/audit-events", "operator", {403}, id="RBAC-025"),
        pytest.param("POST", "/api/v2/scans", "viewer", {403}, id="RBAC-026"),
        pytest.param("POST", "/api/v2/domains", "viewer", {403, 405}, id="RBAC-026-no-such-method"),
        pytest.param("POST", "/api/v2/jobs/{}/cancel", "viewer", {403}, id="RBAC-027"),
        pytest.param("DELETE", "/api/v2/domains/{}", "operator", {403, 405}, id="RBAC-029"),
        pytest.param("PATCH", "/api/v2/domains/{}", "tenant_admin", {405}, id="RBAC-035"),
        pytest.param("POST", "/api/v2/jobs", "operator", {405}, id="RBAC-013"),
        pytest.param("PATCH", "/api/v2/auth/me", "viewer", {405}, id="RBAC-034"),
    ],
)
def test_what_a_role_may_not(client, login, inhabited, queue, superuser_here, method, path, role, statuses):
    """RBAC-013 RBAC-025 RBAC-026 RBAC-027 RBAC-029 RBAC-034 RBAC-035: refused, and nothing comes of it."""
    count = "SELECT count(*), count(*) FILTER (WHERE status = 'cancelled') FROM jobs"
    before = superuser_here.execute(count).fetchone()
    path = path.replace("{}", inhabited.named(path.split("{}")[0], path) if "{}" in path else "")
    body = {
        "domain": "example.net",
        "domain_ids": [NOTHING],
        "tenant_id": NOTHING,
        "role": "tenant_admin",
        "status": "verified",
    }
    answer = client.open(path, method=method, json=body if method != "GET" else None, headers=login(role))
    assert answer.status_code in statuses, answer.text
    assert superuser_here.execute(count).fetchone() == before


def test_nobody_raises_herself_nor_another_above_herself(client, new_user, login):
    """RBAC-031 RBAC-032"""
    email = new_user("operator")
    headers = {"Authorization": "Bearer " + sign_in(client, email).json["access_token"]}
    me = client.get(ME, headers=headers).json["user"]["id"]
    for role in ("tenant_admin", "platform_admin", "viewer"):
        problem(client.put(f"/api/v2/users/{me}/roles/{role}", headers=headers), 403, "permission_denied")
    admin = login("tenant_admin")
    assert client.put(f"/api/v2/users/{me}/roles/platform_admin", headers=admin).status_code in {403, 404, 422}
    wanted = {"name": "root", "permissions": ["platform:tenants"]}
    assert client.post("/api/v2/roles", json=wanted, headers=admin).status_code in {403, 422}
    assert client.get(ME, headers=headers).json["roles"] == ["operator"]


OWNED = {
    "id": NOTHING, "tenant_id": NOTHING, "created_by": NOTHING, "status": "active", "number": 1, "role": "platform_admin",
    "roles": ["platform_admin"], "permissions": ["platform:tenants"], "authz_version": 99, "password_hash": "x", "is_admin": True,
    "queue": "system", "user_agent": "x", "headers": {}, "proxy": "http://127.0.0.1", "verify": False, "max_attempts": 99,
    "__class__": "x", "__proto__": {}, "constructor": {}, "_id": 1, "email_verified": True, "quota": 10**9,
}  # fmt: skip


def test_what_the_server_owns_is_refused_by_name_in_every_body(app, client, spec, inhabited, login):
    """RBAC-036: mass assignment, generated: every body of the document × every field it does not declare."""
    platform, tried = login("platform_admin", "tenant_admin"), 0
    for rule, method, _access in documented(app):
        operation = spec["paths"][rule][method.lower()]
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        fields = set(resolved(spec, content["schema"]).get("properties", {}))
        extra = {name: value for name, value in OWNED.items() if name not in fields}
        path, _ = inhabited.path(rule)
        answer = client.open(path, method=method, json=extra, headers=platform)
        named = {error["pointer"] for error in problem(answer, 422, "invalid_input").get("errors", [])}
        assert {f"/{name}" for name in extra} <= named, f"{method} {rule} takes {sorted(extra)}"
        tried += 1
    assert tried >= 10


def resolved(spec, schema):
    name = schema.get("$ref", "").removeprefix("#/components/schemas/")
    return spec["components"]["schemas"][name] if name else schema


def test_queries_that_no_list_knows_are_refused_by_name(app, client, spec, inhabited, login):
    """RBAC-041: every documented GET under /api/ × what was never offered."""
    absurd = {
        "per_page": "1000000", "page": "-1", "sort": "password_hash", "fields": "*", "order_by": "1;drop table users",
        "include": "tenant", "tenant_id": NOTHING, "filter[role]": "x", "limit": "1000001", "offset": "-1", "q": "%00", "$where": "1",
    }  # fmt: skip
    headers = login("platform_admin", "tenant_admin")
    for rule, method, _access in documented(app):
        if method != "GET" or not rule.startswith("/api/"):
            continue
        known = {
            parameter["name"]
            for parameter in spec["paths"][rule]["get"].get("parameters", [])
            if parameter["in"] == "query"
        }
        path, _ = inhabited.path(rule)
        for name, value in absurd.items():
            if name in known and name != "limit":
                continue
            answer = client.get(path, query_string={name: value}, headers=headers)
            refused = problem(answer, 422, "invalid_input")
            assert [error["pointer"] for error in refused["errors"]] == [name], f"{path}?{name}={value}"


def test_a_key_that_stands_twice_is_refused(client, login):
    """RBAC-037"""
    body = b'{"role": "viewer", "role": "tenant_admin", "name": "a", "name": "b"}'
    headers = login("tenant_admin", "platform_admin")
    for path in ("/api/v2/roles", "/api/v2/tenants", "/api/v2/scans", "/api/v2/batches", LOGIN):
        answer = client.post(path, data=body, content_type="application/json", headers=headers)
        assert "stands twice" in problem(answer, 400, "bad_request")["detail"], path


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/csv", "application/x-ndjson"])
@pytest.mark.parametrize("path", [LOGIN, "/api/v2/scans", "/api/v2/batches"])
def test_a_hundred_megabytes_are_refused_unread(app, login, path, kind):
    """RBAC-040: where only JSON is read, everything else is refused for being something else."""
    environ = EnvironBuilder(path=path, method="POST", content_type=kind, headers=login("operator")).get_environ()
    environ.update({"CONTENT_LENGTH": str(512 << 20), "wsgi.input": Unread()})
    status = TestResponse(*run_wsgi_app(app, environ), None).status_code
    assert status in ({413} if kind == "application/json" or path.endswith("batches") else {413, 415})


class Unread(io.RawIOBase):
    def read(self, _size=-1):
        raise AssertionError("somebody reads it")


NOWHERE = [
    "/debug",
    "/console",
    "/health/deep",
    "/api",
    "/api/v2",
    "/api/v3/jobs",
    "/admin",
    "/flower",
    "/.env",
    "/.git/config",
    "/server-status",
    "/actuator/env",
    "/api/v2/debug",
    "/graphql",
    "/static",
    "/static/",
    "/metrics/x",
    "/openapi.yaml",
    "/swagger.json",
    "/wsgi.py",
    "/robots.txt/..",
    "/proc/self/environ",
]


def test_there_is_nothing_beside_what_is_documented(client):
    """RBAC-052: the OpenAPI document and probes are public on purpose, and hold no data, address or version of a part."""
    assert {path: client.get(path).status_code for path in NOWHERE} == dict.fromkeys(NOWHERE, 404)


def test_the_surface_for_operators_tells_strangers_nothing(made, settings):
    """RBAC-052"""
    client = made(metrics_token=SecretStr("a token for Prometheus"))
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer a token for Prometheus"}).status_code == 200
    told = "".join(client.get(path).text for path in ("/health", "/health/live", "/health/ready", "/openapi.json"))
    for secret in ("127.0.0.1", "localhost", "postgres://", "postgresql", "redis://", "/work", "/home", "/tmp"):
        assert secret not in told, secret


# ---- one thing after another ---------------------------------------------------------------------------------------


@pytest.fixture
def user(client, new_user, superuser_here):
    """`user("viewer", tenant=…)` → somebody's id, address and a way to sign in."""

    class Somebody:
        def __init__(self, *roles, tenant=None):
            self.email = new_user(*roles, tenant=tenant)
            self.id = str(superuser_here.execute("SELECT id FROM users WHERE email = %s", [self.email]).fetchone()[0])

        @property
        def headers(self):
            return {"Authorization": "Bearer " + sign_in(client, self.email).json["access_token"]}

    return Somebody


@pytest.mark.parametrize(
    "what", ["giver left", "giver was disabled", "giver lost the right", "user rose", "user went elsewhere too"]
)
def test_a_reset_token_dies_with_the_right_to_make_it(client, user, new_user, login, acme, what):
    """Whoever is shown out must not come back in as somebody else, nor take over whoever has risen meanwhile."""
    mallory, victim, root = user("tenant_admin"), user("viewer"), login("platform_admin", "tenant_admin")
    login("tenant_admin")
    token = client.post(f"/api/v2/users/{victim.id}/reset-password", headers=mallory.headers).json["token"]
    then = {
        "giver left": lambda: client.delete(f"/api/v2/users/{mallory.id}", headers=root),
        "giver was disabled": lambda: client.post(f"/api/v2/users/{mallory.id}/disable", headers=root),
        "giver lost the right": lambda: [
            client.put(f"/api/v2/users/{mallory.id}/roles/viewer", headers=root),
            client.delete(f"/api/v2/users/{mallory.id}/roles/tenant_admin", headers=root),
        ][-1],
        "user rose": lambda: client.put(f"/api/v2/users/{victim.id}/roles/platform_admin", headers=root),
        "user went elsewhere too": lambda: new_user("viewer", tenant=acme, email=victim.email),
    }[what]()
    assert what == "user went elsewhere too" or then.status_code in {200, 204}, then.text
    body = {"token": token, "password": "a word for every door"}
    problem(client.post("/api/v2/auth/reset", json=body), 400, "token_spent")
    assert sign_in(client, victim.email).status_code == 200


def test_the_platforms_reset_tokens_know_no_tenant(client, user, login, acme):
    somebody = user("viewer", tenant=acme)
    made = client.post(f"/api/v2/users/{somebody.id}/reset-password", headers=login("platform_admin"))
    body = {"token": made.json["token"], "password": "a word for every door"}
    assert client.post("/api/v2/auth/reset", json=body).status_code == 204


def test_a_program_learns_nothing_of_where_else_its_maker_belongs(client, user, new_user, acme):
    maker = user("tenant_admin")
    new_user("viewer", tenant=acme, email=maker.email)
    body = {"name": "nightly", "permissions": ["tenant:read"]}
    key = client.post("/api/v2/api-keys", json=body, headers=maker.headers).json["key"]
    assert [tenant["name"] for tenant in client.get(ME, headers=maker.headers).json["tenants"]] == ["default", "acme"]
    assert [tenant["name"] for tenant in client.get(ME, headers={"X-API-Key": key}).json["tenants"]] == ["default"]
    assert [one["name"] for one in client.get("/api/v2/tenants", headers={"X-API-Key": key}).json["items"]] == [
        "default"
    ]


def test_a_tenant_that_there_is_not_takes_nobody(client, user, login):
    somebody, root = user("viewer"), login("platform_admin")
    for method, path in (("PUT", "roles/viewer"), ("DELETE", "roles/viewer"), ("DELETE", "")):
        answer = client.open(f"/api/v2/users/{somebody.id}/{path}?tenant={NOTHING}", method=method, headers=root)
        problem(answer, 404, "not_found")


def test_the_name_of_the_first_tenant_leads_nobody_astray(client, database, passwords, login, acme, tenant_id):
    """Whoever is let in from the command line comes into the first tenant, whoever has taken its name meanwhile."""
    root = login("platform_admin")
    for tenant, name in ((tenant_id, "head office"), (acme, "default")):
        assert client.patch(f"/api/v2/tenants/{tenant}", json={"name": name}, headers=root).status_code == 200
    create_admin(database, email="root@example.com", password="a word for every door", passwords=passwords)
    token = sign_in(client, "root@example.com", "a word for every door").json["access_token"]
    assert client.get(ME, headers={"Authorization": f"Bearer {token}"}).json["tenant"]["id"] == str(tenant_id)


# What changes nothing that somebody would ask about later, or is told of by what it makes (a batch, a job).
UNTOLD = re.compile(
    r"POST /api/v\d/(scans|scrapersky|batch(es)?|batches/preflight|(batches|jobs)/{key}/\w+|auth/refresh)"
)


# What must be so for there to be something to change.
PREPARED = {
    "DELETE /api/v2/sessions": "INSERT INTO sessions (tenant_id, user_id, refresh_hash, expires_at) "
    "VALUES (%(tenant)s, %(me)s, 'x', now() + interval '1 day')",
    "DELETE /api/v2/users/{key}/roles/{role}": "INSERT INTO user_roles (tenant_id, user_id, role_id) "
    "SELECT %(tenant)s, %(spare)s, id FROM roles WHERE name = %(role)s AND tenant_id = %(tenant)s ON CONFLICT DO NOTHING",
    "POST /api/v2/users/{key}/enable": "UPDATE users SET status = 'disabled' WHERE id = %(spare)s",
    "POST /api/v2/tenants/{key}/resume": "UPDATE tenants SET status = 'suspended' WHERE id = %(acme)s",
}


def test_every_administrative_act_is_told_of(app, client, inhabited, superuser_here, tenant_id, acme):
    """Each documented operation that changes something, done once with success, writes an event that says by whom."""
    done, silent = 0, []
    for rule, method, access in documented(app):
        operation = f"{method} {rule}"
        if method == "GET" or UNTOLD.fullmatch(operation):
            continue
        if operation in PREPARED:
            superuser_here.execute(PREPARED[operation], {**inhabited.known(), "acme": acme})
        path, _ = inhabited.path(rule)
        if rule.endswith(("/suspend", "/resume")):
            path = path.replace(str(tenant_id), str(acme))  # nobody shuts herself out and goes on
        body = {**inhabited.body(operation), **({"enabled": False} if "/features/" in rule else {})} or None
        last = superuser_here.execute("SELECT id FROM audit_events ORDER BY id DESC LIMIT 1").fetchone()[0]
        # Whoever comes with a token of one use is nobody yet.
        headers = {} if access.kind == "public" and not rule.endswith("/logout") else inhabited.headers()
        answer = client.open(path, method=method, json=body if method != "DELETE" else None, headers=headers)
        assert answer.status_code < 300, f"{operation}: {answer.text}"
        told = superuser_here.execute("SELECT actor FROM audit_events WHERE id > %s", [last]).fetchall()
        if not any(actor for (actor,) in told):
            silent.append(operation)
        done += 1
        inhabited.renew()
    assert silent == []
    assert done >= 20


# ---- what else a request can be made of ----------------------------------------------------------------------------


SPELLINGS = [
    "/api/v2/jobs/%2e%2e/batches",
    "/api/v2/jobs/../batches",
    "/api/v2//jobs",
    "//api/v2/jobs",
    "/api/v2/jobs/.",
    "/api/v2/jobs%2f",
    "/API/v2/jobs",
    "/api/v2/Jobs",
    "/api/v2/jobs;x=1",
    "/api/v2/jobs%00",
    "/api/v2/jobs%20",
    "/api/v2/%6aobs%3f",
    "/api/v2/jobs/%c0%ae",
    "/api/v2/jobs/..%252f",
    "/api/v2/jobs\\",
    "/health/../api/v2/jobs",
    "/static/../api/v2/jobs",
]


def test_no_spelling_of_a_path_leads_past_the_guard(client, login):
    """Without a token nothing is found or one is asked for; with one nobody sees what another path would show."""
    headers = login("platform_admin")
    for path in SPELLINGS:
        assert client.get(path).status_code in {401, 404}, path
        assert client.get(path, headers=headers).status_code in {403, 404}, path


BODIES = [
    ({"Content-Encoding": "gzip"}, gzip.compress(b'{"domain": "example.com"}'), 415),
    ({"Content-Encoding": "GZIP, identity"}, b'{"domain": "example.com"}', 415),
    ({"Content-Encoding": "br"}, b"x", 415),
    ({}, gzip.compress(b'{"domain": "example.com"}'), 400),
    ({}, b"\xef\xbb\xbf" + b'{"domain": "example.com"}', 400),
    ({}, '{"domain": "example.com"}'.encode("utf-16"), 400),
    ({}, '{"domain": "example.com"}'.encode("utf-32-le"), 400),
    ({}, b'{"domain": "ex\xe4mple.com"}', 400),
    ({}, b'{"domain": "example.com", "options": ' + b'{"a":' * 40 + b"1" + b"}" * 41, 400),
    ({}, b'{"domain": ' + b"9" * 400 + b"}", 400),
    ({}, b'{"domain": 1e400}', 400),
    ({}, b'{"domain": "example.com"} {"domain": "example.org"}', 400),
    ({}, b"{'domain': 'example.com'}", 400),
    ({}, b'{"domain": "example.com",}', 400),
    ({}, b'{"domain": "example.com" /* x */}', 400),
    ({"Content-Type": "application/json; charset=utf-16"}, '{"domain": "example.com"}'.encode("utf-16"), 400),
    ({"Content-Type": "text/json"}, b'{"domain": "example.com"}', 415),
    ({"Content-Type": "application/xml"}, b"<domain>example.com</domain>", 415),
    ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", 415),
    ({"Content-Type": "application/x-www-form-urlencoded"}, b"domain=example.com", 415),
    ({"Content-Type": "application/json, text/plain"}, b'{"domain": "example.com"}', 415),
]


def test_a_body_is_read_in_one_way_or_not_at_all(client, login):
    operator = login("operator")
    for headers, data, status in BODIES:
        sent = {"Content-Type": "application/json", **headers, **operator}
        answer = client.post("/api/v2/scans", data=data, headers=sent)
        assert answer.status_code == status, f"{headers} {data[:60]}: {answer.text}"
        assert answer.content_type == "application/problem+json"
    assert client.get("/api/v2/jobs", headers=operator).json["items"] == []
