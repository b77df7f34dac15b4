"""What becomes of accounts, over HTTP: shut, opened, given another password."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.answers import problem, without_id
from tests.conftest import PASSWORD

USERS, LOGIN, REFRESH, ME = "/api/v2/users", "/api/v2/auth/login", "/api/v2/auth/refresh", "/api/v2/auth/me"
RESET, CHANGE = "/api/v2/auth/reset", "/api/v2/auth/password"
NEW = "quite another password"
NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def admin(login):
    return login("tenant_admin")


@pytest.fixture
def root(login):
    return login("platform_admin")


@pytest.fixture
def somebody(new_user, superuser_here):
    """`somebody("viewer")` → the address and the id of a new user."""

    def make(*roles, **more):
        email = new_user(*roles, **more)
        return email, str(superuser_here.execute("SELECT id FROM users WHERE email = %s", [email]).fetchone()[0])

    return make


@pytest.fixture
def enter(client):
    def sign_in(email, password=PASSWORD, **more):
        answer = client.post(LOGIN, json={"email": email, "password": password, **more})
        assert answer.status_code == 200, answer.text
        return {**answer.json, "headers": {"Authorization": f"Bearer {answer.json['access_token']}"}}

    return sign_in


def may_enter(client, email, password=PASSWORD):
    return client.post(LOGIN, json={"email": email, "password": password}).status_code == 200


def act(client, headers, user, what):
    return client.post(f"{USERS}/{user}/{what}", headers=headers)


# ---- shut and opened ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["tenant_admin", "platform_admin"])
def test_a_disabled_account_is_out_at_once_and_enabled_it_is_in_again(
    client, login, enter, somebody, audited, tenant_id, who
):
    boss, (email, user) = login(who), somebody("viewer")
    tokens = enter(email)
    assert client.get(ME, headers=tokens["headers"]).status_code == 200
    answer = act(client, boss, user, "disable")
    assert (answer.status_code, answer.json["status"]) == (200, "disabled")
    assert client.get(ME, headers=tokens["headers"]).status_code == 401
    assert client.post(REFRESH, json={"refresh_token": tokens["refresh_token"]}).status_code == 401
    assert not may_enter(client, email)
    assert act(client, boss, user, "disable").status_code == 200
    assert act(client, boss, user, "enable").json["status"] == "active"
    assert client.get(ME, headers=tokens["headers"]).status_code == 401
    assert may_enter(client, email)
    told = [(event["action"], event["object_id"], event["tenant_id"]) for event in audited("user.")]
    assert told == [("user.disabled", user, tenant_id), ("user.enabled", user, tenant_id)]


@pytest.mark.parametrize("what", ["disable", "enable", "reset-password"])
def test_an_administrator_decides_over_her_own_people_only(client, admin, somebody, new_tenant, what):
    acme = new_tenant("acme")
    _, theirs = somebody("viewer", tenant=acme)
    answers = [act(client, admin, user, what) for user in (theirs, NOBODY, "x")]
    assert [without_id(answer) for answer in answers] == [without_id(answers[0])] * 3
    problem(answers[0], 404, "not_found")
    email, shared = somebody("viewer")
    somebody("viewer", tenant=acme, email=email)
    problem(act(client, admin, shared, what), 403, "permission_denied")
    assert may_enter(client, email)


@pytest.mark.parametrize("what", ["disable", "enable", "reset-password"])
def test_nobody_decides_over_who_may_more(client, admin, root, login, somebody, what):
    email, mighty = somebody("platform_admin", "tenant_admin")
    problem(act(client, admin, mighty, what), 403, "permission_denied")
    assert may_enter(client, email)
    assert act(client, root, mighty, what).status_code in {200, 201}
    _, anybody = somebody("viewer")
    for role in ("viewer", "operator"):
        problem(act(client, login(role), anybody, what), 403, "permission_denied")


def test_the_last_administrator_stays(client, login, somebody, root, new_tenant):
    acme = new_tenant("acme")
    _, last = somebody("tenant_admin", tenant=acme)
    problem(act(client, root, last, "disable"), 409, "conflict")
    somebody("tenant_admin", tenant=acme)
    assert act(client, root, last, "disable").status_code == 200
    me = client.get(ME, headers=root).json["user"]["id"]
    problem(act(client, root, me, "disable"), 409, "conflict")


def test_two_administrators_cannot_shut_each_other_out_at_once(app, client, enter, somebody, new_tenant):
    for number in range(5):
        acme = new_tenant(f"acme {number}")
        people = [somebody("tenant_admin", tenant=acme) for _ in range(2)]
        headers = [enter(email)["headers"] for email, _ in people]
        together = threading.Barrier(2)

        def shut(which, together=together, headers=headers, people=people):
            together.wait(10)
            return act(app.test_client(), headers[which], people[1 - which][1], "disable").status_code

        with ThreadPoolExecutor(2) as pool:
            codes = sorted(pool.map(shut, range(2)))
        # The second is told that she would be the last, or is out already.
        assert codes in ([200, 401], [200, 409])
        assert [may_enter(client, email) for email, _ in people].count(True) == 1


# ---- a password that was forgotten -------------------------------------------------------------------------------


@pytest.fixture
def reset(client):
    def use(token, password=NEW):
        return client.post(RESET, json={"token": token, "password": password})

    return use


@pytest.mark.parametrize("who", ["tenant_admin", "platform_admin"])
def test_a_reset_token_sets_a_password_once_and_ends_every_session(client, login, somebody, enter, reset, audited, who):
    email, user = somebody("viewer")
    old = enter(email)
    assert client.get(ME, headers=old["headers"]).status_code == 200
    made = act(client, login(who), user, "reset-password")
    assert made.status_code == 201
    assert client.get(ME, headers=old["headers"]).status_code == 200  # not by asking, only by using it
    assert reset(made.json["token"]).status_code == 204
    assert client.get(ME, headers=old["headers"]).status_code == 401
    assert client.post(REFRESH, json={"refresh_token": old["refresh_token"]}).status_code == 401
    assert (may_enter(client, email), may_enter(client, email, NEW)) == (False, True)
    problem(reset(made.json["token"]), 400, "token_spent")
    assert [event["action"] for event in audited("user.")] == ["user.reset_token_made", "user.password_reset"]
    assert audited("user.password_reset")[0]["actor"] == email


@pytest.mark.parametrize("of", ["reset", "change", "another", "disable", "time", "nobody"])
def test_every_dead_token_gets_one_answer(client, admin, somebody, enter, reset, superuser_here, of):
    email, user = somebody("viewer")
    token = act(client, admin, user, "reset-password").json["token"]
    if of == "reset":
        assert reset(token).status_code == 204
    elif of == "change":
        body = {"current": PASSWORD, "new": NEW}
        assert client.post(CHANGE, json=body, headers=enter(email)["headers"]).status_code == 204
    elif of == "another":
        assert act(client, admin, user, "reset-password").status_code == 201
    elif of == "disable":
        superuser_here.execute("UPDATE users SET status = 'disabled' WHERE email = %s", [email])
    elif of == "time":
        assert superuser_here.execute(
            "UPDATE password_resets SET expires_at = expires_at - interval '1 hour' "
            "WHERE expires_at BETWEEN now() + interval '59 minutes' AND now() + interval '60 minutes'"
        ).rowcount == 1  # fmt: skip
    else:
        token = token[:-1] + ("A" if token[-1] != "A" else "B")
    answer = reset(token, "yet another password")
    problem(answer, 400, "token_spent")
    assert without_id(answer) == without_id(reset("x")) == without_id(reset("0" * 32 + "." + "A" * 43))
    assert not may_enter(client, email, "yet another password")


def test_of_two_who_use_a_token_at_once_one_sets_the_password(app, client, admin, somebody):
    email, user = somebody("viewer")
    token = act(client, admin, user, "reset-password").json["token"]
    together, words = threading.Barrier(2), ["first of two words", "other of two words"]

    def use(word):
        together.wait(10)
        return app.test_client().post(RESET, json={"token": token, "password": word}).status_code

    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(use, words))
    assert sorted(codes) == [204, 400]
    assert may_enter(client, email, words[codes.index(204)])


def test_an_easy_password_is_refused_and_the_token_stays_good(client, admin, somebody, reset):
    email, user = somebody("viewer")
    token = act(client, admin, user, "reset-password").json["token"]
    for easy in ("password1234", "default99", email, "short"):
        problem(reset(token, easy), 422, "invalid_input")
    assert reset(token).status_code == 204


def test_nobody_makes_a_token_for_herself_or_keeps_one_in_the_clear(client, admin, root, somebody, superuser_here):
    for headers in (admin, root):
        me = client.get(ME, headers=headers).json["user"]["id"]
        problem(act(client, headers, me, "reset-password"), 403, "permission_denied")
    _, user = somebody("viewer")
    secret = act(client, admin, user, "reset-password").json["token"].partition(".")[2]
    rows = superuser_here.execute("SELECT r::text FROM password_resets r UNION SELECT e::text FROM audit_events e")
    assert not [row for (row,) in rows if secret in row]


# ---- a password that is changed ----------------------------------------------------------------------------------


def test_changing_the_password_ends_all_other_sessions_and_this_ones_access_token(
    client, somebody, enter, audited, superuser_here
):
    email, _ = somebody("viewer")
    other, here = enter(email), enter(email)
    body = {"current": PASSWORD, "new": NEW}
    assert client.post(CHANGE, json=body, headers=here["headers"]).status_code == 204
    assert [client.get(ME, headers=each["headers"]).status_code for each in (other, here)] == [401, 401]
    refreshed = [client.post(REFRESH, json={"refresh_token": each["refresh_token"]}) for each in (other, here)]
    assert [answer.status_code for answer in refreshed] == [401, 200]
    assert (may_enter(client, email), may_enter(client, email, NEW)) == (False, True)
    [event] = audited("user.password_changed")
    assert (event["actor"], event["via"]) == (email, "session")


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"current": "wrong password", "new": NEW}, 401, None),
        ({"current": PASSWORD, "new": "password1234"}, 422, "/new"),
        ({"current": PASSWORD, "new": "scrapersky1"}, 422, "/new"),
        ({"current": PASSWORD, "new": "default-default"}, 422, "/new"),
        ({"current": PASSWORD, "new": "short"}, 422, "/new"),
        ({"current": PASSWORD}, 422, "/new"),
        ({"new": NEW}, 422, "/current"),
        ({"current": PASSWORD, "new": NEW, "email": "x@y.example"}, 422, "/email"),
    ],
)
def test_a_change_that_is_refused_changes_nothing(client, somebody, enter, body, status, pointer):
    email, _ = somebody("viewer")
    headers = enter(email)["headers"]
    answer = client.post(CHANGE, json=body, headers=headers)
    assert answer.status_code == status
    assert pointer is None or answer.json["errors"][0]["pointer"] == pointer
    assert client.get(ME, headers=headers).status_code == 200
    assert may_enter(client, email)


def test_of_two_changes_at_once_one_counts(app, client, somebody, enter):
    email, _ = somebody("viewer")
    headers = enter(email)["headers"]
    together, words = threading.Barrier(2), ["first of two words", "other of two words"]

    def change(word):
        together.wait(10)
        body = {"current": PASSWORD, "new": word}
        return app.test_client().post(CHANGE, json=body, headers=headers).status_code

    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(change, words))
    assert sorted(codes) == [204, 401]
    assert may_enter(client, email, words[codes.index(204)])
