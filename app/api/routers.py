"""Routers, one a resource, and where they hang under their versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from flask import Response, current_app, make_response, request
from flask_smorest import Blueprint

from app.access import PERSONAL
from app.api import requests
from app.api.schemas import Schema
from app.api.security import MARK, Access, notes_of

P = ParamSpec("P")
T = TypeVar("T")
WITH_BODY = ("POST", "PUT", "PATCH")
POLLED = "polled"  # the key in `_apidoc`


class Router(Blueprint):
    """One resource's views. `prefix` stands after `/api/<version>`.

    Order of decorators, outermost first: `@router.route`, `@polled`, `@requires`, `@router.arguments`,
    `@router.response`.
    """

    ARGUMENTS_PARSER = requests.StrictParser()

    def __init__(self, name: str, *, prefix: str = "", description: str = "") -> None:
        super().__init__(name, __name__, url_prefix=prefix or None, description=description)
        self._prepare_doc_cbks.append(_describe_access)
        self.before_request(_refuse_unheard)


class Mounted(NamedTuple):
    """A router where it hangs."""

    router: Router
    name: str
    prefix: str | None


def mounted(common: Iterable[Router], versions: Mapping[str, Iterable[Router]]) -> tuple[Mounted, ...]:
    unversioned = (Mounted(router, router.name, router.url_prefix) for router in common)
    versioned = (
        Mounted(router, f"{version}-{router.name}", f"/api/{version}{router.url_prefix or ''}")
        for version, routers in versions.items()
        for router in routers
    )
    return (*unversioned, *versioned)


def polled(view: Any) -> Any:
    """For a view that clients ask again and again: its answer carries an ETag."""

    @wraps(view)
    def tagged(*args: Any, **kwargs: Any) -> Response:
        return requests.polled(make_response(view(*args, **kwargs)))

    tagged._apidoc = {**getattr(view, "_apidoc", {}), POLLED: True}  # type: ignore[attr-defined]  # noqa: SLF001 - as in `security`
    return tagged


def _refuse_unheard() -> None:
    """Where a view takes no arguments, none are sent: `POST /scans?max_pages=9` must not pass for a scan of nine pages.

    Outside of /api/ are probes and collectors, which may ask as they like.

    :raises InvalidInput: naming what nobody would have read
    """
    if request.endpoint is None or not request.path.startswith("/api/"):
        return
    notes = notes_of(current_app, request.endpoint, request.method)
    if "requestBody" in notes.get("manual_doc", {}):
        return  # it reads the request itself
    heard = {argument["in"] for argument in notes.get("arguments", {}).get("parameters", [])}
    if "query" not in heard:
        Router.ARGUMENTS_PARSER.parse(Schema(), request, location="query")
    if "json" not in heard and request.method in WITH_BODY:
        Router.ARGUMENTS_PARSER.parse(Schema(), request, location="json")


def _describe_access(doc: dict[str, Any], notes: dict[str, Any], **_context: Any) -> dict[str, Any]:
    access: Access | None = notes.get(MARK)
    responses = doc.setdefault("responses", {})
    if notes.get(POLLED):
        responses.setdefault("304", {"description": "as it was, by the ETag sent in If-None-Match"})
    if access is None or access.kind == "public":
        return {**doc, "security": []}
    responses.setdefault("401", "UNAUTHORIZED")
    responses.setdefault("403", "FORBIDDEN")  # whoever may do this may still be of a suspended tenant
    if access.permissions:
        doc["x-permission"] = str(access)
    if access.feature is not None:
        doc["x-feature"] = access.feature
    # Some permissions no key ever has.
    keys = access.delegated and not PERSONAL.issuperset(access.permissions or ("none",))
    return {**doc, "security": [{"bearer": []}, *([{"apiKey": []}] if keys else [])]}
