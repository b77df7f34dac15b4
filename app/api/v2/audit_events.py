"""The audit trail: page by page, or all of it as a file."""

from __future__ import annotations

from datetime import UTC
from typing import Any, Final

import marshmallow as ma
from flask import Response

from app.api.core import core
from app.api.files import FORMATS, as_file, as_json, documented
from app.api.inputs import Line, moment
from app.api.paging import PageArgs, page_of
from app.api.routers import Router
from app.api.schemas import Schema
from app.api.security import current_actor, requires
from app.api.streaming import while_allowed
from app.repositories.audit import PLATFORM, Wanted
from app.repositories.keyset import PageOf
from app.services.audit import SEES_ALL, SEES_OWN, AuditTrail
from models import AuditEvent

router = Router("audit-events", prefix="/audit-events", description="Who did what to what, from where")

COLUMNS: Final = (
    "id", "at", "tenant_id", "actor_id", "actor_email", "via", "action", "object_type", "object_id", "address",
    "request_id", "before", "after",
)  # fmt: skip


def _line(description: str, longest: int = 300) -> ma.fields.Field[Any]:
    return Line(load_default=None, validate=ma.validate.Length(1, longest), metadata={"description": description})


def _time(description: str) -> ma.fields.Field[Any]:
    return ma.fields.AwareDateTime(
        "iso", load_default=None, default_timezone=UTC, metadata={"description": f"RFC 3339: {description}"}
    )


class Filters(Schema):
    """None of them stands for all events."""

    tenant_id = ma.fields.UUID(load_default=None, metadata={"description": "of whoever sees all tenants"})
    action = _line("one, as `member.role_assigned`, or all of a resource, as `member`", 100)
    actor = _line("a user's id or e-mail address")
    object_type = _line("what was acted on, as `user`", 100)
    object_id = _line("its id")
    since = _time("the first moment")
    until = _time("the first moment that is too late")


class ListingArgs(PageArgs, Filters):
    pass


class ExportArgs(Filters):
    format = ma.fields.String(load_default="jsonl", validate=ma.validate.OneOf(FORMATS))


class ActorShape(Schema):
    id = ma.fields.UUID(required=True, allow_none=True)
    email = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "then; without an id, what somebody said was hers"}
    )


class ObjectShape(Schema):
    type = ma.fields.String(required=True)
    id = ma.fields.String(required=True)


class EventShape(Schema):
    id = ma.fields.UUID(required=True)
    at = moment()
    tenant_id = ma.fields.UUID(
        required=True, allow_none=True, metadata={"description": "null for what concerns no single tenant"}
    )
    actor = ma.fields.Nested(ActorShape, required=True, allow_none=True)
    via = ma.fields.String(required=True, metadata={"description": "session, api_key, break_glass, command or nobody"})
    action = ma.fields.String(required=True)
    object = ma.fields.Nested(ObjectShape, required=True, allow_none=True)
    address = ma.fields.String(required=True, allow_none=True)
    request_id = ma.fields.String(required=True, allow_none=True)
    before = ma.fields.Dict(required=True, allow_none=True, metadata={"description": "what the act changed, as it was"})
    after = ma.fields.Dict(required=True, allow_none=True, metadata={"description": "as it is since"})


_EVENT: Final = {
    "id": "0193c0de-0000-7000-8000-00000000000a",
    "at": "2026-11-26T09:30:00Z",
    "tenant_id": "0193c0de-0000-7000-8000-000000000001",
    "actor": {"id": "0193c0de-0000-7000-8000-000000000002", "email": "ada@example.com"},
    "via": "session",
    "action": "member.role_assigned",
    "object": {"type": "user", "id": "0193c0de-0000-7000-8000-000000000003"},
    "address": "203.0.113.9",
    "request_id": "5f0c2d3e9a1b4c6d8e7f0a1b2c3d4e5f",
    "before": {"roles": ["viewer"]},
    "after": {"roles": ["operator", "viewer"]},
}


_FILE: Final = documented("one event", COLUMNS, _EVENT)


@router.route("")
@requires(SEES_OWN, SEES_ALL)
@router.arguments(ListingArgs, location="query")
@router.response(200, page_of(EventShape), example={"items": [_EVENT], "next_cursor": None})
def listing(args: dict[str, Any]) -> PageOf[Any]:
    """Events, newest first

    Of the caller's tenant; with the permission `platform:audit`, of all tenants and of the platform itself.
    """
    page = {"limit": args.pop("limit"), "cursor": args.pop("cursor")}
    return _trail().listing(current_actor(), Wanted(**args), **page).map(shown)


@router.route("/export")
@requires(SEES_OWN, SEES_ALL)
@router.arguments(ExportArgs, location="query")
@router.response(200, {"type": "string"})
@router.doc(responses={"200": _FILE})
def export(args: dict[str, Any]) -> Response:
    """All events as a file, newest first

    The answer ends without its last chunk, and so is no whole file, where the caller's rights end before it does.
    """
    form = args.pop("format")
    actor = current_actor()
    chunks = while_allowed(_trail().export(actor, Wanted(**args)), AuditTrail.permission(actor))
    return as_file("audit-events", form, chunks, columns=COLUMNS, lines=shown, cells=_cells)


def shown(event: AuditEvent) -> dict[str, Any]:
    someone = event.actor_id is not None or event.actor is not None
    return {
        "id": event.id,
        "at": event.at,
        "tenant_id": event.tenant_id if event.tenant_id != PLATFORM else None,
        "actor": {"id": event.actor_id, "email": event.actor} if someone else None,
        "via": event.via,
        "action": event.action,
        "object": {"type": event.object_type, "id": event.object_id} if event.object_type is not None else None,
        "address": event.address,
        "request_id": event.request_id,
        "before": event.before,
        "after": event.after,
    }


def _cells(event: AuditEvent) -> dict[str, object]:
    told = shown(event)
    actor, thing = told["actor"] or {}, told["object"] or {}
    return {
        **told,
        "at": event.at.astimezone(UTC).isoformat(),
        **{f"actor_{name}": value for name, value in actor.items()},
        **{f"object_{name}": value for name, value in thing.items()},
        **{name: None if told[name] is None else as_json(told[name]) for name in ("before", "after")},
    }


def _trail() -> AuditTrail:
    return AuditTrail(core().database)
