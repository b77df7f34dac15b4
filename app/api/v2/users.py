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
from app.api.v2 import invitations
from app.api.v2.invitations import NewInvitationShape
from app.api.v2.roles import role_in_path
from app.repositories.keyset import PageOf
from app.repositories.members import Member
from app.services.members import MemberService
from app.services.rbac import EVERYBODY
from app.services.users import UserService

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


class Invitation(Schema):
    email = ma.fields.String(required=True, validate=ma.validate.Length(1, MAX_EMAIL))
    role = ma.fields.String(
        required=True,
        validate=ma.validate.Length(1, 100),
        metadata={"description": "the name of one whose permissions you hold"},
    )


@router.route("", methods=["POST"])
@requires("member:manage")
@router.arguments(Invitation, example={"email": "bob@example.com", "role": "operator"})
@router.response(201, NewInvitationShape, example={**invitations.EXAMPLE, "token": invitations.TOKEN})
@router.alt_response(409, "CONFLICT")
def invite(body: dict[str, Any]) -> dict[str, Any]:
    """Invite somebody; another invitation of the same address is replaced

    The token is shown this once; nothing is mailed: hand it on. Whoever has it accepts at `POST /api/v2/auth/accept`.
    """
    made = invitations.service().invite(current_actor(), **body)
    return {**invitations.shown(made.view), "token": made.token}


class ResetTokenShape(Schema):
    token = ma.fields.String(required=True, metadata={"description": "shown this once"})
    expires_at = moment()


@router.route("/<key>/disable", methods=["POST"])
@requires("member:manage", EVERYBODY)
@router.response(200, UserShape, example={**EXAMPLE, "status": "disabled"})
@router.alt_response(404, "NOT_FOUND")
@router.alt_response(409, "CONFLICT")
def disable(key: str) -> dict[str, Any]:
    """Shut an account; its sessions end, its API keys with it

    With `member:manage` only that of a member of no other tenant, who may nothing that you may not. Refused while
    nobody else is an administrator.
    """
    actor, user = current_actor(), uuid_in_path(key)
    _users().disable(actor, user)
    return shown(_members().get(actor, user), actor)


@router.route("/<key>/enable", methods=["POST"])
@requires("member:manage", EVERYBODY)
@router.response(200, UserShape, example=EXAMPLE)
@router.alt_response(404, "NOT_FOUND")
def enable(key: str) -> dict[str, Any]:
    """Open an account again"""
    actor, user = current_actor(), uuid_in_path(key)
    _users().enable(actor, user)
    return shown(_members().get(actor, user), actor)


@router.route("/<key>/reset-password", methods=["POST"])
@requires("member:manage", EVERYBODY)
@router.response(201, ResetTokenShape, example={"token": invitations.TOKEN, "expires_at": "2026-11-26T10:30:00Z"})
@router.alt_response(404, "NOT_FOUND")
def reset_password(key: str) -> dict[str, Any]:
    """Make a token by which the user may set a password at `POST /api/v2/auth/reset`, within an hour

    It is shown this once; hand it on. Whom you may do this for: as for shutting the account, and nobody for herself.
    """
    made = _users().make_reset(current_actor(), uuid_in_path(key))
    return {"token": made.text, "expires_at": made.expires_at}


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


def _users() -> UserService:
    return UserService(core().database, passwords=core().passwords, forget=core().accounts.forget)


def _members() -> MemberService:
    return MemberService(core().database)
