"""What a client gets that asks wrongly: always a problem, never a crash, nothing of the inside."""

from __future__ import annotations

import inspect
import io
import json

import marshmallow as ma
import pytest
from gunicorn.http.errors import InvalidChunkSize
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from app import errors
from app.api import requests
from app.api.problems import STATUS
from app.api.routers import Router
from app.api.schemas import Schema
from app.api.security import public
from app.errors import ScraperSkyError
from app.factory import create_app

LOGIN = "/api/v2/auth/login"


def hang(app, view, *, path="/probe", methods=("GET",)):
    app._got_first_request = False
    app.add_url_rule(path, view_func=public("a test")(view), methods=list(methods))


def check_problem(answer, status, code):
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    body = answer.json
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(body)
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:scrapersky:problem:{code}"
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert body["title"]
    assert body["detail"]
    return body


def test_every_error_has_a_status():
    kinds = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ScraperSkyError)}
    assert set(STATUS) == kinds - {ScraperSkyError}


MALFORMED = {
    "cut off": b'{"email": "a"',
    "not json": b"email=a",
    "NaN": b'{"email": NaN}',
    "Infinity": b'{"email": -Infinity}',
    "beyond a double": b'{"email": 1e999}',
    "an endless integer": b"[" + b"1" * 5000 + b"]",
    "a key twice": b'{"email": "a", "email": "b"}',
    "a key twice, deep": b'{"email": {"x": [{"y": 1, "y": 2}]}}',
    "not UTF-8": b'{"email": "\xff"}',
    "UTF-16": '{"email": "a"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "33 deep": b"[" * 33 + b"]" * 33,
    "33 objects deep": b'{"a":' * 33 + b"1" + b"}" * 33,
    "thousands deep": b"[" * 30_000 + b"]" * 30_000,
    "trailing text": b"{} x",
    "a lone quote": b'"',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_body_is_400(client, body):
    """Security A6"""
    check_problem(client.post(LOGIN, data=body, content_type="application/json"), 400, "bad_request")


def test_32_deep_is_deep_enough_to_be_read(client):
    """Security A6"""
    body = b"[" * 32 + b"]" * 32
    check_problem(client.post(LOGIN, data=body, content_type="application/json"), 422, "invalid_input")


@pytest.mark.parametrize("value", ["a\0b", "\ud83d", "\udc00x"])
@pytest.mark.parametrize("where", ["value", "key"])
def test_what_no_column_can_keep_is_refused_by_name(client, value, where):
    """Security A6"""
    body = {"email": value, "password": "x"} if where == "value" else {"email": "a", value: "x"}
    answer = client.post(LOGIN, data=json.dumps(body), content_type="application/json")
    problem = check_problem(answer, 422, "invalid_input")
    if where == "value":
        assert problem["errors"][0]["pointer"] == "/email"


def test_an_escaped_pair_is_a_good_character(client):
    body = json.dumps({"email": "😀@example.com", "password": "😀"})
    check_problem(client.post(LOGIN, data=body, content_type="application/json"), 401, "authentication_failed")


def test_an_unknown_field_is_named(client):
    """Security A6"""
    body = {"email": "a", "password": "b", "is_admin": True, "x/y~z": 1}
    problem = check_problem(client.post(LOGIN, json=body), 422, "invalid_input")
    assert {error["pointer"] for error in problem["errors"]} == {"/is_admin", "/x~1y~0z"}


def test_a_missing_field_and_a_wrong_type_are_named(client):
    problem = check_problem(client.post(LOGIN, json={"email": 5}), 422, "invalid_input")
    assert {error["pointer"] for error in problem["errors"]} == {"/email", "/password"}


@pytest.mark.parametrize("body", [[], "x", 1, None, True])
def test_another_json_value_than_an_object_is_422(client, body):
    check_problem(client.post(LOGIN, json=body), 422, "invalid_input")


def test_no_body_is_as_an_empty_object(client):
    problem = check_problem(client.post(LOGIN), 422, "invalid_input")
    assert {error["pointer"] for error in problem["errors"]} == {"/email", "/password"}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
def test_another_media_type_is_415(client, kind):
    check_problem(client.post(LOGIN, data=b"{}", content_type=kind), 415, "unsupported_media_type")


def test_the_media_type_may_have_parameters_or_a_suffix(client):
    for kind in ("application/json; charset=utf-8", "application/vnd.x+json"):
        check_problem(client.post(LOGIN, data=b"{}", content_type=kind), 422, "invalid_input")


def test_a_large_body_is_413_before_it_is_parsed(client):
    """Security A6"""
    body = b'"' + b"x" * requests.SMALL_BODY + b'"'
    check_problem(client.post(LOGIN, data=body, content_type="application/json"), 413, "too_large")


def test_a_large_body_of_unknown_length_is_413(app):
    # As gunicorn hands over a chunked body: no length, an end known only when it comes.
    """Security A6"""
    environ = EnvironBuilder(path=LOGIN, method="POST", content_type="application/json").get_environ()
    environ.update({"wsgi.input": io.BytesIO(b'"' + b"x" * 100_000 + b'"'), "wsgi.input_terminated": True})
    environ.pop("CONTENT_LENGTH", None)
    check_problem(TestResponse(*run_wsgi_app(app, environ), None), 413, "too_large")


class Broken(io.BytesIO):
    """A body whose chunks make no sense, as gunicorn tells it: once."""

    def read(self, size: int | None = -1) -> bytes:
        if self.closed:
            return b""
        self.close()
        raise InvalidChunkSize(b"zz")


@pytest.mark.parametrize(
    ("body", "length"), [(io.BytesIO(b'{"email": "a"}'), "500"), (Broken(), "")], ids=["too short", "bad chunk"]
)
def test_a_body_that_breaks_off_is_400(app, body, length):
    environ = EnvironBuilder(path=LOGIN, method="POST", content_type="application/json").get_environ()
    environ.update({"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": length})
    problem = check_problem(TestResponse(*run_wsgi_app(app, environ), None), 400, "bad_request")
    assert "broke off" in problem["detail"]


def test_a_coded_body_is_415(client):
    answer = client.post(LOGIN, json={"email": "a", "password": "b"}, headers={"Content-Encoding": "gzip"})
    check_problem(answer, 415, "unsupported_media_type")


def test_a_number_of_many_digits_is_told_in_the_words_of_this_api(client):
    answer = client.post(LOGIN, data=b"9" * 5_000, content_type="application/json")
    assert check_problem(answer, 400, "bad_request")["detail"] == "the body is not valid JSON: a number is too large"


def test_unknown_paths_and_methods(client):
    check_problem(client.get("/api/v2/nothing"), 404, "not_found")
    check_problem(client.get("/api/v2/auth/me/../../x"), 404, "not_found")
    answer = client.delete("/api/v2/auth/me")
    check_problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/api/v2/auth/me/", "//api/v2/auth/me", "/api//v2/auth/me"])
def test_no_path_is_ever_redirected(client, path):
    assert client.get(path).status_code in {401, 404}


def test_an_unexpected_error_tells_nothing_of_the_inside(app, client, caplog):
    def broken():
        raise RuntimeError("password=hunter2 at 10.0.0.5")

    hang(app, broken)
    answer = client.get("/probe")
    check_problem(answer, 500, "internal")
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text


def test_an_error_of_the_inside_is_500_without_its_detail(app, client):
    def broken():
        raise errors.ConfigurationError("SCRAPERSKY_DATABASE_URL is postgres://u:p@h/d")

    hang(app, broken)
    answer = client.get("/probe")
    check_problem(answer, 500, "internal")
    assert "postgres://" not in answer.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.NotFound(), 404, "not_found"),
        (errors.Conflict(), 409, "conflict"),
        (errors.RequestInFlight(), 409, "request_in_flight"),
        (errors.IdempotencyKeyReused(), 422, "idempotency_key_reused"),
        (errors.TooLarge(), 413, "too_large"),
        (errors.InvalidUrl("no", reason="port"), 422, "invalid_url"),
    ],
)
def test_our_errors_keep_their_codes(app, client, error, status, code):
    def view():
        raise error

    hang(app, view)
    check_problem(client.get("/probe"), status, code)


def test_those_to_come_back_are_told_when(app, client):
    def limited():
        raise errors.RateLimited(retry_after=7)

    def away():
        raise errors.Unavailable

    hang(app, limited, path="/limited")
    hang(app, away, path="/away")
    answer = client.get("/limited")
    check_problem(answer, 429, "rate_limited")
    assert answer.headers["Retry-After"] == "7"
    answer = client.get("/away")
    check_problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_the_database_away_is_503_with_retry_after(client, login, superuser, settings):
    headers = login("viewer")
    name = settings.database_url.get_secret_value().rsplit("/", 1)[1]
    superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
    answer = client.get("/api/v2/auth/me", headers=headers)
    check_problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert "password" not in answer.text
    superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert client.get("/api/v2/auth/me", headers=headers).status_code == 200


class Filters(Schema):
    limit = ma.fields.Integer(validate=ma.validate.Range(1, 10))


def test_query_parameters_are_named_without_a_slash(app, client):
    router = Router("probe")

    @router.arguments(Filters, location="query")
    def view(filters):
        return filters

    hang(app, view)
    assert client.get("/probe?limit=3").json == {"limit": 3}
    for query, name in (
        ("limit=x", "limit"),
        ("limit=11", "limit"),
        ("limits=3", "limits"),
        ("limit=1&limit=1", "limit"),
    ):
        problem = check_problem(client.get(f"/probe?{query}"), 422, "invalid_input")
        assert [error["pointer"] for error in problem["errors"]] == [name]


def test_an_untrusted_host_is_400(settings, queue, passwords):
    """Security A6"""
    app = create_app(settings.model_copy(update={"trusted_hosts": ("api.example",)}), queue=queue, passwords=passwords)
    client = app.test_client()
    check_problem(client.get("/health/live", base_url="http://evil.example"), 400, "bad_request")
    assert client.get("/health/live", base_url="http://api.example").status_code == 200
    spoofed = {
        "X-Forwarded-Host": "api.example",
        "X-Original-URL": "http://api.example/",
        "Forwarded": "host=api.example",
    }
    check_problem(client.get("/health/live", base_url="http://evil.example", headers=spoofed), 400, "bad_request")
    poisoned = {"X-Forwarded-Host": "evil.example"}
    assert client.get("/health/live", base_url="http://api.example", headers=poisoned).status_code == 200
    app.extensions["scrapersky"].database.close()
