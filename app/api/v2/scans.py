"""Single scans."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Response

from app.api.inputs import OptionsBody, normalised
from app.api.routers import Router
from app.api.schemas import Schema
from app.api.security import current_actor, requires
from app.api.submitting import KEY_PARAMETER, answer_of, answered, once, submissions
from app.api.v2 import shapes
from app.repositories.jobs import JobView
from app.services.submission import Answer, ScanOrder

router = Router("scans", prefix="/scans", description="Scan one domain, at once")


class Submitted(Schema):
    """What both kinds of submission refuse with a word of their own."""

    @ma.pre_load
    def _no_webhook(self, data: Any, **_kwargs: Any) -> Any:
        if isinstance(data, dict) and "webhook" in data:
            raise ma.ValidationError({"webhook": ["there is no such field: webhooks are not offered yet"]})
        return data


class ScanBody(Submitted):
    domain = ma.fields.String(metadata={"description": "a host name, with a path if that is where the site begins"})
    base_url = ma.fields.String(metadata={"description": "instead of `domain`"})
    options = ma.fields.Nested(OptionsBody, load_default=None, allow_none=True)

    @ma.validates_schema
    def _one_of_both(self, data: dict[str, Any], **_kwargs: Any) -> None:
        if ("domain" in data) == ("base_url" in data):
            raise ma.ValidationError("send either `domain` or `base_url`", "domain")


@router.route("", methods=["POST"])
@requires("job:run", feature="sitemaps")
@router.arguments(ScanBody, example={"domain": "example.com", "options": {"max_pages": 5}})
@router.doc(parameters=[KEY_PARAMETER])
@router.response(202, shapes.JobShape)
@router.alt_response(409, "CONFLICT")
def submit(body: dict[str, Any]) -> Response:
    """Scan a domain"""
    pointer = "domain" if "domain" in body else "base_url"
    order = ScanOrder(text=body[pointer], options=normalised(body["options"]), pointer=f"/{pointer}")
    taken = submissions().scan(current_actor(), order, once=once("scans"), answer=_answer)
    return answered(taken)


def _answer(view: JobView) -> Answer:
    body = shapes.job(view)
    return answer_of(shapes.JobShape, body, status=HTTPStatus.ACCEPTED, location=body["links"]["self"])
