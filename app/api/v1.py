"""Version 1: the ScraperSky contract, kept so that its clients go on working. It says 200 where version 2 says 202."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import marshmallow as ma
from flask import Response

from app.api.core import core
from app.api.inputs import OptionsBody, domain_list, id_in_path, moment, normalised, option_fields, uuid_in_path
from app.api.routers import Router, polled
from app.api.schemas import Schema
from app.api.security import current_actor, requires
from app.api.submitting import answer_of, answered, submissions
from app.api.v2 import shapes
from app.errors import PermissionDenied
from app.repositories.batches import BatchView
from app.repositories.jobs import JobView
from app.services import domain_lines, version_one
from app.services.jobs import Jobs
from app.services.submission import Answer, BatchOrder, ScanOrder
from models.states import JobStatus

router = Router("scrapersky", description="Version 1")
BASE: Final = "/api/v1"


def _common() -> dict[str, ma.fields.Field[Any]]:
    return {
        "tenant_id": ma.fields.String(
            load_default=None,
            allow_none=True,
            validate=ma.validate.Length(1, 200),
            metadata={"description": "id or name of the tenant the token acts in"},
        ),
        "max_pages": option_fields(strict=True)["max_pages"],
    }


ScanBody = Schema.from_dict(
    {"base_url": ma.fields.String(required=True), **_common()},
    name="ScrapeBody",
)
BatchBody = Schema.from_dict(
    {
        "domains": domain_list(),
        "options": ma.fields.Nested(OptionsBody, load_default=None, allow_none=True),
        **_common(),
    },
    name="ScrapeBatchBody",
)


class ScanTaken(Schema):
    job_id = ma.fields.UUID(required=True)
    status = ma.fields.String(required=True)
    status_url = ma.fields.String(required=True)


class BatchTaken(Schema):
    batch_id = ma.fields.UUID(required=True)
    status = ma.fields.String(required=True)
    total_domains = ma.fields.Integer(required=True)
    status_url = ma.fields.String(required=True)


class ScanStatus(Schema):
    job_id = ma.fields.UUID(required=True)
    status = ma.fields.String(required=True)
    progress = ma.fields.Float(required=True, metadata={"description": shapes.PROGRESS})
    domain = ma.fields.String(required=True, metadata={"description": "as it was sent"})
    domain_id = ma.fields.UUID(required=True)
    created_at = moment()
    updated_at = moment()
    error = ma.fields.String(required=True, allow_none=True)
    metadata = ma.fields.Dict(required=True, allow_none=True)
    result = ma.fields.Dict(required=True, allow_none=True)


class DomainStatus(Schema):
    status = ma.fields.String(required=True)
    job_id = ma.fields.UUID(required=True, allow_none=True)
    error = ma.fields.String(required=True, allow_none=True)


class BatchStatus(Schema):
    batch_id = ma.fields.UUID(required=True)
    status = ma.fields.String(required=True)
    total_domains = ma.fields.Integer(required=True)
    completed_domains = ma.fields.Integer(required=True)
    failed_domains = ma.fields.Integer(required=True)
    progress = ma.fields.Float(required=True, metadata={"description": shapes.PROGRESS})
    start_time = moment(allow_none=True)
    end_time = moment(allow_none=True)
    domain_statuses = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.Nested(DomainStatus), required=True)


@router.route("/scrapersky", methods=["POST"])
@requires("job:run", feature="sitemaps")
@router.arguments(ScanBody, example={"base_url": "https://example.com", "max_pages": 5})
@router.response(200, ScanTaken)
def scrape(body: dict[str, Any]) -> Response:
    """Scan one domain"""
    _check_tenant(body["tenant_id"])
    order = ScanOrder(text=body["base_url"], options=_options(body), pointer="/base_url")
    return answered(submissions().scan(current_actor(), order, once=None, answer=_scan_taken))


@router.route("/batch", methods=["POST"])
@requires("job:run", feature="sitemaps")
@router.arguments(BatchBody, example={"domains": ["example.com", "example.org"], "max_pages": 5})
@router.response(200, BatchTaken)
def scrape_batch(body: dict[str, Any]) -> Response:
    """Scan a list of domains"""
    _check_tenant(body["tenant_id"])
    taken = submissions().batch(
        current_actor(),
        BatchOrder(options=_options(body)),
        domain_lines.from_values(body["domains"]),
        once=None,
        answer=_batch_taken,
        pointer=lambda line: f"/domains/{line - 1}",
    )
    return answered(taken)


@router.route("/status/<key>")
@polled
@requires("job:read")
@router.response(200, ScanStatus)
@router.alt_response(404, "NOT_FOUND")
def status(key: str) -> dict[str, Any]:
    """How a scan fares, by job id or number"""
    view = Jobs(core().database).get(current_actor(), id_in_path(key))
    job = view.job
    return {
        "job_id": job.id,
        "status": version_one.job_word(job.status),
        "progress": job.progress / 100,
        "domain": job.submitted_as or shapes.domain_name(view.domain),
        "domain_id": job.domain_id,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "error": (job.error_detail or job.error_code) if job.status == JobStatus.FAILED else None,
        "metadata": view.domain.details,
        "result": _result(view),
    }


@router.route("/batch/status/<key>")
@polled
@requires("job:read")
@router.response(200, BatchStatus)
@router.alt_response(404, "NOT_FOUND")
def batch_status(key: str) -> dict[str, Any]:
    """How a batch fares, name by name"""
    told = version_one.account(core().database, current_actor(), uuid_in_path(key))
    batch = told.view.batch
    return {
        "batch_id": batch.id,
        "status": told.status,
        "total_domains": told.sent,
        "completed_domains": told.ended["complete"],
        "failed_domains": told.ended["failed"],
        "progress": told.progress,
        "start_time": batch.started_at,
        "end_time": batch.finished_at,
        "domain_statuses": {name: fate._asdict() for name, fate in told.fates.items()},
    }


def _check_tenant(wanted: str | None) -> None:
    """A token acts in one tenant: naming another is a mistake, not a way there.

    :raises PermissionDenied: it is another
    """
    actor = current_actor()
    if wanted is None or wanted.lower() == str(actor.tenant_id):
        return
    if wanted != core().accounts.profile(actor).tenant.name:
        raise PermissionDenied("tenant_id names a tenant in which this token does not act")


def _options(body: dict[str, Any]) -> dict[str, Any]:
    """`max_pages` stands beside the options in this version; said in both places, the options' one counts."""
    beside = {"max_pages": body["max_pages"]} if "max_pages" in body else {}
    return {**beside, **normalised(body.get("options"))}


def _scan_taken(view: JobView) -> Answer:
    job_id = str(view.job.id)
    body = {
        "job_id": job_id,
        "status": version_one.job_word(view.job.status),
        "status_url": f"{BASE}/status/{job_id}",
    }
    return answer_of(ScanTaken, body, status=HTTPStatus.OK)


def _batch_taken(view: BatchView) -> Answer:
    batch = view.batch
    body = {
        "batch_id": batch.id,
        "status": version_one.batch_word(batch.status),
        "total_domains": batch.total + batch.rejected_invalid + batch.rejected_duplicates,
        "status_url": f"{BASE}/batch/status/{batch.id}",
    }
    return answer_of(BatchTaken, body, status=HTTPStatus.OK)


def _result(view: JobView) -> dict[str, Any] | None:
    if view.job.status != JobStatus.COMPLETE:
        return None
    stats = shapes.job(view)["stats"]
    return {"outcome": view.job.outcome, **stats, "urls_url": f"{shapes.BASE}/jobs/{view.job.id}/urls"}
