"""Sessions: where somebody is signed in, and ending that."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import marshmallow as ma

from app.api.core import core
from app.api.inputs import moment, uuid_in_path
from app.api.paging import PageArgs, page_of
from app.api.routers import Router
from app.api.schemas import Schema
from app.api.security import authenticated, current_actor
from app.repositories.keyset import PageOf
from app.repositories.sessions import OpenSession
from app.services.sessions import SessionService

router = Router("sessions", prefix="/sessions", description="Where you are signed in")


class SessionArgs(PageArgs):
    user = ma.fields.UUID(
        load_default=None,
        metadata={"description": "a member's sessions in your tenant; wants `member:manage`. By default your own"},
    )


class SessionTenant(Schema):
    id = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True)


class SessionShape(Schema):
    id = ma.fields.UUID(required=True)
    tenant = ma.fields.Nested(SessionTenant, required=True, metadata={"description": "in which it acts"})
    created_at = moment()
    last_used_at = moment()
    expires_at = moment()
    user_agent = ma.fields.String(required=True, allow_none=True)
    address = ma.fields.String(required=True, allow_none=True, metadata={"description": "where it was opened"})
    current = ma.fields.Boolean(required=True, metadata={"description": "it is the one that asks"})
    reason = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "of break-glass; null for a session of a member"}
    )


EXAMPLE: Final = {
    "id": "0193c0de-0000-7000-8000-000000000003",
    "tenant": {"id": "0193c0de-0000-7000-8000-000000000001", "name": "acme"},
    "created_at": "2026-11-26T09:30:00Z",
    "last_used_at": "2026-11-26T11:00:00Z",
    "expires_at": "2026-12-26T11:00:00Z",
    "user_agent": "Mozilla/5.0",
    "address": "192.0.2.7",
    "current": True,
    "reason": None,
}


@router.route("")
@authenticated("everybody sees her own; the service asks for `member:manage` for another's")
@router.arguments(SessionArgs, location="query")
@router.response(200, page_of(SessionShape), example={"items": [EXAMPLE], "next_cursor": None})
@router.alt_response(403, "FORBIDDEN")
def listing(args: dict[str, Any]) -> PageOf[Any]:
    """Open sessions, newest first"""
    actor = current_actor()
    return _sessions().listing(actor, **args).map(lambda row: _shown(row, actor.session_id))


@router.route("", methods=["DELETE"])
@authenticated("everybody may sign out everywhere else")
@router.response(204)
@router.alt_response(403, "FORBIDDEN")
def end_others() -> tuple[str, int]:
    """End all of your sessions but this one"""
    _sessions().end_others(current_actor())
    return "", HTTPStatus.NO_CONTENT


@router.route("/<key>", methods=["DELETE"])
@authenticated("everybody may end her own; the service asks for `member:manage` for another's")
@router.response(204)
@router.alt_response(403, "FORBIDDEN")
@router.alt_response(404, "NOT_FOUND")
def end(key: str) -> tuple[str, int]:
    """End a session; its tokens die

    Your own wherever it acts, or, with the permission `member:manage`, any that acts in your tenant.
    """
    _sessions().end(current_actor(), uuid_in_path(key))
    return "", HTTPStatus.NO_CONTENT


def _shown(row: OpenSession, current: UUID | None) -> dict[str, Any]:
    session = row.session
    return {
        "id": session.id,
        "tenant": row.tenant,
        "created_at": session.created_at,
        "last_used_at": session.last_used_at,
        "expires_at": session.expires_at,
        "user_agent": session.user_agent,
        "address": session.address,
        "current": session.id == current,
        "reason": session.reason,
    }


def _sessions() -> SessionService:
    return SessionService(core().database, forget=core().accounts.standings.forget_session)
