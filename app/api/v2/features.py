"""Which parts of the platform a client may show."""

from __future__ import annotations

from app.access import FEATURES
from app.api.core import core
from app.api.routers import Router, polled
from app.api.security import authenticated, current_actor
from app.api.v2.tenants import FeaturesShape

router = Router("features", prefix="/features", description="Parts of the platform that may be switched off")


@router.route("")
@polled
@authenticated("what is switched off shows in every refusal anyway", delegated=True)
@router.response(200, FeaturesShape, example=dict.fromkeys(FEATURES, True))
def features() -> dict[str, bool]:
    """What is switched on for the tenant the token acts in"""
    return core().features.of(current_actor().tenant_id)
