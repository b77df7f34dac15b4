"""What a tenant may have, and what it has."""

from __future__ import annotations

from typing import Any, Final

import marshmallow as ma

from app.api.core import core
from app.api.routers import Router
from app.api.schemas import Schema
from app.api.security import current_actor, requires
from app.services.quotas import Allowed

router = Router("usage", prefix="/usage", description="Quotas and use")
MEANING: Final = {
    "batch_domains": "lines of one batch",
    "open_jobs": "jobs that have not ended",
    "urls": "URLs kept, as of each domain's newest finished scan",
    "host_requests": "requests at a time to one host",
}
EXAMPLE: Final = {
    "quotas": {
        "batch_domains": {"limit": 10000, "used": None},
        "open_jobs": {"limit": 50000, "used": 1204},
        "urls": {"limit": None, "used": 3104772},
        "host_requests": {"limit": None, "used": None},
    },
    "rates": {"caller": "6000/minute", "tenant": "12000/minute", "sign_in": "10/minute"},
}


class UseShape(Schema):
    limit = ma.fields.Integer(required=True, allow_none=True, metadata={"description": "null: none"})
    used = ma.fields.Integer(
        required=True, allow_none=True, metadata={"description": "null where nothing is used up, as by one batch"}
    )


QuotasShape = Schema.from_dict(
    {
        name: ma.fields.Nested(UseShape, required=True, metadata={"description": MEANING[name]})
        for name in Allowed._fields
    },
    name="Quotas",
)


class Rates(Schema):
    caller = ma.fields.String(required=True, metadata={"description": "requests of one user or API key"})
    tenant = ma.fields.String(required=True, metadata={"description": "requests of all callers in the tenant"})
    sign_in = ma.fields.String(required=True, metadata={"description": "refused sign-ins, by account and by address"})


class UsageShape(Schema):
    quotas = ma.fields.Nested(QuotasShape, required=True)
    rates = ma.fields.Nested(Rates, required=True)


@router.route("")
@requires("quota:read")
@router.response(200, UsageShape, example=EXAMPLE)
def usage() -> dict[str, Any]:
    """Quotas with what is used of them, and how often one may ask"""
    settings = core().settings
    rates = {"caller": settings.request_rate, "tenant": settings.tenant_rate, "sign_in": settings.login_rate}
    return {"quotas": core().quotas.seen_by(current_actor()), "rates": rates}
