"""Roles, and the permissions they are made of."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import marshmallow as ma

from app.access import PLATFORM_PERMISSIONS, TENANT_PERMISSIONS
from app.api.core import core
from app.api.inputs import Line, moment
from app.api.paging import PageArgs, page_of
from app.api.routers import Router, polled
from app.api.schemas import Schema
from app.api.security import current_actor, requires
from app.errors import NotFound
from app.repositories.keyset import PageOf
from app.repositories.roles import RoleRow

router = Router("roles", prefix="/roles", description="Named sets of permissions: built in, or a tenant's own")
permissions_router = Router("permissions", prefix="/permissions", description="What there is to be allowed")
MAX_NAME, MAX_DESCRIPTION, MAX_ID = 63, 300, 2**31
NAME: Final = r"[a-z][a-z0-9_-]*\Z"


def _name(**more: Any) -> Line:
    rules = [ma.validate.Length(1, MAX_NAME), ma.validate.Regexp(NAME, error="Not a-z, then a-z, 0-9, _ or -.")]
    return Line(validate=rules, **more)


def _description(**more: Any) -> Line:
    return Line(allow_none=True, validate=ma.validate.Length(1, MAX_DESCRIPTION), **more)


def _permissions(**more: Any) -> ma.fields.Field[Any]:
    return ma.fields.List(ma.fields.String(), validate=ma.validate.Length(max=len(TENANT_PERMISSIONS)), **more)


class NewRole(Schema):
    name = _name(required=True)
    description = _description(load_default=None)
    permissions = _permissions(load_default=list, metadata={"description": "each of which you hold yourself"})


class RoleChanges(Schema):
    name = _name()
    description = _description()
    permissions = _permissions(metadata={"description": "all that it shall carry"})


class RoleShape(Schema):
    id = ma.fields.Integer(required=True)
    name = ma.fields.String(required=True)
    description = ma.fields.String(required=True, allow_none=True)
    built_in = ma.fields.Boolean(required=True, metadata={"description": "the same for every tenant, never changed"})
    permissions = ma.fields.List(ma.fields.String(), required=True)
    created_at = moment()


class PermissionShape(Schema):
    name = ma.fields.String(required=True)
    scope = ma.fields.String(
        required=True,
        validate=ma.validate.OneOf(["tenant", "platform"]),
        metadata={"description": "a tenant's own roles carry only those of a tenant"},
    )


EXAMPLE: Final = {
    "id": 5,
    "name": "report_reader",
    "description": "reads results, submits nothing",
    "built_in": False,
    "permissions": ["job:read", "result:export", "result:read"],
    "created_at": "2026-11-26T09:30:00Z",
}
_CHANGES: Final = {"permissions": ["job:read", "result:read"]}


@permissions_router.route("")
@requires("role:read")
@permissions_router.arguments(PageArgs, location="query")
@permissions_router.response(
    200,
    page_of(PermissionShape),
    example={"items": [{"name": "job:read", "scope": "tenant"}], "next_cursor": None},
)
def permissions(args: dict[str, Any]) -> PageOf[Any]:
    """Permissions, by name"""
    return core().rbac.permissions(by=current_actor(), **args).map(_permission)


@router.route("")
@requires("role:read")
@router.arguments(PageArgs, location="query")
@router.response(200, page_of(RoleShape), example={"items": [EXAMPLE], "next_cursor": None})
def listing(args: dict[str, Any]) -> PageOf[Any]:
    """Roles, built-in ones and the tenant's own, by name"""
    return core().rbac.roles(by=current_actor(), **args).map(shown)


@router.route("", methods=["POST"])
@requires("role:manage")
@router.arguments(NewRole, example={name: EXAMPLE[name] for name in ("name", "description", "permissions")})
@router.response(201, RoleShape, example=EXAMPLE)
@router.alt_response(409, "CONFLICT")
def create(body: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Make a role of the tenant's own"""
    made = core().rbac.create_role(by=current_actor(), **body)
    return shown(made), HTTPStatus.CREATED, {"Location": f"/api/v2/roles/{made.id}"}


@router.route("/<key>")
@polled
@requires("role:read")
@router.response(200, RoleShape, example=EXAMPLE)
@router.alt_response(404, "NOT_FOUND")
def show(key: str) -> dict[str, Any]:
    """A role, by id or name"""
    return shown(core().rbac.role(role_in_path(key), by=current_actor()))


@router.route("/<key>", methods=["PATCH"])
@requires("role:manage")
@router.arguments(RoleChanges, example=_CHANGES)
@router.response(200, RoleShape, example={**EXAMPLE, **_CHANGES})
@router.alt_response(404, "NOT_FOUND")
@router.alt_response(409, "CONFLICT")
def change(body: dict[str, Any], key: str) -> dict[str, Any]:
    """Change a role of the tenant's own

    When what it carries changes, the access tokens of all who hold it end; their refresh tokens do not.
    """
    return shown(core().rbac.update_role(role_in_path(key), by=current_actor(), **body))


@router.route("/<key>", methods=["DELETE"])
@requires("role:manage")
@router.response(204)
@router.alt_response(404, "NOT_FOUND")
@router.alt_response(409, "CONFLICT")
def delete(key: str) -> tuple[str, int]:
    """Delete a role of the tenant's own that nobody holds"""
    core().rbac.delete_role(role_in_path(key), by=current_actor())
    return "", HTTPStatus.NO_CONTENT


def role_in_path(text: str) -> int | str:
    """An id or a name.

    >>> role_in_path("12"), role_in_path("viewer"), role_in_path("9" * 30)
    (12, 'viewer', '999999999999999999999999999999')

    :raises NotFound: it can be neither
    """
    if "\0" in text:
        raise NotFound
    if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) and int(text) < MAX_ID:
        return int(text)
    return text


def shown(role: RoleRow) -> dict[str, Any]:
    return {
        "id": role.id,
        "name": role.name,
        "description": role.description,
        "built_in": role.built_in,
        "permissions": sorted(role.permissions),
        "created_at": role.created_at,
    }


def _permission(name: str) -> dict[str, str]:
    return {"name": name, "scope": "platform" if name in PLATFORM_PERMISSIONS else "tenant"}
