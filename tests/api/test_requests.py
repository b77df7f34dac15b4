"""Ids, headers, ETags and log lines of every answer."""

from __future__ import annotations

import io
import json
import logging
import re
from urllib.parse import quote

import pytest
import structlog

from app import log
from app.api.routers import polled
from app.api.security import public
from app.factory import create_app
from tests.unit.replay import adversarial_cases


@pytest.mark.parametrize("path", ["/health/live", "/nothing", "/docs", "/openapi.json"])
def test_every_answer_carries_an_id_and_safe_headers(client, path):
    """Security P6"""
    answer = client.get(path)
    assert len(answer.headers["X-Request-ID"]) >= 16
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert "Strict-Transport-Security" not in answer.headers
    assert "Strict-Transport-Security" in client.get(path, base_url="https://localhost").headers


def test_a_sane_request_id_is_kept(client):
    assert client.get("/health/live", headers={"X-Request-ID": "trace-1.2:3"}).headers["X-Request-ID"] == "trace-1.2:3"


@pytest.mark.parametrize("sent", ["a b", "x" * 129, "é", "<script>", '"', "a,b", " "])
def test_another_request_id_is_replaced(client, sent):
    answer = client.get("/health/live", headers={"X-Request-ID": sent})
    assert answer.headers["X-Request-ID"] != sent
    assert answer.headers["X-Request-ID"].isalnum()


def test_two_requests_have_two_ids(client):
    assert len({client.get("/health/live").headers["X-Request-ID"] for _ in range(3)}) == 3


def test_a_polled_answer_is_not_sent_twice(app, client):
    state = {"n": 1}

    @polled
    @public("a test")
    def view():
        return dict(state)

    app._got_first_request = False
    app.add_url_rule("/probe", view_func=view)
    first = client.get("/probe")
    again = client.get("/probe", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    state["n"] = 2
    changed = client.get("/probe", headers={"If-None-Match": first.headers["ETag"]})
    assert (changed.status_code, changed.json) == (200, {"n": 2})


@pytest.fixture
def lines():
    """The log, as a stream; the logging of the test run is put back afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    yield stream
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_lines_carry_the_request_id_and_nobody_forges_one(client, lines):
    log.configure(level="INFO", style="json", stream=lines)
    client.get('/x%0a{"event": "forged"}%1b[31m', headers={"X-Request-ID": "abc"})
    written = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [line["event"] for line in written] == ["request"]
    assert written[0]["request_id"] == "abc"
    assert written[0]["status"] == 404


def test_console_lines_cannot_be_forged(client, lines):
    log.configure(level="INFO", style="console", stream=lines)
    client.get("/x%0d%0a2026-01-01T00:00:00Z%20error%20forged%1b[31m%e2%80%a8")
    assert len(lines.getvalue().splitlines()) == 1
    assert "\x1b" not in lines.getvalue()


def said_in(case):
    """What a case says, or makes by repeating it: `'A'*100000`."""
    (said,) = case["input"].values()
    repeated = re.fullmatch(r"'(.+)'\*(\d+)", said)
    return repeated[1] * int(repeated[2]) if repeated else said


HOSTILE = [
    "GET /\r\n2026-01-01T00:00:00Z info     request status=200",
    '"}\n{"event": "forged", "level": "info"}',
    "\x1b[2J\x1b]0;title\x07\x9b31m",
    "back\b\b\b\bspace\x7f \x85 \u2028 \u2029 \u202e \u2066 \x00",
    "%(asctime)s {event} %s %n ${jndi:ldap://x/}",
    "A" * 100_000,
    "\U0001f600" * 30_000,
]
SENT = [*HOSTILE, *(pytest.param(case.values[0], id=case.id) for case in adversarial_cases("log-injection"))]


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("sent", SENT, ids=lambda sent: repr(sent)[:20] if isinstance(sent, str) else None)
def test_whatever_a_caller_sends_is_one_short_line_an_event(client, lines, style, sent):
    """What it says stands in a value, escaped and cut, wherever it was sent"""
    said = sent if isinstance(sent, str) else said_in(sent)
    log.configure(level="INFO", style=style, stream=lines)
    environ = {"HTTP_X_REQUEST_ID": said, "HTTP_USER_AGENT": said, "HTTP_REFERER": said, "HTTP_X_FORWARDED_FOR": said}
    client.get(f"/x{quote(said)}", environ_overrides=environ)
    client.get("/api/v2/jobs", query_string={"domain": said}, environ_overrides=environ)
    client.post("/api/v2/auth/login", json={"email": said, "password": said}, environ_overrides=environ)
    structlog.get_logger("t").warning(said, domain=said, of=[said], so={"x": said})
    logging.getLogger("elsewhere").warning("it says %s", said)
    written = lines.getvalue().splitlines()
    assert lines.getvalue() == "".join(f"{line}\n" for line in written)
    assert all(char.isprintable() for line in written for char in line)
    assert max(map(len, written)) < 60_000
    if style == "json":
        told = [json.loads(line) for line in written]
        assert [one["event"] for one in told if one["logger"] == "access"] == ["request"] * 3
        assert {one["level"] for one in told} <= {"info", "warning"}
        assert all(len(one["request_id"]) == 32 for one in told if one["logger"] == "access")  # of our own making
        assert all(len(str(value)) < 1_100 for one in told for value in one.values())
    else:
        stamps = [re.match(r"20\d\d-\d\d-\d\dT[\d:.]+Z (info|warning) ", line) for line in written]
        assert all(stamps)
    assert len(written) == 5 + sum("sign-in refused" in line for line in written)


def test_a_traceback_cannot_forge_a_line(lines):
    log.configure(level="INFO", style="console", stream=lines)
    try:
        raise ValueError("x\n2026-01-01 error forged")
    except ValueError:
        structlog.get_logger("t").exception("failed")
    first, *rest = lines.getvalue().splitlines()
    assert "failed" in first
    assert rest
    assert all(line.startswith("    | ") for line in rest)


@pytest.mark.parametrize("style", ["json", "console"])
def test_secrets_stay_out_of_the_log(client, lines, style):
    log.configure(level="DEBUG", style=style, stream=lines)
    client.post("/api/v2/auth/login", json={"email": "a@example.com", "password": "hunter2-secret"})
    client.post("/api/v2/auth/refresh", json={"refresh_token": "f" * 32 + ".hunter2-secret"})
    client.get("/api/v2/auth/me", headers={"Authorization": "Bearer hunter2-secret"})
    structlog.get_logger("t").info("x", password="hunter2-secret", url="redis://u:hunter2-secret@h/0")
    logging.getLogger("other").warning("plain words from %s", "elsewhere")
    text = lines.getvalue()
    assert "hunter2" not in text
    assert "plain words from elsewhere" in text


def test_the_address_is_the_proxies_word_only_where_one_is_trusted(settings, queue, passwords, lines):
    """Security A5"""
    for hops, expected in ((0, "127.0.0.1"), (1, "203.0.113.9")):
        app = create_app(settings.model_copy(update={"trusted_proxies": hops}), queue=queue, passwords=passwords)
        lines.truncate(0)
        lines.seek(0)
        log.configure(level="INFO", style="json", stream=lines)
        app.test_client().get("/nothing", headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.9"})
        assert json.loads(lines.getvalue())["address"] == expected
        app.extensions["scrapersky"].database.close()
