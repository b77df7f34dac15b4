"""What every request and answer has in common: an id, strict JSON in, safe headers out, a line in the log."""

from __future__ import annotations

import json
import math
import re
import time
from datetime import UTC, datetime
from typing import IO, Any, NoReturn, cast
from uuid import uuid4

import marshmallow as ma
import structlog
from flask import Flask, Request, Response, g, request
from flask.json.provider import DefaultJSONProvider
from webargs import core as webargs
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from app.errors import FieldError, InvalidInput

log = structlog.get_logger("access")
SANE_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}", re.ASCII)
MAX_DEPTH = 32
MAX_DIGITS = 310  # as many as the largest float has
EXACT = 2**53
SMALL_BODY = 64 << 10
BROKEN_OFF = "the body broke off, or its framing is wrong"
SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|\x00")
QUIET = ("/health", "/metrics")
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def install(app: Flask, *, max_json_bytes: int) -> None:
    app.json = JsonProvider(app)
    app.config["MAX_CONTENT_LENGTH"] = max_json_bytes
    app.before_request(_begin)
    app.after_request(_finish)
    app.teardown_request(_forget)


class JsonProvider(DefaultJSONProvider):
    """Times as RFC 3339, keys in the order written."""

    sort_keys = False
    compact = True

    @staticmethod
    def default(o: Any) -> Any:
        if isinstance(o, datetime):
            return o.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return DefaultJSONProvider.default(o)


class StrictParser(FlaskParser):
    """webargs, but no input is half understood: see `read_json`. Unknown fields are refused, naming them."""

    DEFAULT_UNKNOWN_BY_LOCATION = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": ma.RAISE, "form": ma.RAISE}  # noqa: RUF012

    def load_json(self, req: Request, schema: ma.Schema) -> Any:  # noqa: ARG002 - webargs' signature
        return read_json(req)

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        """:raises InvalidInput: a parameter stands twice; which one was meant?"""
        fields = tuple(FieldError(name, "stands twice") for name, values in req.args.lists() if len(values) > 1)
        if fields:
            raise InvalidInput(_summary(fields), errors=fields)
        return super().load_querystring(req, schema)

    def handle_error(self, error: ma.ValidationError, *_context: Any, **_options: Any) -> NoReturn:
        fields = tuple(_field_errors(error.messages))
        raise InvalidInput(_summary(fields), errors=fields)


class WholeBody:
    """The server's input, in which a body that breaks off is an error, not a shorter body.

    gunicorn says that it ends the input itself, so werkzeug trusts it; but it ends it wherever the client went away.
    """

    def __init__(self, stream: IO[bytes], length: int | None) -> None:
        self._stream = stream
        self._missing = length or 0  # a body in chunks tells no length; the server sees its last chunk
        self._broken = False

    def read(self, size: int = -1) -> bytes:
        """:raises BadRequest: there is less of it than announced, or it cannot be told where it ends"""
        try:
            data = b"" if self._broken else self._stream.read(size)
        except Exception as error:  # each server has errors of its own for this
            self._broken = True  # asked again, gunicorn says that the body is at its end
            raise BadRequest(BROKEN_OFF) from error
        self._missing -= len(data)
        if self._broken or (not data and size and self._missing > 0):
            raise BadRequest(BROKEN_OFF)
        return data


def read_json(req: Request) -> Any:
    """The body; `{}` when there is none.

    :raises RequestEntityTooLarge: longer than `max_content_length`
    :raises UnsupportedMediaType: it is said to be something else
    :raises BadRequest: not JSON (RFC 8259) in UTF-8, NaN or Infinity, a key twice, too deep
    :raises InvalidInput: a string holds NUL or half a surrogate pair, which no text column can keep
    """
    body = req.get_data(cache=True)
    # A body sent in chunks tells no length, and werkzeug cuts it at the limit without a word.
    if req.content_length is None and req.max_content_length is not None and len(body) >= req.max_content_length:
        raise RequestEntityTooLarge
    if not body:
        return {}
    if not webargs.is_json(req.mimetype):
        raise UnsupportedMediaType("send `Content-Type: application/json`")
    if req.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("send the body without a content coding")
    value = parse_json(body)
    if SUSPICIOUS.search(body):
        _refuse_unstorable(value)
    return value


def parse_json(body: bytes) -> Any:
    """
    >>> parse_json(b'{"a": [1]}')
    {'a': [1]}
    >>> parse_json(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
    werkzeug.exceptions.BadRequest: 400 Bad Request: the body is not valid JSON: the key 'a' stands twice
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except UnicodeDecodeError:
        raise BadRequest("the body is not valid UTF-8") from None
    except RecursionError:
        raise BadRequest(f"the body nests deeper than {MAX_DEPTH}") from None
    except ValueError as error:
        raise BadRequest(f"the body is not valid JSON: {str(error)[:200]}") from None
    if _depth_exceeds(value, MAX_DEPTH):
        raise BadRequest(f"the body nests deeper than {MAX_DEPTH}")
    return value


def polled(response: Any) -> Response:
    """Add an ETag; answer 304 to a client that has this very state already."""
    response.cache_control.no_cache = True
    response.cache_control.private = True
    response.add_etag()
    return cast("Response", response.make_conditional(request))


def _begin() -> None:
    sent = request.headers.get("X-Request-ID", "")
    g.request_id = sent if SANE_ID.fullmatch(sent) else uuid4().hex
    g.started = time.perf_counter()
    request.environ["wsgi.input"] = WholeBody(request.environ["wsgi.input"], request.content_length)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _finish(response: Response) -> Response:
    headers = response.headers
    headers["X-Request-ID"] = g.get("request_id", "")
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers.setdefault("Content-Security-Policy", API_POLICY)
    headers.setdefault("Cache-Control", "no-store")
    if request.is_secure:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    if not request.path.startswith(QUIET):
        elapsed = round((time.perf_counter() - g.get("started", time.perf_counter())) * 1000, 1)
        log.info(
            "request", method=request.method, path=request.path, status=response.status_code, ms=elapsed,
            address=request.remote_addr,
        )  # fmt: skip
    return response


def _forget(_error: BaseException | None) -> None:
    structlog.contextvars.clear_contextvars()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:50]!r} stands twice")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    """1.0 is the number 1, to JSON Schema too; past 2^53 a double no longer tells neighbours apart.

    >>> _finite("1.0"), _finite("1.5")
    (1, 1.5)
    """
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return int(value) if value.is_integer() and abs(value) < EXACT else value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number is too large")
    return int(text)


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return False
        level = [
            child for item in containers for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]  # fmt: skip
    return True


def _refuse_unstorable(value: Any, pointer: str = "") -> None:
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
            detail = "holds a NUL or half a surrogate pair"
            raise InvalidInput(f"{pointer or '/'}: {detail}", errors=(FieldError(pointer, detail),))
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_unstorable(key, pointer)
            _refuse_unstorable(item, f"{pointer}/{_escaped(key)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_unstorable(item, f"{pointer}/{index}")


def _field_errors(messages: Any) -> list[FieldError]:
    """Marshmallow's nested messages as (pointer, detail); a query parameter's pointer is its bare name."""
    found: list[FieldError] = []
    for location, tree in messages.items():
        for pointer, detail in _leaves(tree, ""):
            name = pointer.removeprefix("/") if location in {"query", "querystring"} else pointer
            found.append(FieldError(name, detail))
    return found


def _leaves(tree: Any, pointer: str) -> list[tuple[str, str]]:
    if isinstance(tree, dict):
        return [
            leaf
            for key, item in tree.items()
            for leaf in _leaves(item, pointer if key == "_schema" else f"{pointer}/{_escaped(str(key))}")
        ]
    return [(pointer, str(text)) for text in (tree if isinstance(tree, list) else [tree])]


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _summary(fields: tuple[FieldError, ...]) -> str:
    first = f"{fields[0].pointer or 'the body'}: {fields[0].detail}"
    return first if len(fields) == 1 else f"{first} (and {len(fields) - 1} more)"
