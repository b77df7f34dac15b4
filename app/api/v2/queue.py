"""What waits, what runs, and for how long: for whoever wonders why a job has not begun."""

from __future__ import annotations

from typing import Any, Final

import marshmallow as ma

from app.api.core import core
from app.api.inputs import moment
from app.api.routers import Router
from app.api.schemas import Schema
from app.api.security import current_actor, requires
from app.repositories.depths import Held, HostDepth, TenantDepth
from app.services.queue_state import DEPTHS, SEES_ALL, QueueState, QueueStates

router = Router("queue", prefix="/queue", description="What waits and what runs")


class DepthShape(Schema):
    pending = ma.fields.Integer(required=True, metadata={"description": "submitted and not begun"})
    delayed = ma.fields.Integer(required=True, metadata={"description": "pending ones that wait for their time"})
    paused = ma.fields.Integer(required=True, metadata={"description": "pending ones of paused batches"})
    queued = ma.fields.Integer(required=True, metadata={"description": "handed to the broker"})
    running = ma.fields.Integer(required=True)


class OldestShape(Schema):
    submitted_at = moment()
    age_seconds = ma.fields.Float(required=True)


class WindowShape(Schema):
    size = ma.fields.Integer(required=True, metadata={"description": "jobs that are handed out ahead of the workers"})
    queued = ma.fields.Integer(required=True)
    messages = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.Integer(allow_none=True),
        required=True,
        allow_none=True,
        metadata={"description": "waiting in the broker, by queue; null where it does not answer, and for a tenant"},
    )


class LeaseHolderShape(Schema):
    name = ma.fields.String(required=True, allow_none=True)
    jobs = ma.fields.Integer(required=True)
    passed = ma.fields.Integer(required=True)


class LeasesShape(Schema):
    live = ma.fields.Integer(required=True)
    passed = ma.fields.Integer(required=True, metadata={"description": "of workers that were lost; taken up at once"})
    next_end_at = moment(allow_none=True)
    workers = ma.fields.List(
        ma.fields.Nested(LeaseHolderShape),
        required=True,
        allow_none=True,
        metadata={"description": "the processes that hold them; null for a tenant"},
    )


class TenantDepthShape(Schema):
    id = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True)
    depths = ma.fields.Nested(DepthShape, required=True)
    oldest = ma.fields.Nested(OldestShape, required=True, allow_none=True)


class HostDepthShape(Schema):
    host = ma.fields.String(required=True)
    running = ma.fields.Integer(required=True)
    queued = ma.fields.Integer(required=True)
    cooling = ma.fields.Integer(required=True, metadata={"description": "jobs that wait until the host may be asked"})
    cools_until = moment(allow_none=True)


_OLDEST: Final = {"submitted_at": "2026-11-26T09:30:00Z", "age_seconds": 41.7}
_DEPTHS: Final = {"pending": 981_204, "delayed": 12, "paused": 0, "queued": 96, "running": 64}
_EXAMPLE: Final = {
    "scope": "tenant",
    "depths": _DEPTHS,
    "oldest": _OLDEST,
    "window": {"size": 128, "queued": 96, "messages": None},
    "leases": {"live": 64, "passed": 0, "next_end_at": "2026-11-26T09:31:12Z", "workers": None},
    "tenants": [
        {"id": "0193c0de-0000-7000-8000-000000000001", "name": "default", "depths": _DEPTHS, "oldest": _OLDEST}
    ],
    "hosts": [
        {
            "host": "example.com",
            "running": 1,
            "queued": 0,
            "cooling": 2,
            "cools_until": "2026-11-26T09:35:00Z",
        }
    ],
}


class QueueShape(Schema):
    scope = ma.fields.String(required=True, validate=ma.validate.OneOf(["tenant", "platform"]))
    depths = ma.fields.Nested(DepthShape, required=True)
    oldest = ma.fields.Nested(
        OldestShape,
        required=True,
        allow_none=True,
        metadata={"description": "of those that wait for nothing but a worker"},
    )
    window = ma.fields.Nested(WindowShape, required=True)
    leases = ma.fields.Nested(LeasesShape, required=True)
    tenants = ma.fields.List(
        ma.fields.Nested(TenantDepthShape),
        required=True,
        metadata={"description": "those with open jobs, deepest first"},
    )
    hosts = ma.fields.List(
        ma.fields.Nested(HostDepthShape), required=True, metadata={"description": "the hundred with most jobs in hand"}
    )


@router.route("")
@requires("job:read", SEES_ALL)
@router.response(200, QueueShape, example=_EXAMPLE)
def queue() -> dict[str, Any]:
    """Depths, ages, the window and leases

    Of the caller's tenant; with the permission `platform:queue`, of all tenants.
    """
    parts = core()
    return shown(QueueStates(parts.database, parts.queue, slots=parts.settings.slots).seen_by(current_actor()))


def shown(state: QueueState) -> dict[str, Any]:
    return {
        "scope": "platform" if state.sees_all else "tenant",
        "depths": {name: state.total(name) for name in DEPTHS},
        "oldest": _oldest(state),
        "window": {"size": state.window, "queued": state.total("queued"), "messages": state.broker},
        "leases": _leases(state),
        "tenants": [_tenant(one) for one in state.tenants],
        "hosts": [_host(one) for one in state.hosts],
    }


def _oldest(one: QueueState | TenantDepth) -> dict[str, Any] | None:
    if one.oldest is None or one.age is None:
        return None
    return {"submitted_at": one.oldest, "age_seconds": round(one.age, 3)}


def _leases(state: QueueState) -> dict[str, Any]:
    return {
        "live": state.live,
        "passed": state.passed,
        "next_end_at": min((held.next_end for held in state.leases), default=None),
        "workers": [_worker(held) for held in state.leases] if state.sees_all else None,
    }


def _worker(held: Held) -> dict[str, Any]:
    return {"name": held.worker, "jobs": held.jobs, "passed": held.passed}


def _tenant(one: TenantDepth) -> dict[str, Any]:
    depths = {name: getattr(one, name) for name in DEPTHS}
    return {"id": one.tenant_id, "name": one.tenant, "depths": depths, "oldest": _oldest(one)}


def _host(one: HostDepth) -> dict[str, Any]:
    return one._asdict()
