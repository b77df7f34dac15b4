"""An answer under way ends when whoever takes it may no longer have it."""

from __future__ import annotations

import pytest
from flask import Response

from app.api.core import KEY
from app.api.security import requires
from app.api.streaming import RECHECK_SECONDS, while_allowed
from app.errors import AuthenticationFailed, PermissionDenied, Unavailable


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stream(app, client, clock):
    """`stream(headers)` → an iterator over an answer of a hundred parts, of which each takes a second."""

    def parts():
        for number in range(100):
            clock.now += 1
            yield f"{number}\n"

    @requires("result:export")
    def view():
        return Response(while_allowed(parts(), clock=clock))

    app._got_first_request = False
    app.add_url_rule("/stream", view_func=view)

    def open_(headers):
        answer = client.get("/stream", headers=headers, buffered=False)
        assert answer.status_code == 200
        return iter(answer.response)

    return open_


def test_an_answer_comes_whole_while_rights_last(stream, login):
    assert list(stream(login("operator"))) == [b"%d\n" % number for number in range(100)]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("UPDATE sessions SET revoked_at = now()", AuthenticationFailed),
        ("UPDATE users SET status = 'disabled'", AuthenticationFailed),
        ("UPDATE users SET authz_version = authz_version + 1", AuthenticationFailed),
        ("DELETE FROM user_roles", AuthenticationFailed),
        ("UPDATE user_roles SET role_id = (SELECT id FROM roles WHERE name = 'viewer')", PermissionDenied),
        ("UPDATE tenants SET status = 'suspended'", PermissionDenied),
    ],
)
def test_it_breaks_off_within_seconds_of_lost_rights(stream, login, superuser_here, change, error):
    answer = stream(login("operator"))
    received = [next(answer) for _ in range(10)]
    superuser_here.execute(change)
    with pytest.raises(error):
        received.extend(answer)
    assert 10 <= len(received) <= 10 + RECHECK_SECONDS


def test_it_breaks_off_when_nobody_can_be_asked(app, stream, login, monkeypatch):
    answer = stream(login("operator"))
    next(answer)

    def away(_shown):
        raise Unavailable

    monkeypatch.setattr(app.extensions[KEY].accounts.standings, "_session", away)
    with pytest.raises(Unavailable):
        list(answer)


def test_rights_lost_before_the_first_part_are_an_answer_like_any_other(app, client, stream, login, superuser_here):
    headers = login("operator")
    stream(headers)  # now the guard has it in its cache
    superuser_here.execute("UPDATE sessions SET revoked_at = now()")
    assert client.get("/stream", headers=headers).status_code == 401
