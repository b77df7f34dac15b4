"""Jobs, and what each brought home."""

from __future__ import annotations

from typing import Any, Final

import marshmallow as ma
from flask import Response

from app.api.core import core
from app.api.files import FORMATS, as_file, documented
from app.api.inputs import Line, id_in_path
from app.api.paging import PageArgs, page_of
from app.api.routers import Router, polled
from app.api.schemas import Schema
from app.api.security import current_actor, requires
from app.api.streaming import while_allowed
from app.api.v2 import shapes
from app.repositories.keyset import PageOf
from app.services.jobs import Jobs
from models.states import JobStatus

router = Router("jobs", prefix="/jobs", description="One scan of one domain")


class JobArgs(PageArgs):
    status = ma.fields.String(load_default=None, validate=ma.validate.OneOf([word.value for word in JobStatus]))
    domain = Line(
        load_default=None,
        validate=ma.validate.Length(1, 253),
        metadata={"description": "the beginning of the host name"},
    )


class ExportArgs(Schema):
    format = ma.fields.String(load_default="jsonl", validate=ma.validate.OneOf(FORMATS))


_URL: Final = {
    "url": "https://example.com/bread",
    "cross_host": False,
    "lastmod": "2026-11-01T08:00:00Z",
    "changefreq": "weekly",
    "priority": 0.5,
    "images": [],
    "videos": [],
    "news": None,
    "alternates": [],
    "page_type": "product",
    "sitemap_url": "https://example.com/sitemap.xml",
    "first_seen_at": "2026-11-02T09:30:00Z",
    "last_changed_at": "2026-11-02T09:30:00Z",
    "removed_at": None,
}


@router.route("")
@requires("job:read")
@router.arguments(JobArgs, location="query")
@router.response(200, shapes.JobPage)
def listing(args: dict[str, Any]) -> PageOf[Any]:
    """Jobs, newest first"""
    return jobs().listing(current_actor(), **args).map(shapes.job)


@router.route("/<key>")
@polled
@requires("job:read")
@router.response(200, shapes.JobShape)
@router.alt_response(404, "NOT_FOUND")
def show(key: str) -> dict[str, Any]:
    """A job, by id or number"""
    return shapes.job(jobs().get(current_actor(), id_in_path(key)))


@router.route("/<key>/urls")
@requires("result:read")
@router.arguments(PageArgs, location="query")
@router.response(200, page_of(shapes.UrlShape))
@router.alt_response(404, "NOT_FOUND")
def urls(args: dict[str, Any], key: str) -> PageOf[Any]:
    """The site's URLs, as this job's scan left them"""
    return jobs().urls(current_actor(), id_in_path(key), **args).map(shapes.url)


@router.route("/<key>/export")
@requires("result:export", feature="exports")
@router.arguments(ExportArgs, location="query")
@router.response(200, {"type": "string"})
@router.doc(responses={"200": documented("one URL", shapes.URL_COLUMNS, _URL)})
@router.alt_response(404, "NOT_FOUND")
def export(args: dict[str, Any], key: str) -> Response:
    """All the site's URLs as this job's scan left them, as a file

    The answer ends without its last chunk, and so is no whole file, where the caller's rights end before it does.
    """
    chunks = while_allowed(jobs().export(current_actor(), id_in_path(key)))
    name = f"job-{key}-urls"
    return as_file(name, args["format"], chunks, columns=shapes.URL_COLUMNS, lines=shapes.url, cells=shapes.url_cells)


@router.route("/<key>/sitemaps")
@requires("result:read")
@router.arguments(PageArgs, location="query")
@router.response(200, page_of(shapes.SitemapShape))
@router.alt_response(404, "NOT_FOUND")
def sitemaps(args: dict[str, Any], key: str) -> PageOf[Any]:
    """The tree of sitemap files this job met"""
    return jobs().sitemaps(current_actor(), id_in_path(key), **args).map(shapes.sitemap)


@router.route("/<key>/pages")
@requires("result:read", feature="pages")
@router.arguments(PageArgs, location="query")
@router.response(200, page_of(shapes.PageShape))
@router.alt_response(404, "NOT_FOUND")
def pages(args: dict[str, Any], key: str) -> PageOf[Any]:
    """The pages this job met, with their latest metadata"""
    return jobs().pages(current_actor(), id_in_path(key), **args).map(shapes.page)


@router.route("/<key>/cancel", methods=["POST"])
@requires("job:cancel")
@router.response(202, shapes.JobShape)
@router.alt_response(404, "NOT_FOUND")
def cancel(key: str) -> dict[str, Any]:
    """End a job; one that has ended stays as it is"""
    return shapes.job(jobs().cancel(current_actor(), id_in_path(key)))


@router.route("/<key>/retry", methods=["POST"])
@requires("job:run", feature="sitemaps")
@router.response(202, shapes.JobShape)
@router.alt_response(404, "NOT_FOUND")
@router.alt_response(409, "CONFLICT")
def retry(key: str) -> dict[str, Any]:
    """Give a failed or cancelled job a fresh start"""
    return shapes.job(jobs().retry(current_actor(), id_in_path(key), quotas=core().quotas))


def jobs() -> Jobs:
    return Jobs(core().database)
