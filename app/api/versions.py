"""The resources of each version. A new one is one line here."""

from __future__ import annotations

from app.api import v1
from app.api.routers import Router
from app.api.v2 import (
    api_keys,
    audit_events,
    auth,
    batches,
    break_glass,
    domains,
    features,
    invitations,
    jobs,
    queue,
    roles,
    scans,
    sessions,
    tenants,
    usage,
    users,
)

VERSIONS: dict[str, tuple[Router, ...]] = {
    "v1": (v1.router,),
    "v2": (
        auth.router,
        scans.router,
        batches.router,
        jobs.router,
        domains.router,
        queue.router,
        tenants.router,
        features.router,
        usage.router,
        users.router,
        roles.router,
        roles.permissions_router,
        audit_events.router,
        sessions.router,
        api_keys.router,
        invitations.router,
        break_glass.router,
    ),
}
