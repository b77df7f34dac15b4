"""Domains and the newest that is known of them."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from app.api.core import core
from app.api.inputs import Line, uuid_in_path
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
    try:
        return shapes.domain(_domains().get(current_actor(), uuid_in_path(key)))
    except NotFound:
        return shapes.domain(_domains().get(current_actor(), key))


def _domains() -> Domains:
    return Domains(core().database)
