"""Asking people into a tenant, over HTTP."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.factory import create_app
from tests.api.answers import problem, without_id
from tests.conftest import PASSWORD

USERS, INVITATIONS = "/api/v2/users", "/api/v2/invitations"
LOGIN, ACCEPT, ME = "/api/v2/auth/login", "/api/v2/auth/accept", "/api/v2/auth/me"
ANN = "ann@new.example"


@pytest.fixture
def admin(login):
    return login("tenant_admin")


@pytest.fixture
def invite(client, admin):
    def ask(email=ANN, role="operator", headers=None):
        return client.post(USERS, json={"email": email, "role": role}, headers=headers or admin)

    return ask


@pytest.fixture
def token(invite):
    return invite().json["token"]


@pytest.fixture
def accept(client):
    def come(token, password=PASSWORD, headers=None):
        body = {"token": token, **({"password": password} if password is not None else {})}
        return client.post(ACCEPT, json=body, headers=headers)

    return come


@pytest.fixture
def enter(client):
    def sign_in(email, password=PASSWORD, **more):
        answer = client.post(LOGIN, json={"email": email, "password": password, **more})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json['access_token']}"}

    return sign_in


def test_somebody_new_is_asked_in_chooses_a_password_and_is_in(client, invite, accept, enter, audited, tenant_id):
    made = invite("Ann@NEW.example")
    assert made.status_code == 201
    assert (made.json["email"], made.json["role"]) == (ANN, "operator")
    assert made.json["created_at"] < made.json["expires_at"]
    joined = accept(made.json["token"])
    assert joined.status_code == 201, joined.text
    assert joined.json["tenant"] == {"id": str(tenant_id), "name": "default"}
    me = client.get(ME, headers=enter(ANN)).json
    assert (me["user"], me["roles"]) == (joined.json["user"], ["operator"])
    assert [event["action"] for event in audited("invitation.")] == ["invitation.created", "invitation.accepted"]
    assert audited("invitation.accepted")[0]["after"] == {"user": me["user"]["id"], "role": "operator"}
    assert [event["actor"] for event in audited("user.created")] == [ANN]


def test_the_token_is_shown_once_and_kept_as_a_hash(client, invite, admin, superuser_here):
    made = invite().json
    [listed] = client.get(INVITATIONS, headers=admin).json["items"]
    assert listed == {name: value for name, value in made.items() if name != "token"}
    for (row,) in superuser_here.execute("SELECT i::text FROM invitations i UNION SELECT e::text FROM audit_events e"):
        assert made["token"].partition(".")[2] not in row


def test_it_is_good_once(accept, token):
    assert accept(token).status_code == 201
    problem(accept(token), 400, "token_spent")


def test_of_many_who_accept_at_once_one_comes_in(app, token):
    together = threading.Barrier(4)

    def come(_):
        together.wait(10)
        return app.test_client().post(ACCEPT, json={"token": token, "password": PASSWORD}).status_code

    with ThreadPoolExecutor(4) as pool:
        codes = sorted(pool.map(come, range(4)))
    assert codes[0] == 201
    assert set(codes[1:]) <= {400, 409}


@pytest.mark.parametrize("spent", ["", "x", "0" * 32 + "." + "A" * 43, "ü" * 76, "0193c0de00007000800000000000000d"])
def test_what_is_no_token_is_spent(accept, spent):
    assert accept(spent).status_code in {400, 422}
    if spent:
        problem(accept(spent), 400, "token_spent")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE invitations SET expires_at = now()",
        "UPDATE invitations SET revoked_at = now()",
        "DELETE FROM user_roles",  # whoever asked is a member no more
        "UPDATE users SET status = 'disabled'",  # nor this
        "UPDATE user_roles SET role_id = (SELECT id FROM roles WHERE name = 'operator')",  # and may not ask any more
    ],
)
def test_every_spent_token_gets_one_answer(accept, token, superuser_here, change):
    superuser_here.execute(change)
    answer = accept(token)
    problem(answer, 400, "token_spent")
    assert without_id(answer) == without_id(accept("0" * 32 + "." + "A" * 43))
    assert superuser_here.execute("SELECT count(*) FROM users WHERE email = %s", [ANN]).fetchone() == (0,)


def test_inviting_again_replaces(client, invite, admin, accept, audited):
    first, second = invite(role="viewer").json, invite(email=" ANN@new.example").json
    assert [row["id"] for row in client.get(INVITATIONS, headers=admin).json["items"]] == [second["id"]]
    problem(accept(first["token"]), 400, "token_spent")
    assert accept(second["token"]).json["role"] == "operator"


def test_of_invitations_at_once_one_is_left(app, client, admin):
    together = threading.Barrier(4)

    def ask(_):
        together.wait(10)
        return app.test_client().post(USERS, json={"email": ANN, "role": "viewer"}, headers=admin).status_code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [201] * 4
    assert len(client.get(INVITATIONS, headers=admin).json["items"]) == 1


def test_withdrawing(client, invite, admin, accept, audited):
    made = invite().json
    path = f"{INVITATIONS}/{made['id']}"
    assert client.delete(path, headers=admin).status_code == 204
    problem(accept(made["token"]), 400, "token_spent")
    problem(client.delete(path, headers=admin), 404, "not_found")
    assert audited("invitation.revoked")[0]["before"] == {"email": ANN}


def test_a_member_in_any_spelling_is_not_asked_again(invite, new_user):
    new_user("viewer", email="admin@ours.example")
    for spelling in ("admin@ours.example", "ADMIN@OURS.example", "adm\u0131n@ours.example", "adm\u0130n@ours.example."):
        problem(invite(spelling), 409, "conflict")


@pytest.mark.parametrize("body", [{"email": "ann", "role": "viewer"}, {"email": ANN, "role": "emperor"}, {"email": ANN}, {"email": ANN, "role": "viewer", "tenant_id": "x"}])  # fmt: skip
def test_what_cannot_be_is_refused_by_name(client, admin, body):
    answer = client.post(USERS, json=body, headers=admin)
    problem(answer, 422, "invalid_input")
    assert answer.json["errors"][0]["pointer"] in {"/email", "/role", "/tenant_id"}


def test_nobody_invites_to_more_than_she_holds(client, invite, login, admin, new_user, enter):
    problem(invite(role="platform_admin"), 403, "permission_denied")
    both = login("platform_admin", "tenant_admin")
    problem(invite(role="platform_admin", headers=both), 403, "permission_denied")
    assert invite(role="tenant_admin", headers=both).status_code == 201
    for role in ("viewer", "operator", "platform_admin"):
        assert invite(headers=login(role)).status_code == 403
    role = {"name": "inviter", "permissions": ["member:manage"]}
    assert client.post("/api/v2/roles", json=role, headers=admin).status_code == 201
    email = new_user("viewer")
    me = client.get(ME, headers=enter(email)).json["user"]["id"]
    assert client.put(f"{USERS}/{me}/roles/inviter", headers=admin).status_code == 200
    answers = [invite(role=name, headers=enter(email)).status_code for name in ("viewer", "inviter", "operator")]
    assert answers == [201, 201, 403]


def test_another_tenants_invitations_are_not_there(client, invite, new_tenant, login, accept):
    made = invite().json
    stranger = login("tenant_admin", tenant=new_tenant("acme"))
    assert client.get(INVITATIONS, headers=stranger).json["items"] == []
    there, nowhere = (client.delete(f"{INVITATIONS}/{key}", headers=stranger) for key in (made["id"], "0" * 8))
    assert without_id(there) == without_id(nowhere)
    problem(there, 404, "not_found")
    assert accept(made["token"]).status_code == 201


def test_a_suspended_tenant_takes_nobody_in(accept, token, superuser_here):
    superuser_here.execute("UPDATE tenants SET status = 'suspended'")
    assert accept(token).status_code == 403
    superuser_here.execute("UPDATE tenants SET status = 'active'")
    assert accept(token).status_code == 201


# ---- whoever has an account --------------------------------------------------------------------------------------


@pytest.fixture
def known(new_user, new_tenant):
    """Ann has an account already, in another tenant."""
    return new_user("viewer", tenant=new_tenant("acme"), email=ANN)


def test_who_has_an_account_shows_its_password(client, known, token, accept, enter):
    problem(accept(token, "another password"), 401, "authentication_failed")
    problem(accept(token, None), 401, "authentication_failed")
    assert accept(token).status_code == 201
    me = client.get(ME, headers=enter(ANN, tenant="default")).json
    assert me["roles"] == ["operator"]
    assert {tenant["name"] for tenant in me["tenants"]} == {"acme", "default"}


def test_who_is_signed_in_needs_no_password(known, token, accept, enter):
    assert accept(token, None, headers=enter(ANN)).status_code == 201


def test_somebody_else_cannot_take_it_whatever_the_password(known, token, accept, enter, new_user):
    other = enter(new_user("viewer"))
    for password in (PASSWORD, None):
        problem(accept(token, password, headers=other), 403, "permission_denied")
    assert accept(token, headers={"Authorization": "Bearer nonsense"}).status_code == 401
    assert accept(token).status_code == 201


def test_a_disabled_account_does_not_come_in(known, token, accept, superuser_here):
    superuser_here.execute("UPDATE users SET status = 'disabled' WHERE email = %s", [ANN])
    wrong, right = accept(token, "another password"), accept(token)
    assert without_id(wrong) == without_id(right)
    problem(right, 401, "authentication_failed")


def test_tries_at_a_password_by_invitations_count_as_tries_at_the_account(settings, queue, passwords, known, new_user):
    app = create_app(settings.model_copy(update={"login_rate": "4/minute"}), queue=queue, passwords=passwords)
    client = app.test_client()
    admin = client.post(LOGIN, json={"email": new_user("tenant_admin"), "password": PASSWORD}).json["access_token"]
    headers = {"Authorization": f"Bearer {admin}"}

    def attempt(number):
        sent = client.post(USERS, json={"email": ANN, "role": "viewer"}, headers=headers).json["token"]
        away = {"REMOTE_ADDR": f"192.0.2.{number}"}
        body = {"token": sent, "password": f"wrong password {number}"}
        return client.post(ACCEPT, json=body, environ_overrides=away).status_code

    assert [attempt(number) for number in range(6)] == [401] * 4 + [429] * 2
    login = client.post(
        LOGIN, json={"email": ANN, "password": PASSWORD}, environ_overrides={"REMOTE_ADDR": "192.0.2.99"}
    )
    assert login.status_code == 429
    app.extensions["scrapersky"].database.close()


# ---- the password that is chosen ---------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["short", "password1234", "default-2026", "ann@new.example", "scrapersky!", "p" * 1025, None])  # fmt: skip
def test_an_easy_password_is_refused_and_the_invitation_stays_good(accept, token, password):
    answer = accept(token, password)
    problem(answer, 422, "invalid_input")
    assert answer.json["errors"][0]["pointer"] == "/password"
    assert accept(token).status_code == 201


def test_passwords_differ_beyond_their_seventy_second_byte(accept, token, client):
    assert accept(token, "correct horse " * 6 + "x").status_code == 201
    for password, status in (("correct horse " * 6 + "y", 401), ("correct horse " * 6 + "x", 200)):
        assert client.post(LOGIN, json={"email": ANN, "password": password}).status_code == status
