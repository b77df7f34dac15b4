"""API keys: credentials for programs."""

from __future__ import annotations

from datetime import UTC
from http import HTTPStatus
from typing import Any, Final

import marshmallow as ma

from app.access import PERMISSIONS
from app.api.core import core
from app.api.inputs import Line, moment, uuid_in_path
from app.api.paging import PageArgs, page_of
from app.api.routers import Router
from app.api.schemas import Schema
from app.api.security import current_actor, requires
from app.repositories.api_keys import KeyRow
from app.repositories.keyset import PageOf
from app.services.api_keys import ApiKeyService

router = Router("api-keys", prefix="/api-keys", description="Credentials for programs, with a part of your permissions")
MAX_NAME: Final = 100


class KeyBody(Schema):
    name = Line(required=True, validate=ma.validate.Length(1, MAX_NAME), metadata={"description": "what it is for"})
    permissions = ma.fields.List(
        ma.fields.String(validate=ma.validate.Length(1, 100)),
        required=True,
        validate=ma.validate.Length(1, len(PERMISSIONS)),
        metadata={"description": "of your own; none that gives rights"},
    )
    expires_at = ma.fields.AwareDateTime(
        "iso", load_default=None, default_timezone=UTC, metadata={"description": "RFC 3339; or `expires_in_days`"}
    )
    expires_in_days = ma.fields.Integer(
        strict=True,
        load_default=None,
        validate=ma.validate.Range(1, 36_500),
        metadata={"description": "by default as the installation has it; so is the most"},
    )


class KeyMaker(Schema):
    id = ma.fields.UUID(required=True)
    email = ma.fields.String(required=True, allow_none=True, metadata={"description": "null: no member any longer"})


class KeyShape(Schema):
    id = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True)
    permissions = ma.fields.List(
        ma.fields.String(),
        required=True,
        metadata={"description": "the most it may do; less, while whoever made it may do less"},
    )
    status = ma.fields.String(required=True, validate=ma.validate.OneOf(["active", "expired", "revoked"]))
    created_by = ma.fields.Nested(KeyMaker, required=True)
    created_at = moment()
    expires_at = moment()
    last_used_at = moment(allow_none=True)
    revoked_at = moment(allow_none=True)


class NewKeyShape(KeyShape):
    key = ma.fields.String(
        required=True, metadata={"description": "send it as `X-API-Key`; it is shown this once and kept as a hash"}
    )


EXAMPLE: Final = {
    "id": "0193c0de-0000-7000-8000-000000000004",
    "name": "nightly submission",
    "permissions": ["job:read", "job:run"],
    "status": "active",
    "created_by": {"id": "0193c0de-0000-7000-8000-000000000002", "email": "ann@example.com"},
    "created_at": "2026-11-26T09:30:00Z",
    "expires_at": "2027-02-24T09:30:00Z",
    "last_used_at": None,
    "revoked_at": None,
}
_BODY: Final = {"name": EXAMPLE["name"], "permissions": EXAMPLE["permissions"], "expires_in_days": 90}


@router.route("")
@requires("apikey:read")
@router.arguments(PageArgs, location="query")
@router.response(200, page_of(KeyShape), example={"items": [EXAMPLE], "next_cursor": None})
def listing(args: dict[str, Any]) -> PageOf[Any]:
    """The tenant's keys, newest first; those that have ended too"""
    return _keys().listing(current_actor(), **args).map(shown)


@router.route("", methods=["POST"])
@requires("apikey:manage")
@router.arguments(KeyBody, example=_BODY)
@router.response(201, NewKeyShape, example={**EXAMPLE, "key": "ssk_<id>_<43 characters>"})
@router.alt_response(403, "FORBIDDEN")
def create(body: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Make a key; it is shown in this answer and never again"""
    made = _keys().create(current_actor(), **body)
    answer = {**shown(made.row), "key": made.secret}
    return answer, HTTPStatus.CREATED, {"Location": f"/api/v2/api-keys/{answer['id']}"}


@router.route("/<key>")
@requires("apikey:read")
@router.response(200, KeyShape, example=EXAMPLE)
@router.alt_response(404, "NOT_FOUND")
def show(key: str) -> dict[str, Any]:
    """A key, without what is secret of it"""
    return shown(_keys().get(current_actor(), uuid_in_path(key)))


@router.route("/<key>", methods=["DELETE"])
@requires("apikey:manage")
@router.response(204)
@router.alt_response(404, "NOT_FOUND")
def revoke(key: str) -> tuple[str, int]:
    """Revoke a key; it counts no longer, and cannot be brought back"""
    _keys().revoke(current_actor(), uuid_in_path(key))
    return "", HTTPStatus.NO_CONTENT


def shown(row: KeyRow) -> dict[str, Any]:
    key = row.key
    return {
        "id": key.id,
        "name": key.name,
        "permissions": key.permissions,
        "status": "revoked" if key.revoked_at is not None else "expired" if row.is_expired else "active",
        "created_by": {"id": key.created_by, "email": row.email},
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }


def _keys() -> ApiKeyService:
    parts = core()
    return ApiKeyService(parts.database, parts.settings, parts.accounts.standings)
