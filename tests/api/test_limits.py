"""How often somebody may ask, with Redis and without."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from limits import parse
from limits.storage import MemoryStorage
from pydantic import SecretStr

from app.api.limits import InLots
from app.factory import create_app
from tests.conftest import NOWHERE, PASSWORD

LOGIN = "/api/v2/auth/login"
ME = "/api/v2/auth/me"


@pytest.fixture
def limited(settings, queue, passwords):
    made = []

    def make(**changes):
        app = create_app(settings.model_copy(update=changes), queue=queue, passwords=passwords)
        made.append(app)
        return app.test_client()

    yield make
    for app in made:
        app.extensions["scrapersky"].database.close()


def attempt(client, email, password="wrong password", address="192.0.2.1"):
    body = {"email": email, "password": password}
    return client.post(LOGIN, json=body, environ_overrides={"REMOTE_ADDR": address})


def test_wrong_passwords_are_limited_per_account_from_anywhere(limited, new_user):
    """Security A5"""
    client, email = limited(login_rate="3/minute"), new_user("viewer")
    codes = [attempt(client, email.upper() if n % 2 else email, address=f"192.0.2.{n}").status_code for n in range(5)]
    assert codes == [401, 401, 401, 429, 429]
    # Even the right password now waits, else the limit would tell which one is right.
    assert attempt(client, email, PASSWORD, "192.0.2.99").status_code == 429
    assert attempt(client, new_user("viewer"), PASSWORD, "192.0.2.99").status_code == 200


def test_another_spelling_of_an_account_is_no_further_try(limited):
    """Security A5"""
    client = limited(login_rate="3/minute")
    spellings = ["admin@example.com", "ADMIN@example.com", "adm\u0131n@example.com", "adm\u0130n@example\u3002com"]
    codes = [attempt(client, email, address=f"192.0.2.{n}").status_code for n, email in enumerate(spellings)]
    assert codes == [401, 401, 401, 429]


def test_wrong_passwords_are_limited_per_address_for_any_account(limited):
    """Security A5"""
    client = limited(login_rate="3/minute")
    codes = [attempt(client, f"user{n}@example.com").status_code for n in range(5)]
    assert codes == [401, 401, 401, 429, 429]
    assert attempt(client, "user9@example.com", address="192.0.2.2").status_code == 401


def test_signing_in_rightly_is_not_held_against_anybody(limited, new_user):
    client, email = limited(login_rate="2/minute"), new_user("viewer")
    assert [attempt(client, email, PASSWORD).status_code for _ in range(5)] == [200] * 5


def test_a_limit_tells_when_to_come_back(limited):
    client = limited(login_rate="1/minute")
    attempt(client, "a@example.com")
    answer = attempt(client, "a@example.com")
    assert answer.status_code == 429
    assert answer.mimetype == "application/problem+json"
    assert answer.json["code"] == "rate_limited"
    assert 1 <= int(answer.headers["Retry-After"]) <= 61


def test_requests_are_limited_per_caller(limited):
    """Security A5"""
    client = limited(request_rate="5/minute")
    assert [client.get(ME).status_code for _ in range(7)] == [401] * 5 + [429] * 2
    assert client.get(ME, environ_overrides={"REMOTE_ADDR": "192.0.2.7"}).status_code == 401


def test_users_behind_one_address_have_a_limit_each(limited, new_user):
    client = limited(request_rate="4/minute")
    tokens = [attempt(client, new_user("viewer"), PASSWORD).json["access_token"] for _ in range(2)]
    for token in tokens:
        headers = {"Authorization": f"Bearer {token}"}
        assert [client.get(ME, headers=headers).status_code for _ in range(5)] == [200] * 4 + [429]


def test_large_limits_are_taken_from_redis_in_lots(limited, valkey_url):
    """Security A5"""
    shared = {"request_rate": "600/minute", "redis_url": SecretStr(valkey_url)}
    one, other = limited(**shared), limited(**shared)
    where = {"REMOTE_ADDR": "198.51.100.78"}
    asked = [client.get(ME, environ_overrides=where).status_code for _ in range(305) for client in (one, other)]
    assert asked == [401] * 600 + [429] * 10


def test_a_lot_is_good_for_as_long_as_its_window(monkeypatch):
    storage, clock = MemoryStorage(), SimpleNamespace()
    limiter, item = InLots(storage), parse("600/minute")
    monkeypatch.setattr("app.api.limits.time", SimpleNamespace(monotonic=lambda: clock.now))
    for clock.now, counted in ((1000.0, 3), (1059.9, 3), (1060.1, 6), (1060.1, 6), (1060.1, 6), (1060.1, 9)):
        assert limiter.hit(item, "somebody")
        assert storage.get(item.key_for("somebody")) == counted


def test_threads_that_take_lots_at_once_lose_none(monkeypatch):
    storage, both = MemoryStorage(), threading.Barrier(2)
    limiter, item, incr = InLots(storage), parse("600/minute"), storage.incr
    monkeypatch.setattr(storage, "incr", lambda *args, **named: (both.wait(60), incr(*args, **named))[1])
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(lambda _: limiter.hit(item, "somebody"), range(2)))
    assert [limiter.hit(item, "somebody") for _ in range(4)] == [True] * 4
    assert storage.get(item.key_for("somebody")) == 6


def test_probes_are_not_limited(limited):
    client = limited(request_rate="1/minute")
    assert [client.get("/health/live").status_code for _ in range(4)] == [200] * 4


def test_processes_count_together_in_redis(limited, valkey_url):
    """Security A5"""
    shared = {"login_rate": "2/minute", "redis_url": SecretStr(valkey_url)}
    one, other = limited(**shared), limited(**shared)
    address = "198.51.100.77"
    codes = [
        attempt(client, f"{n}@shared.example", address=address).status_code
        for n, client in enumerate([one, other, one, other])
    ]
    assert codes == [401, 401, 429, 429]


def test_threads_that_find_redis_dead_together_all_get_an_answer(limited):
    app = limited(redis_url=SecretStr(NOWHERE)).application
    start = threading.Barrier(8)

    def ask(_):
        client = app.test_client()
        start.wait()
        return client.get(ME).status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [401] * 8


def test_without_redis_this_process_counts_alone(limited):
    """Security A5"""
    client = limited(login_rate="2/minute", redis_url=SecretStr(NOWHERE))
    codes = [attempt(client, "a@example.com").status_code for _ in range(4)]
    assert codes == [401, 401, 429, 429]


@pytest.fixture
def other_tenant(new_tenant):
    return new_tenant("other")


def token(client, email, tenant=None):
    body = {"email": email, "password": PASSWORD, "tenant": tenant}
    answer = client.post(LOGIN, json=body)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json['access_token']}"}


@pytest.mark.parametrize("redis", [None, "shared", "away"])
def test_requests_are_limited_per_tenant_whoever_of_it_asks(limited, new_user, other_tenant, valkey_url, redis):
    urls = {None: None, "shared": SecretStr(valkey_url), "away": SecretStr(NOWHERE)}
    client = limited(tenant_rate="5/minute", redis_url=urls[redis])
    mine = [token(client, new_user("viewer")) for _ in range(3)]
    theirs = token(client, new_user("viewer", tenant=other_tenant))
    codes = [client.get(ME, headers=mine[n % 3]).status_code for n in range(7)]
    assert codes == [200] * 5 + [429] * 2
    refused = client.get(ME, headers=mine[0])
    assert refused.json["code"] == "rate_limited"
    assert "5 per 1 minute" in refused.json["detail"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert client.get(ME, headers=theirs).status_code == 200


def test_a_tenants_processes_count_together(limited, new_user, valkey_url):
    shared = {"tenant_rate": "2/minute", "redis_url": SecretStr(valkey_url)}
    one, other = limited(**shared), limited(**shared)
    email = new_user("viewer")
    headers = token(one, email)
    assert [client.get(ME, headers=headers).status_code for client in (one, other, one)] == [200, 200, 429]


def test_whoever_is_not_let_in_uses_up_no_tenants_rate(limited, new_user):
    client = limited(tenant_rate="2/minute")
    headers = token(client, new_user("viewer"))
    forged = {"Authorization": headers["Authorization"][:-4] + "AAAA"}
    for wrong in ({}, forged, {"X-API-Key": "sk_nothing"}):
        assert client.get(ME, headers=wrong).status_code == 401
    assert client.get(ME, headers=headers).status_code == 200


def test_a_second_rate_holds_beside_the_first(limited, new_user):
    client = limited(tenant_rate="100/minute;3/hour")
    headers = token(client, new_user("viewer"))
    assert [client.get(ME, headers=headers).status_code for _ in range(4)] == [200] * 3 + [429]


@pytest.mark.parametrize(
    ("hops", "same"),
    [
        (0, [f"198.51.100.{n}" for n in range(5)]),
        (1, [f"198.51.100.{n}, 203.0.113.9" for n in range(5)]),
        (2, [f"198.51.100.{n}, 203.0.113.9, 10.0.0.1" for n in range(5)]),
        (1, [f"{'10.0.0.1, ' * n}203.0.113.9" for n in range(5)]),
        (2, ["203.0.113.9"] * 5),  # one hop short of what is trusted: nobody's word is taken
    ],
)
def test_no_header_that_a_client_writes_makes_it_somebody_else(limited, hops, same):
    client = limited(login_rate="3/minute", trusted_proxies=hops)

    def attempt_from(forwarded, n):
        body = {"email": f"user{n}@example.com", "password": "wrong password"}
        headers = {"X-Forwarded-For": forwarded, "X-Real-IP": f"192.0.2.{n}", "Forwarded": f"for=192.0.2.{n}"}
        return client.post(LOGIN, json=body, headers=headers).status_code

    assert [attempt_from(forwarded, n) for n, forwarded in enumerate(same)] == [401, 401, 401, 429, 429]


def test_clients_behind_a_trusted_proxy_have_a_limit_each(limited):
    client = limited(login_rate="1/minute", trusted_proxies=1)
    for n in range(3):
        body = {"email": f"user{n}@example.com", "password": "wrong password"}
        assert client.post(LOGIN, json=body, headers={"X-Forwarded-For": f"203.0.113.{n}"}).status_code == 401


def test_a_network_of_ipv6_is_one_neighbour(limited):
    client = limited(login_rate="2/minute")
    codes = [attempt(client, f"u{n}@example.com", address=f"2001:db8:1:2:{n}::{n}").status_code for n in range(1, 5)]
    assert codes == [401, 401, 429, 429]
    assert attempt(client, "u9@example.com", address="2001:db8:1:3::1").status_code == 401


@pytest.mark.parametrize(
    ("path", "guess", "status"),
    [
        ("reset", {"token": "guess", "password": "correct horse battery staple"}, 400),
        ("accept", {"token": "guess", "password": "correct horse battery staple"}, 400),
    ],
)
def test_guessing_tokens_good_for_one_use_is_limited(limited, path, guess, status):
    client = limited(login_rate="2/minute")
    codes = [client.post(f"/api/v2/auth/{path}", json=guess).status_code for _ in range(4)]
    assert codes == [status, status, 429, 429]


def test_guessing_refresh_tokens_is_limited_too(limited, new_user):
    client = limited(login_rate="2/minute")
    answer = attempt(client, new_user("viewer"), PASSWORD)
    guess = {"refresh_token": "0" * 32 + ".guess"}
    codes = [client.post("/api/v2/auth/refresh", json=guess).status_code for _ in range(4)]
    assert codes == [401, 401, 429, 429]
    good = {"refresh_token": answer.json["refresh_token"]}
    elsewhere = client.post("/api/v2/auth/refresh", json=good, environ_overrides={"REMOTE_ADDR": "192.0.2.44"})
    assert elsewhere.status_code == 200
