"""Invitations that wait to be accepted. They are made at `POST /users` and accepted at `POST /auth/accept`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import marshmallow as ma

from app.api.core import core
from app.api.inputs import moment, uuid_in_path
from app.api.paging import PageArgs, page_of
from app.api.routers import Router
from app.api.schemas import Schema
from app.api.security import current_actor, requires
from app.repositories.invitations import InvitationView
from app.repositories.keyset import PageOf
from app.services.invitations import InvitationService

router = Router("invitations", prefix="/invitations", description="People asked in who have not come yet")


class InvitationShape(Schema):
    id = ma.fields.UUID(required=True)
    email = ma.fields.String(required=True)
    role = ma.fields.String(required=True)
    invited_by = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "an address; null once that is no member any more"}
    )
    created_at = moment()
    expires_at = moment()


class NewInvitationShape(InvitationShape):
    token = ma.fields.String(required=True, metadata={"description": "shown this once"})


TOKEN: Final = "0193c0de00007000800000000000000d.fJ0sBq3kYcX1mVtP7uRzWgHnQe5LaDoI9iTbK2yS4vM"  # noqa: S105 - an example
EXAMPLE: Final = {
    "id": "0193c0de-0000-7000-8000-00000000000d",
    "email": "bob@example.com",
    "role": "operator",
    "invited_by": "ann@example.com",
    "created_at": "2026-11-26T09:30:00Z",
    "expires_at": "2026-12-03T09:30:00Z",
}


@router.route("")
@requires("member:manage")
@router.arguments(PageArgs, location="query")
@router.response(200, page_of(InvitationShape), example={"items": [EXAMPLE], "next_cursor": None})
def listing(args: dict[str, Any]) -> PageOf[Any]:
    """Those that may still be accepted, newest first"""
    return service().listing(current_actor(), **args).map(shown)


@router.route("/<key>", methods=["DELETE"])
@requires("member:manage")
@router.response(204)
@router.alt_response(404, "NOT_FOUND")
def withdraw(key: str) -> tuple[str, int]:
    """Withdraw an invitation; its token dies"""
    service().withdraw(current_actor(), uuid_in_path(key))
    return "", HTTPStatus.NO_CONTENT


def service() -> InvitationService:
    return InvitationService(core().database, core().settings, passwords=core().passwords)


def shown(view: InvitationView) -> dict[str, Any]:
    row = view.invitation
    return {
        "id": row.id,
        "email": row.email,
        "role": view.role,
        "invited_by": view.inviter,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
    }
