"""What is taken away is gone: at once where it was taken, within five seconds in every other process, and whatever
Redis does.
"""

from __future__ import annotations

import time

import pytest
from pydantic import SecretStr

from app.api.core import KEY
from app.errors import Unavailable
from app.factory import create_app
from app.services.standing import OWN_SECONDS, SHARED_SECONDS
from tests.conftest import NOWHERE, PASSWORD

ME, LOGIN = "/api/v2/auth/me", "/api/v2/auth/login"


class Process:
    """An API process of several, and the time by which its own caches forget."""

    def __init__(self, app):
        self.app, self.client = app, app.test_client()
        self._parts = app.extensions[KEY]

    def status(self, headers):
        return self.client.get(ME, headers=headers).status_code

    def wait(self, seconds):
        """For its own caches; the shared ones keep their time."""
        for cache in (self._parts.accounts.standings._cache._front, self._parts.rbac._cache._front):
            cache._clock = lambda: time.monotonic() + seconds


@pytest.fixture
def process(settings, queue, passwords):
    """`process(url)` → an API process that finds Redis there."""
    made = []

    def start(url):
        made.append(
            create_app(settings.model_copy(update={"redis_url": SecretStr(url)}), queue=queue, passwords=passwords)
        )
        return Process(made[-1])

    yield start
    for app in made:
        app.extensions[KEY].database.close()


@pytest.fixture
def pair(process, valkey_url):
    return process(valkey_url), process(valkey_url)


@pytest.fixture
def person(new_user):
    """`person(process, "viewer")` → somebody signed in: her headers, with her id under `id`."""

    def sign_in(process, *roles):
        tokens = process.client.post(LOGIN, json={"email": new_user(*roles), "password": PASSWORD}).json
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return headers, process.client.get(ME, headers=headers).json["user"]["id"]

    return sign_in


def key_of(process, headers):
    made = process.client.post(
        "/api/v2/api-keys", headers=headers, json={"name": "x", "permissions": ["job:read"]}
    ).json
    return {"X-API-Key": made["key"]}, made["id"]


def test_both_times_together_leave_time_to_spare():
    assert OWN_SECONDS + SHARED_SECONDS <= 4.0


def test_what_one_process_takes_away_is_gone_there_at_once_and_in_another_within_its_own_second(pair, person):
    here, there = pair
    boss, _ = person(here, "tenant_admin", "platform_admin")

    def gone(method, path, shown, expected=401):
        assert (here.status(shown), there.status(shown)) == (200, 200)
        answer = here.client.open(path, method=method, headers=boss)
        assert answer.status_code < 300, answer.text
        assert here.status(shown) == expected
        there.wait(OWN_SECONDS)
        assert there.status(shown) == expected
        there.wait(0)

    headers, _ = person(here, "viewer")
    session = here.client.get("/api/v2/sessions", headers=headers).json["items"][0]["id"]
    gone("DELETE", f"/api/v2/sessions/{session}", headers)
    headers, user = person(here, "viewer")
    gone("PUT", f"/api/v2/users/{user}/roles/operator", headers)
    headers, user = person(here, "viewer")
    gone("DELETE", f"/api/v2/users/{user}", headers)
    headers, user = person(here, "viewer")
    gone("POST", f"/api/v2/users/{user}/disable", headers)
    key, key_id = key_of(here, boss)
    gone("DELETE", f"/api/v2/api-keys/{key_id}", key)
    other, user = person(here, "tenant_admin")
    key, _ = key_of(here, other)
    gone("DELETE", f"/api/v2/users/{user}", key)


def test_a_role_that_carries_something_else_counts_for_all_its_holders_everywhere(pair, person, new_user):
    here, there = pair
    boss, _ = person(here, "tenant_admin")
    role = here.client.post("/api/v2/roles", headers=boss, json={"name": "mine", "permissions": ["job:read"]})
    holders = []
    for _ in range(2):
        email = new_user("viewer")
        user = here.client.get(f"/api/v2/users?email={email}", headers=boss).json["items"][0]["id"]
        assert here.client.put(f"/api/v2/users/{user}/roles/mine", headers=boss).status_code == 200
        token = here.client.post(LOGIN, json={"email": email, "password": PASSWORD}).json["access_token"]
        holders.append({"Authorization": f"Bearer {token}"})
    assert [process.status(shown) for process in pair for shown in holders] == [200] * 4
    changed = here.client.patch(role.headers["Location"], headers=boss, json={"permissions": ["job:read", "job:run"]})
    assert changed.status_code == 200
    assert [here.status(shown) for shown in holders] == [401, 401]
    there.wait(OWN_SECONDS)
    assert [there.status(shown) for shown in holders] == [401, 401]


def test_a_suspended_tenant_is_shut_in_every_process(pair, person, new_tenant, login, new_user):
    here, there = pair
    boss, _ = person(here, "tenant_admin", "platform_admin")
    acme = new_tenant("acme")
    email = new_user("tenant_admin", tenant=acme)
    token = here.client.post(LOGIN, json={"email": email, "password": PASSWORD}).json["access_token"]
    member = {"Authorization": f"Bearer {token}"}
    key, _ = key_of(here, member)
    assert [process.status(shown) for process in pair for shown in (member, key)] == [200] * 4
    assert here.client.post(f"/api/v2/tenants/{acme}/suspend", headers=boss).status_code == 200
    assert [here.status(shown) for shown in (member, key)] == [403, 403]
    there.wait(OWN_SECONDS)
    assert [there.status(shown) for shown in (member, key)] == [403, 403]


def test_signing_out_counts_everywhere(pair, person):
    here, there = pair
    headers, _ = person(here, "viewer")
    assert there.status(headers) == 200
    assert here.client.post("/api/v2/auth/logout", headers=headers).status_code == 204
    there.wait(OWN_SECONDS)
    assert (here.status(headers), there.status(headers)) == (401, 401)


def test_without_redis_the_database_is_asked_and_what_is_taken_away_is_gone(process, person, superuser_here):
    alone = process(NOWHERE)
    headers, _ = person(alone, "viewer")
    assert alone.status(headers) == 200
    superuser_here.execute("DELETE FROM user_roles")
    alone.wait(OWN_SECONDS)
    assert alone.status(headers) == 401


@pytest.mark.parametrize("redis", ["away", "there"])
def test_nobody_is_let_in_by_what_cannot_be_looked_up(process, person, valkey_url, redis, monkeypatch):
    alone = process(NOWHERE if redis == "away" else valkey_url)
    headers, _ = person(alone, "tenant_admin")
    key, _ = key_of(alone, headers)
    database = alone.app.extensions[KEY].database

    def away(*_):
        raise Unavailable("the database cannot be reached for the moment")

    monkeypatch.setattr(database, "system", away)
    monkeypatch.setattr(database, "for_tenant", away)
    alone.wait(60)
    for cache in (alone._parts.accounts.standings._cache._back, alone._parts.rbac._cache._back):
        cache._clock = lambda: time.time() + 60
    for shown in (headers, key):
        answer = alone.client.get("/api/v2/api-keys", headers=shown)
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
