"""Users: the members of a tenant, and for a platform administrator everybody."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import marshmallow as ma

from app.access import Actor
from app.api.core import core
from app.api.inputs import Line, moment, uuid_in_path
from app.api.paging import PageArgs, page_of
from app.api.routers import Router
from app.api.schemas import Schema
from app.api.security import current_actor, requires
from app.api.v2.roles import role_in_path
from app.repositories.keyset import PageOf
from app.repositories.members import Member
from app.services.members import MemberService
from app.services.rbac import EVERYBODY

router = Router("users", prefix="/users", description="People, and the roles they hold")
MAX_EMAIL = 254


class UserArgs(PageArgs):
    email = Line(
        load_default=None,
        validate=ma.validate.Length(1, MAX_EMAIL),
        metadata={"description": "the beginning of the address"},
    )


class PlaceShape(Schema):
    id = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True)
    roles = ma.fields.List(ma.fields.String(), required=True)


class UserShape(Schema):
    id = ma.fields.UUID(required=True)
    email = ma.fields.String(required=True)
    status = ma.fields.String(required=True, validate=ma.validate.OneOf(["active", "disabled"]))
    roles = ma.fields.List(
        ma.fields.String(), required=True, metadata={"description": "held in the tenant the token acts in"}
    )
    tenants = ma.fields.List(
        ma.fields.Nested(PlaceShape),
        required=True,
        allow_none=True,
        metadata={"description": f"every membership; null without the permission `{EVERYBODY}`"},
    )
    created_at = moment()


EXAMPLE: Final = {
    "id": "0193c0de-0000-7000-8000-000000000002",
    "email": "ann@example.com",
    "status": "active",
    "roles": ["operator", "report_reader"],
    "tenants": None,
    "created_at": "2026-11-26T09:30:00Z",
}


@router.route("")
@requires("member:read", EVERYBODY)
@router.arguments(UserArgs, location="query")
@router.response(200, page_of(UserShape), example={"items": [EXAMPLE], "next_cursor": None})
def listing(args: dict[str, Any]) -> PageOf[Any]:
    """The tenant's members, in the order of their addresses

    With the permission `platform:users`, everybody.
    """
    actor = current_actor()
    return _members().listing(actor, **args).map(lambda member: shown(member, actor))


@router.route("/<key>")
@requires("member:read", EVERYBODY)
@router.response(200, UserShape, example=EXAMPLE)
@router.alt_response(404, "NOT_FOUND")
def show(key: str) -> dict[str, Any]:
    """A member, with the roles held"""
    actor = current_actor()
    return shown(_members().get(actor, uuid_in_path(key)), actor)


class TenantArgs(Schema):
    tenant = ma.fields.UUID(
        load_default=None,
        metadata={"description": f"another than the token's; only with the permission `{EVERYBODY}`"},
    )


@router.route("/<key>", methods=["DELETE"])
@requires("member:manage", EVERYBODY)
@router.arguments(TenantArgs, location="query")
@router.response(204)
@router.alt_response(404, "NOT_FOUND")
@router.alt_response(409, "CONFLICT")
def remove(args: dict[str, Any], key: str) -> tuple[str, int]:
    """End a membership: all roles in this tenant, the sessions and API keys that live by them

    Refused while nobody else is an administrator.
    """
    actor = current_actor()
    core().rbac.remove_member(uuid_in_path(key), args["tenant"] or actor.tenant_id, by=actor)
    return "", HTTPStatus.NO_CONTENT


@router.route("/<key>/roles/<role>", methods=["PUT"])
@requires("member:manage", EVERYBODY)
@router.arguments(TenantArgs, location="query")
@router.response(200, UserShape, example=EXAMPLE)
@router.alt_response(404, "NOT_FOUND")
def assign(args: dict[str, Any], key: str, role: str) -> dict[str, Any]:
    """Give a member a role, by its id or name

    You hold each permission that it carries. With `platform:users` you may give a tenant's roles to anybody but
    yourself, who becomes a member by it.
    """
    actor, user = current_actor(), uuid_in_path(key)
    core().rbac.assign_role(user, role_in_path(role), args["tenant"] or actor.tenant_id, by=actor)
    return shown(_members().get(actor, user), actor)


@router.route("/<key>/roles/<role>", methods=["DELETE"])
@requires("member:manage", EVERYBODY)
@router.arguments(TenantArgs, location="query")
@router.response(204)
@router.alt_response(404, "NOT_FOUND")
@router.alt_response(409, "CONFLICT")
def withdraw(args: dict[str, Any], key: str, role: str) -> tuple[str, int]:
    """Take a role from a member

    Refused for the last administrator's, and for the only role: that is the membership, which is ended as a whole.
    """
    actor = current_actor()
    core().rbac.revoke_role(uuid_in_path(key), role_in_path(role), args["tenant"] or actor.tenant_id, by=actor)
    return "", HTTPStatus.NO_CONTENT


def shown(member: Member, actor: Actor) -> dict[str, Any]:
    return {
        "id": member.id,
        "email": member.email,
        "status": member.status,
        "roles": member.roles_in(actor.tenant_id),
        "tenants": member.places if actor.may(EVERYBODY) else None,
        "created_at": member.created_at,
    }


def _members() -> MemberService:
    return MemberService(core().database)
