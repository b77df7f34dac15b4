"""Break-glass: looking into a tenant one is no member of."""

from __future__ import annotations

from typing import Any, Final

import marshmallow as ma
from flask import request

from app.api.core import core
from app.api.inputs import Line, uuid_in_path
from app.api.routers import Router
from app.api.schemas import Schema
from app.api.security import current_actor, requires
from app.api.v2.auth import Tokens, tokens
from app.services.break_glass import MAX_MINUTES, BreakGlass

router = Router("break-glass", prefix="/tenants", description="Looking into a tenant, for a reason and for a while")
MAX_REASON: Final = 300


class Occasion(Schema):
    reason = Line(
        required=True,
        validate=[ma.validate.Length(1, MAX_REASON), ma.validate.Regexp(r".*\S", error="Says nothing.")],
        metadata={"description": "the tenant's administrators read it in their audit trail"},
    )
    minutes = ma.fields.Integer(
        required=True,
        strict=True,
        validate=ma.validate.Range(1, MAX_MINUTES),
        metadata={"description": "after which it ends, refreshed or not"},
    )


_EXAMPLE: Final = {
    "access_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.…",
    "refresh_token": "0193c0de000070008000000000000005.…",
    "token_type": "Bearer",
    "expires_in": 900,
}


@router.route("/<key>/break-glass", methods=["POST"])
@requires("platform:tenants")
@router.arguments(Occasion, example={"reason": "ticket 4711: batch does not start", "minutes": 15})
@router.response(200, Tokens, example=_EXAMPLE)
@router.alt_response(404, "NOT_FOUND")
def open_tenant(body: dict[str, Any], key: str) -> dict[str, Any]:
    """Look into a tenant: tokens that act there, for reading only

    What a viewer sees is seen, nothing is changed. The opening, and each request under these tokens, stands in the
    tenant's own audit trail. It ends with its time, with your platform role, or by signing out.
    """
    return tokens(
        BreakGlass(core().database).open(
            current_actor(), uuid_in_path(key), **body, user_agent=request.user_agent.string or None
        )
    )
