"""Batches: lists of domains, submitted as JSON or as an upload."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

import marshmallow as ma
from flask import Response, request
from webargs import core as webargs

from app.api.core import core
from app.api.inputs import Line, OptionsBody, domain_list, normalised, option_fields, uuid_in_path
from app.api.paging import PageArgs, page_of
from app.api.requests import StrictParser
from app.api.routers import Router, polled
from app.api.schemas import Schema
from app.api.security import current_actor, requires
from app.api.submitting import KEY_PARAMETER, answer_of, answered, once, received, submissions
from app.api.v2 import shapes
from app.api.v2.jobs import JobArgs, jobs
from app.api.v2.scans import Submitted
from app.api.v2.usage import QuotasShape
from app.repositories.batches import BatchView
from app.repositories.batches import Line as DomainLine
from app.repositories.keyset import PageOf
from app.scanning.values import ScanOptions
from app.services import domain_lines
from app.services.batches import RETRIED, Batches
from app.services.domain_lines import UPLOAD_KINDS, UploadKind
from app.services.submission import Answer, BatchOrder
from models.states import BatchStatus, DomainRejection

router = Router("batches", prefix="/batches", description="Scan a list of domains")
parser = StrictParser()
SHOWN_REJECTS: Final = 1_000
OPTION_NAMES: Final = tuple(ScanOptions.__dataclass_fields__)


def _terms(*, strict: bool) -> dict[str, ma.fields.Field[Any]]:
    return {
        "name": Line(load_default=None, validate=ma.validate.Length(1, 200)),
        "priority": ma.fields.Integer(
            load_default=5,
            strict=strict,
            validate=ma.validate.Range(0, 9),
            metadata={"description": "9 goes first, among the tenant's own batches"},
        ),
        "on_invalid": ma.fields.String(
            load_default="report",
            validate=ma.validate.OneOf(["report", "reject"]),
            metadata={"description": "`reject`: create nothing if any line is no domain"},
        ),
    }


BatchBody = Submitted.from_dict(
    {
        "domains": domain_list(),
        **_terms(strict=True),
        "options": ma.fields.Nested(OptionsBody, load_default=None, allow_none=True),
    },
    name="BatchBody",
)
BatchQuery = Schema.from_dict({**_terms(strict=False), **option_fields(strict=False)}, name="BatchQuery")


class BatchArgs(PageArgs):
    status = ma.fields.String(load_default=None, validate=ma.validate.OneOf([word.value for word in BatchStatus]))


class RejectArgs(PageArgs):
    reason = ma.fields.String(load_default=None, validate=ma.validate.OneOf([word.value for word in DomainRejection]))


# `only` is a word of marshmallow's own, so this one cannot be written as a class.
RetryArgs = Schema.from_dict(
    {
        "which": ma.fields.String(
            data_key="only",
            load_default="failed",
            validate=ma.validate.OneOf(list(RETRIED)),
            metadata={"description": "which of its jobs start afresh"},
        )
    },
    name="RetryArgs",
)


class PreflightQuota(Schema):
    max_domains = ma.fields.Integer(required=True, metadata={"description": "lines that a batch may have here"})
    quotas = ma.fields.Nested(QuotasShape, required=True)
    exceeded = ma.fields.List(
        ma.fields.String(), required=True, metadata={"description": "the quotas for which it would be refused"}
    )


class Preflight(Schema):
    lines = ma.fields.Integer(required=True)
    valid = ma.fields.Integer(required=True, metadata={"description": "jobs there would be"})
    duplicates = ma.fields.Integer(required=True)
    invalid = ma.fields.Integer(required=True)
    rejected = ma.fields.List(
        ma.fields.Nested(shapes.RejectShape),
        required=True,
        metadata={"description": f"the first {SHOWN_REJECTS:,} lines that would become no job"},
    )
    accepted = ma.fields.Boolean(required=True, metadata={"description": "whether the batch would be created"})
    quota = ma.fields.Nested(PreflightQuota, required=True, metadata={"description": "what limits a batch here"})


_TERMS: Final = {"in": "query", "schema": BatchQuery}  # of an upload; JSON has them inside
_EXAMPLE: Final = {
    "domains": ["example.com", "https://example.org/shop/"],
    "name": "spring",
    "options": {"max_pages": 5},
}
_BODIES: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": BatchBody, "example": _EXAMPLE},
            **{kind: {"schema": {"type": "string", "format": "binary"}} for kind in UPLOAD_KINDS},
        },
    }
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A list as it was sent, in whichever way. `digest` None: that of the body."""

    order: BatchOrder
    lines: Iterable[DomainLine]
    digest: bytes | None
    pointer: Callable[[int], str]


@router.route("", methods=["POST"])
@requires("job:run", feature="sitemaps")
@router.doc(parameters=[KEY_PARAMETER, _TERMS], **_BODIES)
@router.response(202, shapes.BatchShape)
@router.alt_response(409, "CONFLICT")
@router.alt_response(413, "REQUEST_ENTITY_TOO_LARGE")
@router.alt_response(415, "UNSUPPORTED_MEDIA_TYPE")
@router.alt_response(422, "UNPROCESSABLE_ENTITY")
def submit() -> Response:
    """Scan a list of domains

    JSON, or an upload: text/plain and application/x-ndjson hold a domain a line, text/csv in a column `domain` or in
    the first. With an upload the options are query parameters. Lines that are no domains and lines that repeat a site
    do not stop the batch; they are counted and listed.
    """
    with _sent() as sent:
        taken = submissions().batch(
            current_actor(),
            sent.order,
            sent.lines,
            once=once("batches", sent.digest),
            answer=_answer,
            pointer=sent.pointer,
        )
    return answered(taken)


@router.route("/preflight", methods=["POST"])
@requires("job:run", feature="sitemaps")
@router.doc(parameters=[_TERMS], **_BODIES)
@router.response(200, Preflight)
@router.alt_response(413, "REQUEST_ENTITY_TOO_LARGE")
@router.alt_response(415, "UNSUPPORTED_MEDIA_TYPE")
@router.alt_response(422, "UNPROCESSABLE_ENTITY")
def preflight() -> dict[str, Any]:
    """What would become of a list, were it submitted; creates nothing"""
    with _sent() as sent:
        found, quotas, exceeded = submissions().survey(
            current_actor(), sent.order.options, sent.lines, shown=SHOWN_REJECTS
        )
    most, own = core().settings.max_batch_domains, quotas["batch_domains"].limit
    return {
        **found._asdict(),
        "rejected": [reject._asdict() for reject in found.rejects],
        "accepted": not exceeded and not (found.invalid and sent.order.on_invalid == "reject"),
        "quota": {"max_domains": min(most, own or most), "quotas": quotas, "exceeded": exceeded},
    }


@router.route("")
@requires("job:read")
@router.arguments(BatchArgs, location="query")
@router.response(200, page_of(shapes.BatchShape))
def listing(args: dict[str, Any]) -> PageOf[Any]:
    """Batches, newest first"""
    return _batches().listing(current_actor(), **args).map(shapes.batch)


@router.route("/<key>")
@polled
@requires("job:read")
@router.response(200, shapes.BatchShape)
@router.alt_response(404, "NOT_FOUND")
def show(key: str) -> dict[str, Any]:
    """A batch with its counts"""
    return shapes.batch(_batches().get(current_actor(), uuid_in_path(key)))


@router.route("/<key>/jobs")
@requires("job:read")
@router.arguments(JobArgs, location="query")
@router.response(200, shapes.JobPage)
@router.alt_response(404, "NOT_FOUND")
def jobs_of(args: dict[str, Any], key: str) -> PageOf[Any]:
    """A batch's jobs, in the order of its lines"""
    return jobs().listing(current_actor(), batch_id=uuid_in_path(key), **args).map(shapes.job)


@router.route("/<key>/rejected")
@requires("job:read")
@router.arguments(RejectArgs, location="query")
@router.response(200, page_of(shapes.RejectShape))
@router.alt_response(404, "NOT_FOUND")
def rejected(args: dict[str, Any], key: str) -> PageOf[Any]:
    """Lines that became no job"""
    return _batches().rejects(current_actor(), uuid_in_path(key), **args)


@router.route("/<key>/cancel", methods=["POST"])
@requires("job:cancel")
@router.response(202, shapes.BatchShape)
@router.alt_response(404, "NOT_FOUND")
def cancel(key: str) -> dict[str, Any]:
    """End a batch; one that has ended stays as it is"""
    return shapes.batch(_batches().cancel(current_actor(), uuid_in_path(key)))


@router.route("/<key>/pause", methods=["POST"])
@requires("job:cancel")
@router.response(202, shapes.BatchShape)
@router.alt_response(404, "NOT_FOUND")
def pause(key: str) -> dict[str, Any]:
    """Start nothing more of a batch for now"""
    return shapes.batch(_batches().pause(current_actor(), uuid_in_path(key)))


@router.route("/<key>/resume", methods=["POST"])
@requires("job:run")
@router.response(202, shapes.BatchShape)
@router.alt_response(404, "NOT_FOUND")
def resume(key: str) -> dict[str, Any]:
    """Go on with a paused batch"""
    return shapes.batch(_batches().resume(current_actor(), uuid_in_path(key)))


@router.route("/<key>/retry", methods=["POST"])
@requires("job:run", feature="sitemaps")
@router.arguments(RetryArgs, location="query")
@router.response(202, shapes.BatchShape)
@router.alt_response(404, "NOT_FOUND")
@router.alt_response(409, "CONFLICT")
def retry(args: dict[str, Any], key: str) -> dict[str, Any]:
    """Give a batch's failed jobs a fresh start"""
    return shapes.batch(_batches().retry(current_actor(), uuid_in_path(key), what=args["which"], quotas=core().quotas))


@contextmanager
def _sent() -> Iterator[Sent]:
    if not request.mimetype or webargs.is_json(request.mimetype):
        yield _json()
        return
    args: dict[str, Any] = parser.parse(BatchQuery(), request, location="query")
    options = {name: args.pop(name) for name in OPTION_NAMES if name in args}
    with received(request, limit=core().settings.max_upload_bytes) as upload:
        yield Sent(
            order=BatchOrder(**args, options=normalised(options)),
            lines=domain_lines.from_upload(upload.file, cast("UploadKind", request.mimetype)),
            digest=upload.digest,
            pointer=lambda line: f"/lines/{line}",
        )


def _json() -> Sent:
    parser.parse(Schema(), request, location="query")  # nothing is said there that would go unheard
    body: dict[str, Any] = parser.parse(BatchBody(), request, location="json")
    options = normalised(body.pop("options"))
    lines = domain_lines.from_values(body.pop("domains"))
    return Sent(
        order=BatchOrder(**body, options=options),
        lines=lines,
        digest=None,
        pointer=lambda line: f"/domains/{line - 1}",
    )


def _answer(view: BatchView) -> Answer:
    body = shapes.batch(view)
    return answer_of(shapes.BatchShape, body, status=HTTPStatus.ACCEPTED, location=body["links"]["self"])


def _batches() -> Batches:
    return Batches(core().database)
