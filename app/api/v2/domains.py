"""Domains and the newest that is known of them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma

from app.api.core import core
from app.api.inputs import JobKey, JobOrTime, Line, uuid_in_path
from app.api.paging import PageArgs, page_of
from app.api.routers import Router, polled
from app.api.security import current_actor, requires
from app.api.v2 import shapes
from app.errors import NotFound
from app.repositories.keyset import PageOf
from app.services.domains import Domains

router = Router("domains", prefix="/domains", description="Sites: a host and, maybe, a base path")


class DomainArgs(PageArgs):
    host = Line(
        load_default=None,
        validate=ma.validate.Length(1, 253),
        metadata={"description": "the beginning of the host name"},
    )


class UrlArgs(PageArgs):
    as_of = JobKey(load_default=None, metadata={"description": "one of its jobs, by id or number"})


class ChangeArgs(PageArgs):
    since = JobOrTime(
        load_default=None,
        metadata={
            "description": "one of its jobs, by id or number, or a time of RFC 3339; else one scan before `until`"
        },
    )
    until = JobOrTime(load_default=None, metadata={"description": "likewise; else its newest scan"})
    change = ma.fields.String(
        load_default=None, validate=ma.validate.OneOf(shapes.CHANGES), metadata={"description": "these only"}
    )


@router.route("")
@requires("domain:read")
@router.arguments(DomainArgs, location="query")
@router.response(200, page_of(shapes.DomainShape))
def listing(args: dict[str, Any]) -> PageOf[Any]:
    """Domains, in the order of their names"""
    return _domains().listing(current_actor(), **args).map(shapes.domain)


@router.route("/<path:key>")
@polled
@requires("domain:read")
@router.response(200, shapes.DomainDetailsShape)
@router.alt_response(404, "NOT_FOUND")
def show(key: str) -> dict[str, Any]:
    """A domain, by id or name; a name may go on with a base path"""
    return shapes.domain(_domains().get(current_actor(), _named(key)))


@router.route("/<path:key>/urls")
@requires("result:read")
@router.arguments(UrlArgs, location="query")
@router.response(200, page_of(shapes.UrlShape))
@router.alt_response(404, "NOT_FOUND")
@router.alt_response(409, "CONFLICT")
def urls(args: dict[str, Any], key: str) -> PageOf[Any]:
    """Its URLs as they are now, or as one of its jobs left them"""
    return _domains().urls(current_actor(), _named(key), **args).map(shapes.url)


@router.route("/<path:key>/changes")
@requires("result:read")
@router.arguments(ChangeArgs, location="query")
@router.response(200, page_of(shapes.ChangeShape))
@router.alt_response(404, "NOT_FOUND")
@router.alt_response(409, "CONFLICT")
def changes(args: dict[str, Any], key: str) -> PageOf[Any]:
    """What was added, removed and changed between two of its scans; without `since`, by the newer of them"""
    return _domains().changes(current_actor(), _named(key), **args).map(shapes.change)


def _named(key: str) -> UUID | str:
    try:
        return uuid_in_path(key)
    except NotFound:
        return key


def _domains() -> Domains:
    return Domains(core().database)
