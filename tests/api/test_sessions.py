"""Sessions: seen and ended over HTTP, told of in the audit trail."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.access import Origin
from app.errors import AuthenticationFailed
from app.services.refusals import Refusals
from tests.api.answers import problem, without_id
from tests.conftest import PASSWORD
from tests.running import until

SESSIONS, LOGIN, REFRESH, ME = "/api/v2/sessions", "/api/v2/auth/login", "/api/v2/auth/refresh", "/api/v2/auth/me"


@pytest.fixture
def enter(client):
    """`enter(email)` → the tokens and headers of a new session."""

    def sign_in(email, *, agent="a browser", address="192.0.2.1", **more):
        answer = client.post(
            LOGIN,
            json={"email": email, "password": PASSWORD, **more},
            headers={"User-Agent": agent},
            environ_overrides={"REMOTE_ADDR": address},
        )
        assert answer.status_code == 200, answer.text
        return {**answer.json, "headers": {"Authorization": f"Bearer {answer.json['access_token']}"}}

    return sign_in


def listed(client, headers, query=""):
    answer = client.get(f"{SESSIONS}?{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json["items"]


def alive(client, session):
    return client.get(ME, headers=session["headers"]).status_code == 200


def test_everybody_sees_where_she_is_signed_in_newest_first(client, enter, new_user, new_tenant, tenant_id):
    email = new_user("viewer")
    new_user("viewer", tenant=new_tenant("acme"), email=email)
    enter(email, agent="a phone", address="192.0.2.9", tenant="acme")
    here = enter(email, tenant="default")
    enter(new_user("viewer"))
    newest, oldest = listed(client, here["headers"])
    assert newest["tenant"] == {"id": str(tenant_id), "name": "default"}
    assert (newest["current"], oldest["current"]) == (True, False)
    assert (oldest["tenant"]["name"], oldest["user_agent"], oldest["address"]) == ("acme", "a phone", "192.0.2.9")
    assert oldest["created_at"] < newest["created_at"] < newest["expires_at"]
    assert newest["reason"] is None
    assert not any("hash" in name or "token" in name for name in newest)


def test_they_come_in_pages(client, enter, new_user):
    email = new_user("viewer")
    headers = [enter(email) for _ in range(3)][-1]["headers"]
    page = client.get(f"{SESSIONS}?limit=2", headers=headers).json
    rest = client.get(f"{SESSIONS}?limit=2&cursor={page['next_cursor']}", headers=headers).json
    assert rest["next_cursor"] is None
    assert page["items"] + rest["items"] == listed(client, headers)


def test_ending_one_kills_both_its_tokens_and_no_other(client, enter, new_user, audited):
    email = new_user("viewer")
    lost, here = enter(email), enter(email)
    assert alive(client, lost)
    session = listed(client, here["headers"])[1]["id"]
    assert client.delete(f"{SESSIONS}/{session}", headers=here["headers"]).status_code == 204
    assert not alive(client, lost)
    assert client.post(REFRESH, json={"refresh_token": lost["refresh_token"]}).status_code == 401
    assert alive(client, here)
    assert [row["id"] for row in listed(client, here["headers"])] != [session]
    [event] = audited("session.ended")
    assert (event["actor"], event["object_id"], event["via"]) == (email, session, "session")
    problem(client.delete(f"{SESSIONS}/{session}", headers=here["headers"]), 404, "not_found")


def test_ending_all_but_this_one(client, enter, new_user, audited):
    email = new_user("viewer")
    others, here, stranger = [enter(email) for _ in range(2)], enter(email), enter(new_user("viewer"))
    assert client.delete(SESSIONS, headers=here["headers"]).status_code == 204
    assert [alive(client, session) for session in (*others, here, stranger)] == [False, False, True, True]
    assert len(audited("session.ended")) == 2
    assert client.delete(SESSIONS, headers=here["headers"]).status_code == 204


def test_another_persons_session_is_as_one_that_does_not_exist(client, enter, new_user):
    stranger = enter(new_user("viewer"))
    theirs = listed(client, stranger["headers"])[0]["id"]
    mine = enter(new_user("operator"))
    nothing = "00000000-0000-7000-8000-000000000000"
    answers = [client.delete(f"{SESSIONS}/{key}", headers=mine["headers"]) for key in (theirs, nothing, "x")]
    assert [without_id(answer) for answer in answers] == [without_id(answers[0])] * 3
    problem(answers[0], 404, "not_found")
    assert alive(client, stranger)


def test_an_administrator_sees_and_ends_a_members_sessions_in_her_own_tenant_only(
    client, enter, login, new_user, new_tenant, database, audited
):
    acme = new_tenant("acme")
    email = new_user("viewer")
    new_user("viewer", tenant=acme, email=email)
    here, there = enter(email, tenant="default"), enter(email, tenant="acme")
    user = client.get(ME, headers=here["headers"]).json["user"]["id"]
    admin = login("tenant_admin")
    [seen] = listed(client, admin, f"user={user}")
    assert (seen["tenant"]["name"], seen["current"]) == ("default", False)
    elsewhere = next(row["id"] for row in listed(client, here["headers"]) if row["tenant"]["name"] == "acme")
    problem(client.delete(f"{SESSIONS}/{elsewhere}", headers=admin), 404, "not_found")
    assert client.delete(f"{SESSIONS}/{seen['id']}", headers=admin).status_code == 204
    assert (alive(client, here), alive(client, there)) == (False, True)
    assert audited("session.ended")[0]["before"] == {"user": user}
    stranger = login("tenant_admin", tenant=acme)
    assert listed(client, stranger, f"user={user}")[0]["id"] == elsewhere
    problem(client.get(f"{SESSIONS}?user={user}", headers=login("operator")), 403, "permission_denied")


def test_what_a_browser_calls_itself_is_kept_short_and_printable(client, enter, new_user):
    here = enter(new_user("viewer"), agent="a\x1b[2J\x00browser\x85" + "!" * 500)
    [session] = listed(client, here["headers"])
    assert session["user_agent"] == ("a[2Jbrowser" + "!" * 500)[:300]


@pytest.mark.parametrize("change", ["password_hash = 'another'", "status = 'disabled'"])
def test_a_sign_in_waits_for_a_change_that_is_under_way_and_then_knows_of_it(
    app, new_user, superuser_here, postgres_server, change
):
    """Else it would open a session with the old password just after all the old sessions were ended."""
    email = new_user("viewer")
    with ThreadPoolExecutor(1) as pool, superuser_here.transaction():
        superuser_here.execute(f"UPDATE users SET {change} WHERE email = %s", [email])
        attempt = pool.submit(app.test_client().post, LOGIN, json={"email": email, "password": PASSWORD})
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
        until(lambda: superuser_here.execute(waiting).fetchone()[0], seconds=60, what="the sign-in waits")
    assert attempt.result().status_code == 401
    assert superuser_here.execute("SELECT count(*) FROM sessions").fetchone() == (0,)


# ---- the audit trail ---------------------------------------------------------------------------------------------


def test_signing_in_and_out_is_told_of_with_where_from(client, enter, new_user, audited, tenant_id):
    email = new_user("viewer")
    tokens = enter(email, address="192.0.2.44")
    assert client.post("/api/v2/auth/logout", headers=tokens["headers"]).status_code == 204
    assert client.post("/api/v2/auth/logout", headers=tokens["headers"]).status_code == 204
    opened, ended = audited("session.")
    assert (opened["action"], ended["action"]) == ("session.opened", "session.ended")
    assert (opened["actor"], opened["address"], opened["tenant_id"]) == (email, "192.0.2.44", tenant_id)
    assert opened["via_id"] == ended["via_id"]
    assert opened["object_id"] == str(opened["via_id"])
    assert opened["request_id"]


def test_switching_ends_one_session_and_opens_another(client, enter, new_user, new_tenant, audited, tenant_id):
    acme, email = new_tenant("acme"), new_user("viewer")
    new_user("viewer", tenant=acme, email=email)
    tokens = enter(email, tenant="default")
    body = {"tenant": "acme"}
    assert client.post("/api/v2/auth/switch", json=body, headers=tokens["headers"]).status_code == 200
    told = [(event["action"], event["tenant_id"]) for event in audited("session.")[1:]]
    assert told == [("session.opened", acme), ("session.ended", tenant_id)]


def test_refused_sign_ins_are_told_of_with_the_address_claimed(client, new_user, superuser_here, audited, tenant_id):
    known, disabled = new_user("viewer"), new_user("viewer")
    superuser_here.execute("UPDATE users SET status = 'disabled' WHERE email = %s", [disabled])
    tries = [("Nobody@example.com", PASSWORD), (known, "wrong password"), (disabled, PASSWORD), ("my password!", "x")]
    for email, password in tries:
        assert client.post(LOGIN, json={"email": email, "password": password}).status_code == 401
    assert client.post(LOGIN, json={"email": known, "password": PASSWORD, "tenant": "other"}).status_code == 403
    events = audited("session.refused")
    assert [event["actor"] for event in events] == ["nobody@example.com", known, disabled, None, known]
    assert [event["after"]["reason"] for event in events] == [
        "unknown account", "wrong password", "disabled account", "unknown account", "you are a member of no such tenant",
    ]  # fmt: skip
    # Whose account it is, learns of it in her tenant; what is nobody's stands in the platform's trail.
    assert [event["tenant_id"] == tenant_id for event in events] == [False, True, True, False, True]
    assert {event["via"] for event in events} == {"nobody"}
    assert not any(event["actor_id"] for event in events)


def test_a_flood_of_refusals_is_counted_not_kept(database, audited):
    now = [0.0]
    refusals = Refusals(database, a_minute=3, clock=lambda: now[0])
    for _ in range(10):
        refusals.record("a@example.com", None, "unknown account", Origin())
    now[0] = 60.0
    refusals.record("b@example.com", None, "unknown account", Origin())
    events = audited("session.refused")
    assert [event["actor"] for event in events] == ["a@example.com"] * 3 + ["b@example.com"]
    assert [event["after"].get("left_out") for event in events] == [None, None, None, 7]


# ---- refresh tokens ----------------------------------------------------------------------------------------------


def test_a_token_traded_twice_ends_the_session_and_is_told_of_once(client, enter, new_user, audited):
    email = new_user("viewer")
    tokens = enter(email)
    newer = client.post(REFRESH, json={"refresh_token": tokens["refresh_token"]}).json
    for _ in range(3):
        assert client.post(REFRESH, json={"refresh_token": tokens["refresh_token"]}).status_code == 401
    assert client.post(REFRESH, json={"refresh_token": newer["refresh_token"]}).status_code == 401
    [event] = audited("session.reused")
    assert event["actor"] == email
    assert audited("session.ended") == []


def test_of_two_that_trade_one_token_at_once_one_wins_and_the_session_ends_for_both(app, client, enter, new_user):
    """A3, ten times over: both threads stand before the database at the same moment."""
    for number in range(10):
        token = enter(new_user("viewer"))["refresh_token"]
        together = threading.Barrier(2)
        away = {"REMOTE_ADDR": f"192.0.2.{number}"}  # refusals are counted by address

        def trade(_, token=token, together=together, away=away):
            together.wait(10)
            return app.test_client().post(REFRESH, json={"refresh_token": token}, environ_overrides=away)

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(trade, range(2)))
        assert sorted(answer.status_code for answer in answers) == [200, 401]
        won = next(answer.json for answer in answers if answer.status_code == 200)
        again = client.post(REFRESH, json={"refresh_token": won["refresh_token"]}, environ_overrides=away)
        assert again.status_code == 401
        assert client.get(ME, headers={"Authorization": f"Bearer {won['access_token']}"}).status_code == 401


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("DELETE FROM user_roles", 401),
        ("UPDATE users SET status = 'disabled'", 401),
        ("UPDATE tenants SET status = 'suspended'", 403),
        ("UPDATE sessions SET expires_at = now()", 401),
        ("UPDATE sessions SET revoked_at = now()", 401),
    ],
)
def test_a_refresh_asks_anew_whether_she_may_come_in(client, enter, new_user, superuser_here, change, status):
    token = enter(new_user("viewer"))["refresh_token"]
    superuser_here.execute(change)
    assert client.post(REFRESH, json={"refresh_token": token}).status_code == status


def test_a_refusal_leaves_the_token_good(client, enter, new_user, superuser_here):
    token = enter(new_user("viewer"))["refresh_token"]
    superuser_here.execute("UPDATE tenants SET status = 'suspended'")
    assert client.post(REFRESH, json={"refresh_token": token}).status_code == 403
    superuser_here.execute("UPDATE tenants SET status = 'active'")
    assert client.post(REFRESH, json={"refresh_token": token}).status_code == 200


def test_a_session_that_was_ended_opens_no_other(app, enter, client, new_user, superuser_here):
    accounts = app.extensions["scrapersky"].accounts
    grant = accounts.sign_in(new_user("viewer"), PASSWORD)
    actor = accounts.standings.of(grant.claims)
    superuser_here.execute("UPDATE sessions SET revoked_at = now()")
    with pytest.raises(AuthenticationFailed):
        accounts.switch(actor, "default", user_agent=None)
