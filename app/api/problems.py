"""Every error leaves as RFC 9457 `application/problem+json`. The one place that knows which status an error has."""

from __future__ import annotations

import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, current_app, g
from flask_limiter import RateLimitExceeded
from werkzeug.exceptions import HTTPException

from app import errors
from app.errors import FieldError, InvalidInput, RateLimited, ScraperSkyError, Unavailable

log = structlog.get_logger(__name__)
MEDIA_TYPE = "application/problem+json"
TYPE = "urn:scrapersky:problem:"
RETRY_SECONDS = 2

STATUS: dict[type[ScraperSkyError], HTTPStatus] = {
    errors.InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidUrl: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.AuthenticationFailed: HTTPStatus.UNAUTHORIZED,
    errors.TokenSpent: HTTPStatus.BAD_REQUEST,
    errors.PermissionDenied: HTTPStatus.FORBIDDEN,
    errors.FeatureDisabled: HTTPStatus.FORBIDDEN,
    errors.QuotaExceeded: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.RequestInFlight: HTTPStatus.CONFLICT,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.TookTooLong: HTTPStatus.SERVICE_UNAVAILABLE,
    # These are of the inside; one that gets here is a defect.
    errors.ConfigurationError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.StackError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.FetchError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ScanFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ScanStopped: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.Aborted: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.Postponed: HTTPStatus.INTERNAL_SERVER_ERROR,
}
# What Flask itself refuses, in the same words as ours.
FOREIGN_CODES = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.NOT_FOUND: errors.NotFound.code,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: errors.TooLarge.code,
    HTTPStatus.TOO_MANY_REQUESTS: errors.RateLimited.code,
    HTTPStatus.SERVICE_UNAVAILABLE: errors.Unavailable.code,
}


def install(app: Flask) -> None:
    app.register_error_handler(ScraperSkyError, _ours)
    app.register_error_handler(HTTPException, _flask)
    app.register_error_handler(Exception, _unexpected)


def problem(
    status: HTTPStatus,
    *,
    code: str,
    title: str,
    detail: str,
    fields: Iterable[FieldError] = (),
    headers: dict[str, str] | None = None,
    excess: errors.Excess | None = None,
) -> Response:
    body: dict[str, Any] = {
        "type": f"{TYPE}{code}",
        "title": title,
        "status": int(status),
        "detail": detail,
        "code": code,
        "request_id": g.get("request_id"),
    }
    listed = [{"pointer": field.pointer, "detail": field.detail} for field in fields]
    if listed:
        body["errors"] = listed
    if excess is not None:
        body["excess"] = excess._asdict()
    return Response(current_app.json.dumps(body), status, headers, mimetype=MEDIA_TYPE)


def _ours(error: ScraperSkyError) -> Response:
    status = STATUS[type(error)]
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unexpected(error)
    headers: dict[str, str] = {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="scrapersky"'
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unavailable):
        log.warning("unavailable", detail=error.detail, cause=repr(error.__cause__)[:300])
        headers["Retry-After"] = str(RETRY_SECONDS)
    return problem(
        status,
        code=error.code,
        title=_title(type(error)),
        detail=error.detail,
        fields=error.errors if isinstance(error, InvalidInput) else (),
        excess=error.excess if isinstance(error, errors.QuotaExceeded) else None,
        headers=headers,
    )


def _flask(error: HTTPException) -> Response:
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error.get_response()  # type: ignore[return-value]
    status = HTTPStatus(error.code)
    kept = {name: value for name, value in error.get_headers() if name in {"Allow", "Retry-After", "Content-Range"}}
    if isinstance(error, RateLimitExceeded):
        kept["Retry-After"] = str(_seconds_left())
    return problem(
        status,
        code=FOREIGN_CODES.get(status, status.name.lower()),
        title=status.phrase,
        detail=_detail(error, status),
        headers=kept,
    )


def _unexpected(error: Exception) -> Response:
    log.error("request failed", exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        code="internal",
        title="Something went wrong.",
        detail="the platform failed; its log has more under this request id",
    )


def _title(kind: type[ScraperSkyError]) -> str:
    return (kind.__doc__ or "").strip().split("\n")[0]


def _detail(error: HTTPException, status: HTTPStatus) -> str:
    if isinstance(error, RateLimitExceeded):
        return f"the limit is {error.limit.limit}"
    return error.description or status.description


def _seconds_left() -> int:
    limiter = next(iter(current_app.extensions["limiter"]))
    hit = limiter.current_limit
    if hit is None:
        return RETRY_SECONDS
    try:
        return max(1, int(hit.reset_at - time.time()))
    except Exception:  # noqa: BLE001 - whatever the storage raises that died since it counted
        return RETRY_SECONDS
