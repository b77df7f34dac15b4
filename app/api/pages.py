"""Pages for people, and the files they are made of. All served from here: nothing is fetched from elsewhere."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, render_template, send_from_directory

from app.api import requests
from app.api.security import public

STATIC = Path(__file__).parent / "static"
pages = Blueprint("pages", __name__)


@pages.get("/docs")
@public("documentation holds no data")
def docs() -> Response:
    return page("docs.html")


@pages.get("/static/<path:name>")
@public("scripts and styles hold no data")
def static_file(name: str) -> Response:
    answer = send_from_directory(STATIC, name)
    answer.cache_control.no_cache = True  # asked again each time, answered 304 while unchanged
    return answer


def page(template: str) -> Response:
    """An HTML page that may load its own scripts and styles, and nothing else."""
    answer = Response(render_template(template), mimetype="text/html")
    answer.headers["Content-Security-Policy"] = requests.PAGE_POLICY
    return answer
