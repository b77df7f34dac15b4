"""The OpenAPI document, generated from the code."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from typing import Any

from flask import Flask, current_app
from flask_smorest import Api

from app.api.problems import MEDIA_TYPE
from app.api.routers import Router, polled
from app.api.schemas import Problem
from app.api.security import public

OPENAPI_VERSION = "3.1.0"
DESCRIPTION = """\
Domains go in; robots.txt, sitemaps and page metadata come out. Errors are RFC 9457 problems. Lists are pages:
follow `next_cursor`. Sign in at `/api/v2/auth/login` and send the access token as `Authorization: Bearer`."""
router = Router("documents", description="This documentation")


class Documented(Api):
    ERROR_SCHEMA = Problem


def install(app: Flask) -> Api:
    """Call before `problems.install`, whose handlers replace those flask-smorest brings."""
    app.config.update(
        API_TITLE="ScraperSky",
        API_VERSION=_version(),
        OPENAPI_VERSION=OPENAPI_VERSION,
        OPENAPI_URL_PREFIX=None,  # served below, where the view can declare its access
        API_SPEC_OPTIONS={"info": {"description": DESCRIPTION}},
    )
    api = Documented(app)
    api.spec.components.security_scheme(
        "bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "an access token"}
    )
    return api


@router.route("/openapi.json")
@polled
@public("documentation holds no data")
@router.response(200, {"type": "object"}, description="an OpenAPI 3.1 document")
def openapi_json() -> Any:
    """This API, for programs"""
    return current_app.json.response(document(current_app))


def document(app: Flask) -> dict[str, Any]:
    api: Api = app.extensions["flask-smorest"]["apis"][""]["ext_obj"]
    spec: dict[str, Any] = api.spec.to_dict()
    # Problems have a media type of their own, which flask-smorest cannot be told.
    for response in spec["components"].get("responses", {}).values():
        content = response.get("content", {})
        if "application/json" in content:
            content[MEDIA_TYPE] = content.pop("application/json")
    return spec


@cache
def _version() -> str:
    try:
        return importlib.metadata.version("scrapersky")
    except importlib.metadata.PackageNotFoundError:
        return "0.1.0"  # run from a checkout that was not installed
