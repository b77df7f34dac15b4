"""The OpenAPI document, generated from the code, and the page that shows it without the internet."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, current_app, render_template, send_from_directory
from flask_smorest import Api

from app.api import requests
from app.api.problems import MEDIA_TYPE
from app.api.routers import Router
from app.api.schemas import Problem
from app.api.security import public

OPENAPI_VERSION = "3.1.0"
SWAGGER = Path(__file__).parent / "static" / "vendor" / "swagger-ui"
WHY = "documentation holds no data"
router = Router("documents", description="This documentation")

DESCRIPTION = """\
Domains go in; robots.txt, sitemaps and page metadata come out. Errors are RFC 9457 problems. Lists are pages:
follow `next_cursor`. Sign in at `/api/v2/auth/login` and send the access token as `Authorization: Bearer`."""


class Documented(Api):
    ERROR_SCHEMA = Problem


def install(app: Flask) -> Api:
    app.config.update(
        API_TITLE="ScraperSky",
        API_VERSION=_version(),
        OPENAPI_VERSION=OPENAPI_VERSION,
        OPENAPI_URL_PREFIX=None,  # served below, where the view can declare its access
        API_SPEC_OPTIONS={"info": {"description": DESCRIPTION}, "security": [{"bearer": []}]},
    )
    api = Documented(app)
    api.spec.components.security_scheme(
        "bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "an access token"}
    )
    return api


@router.route("/openapi.json")
@public(WHY)
@router.response(200, {"type": "object"}, description="an OpenAPI 3.1 document")
def openapi_json() -> Response:
    """This API, for programs"""
    return requests.polled(current_app.json.response(document(current_app)))


@router.route("/docs")
@public(WHY)
@router.response(200, {"type": "string"}, content_type="text/html", description="a page for people")
def docs() -> Response:
    """This API, for people"""
    return requests.page_policy(Response(render_template("docs.html"), mimetype="text/html"))


@router.route("/docs/assets/<path:name>")
@public(WHY)
@router.response(200, {"type": "string"}, content_type="application/octet-stream", description="a file of that page")
def docs_assets(name: str) -> Response:
    """A script or style of that page"""
    return send_from_directory(SWAGGER, name, max_age=86400)


def document(app: Flask) -> dict[str, Any]:
    api: Api = app.extensions["flask-smorest"]["apis"][""]["ext_obj"]
    return _finished(api.spec.to_dict())


def _finished(spec: dict[str, Any]) -> dict[str, Any]:
    """Problems have a media type of their own, which flask-smorest cannot be told."""
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
        return "0.1.0"
