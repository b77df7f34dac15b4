"""Sign-in and tokens, over HTTP."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from argon2.exceptions import VerifyMismatchError
from pydantic import SecretStr

from app.api import security
from app.api.core import KEY
from app.errors import ConfigurationError
from app.factory import create_app
from app.services.passwords import Passwords
from tests.api.answers import problem, without_id
from tests.conftest import PASSWORD

LOGIN, REFRESH, LOGOUT, ME = (f"/api/v2/auth/{name}" for name in ("login", "refresh", "logout", "me"))


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def tokens(client, new_user):
    return client.post(LOGIN, json={"email": new_user("operator"), "password": PASSWORD}).json


def test_signing_in_and_asking_who_i_am(client, new_user, tenant_id):
    email = new_user("operator")
    answer = client.post(LOGIN, json={"email": email.upper(), "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json["token_type"] == "Bearer"
    assert answer.json["expires_in"] == 900
    me = client.get(ME, headers=bearer(answer.json["access_token"])).json
    assert me["user"]["email"] == email
    assert me["tenant"] == {"id": str(tenant_id), "name": "default"}
    assert me["roles"] == ["operator"]
    assert "job:run" in me["permissions"]
    assert "job:delete" not in me["permissions"]


class CountingHasher:
    """Argon2's interface, at no cost. `verified` counts the checks; while `gate` is closed they stand still."""

    def __init__(self):
        self.verified = 0
        self.gate = threading.Event()
        self.gate.set()

    def hash(self, password):
        return "stored"

    def verify(self, stored, password):
        self.verified += 1
        self.gate.wait(60)
        if password != PASSWORD.encode():
            raise VerifyMismatchError
        return True


@pytest.fixture
def counted(settings, queue):
    """An application and its hasher, with the threads that a process has by default."""
    hasher = CountingHasher()
    made = create_app(settings, queue=queue, passwords=Passwords.beside(settings.api_threads, hasher))
    yield made, hasher
    hasher.gate.set()
    made.extensions[KEY].database.close()


def test_unknown_user_wrong_password_and_disabled_user_get_one_answer_after_the_same_work(
    counted, new_user, superuser_here
):
    """Security A4"""
    app, hasher = counted
    known, disabled = new_user("viewer"), new_user("viewer")
    superuser_here.execute("UPDATE users SET status = 'disabled' WHERE email = %s", [disabled])
    tries = [
        ("nobody@example.com", PASSWORD), ("no address", PASSWORD), (known, "wrong password"), (disabled, PASSWORD),
        (disabled, "wrong password"), (known, "x" * 2000),
    ]  # fmt: skip
    answers, checks = [], []
    for email, password in tries:
        before = hasher.verified
        answers.append(app.test_client().post(LOGIN, json={"email": email, "password": password}))
        checks.append(hasher.verified - before)
    assert checks == [1] * len(tries)
    seen = [(answer.status_code, without_id(answer), headers_of(answer)) for answer in answers]
    assert seen == [seen[0]] * len(tries)
    problem(answers[0], 401, "authentication_failed")


def headers_of(answer):
    return sorted((name, value) for name, value in answer.headers if name != "X-Request-ID")


def test_a_hundred_sign_ins_at_once_leave_the_api_free(counted, settings, new_user):
    """A4: with every place for a hash taken and none coming free, whatever else is asked is answered."""
    app, hasher = counted
    email = new_user("viewer")
    access = app.test_client().post(LOGIN, json={"email": email, "password": PASSWORD}).json["access_token"]
    hasher.gate.clear()
    with ThreadPoolExecutor(settings.api_threads) as server:
        body = {"email": email, "password": PASSWORD}
        sign_ins = [server.submit(lambda: app.test_client().post(LOGIN, json=body)) for _ in range(100)]
        others = [server.submit(lambda: app.test_client().get(ME, headers=bearer(access))) for _ in range(20)]
        assert [other.result(120).status_code for other in others] == [200] * 20
        told = [sign_in.result() for sign_in in sign_ins if sign_in.done()]
        assert len(told) >= 90
        assert {answer.status_code for answer in told} == {429}
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in told)
        hasher.gate.set()
    assert {sign_in.result().status_code for sign_in in sign_ins} <= {200, 429}
    assert app.test_client().post(LOGIN, json=body).status_code == 200


@pytest.mark.parametrize("password", ["\ud800 half a pair", "nul\0", "ünïcödé"])
def test_odd_passwords_and_addresses_are_no_crash(client, password):
    assert client.post(LOGIN, json={"email": password, "password": password}).status_code in {401, 422}


def test_refresh_gives_new_tokens_that_work(client, tokens):
    again = client.post(REFRESH, json={"refresh_token": tokens["refresh_token"]})
    assert again.status_code == 200
    assert again.json["refresh_token"] != tokens["refresh_token"]
    assert client.get(ME, headers=bearer(again.json["access_token"])).status_code == 200


def test_refresh_takes_the_token_as_bearer_too(client, tokens):
    assert client.post(REFRESH, headers=bearer(tokens["refresh_token"])).status_code == 200


def test_a_refresh_token_used_twice_ends_the_session(client, tokens):
    """Security A3"""
    newer = client.post(REFRESH, json={"refresh_token": tokens["refresh_token"]}).json
    assert client.post(REFRESH, json={"refresh_token": tokens["refresh_token"]}).status_code == 401
    assert client.post(REFRESH, json={"refresh_token": newer["refresh_token"]}).status_code == 401
    assert client.get(ME, headers=bearer(newer["access_token"])).status_code == 401


def test_of_many_refreshes_at_once_at_most_one_wins(app, tokens):
    """Security A3"""

    def refresh(_):
        return app.test_client().post(REFRESH, json={"refresh_token": tokens["refresh_token"]}).status_code

    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(refresh, range(6)))
    assert sorted(codes) == [200] + [401] * 5


@pytest.mark.parametrize(
    "token", ["", "x", "0" * 40, "0193c0de00007000800000000000dead" + ".", "é" * 64, "\ud800" * 40]
)
def test_what_is_no_refresh_token_is_refused(client, token):
    assert client.post(REFRESH, json={"refresh_token": token}).status_code in {401, 422}


def test_refresh_without_a_token_is_401(client):
    assert client.post(REFRESH).status_code == 401


def test_an_access_token_is_no_refresh_token_nor_the_other_way_round(client, tokens):
    """Security A1"""
    assert client.post(REFRESH, json={"refresh_token": tokens["access_token"]}).status_code in {401, 422}
    assert client.get(ME, headers=bearer(tokens["refresh_token"])).status_code == 401


def test_logout_ends_both_tokens(client, tokens):
    assert client.get(ME, headers=bearer(tokens["access_token"])).status_code == 200
    assert client.post(LOGOUT, headers=bearer(tokens["access_token"])).status_code == 204
    assert client.get(ME, headers=bearer(tokens["access_token"])).status_code == 401
    assert client.post(REFRESH, json={"refresh_token": tokens["refresh_token"]}).status_code == 401


def test_logout_with_the_refresh_token_alone(client, tokens):
    assert client.post(LOGOUT, json={"refresh_token": tokens["refresh_token"]}).status_code == 204
    assert client.post(REFRESH, json={"refresh_token": tokens["refresh_token"]}).status_code == 401


def test_logout_without_any_token_is_401(client):
    assert client.post(LOGOUT).status_code == 401


def test_switching_tenants(client, new_user, new_tenant):
    acme, foreign = new_tenant("acme"), new_tenant("foreign")
    email = new_user("viewer")
    new_user("tenant_admin", tenant=acme, email=email)
    here = client.post(LOGIN, json={"email": email, "password": PASSWORD, "tenant": "default"}).json
    there = client.post("/api/v2/auth/switch", json={"tenant": "acme"}, headers=bearer(here["access_token"])).json
    me = client.get(ME, headers=bearer(there["access_token"])).json
    assert me["tenant"]["name"] == "acme"
    assert me["roles"] == ["tenant_admin"]
    assert {tenant["name"] for tenant in me["tenants"]} == {"default", "acme"}
    for name in ("foreign", str(foreign), "no such"):
        body = {"tenant": name}
        answer = client.post("/api/v2/auth/switch", json=body, headers=bearer(there["access_token"]))
        assert answer.status_code == 404


def test_a_suspended_tenant_lets_nobody_in(client, new_user, new_tenant, superuser_here):
    email = new_user("viewer", tenant=new_tenant("gone"))
    tokens = client.post(LOGIN, json={"email": email, "password": PASSWORD}).json
    superuser_here.execute("UPDATE tenants SET status = 'suspended' WHERE name = 'gone'")
    assert client.get(ME, headers=bearer(tokens["access_token"])).status_code == 403
    assert client.post(REFRESH, json={"refresh_token": tokens["refresh_token"]}).status_code == 403
    assert client.post(LOGIN, json={"email": email, "password": PASSWORD}).status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET status = 'disabled'",
        "UPDATE users SET authz_version = authz_version + 1",
        "UPDATE sessions SET revoked_at = now()",
        "UPDATE sessions SET expires_at = now()",
        "DELETE FROM user_roles",
    ],
)
def test_lost_rights_are_lost_within_five_seconds(
    app, client, tokens, superuser_here, time_machine_of_the_cache, change
):
    headers = bearer(tokens["access_token"])
    assert client.get(ME, headers=headers).status_code == 200
    superuser_here.execute(change)
    time_machine_of_the_cache(4.9)
    assert client.get(ME, headers=headers).status_code == 401


@pytest.fixture
def time_machine_of_the_cache(app):
    """Moves the caches' clocks, not the world's."""
    core = app.extensions[KEY]

    def forward(seconds):
        for cache in (core.accounts.standings._cache, core.rbac._cache):
            cache._clock = lambda: time.monotonic() + seconds

    return forward


# ---- forged tokens -----------------------------------------------------------------------------------------------


@pytest.fixture
def forge(settings, tokens):
    """`forge(aud=…)` → the genuine token's claims, changed, signed with the genuine key; None takes a claim out."""
    key = settings.secret_key.get_secret_value()
    genuine = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    header = {"kid": jwt.get_unverified_header(tokens["access_token"])["kid"]}  # with `alg`, it would decide

    def make(*, key=key, algorithm="HS256", headers=header, **changes):
        claims = {name: value for name, value in {**genuine, **changes}.items() if value is not None}
        return jwt.encode(claims, key, algorithm=algorithm, headers=headers)

    return make


def test_the_forge_itself_makes_good_tokens(client, forge):
    assert client.get(ME, headers=bearer(forge())).status_code == 200


@pytest.mark.parametrize("claim", ["exp", "iat", "jti", "sub", "type", "aud", "iss", "sid", "tid", "ver"])
def test_a_token_without_a_required_claim_is_refused(client, forge, claim):
    """Security A1"""
    assert client.get(ME, headers=bearer(forge(**{claim: None}))).status_code == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another"}, {"iss": "another"}, {"type": "refresh"}, {"exp": 1}, {"exp": 4_000_000_000},
        {"iat": 4_000_000_000}, {"iat": "soon"}, {"sub": "root"}, {"sub": 1}, {"tid": "0193c0de-0000-7000-8000-00000000dead"},
        {"sid": "0193c0de-0000-7000-8000-00000000dead"}, {"sub": "0193c0de-0000-7000-8000-00000000dead"}, {"ver": 99}, {"ver": "1"}, {"ver": True}, {"aud": ["a", "b"]},
        {"nbf": 4_000_000_000}, {"tid": ["x"]},
    ],
)  # fmt: skip
def test_a_token_with_another_claim_is_refused(client, forge, changes):
    """Security A1"""
    answer = client.get(ME, headers=bearer(forge(**changes)))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json["code"] == "authentication_failed"


@pytest.mark.filterwarnings("ignore:The HMAC key")
def test_other_algorithms_keys_and_key_ids_are_refused(client, forge):
    """Security A1"""
    forged = [
        forge(key=None, algorithm="none"),
        forge(algorithm="HS384"),
        forge(key="another key, long enough to be one ....."),
        forge(headers={"kid": "another"}),
        forge(headers={}),
        forge(key=None, algorithm="none").rstrip(".") + ".x",
    ]
    assert [client.get(ME, headers=bearer(token)).status_code for token in forged] == [401] * len(forged)


def test_a_tampered_token_is_refused(client, tokens):
    """Security A1"""
    head, body, signature = tokens["access_token"].split(".")
    for token in (
        f"{head}.{body}.",
        f"{head}.{body}.{signature[::-1]}",
        f"{head}.{body[:-2]}.{signature}",
        "a.b.c",
        "é",
    ):
        assert client.get(ME, headers=bearer(token)).status_code == 401


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer  ", "Basic YWRtaW46YWRtaW4=", "Token x", "Bearer x y"])
def test_a_header_without_a_token_is_401(client, header):
    assert client.get(ME, headers={"Authorization": header}).status_code == 401


def test_the_key_before_the_last_rotation_still_checks(settings, queue, passwords, new_user):
    """Security A2"""
    old = create_app(settings, queue=queue, passwords=passwords)
    email = new_user("viewer")
    token = old.test_client().post(LOGIN, json={"email": email, "password": PASSWORD}).json["access_token"]
    fresh = {"secret_key": SecretStr("a fresh key of thirty-two bytes or more")}
    rotated = create_app(
        settings.model_copy(update={**fresh, "secret_key_previous": settings.secret_key}),
        queue=queue,
        passwords=passwords,
    )
    forgotten = create_app(settings.model_copy(update=fresh), queue=queue, passwords=passwords)
    assert rotated.test_client().get(ME, headers=bearer(token)).status_code == 200
    assert forgotten.test_client().get(ME, headers=bearer(token)).status_code == 401
    for made in (old, rotated, forgotten):
        made.extensions[KEY].database.close()


@pytest.mark.parametrize("secret", ["short", "a" * 64, None])
def test_a_weak_signing_key_stops_the_start(settings, queue, secret):
    """Security A2"""
    weak = settings.model_copy(update={"secret_key": secret and SecretStr(secret)})
    with pytest.raises(ConfigurationError, match="SCRAPERSKY_SECRET_KEY"):
        create_app(weak, queue=queue)


def test_every_required_claim_is_one_we_send(tokens):
    """Security A1"""
    sent = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert set(security.REQUIRED_CLAIMS) <= set(sent)
