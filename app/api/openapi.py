"""The OpenAPI document, generated from the code."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from typing import Any

from apispec import BasePlugin
from flask import Flask, current_app
from flask_smorest import Api

from app.api.limits import UNLIMITED
from app.api.problems import MEDIA_TYPE
from app.api.routers import WITH_BODY, Mounted, Router, polled
from app.api.schemas import Problem
from app.api.security import API_KEY_HEADER, public

OPENAPI_VERSION = "3.1.0"
DESCRIPTION = """\
Domains go in; robots.txt, sitemaps and page metadata come out. Errors are RFC 9457 problems. Lists are pages:
follow `next_cursor`. Sign in at `/api/v2/auth/login` and send the access token as `Authorization: Bearer`."""
KEY = "documented"  # among the application's extensions
router = Router("documents", description="This documentation")


class Documented(Api):
    ERROR_SCHEMA = Problem
    DEFAULT_ERROR_RESPONSE_NAME = None  # it would allow every status, and so promise none


class UsualAnswers(BasePlugin):
    """Adds to each operation what it may answer for being where it is, whatever its view declares."""

    def operation_helper(
        self, path: str | None = None, operations: dict[str, Any] | None = None, **_context: Any
    ) -> None:
        for method, operation in (operations or {}).items():
            for status in usual(path or "", method.upper()):
                operation.setdefault("responses", {}).setdefault(str(int(status)), status.name)


def usual(path: str, method: str) -> Iterator[HTTPStatus]:
    """
    >>> [status.value for status in usual("/api/v2/jobs/{key}", "GET")]
    [400, 429, 422, 503, 404]
    >>> [status.value for status in usual("/health", "GET")]
    [400]
    """
    yield HTTPStatus.BAD_REQUEST  # a `Host` that is not ours
    if not path.startswith(UNLIMITED):
        yield HTTPStatus.TOO_MANY_REQUESTS
    if path.startswith("/api/"):
        yield from (HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE)
        if "{" in path:
            yield HTTPStatus.NOT_FOUND
        if method in WITH_BODY:
            yield from (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


def install(app: Flask, mounted: tuple[Mounted, ...]) -> None:
    app.extensions[KEY] = mounted
    app.config["API_VERSION"] = _version()


@router.route("/openapi.json")
@polled
@public("documentation holds no data")
@router.response(200, {"type": "object"}, description="an OpenAPI 3.1 document")
def openapi_json() -> Any:
    """This API, for programs"""
    return current_app.json.response(document(current_app))


def document(app: Flask) -> dict[str, Any]:
    """The same one each time: not to be changed. What it takes to make it is spent when it is first asked for, not by
    every process that starts.
    """
    return _document(app.extensions[KEY])


@cache
def _document(mounted: tuple[Mounted, ...]) -> dict[str, Any]:
    api = _described(mounted)
    spec: dict[str, Any] = api.spec.to_dict()
    # Problems have a media type of their own, which flask-smorest cannot be told.
    for response in spec["components"].get("responses", {}).values():
        content = response.get("content", {})
        if "application/json" in content:
            content[MEDIA_TYPE] = content.pop("application/json")
    return spec


def _described(mounted: tuple[Mounted, ...]) -> Api:
    """flask-smorest documents what it registers, so all is registered once more with an application nobody asks."""
    app = Flask("app.api", static_folder=None)
    app.config.update(
        API_TITLE="ScraperSky",
        API_VERSION=_version(),
        OPENAPI_VERSION=OPENAPI_VERSION,
        OPENAPI_URL_PREFIX=None,  # served above, where the view can declare its access
        API_SPEC_OPTIONS={"info": {"description": DESCRIPTION}},
    )
    api = Documented(app, spec_kwargs={"extra_plugins": [UsualAnswers()]})
    api.spec.components.security_scheme(
        "bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "an access token"}
    )
    api.spec.components.security_scheme(
        "apiKey", {"type": "apiKey", "in": "header", "name": API_KEY_HEADER, "description": "in place of a token"}
    )
    for one in mounted:
        api.register_blueprint(one.router, name=one.name, url_prefix=one.prefix)
    return api


@cache
def _version() -> str:
    try:
        return importlib.metadata.version("scrapersky")
    except importlib.metadata.PackageNotFoundError:
        return "0.1.0"  # run from a checkout that was not installed
