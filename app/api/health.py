"""Whether the process lives, and whether it can work. No token: load balancers and supervisors ask."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Response, current_app, jsonify

from app.api.core import Core, core
from app.api.routers import Router
from app.api.schemas import Schema
from app.api.security import public
from app.errors import Unavailable
from app.repositories import schema

WHY = "probes carry no token, and the answer names no address, version or secret"
PART_SECONDS = 3.0
router = Router("health", description="Is it up, can it work")
# Few threads: probes must not pile up behind a part that hangs.
_probes = ThreadPoolExecutor(4, thread_name_prefix="health")


class Health(Schema):
    status = ma.fields.String(required=True, validate=ma.validate.OneOf(["healthy", "unhealthy"]))
    version = ma.fields.String()
    error = ma.fields.String()


class Life(Schema):
    status = ma.fields.String(required=True, validate=ma.validate.Equal("alive"))


class Part(Schema):
    ok = ma.fields.Boolean(required=True)
    error = ma.fields.String(required=True, allow_none=True)


class Readiness(Schema):
    status = ma.fields.String(required=True, validate=ma.validate.OneOf(["ready", "not ready"]))
    parts = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.Nested(Part), required=True)


@router.route("/health")
@public(WHY)
@router.response(200, Health, description="healthy")
@router.alt_response(503, schema=Health, description="unhealthy")
def health() -> Response:
    """Health in one word"""
    failed = {name: error for name, error in _parts(core()).items() if error}
    if failed:
        answer = jsonify(status="unhealthy", error="; ".join(f"{name}: {why}" for name, why in failed.items()))
        answer.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return answer
    return jsonify(status="healthy", version=current_app.config["API_VERSION"])


@router.route("/health/live")
@public(WHY)
@router.response(200, Life, description="the process answers")
def live() -> Response:
    """Liveness"""
    return jsonify(status="alive")


@router.route("/health/ready")
@public(WHY)
@router.response(200, Readiness, description="every part works")
@router.alt_response(503, schema=Readiness, description="one does not")
def ready() -> Response:
    """Readiness, part by part"""
    parts = _parts(core())
    well = not any(parts.values())
    answer = jsonify(
        status="ready" if well else "not ready",
        parts={name: {"ok": why is None, "error": why} for name, why in parts.items()},
    )
    answer.status_code = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
    return answer


def _parts(parts: Core) -> dict[str, str | None]:
    """Each part with what is wrong with it, asked all at once; None = nothing."""
    futures = {
        "database": _probes.submit(_database, parts),
        "migrations": _probes.submit(_migrations, parts),
        "broker": _probes.submit(_broker, parts),
    }
    return {name: _in_time(future) for name, future in futures.items()}


def _in_time(future: Future[str | None]) -> str | None:
    try:
        return future.result(timeout=PART_SECONDS)
    except TooSlow:
        future.cancel()
        return f"no answer within {PART_SECONDS:g} s"


def _database(parts: Core) -> str | None:
    def ask() -> str | None:
        with parts.database.system() as uow:
            uow.sign_in.tenant_named("default")
        return None

    return _or_away(ask)


def _migrations(parts: Core) -> str | None:
    def ask() -> str | None:
        return None if schema.serves(parts.database.revision()) else "the database is not at this release's version"

    return _or_away(ask)


def _broker(parts: Core) -> str | None:
    return None if parts.queue.depth("scans") is not None else "cannot be reached"


def _or_away(ask: Callable[[], Any]) -> str | None:
    try:
        found: str | None = ask()
    except Unavailable:
        return "cannot be reached"
    return found
