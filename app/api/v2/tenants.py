"""Tenants, for those who administer the platform, and for members to look at their own."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import marshmallow as ma

from app.access import FEATURES
from app.api.core import core
from app.api.inputs import StrictBoolean, moment, uuid_in_path
from app.api.paging import PageArgs, page_of
from app.api.routers import Router
from app.api.schemas import Schema
from app.api.security import current_actor, requires
from app.api.v2.shapes import BASE
from app.repositories.keyset import PageOf
from app.repositories.tenants import LIMITS, TenantView
from app.services.tenants import MAX_NAME, Tenants

router = Router("tenants", prefix="/tenants", description="Tenants: their names, shares, limits and features")
MAX_INTEGER: Final = 2**31 - 1
BOUNDS: Final = {
    "max_batch_domains": (MAX_INTEGER, "lines of one batch"),
    "max_open_jobs": (MAX_INTEGER, "jobs that have not ended"),
    "max_urls": (10**15, "URLs kept, as of each domain's newest finished scan"),
    "max_host_requests": (64, "requests at a time to one host"),
}
EXAMPLE: Final = {
    "id": "01890a5d-ac96-774b-bcce-b302099a8057",
    "name": "Acme",
    "status": "active",
    "weight": 2,
    "max_running": None,
    "limits": {"max_batch_domains": 10000, "max_open_jobs": 50000, "max_urls": None, "max_host_requests": None},
    "features": {**dict.fromkeys(FEATURES, True), "pages": False},
    "created_at": "2026-11-26T12:00:00Z",
    "links": {"self": f"{BASE}/tenants/01890a5d-ac96-774b-bcce-b302099a8057"},
}


def _limit(most: int, what: str) -> ma.fields.Integer:
    return ma.fields.Integer(
        strict=True,
        allow_none=True,
        validate=ma.validate.Range(1, most),
        metadata={"description": f"{what}; null: as the installation has it"},
    )


LimitsBody = Schema.from_dict({name: _limit(*BOUNDS[name]) for name in LIMITS}, name="TenantLimits")
FeaturesShape = Schema.from_dict(
    {name: ma.fields.Boolean(required=True, metadata={"description": f"{what}"}) for name, what in FEATURES.items()},
    name="Features",
)


class TenantChanges(Schema):
    name = ma.fields.String(
        validate=ma.validate.Length(1, 4 * MAX_NAME),
        metadata={"description": f"unique whatever its case; up to {MAX_NAME} characters once trimmed"},
    )
    weight = ma.fields.Integer(
        strict=True,
        validate=ma.validate.Range(1, 100),
        metadata={"description": "its share of the workers, against others'"},
    )
    max_running = ma.fields.Integer(
        strict=True,
        allow_none=True,
        validate=ma.validate.Range(1, MAX_INTEGER),
        metadata={"description": "jobs handed out at a time; null: no cap"},
    )
    limits = ma.fields.Nested(LimitsBody, metadata={"description": "those that are left out stay as they are"})


class TenantBody(TenantChanges):
    name = ma.fields.String(
        required=True, validate=ma.validate.Length(1, 4 * MAX_NAME), metadata={"description": "unique in any case"}
    )


class TenantShape(Schema):
    id = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True)
    status = ma.fields.String(required=True, validate=ma.validate.OneOf(["active", "suspended"]))
    weight = ma.fields.Integer(required=True)
    max_running = ma.fields.Integer(required=True, allow_none=True)
    limits = ma.fields.Nested(
        LimitsBody, required=True, metadata={"description": "its own; those in effect are in /usage"}
    )
    features = ma.fields.Nested(FeaturesShape, required=True)
    created_at = moment()
    links = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.String(), required=True)


class TenantArgs(PageArgs):
    status = ma.fields.String(load_default=None, validate=ma.validate.OneOf(["active", "suspended"]))


class FeatureSwitch(Schema):
    enabled = StrictBoolean(required=True)


class FeatureState(Schema):
    name = ma.fields.String(required=True, validate=ma.validate.OneOf(list(FEATURES)))
    enabled = ma.fields.Boolean(required=True)


@router.route("")
@requires("platform:tenants", "tenant:read")
@router.arguments(TenantArgs, location="query")
@router.response(200, page_of(TenantShape), example={"items": [EXAMPLE], "next_cursor": None})
def listing(args: dict[str, Any]) -> PageOf[Any]:
    """Tenants: all with `platform:tenants`, else those you may look at"""
    return _tenants().listing(current_actor(), **args).map(shape)


@router.route("", methods=["POST"])
@requires("platform:tenants")
@router.arguments(TenantBody, example={"name": "Acme", "weight": 2, "limits": {"max_open_jobs": 50000}})
@router.response(201, TenantShape, example=EXAMPLE)
@router.alt_response(409, "CONFLICT")
def create(body: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Make a tenant"""
    made = shape(_tenants().create(current_actor(), _columns(body)))
    return made, HTTPStatus.CREATED, {"Location": made["links"]["self"]}


@router.route("/<key>")
@requires("platform:tenants", "tenant:read")
@router.response(200, TenantShape, example=EXAMPLE)
@router.alt_response(404, "NOT_FOUND")
def show(key: str) -> dict[str, Any]:
    """A tenant"""
    return shape(_tenants().get(current_actor(), uuid_in_path(key)))


@router.route("/<key>", methods=["PATCH"])
@requires("tenant:update", "platform:tenants", "platform:quota")
@router.arguments(TenantChanges, example={"limits": {"max_urls": 1000000}})
@router.response(200, TenantShape, example=EXAMPLE)
@router.alt_response(404, "NOT_FOUND")
@router.alt_response(409, "CONFLICT")
def change(body: dict[str, Any], key: str) -> dict[str, Any]:
    """Rename a tenant, or give it other limits

    The name is its own administrators' to change as well; `weight`, `max_running` and `limits` want `platform:quota` or
    `platform:tenants`.
    """
    return shape(_tenants().change(current_actor(), uuid_in_path(key), _columns(body)))


@router.route("/<key>/suspend", methods=["POST"])
@requires("platform:tenants")
@router.response(200, TenantShape, example={**EXAMPLE, "status": "suspended"})
@router.alt_response(404, "NOT_FOUND")
@router.alt_response(409, "CONFLICT")
def suspend(key: str) -> dict[str, Any]:
    """Let nobody in and work on nothing of it, until it is resumed; within 5 seconds"""
    return shape(_tenants().suspend(current_actor(), uuid_in_path(key)))


@router.route("/<key>/resume", methods=["POST"])
@requires("platform:tenants")
@router.response(200, TenantShape, example=EXAMPLE)
@router.alt_response(404, "NOT_FOUND")
def resume(key: str) -> dict[str, Any]:
    """End a suspension; its jobs go on where they were"""
    return shape(_tenants().resume(current_actor(), uuid_in_path(key)))


@router.route("/<key>/features/<name>", methods=["PUT"])
@requires("platform:features")
@router.arguments(FeatureSwitch, example={"enabled": False})
@router.response(200, FeatureState, example={"name": "pages", "enabled": False})
@router.alt_response(404, "NOT_FOUND")
def switch(body: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    """Switch a part of the platform on or off for a tenant; within 5 seconds"""
    _tenants().switch(current_actor(), uuid_in_path(key), name, enabled=body["enabled"])
    return {"name": name, "enabled": body["enabled"]}


def shape(view: TenantView) -> dict[str, Any]:
    tenant = view.tenant
    return {
        "id": tenant.id,
        "name": tenant.name,
        "status": tenant.status,
        "weight": tenant.weight,
        "max_running": tenant.max_running,
        "limits": {name: getattr(tenant, name) for name in LIMITS},
        "features": {name: name not in view.off for name in FEATURES},
        "created_at": tenant.created_at,
        "links": {"self": f"{BASE}/tenants/{tenant.id}"},
    }


def _columns(body: dict[str, Any]) -> dict[str, Any]:
    return {**{name: value for name, value in body.items() if name != "limits"}, **body.get("limits", {})}


def _tenants() -> Tenants:
    return Tenants(core().database, core().features, forget=core().accounts.forget_tenant)
