"""Fields that read their input as strictly as JSON allows, ids in paths, and the options of a scan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

import marshmallow as ma

from app.api.schemas import Schema
from app.errors import NotFound
from app.scanning.values import ScanOptions

MAX_OFFENDERS: Final = 100
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_DEFAULTS = ScanOptions()


def uuid_in_path(text: str) -> UUID:
    """:raises NotFound: it is no UUID, so there is nothing under it"""
    if not _UUID.fullmatch(text):
        raise NotFound
    return UUID(text)


def id_in_path(text: str) -> UUID | int:
    """A UUID, or a number that a column of 64 bits can hold.

    :raises NotFound: it is neither
    """
    if _NUMBER.fullmatch(text) and int(text) < 2**63:
        return int(text)
    return uuid_in_path(text)


class StrictNumber(ma.fields.Float):
    """A JSON number: no string, no boolean."""

    def _validated(self, value: Any) -> float:
        if not isinstance(value, int | float):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class StrictBoolean(ma.fields.Boolean):
    """true or false: no 1, no "yes"."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Line(ma.fields.String):
    """Text of one line, without control characters."""

    def __init__(self, *, metadata: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(metadata={"pattern": r"^[^\x00-\x1f\x7f]*$", **(metadata or {})}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if any(char < " " or char == "\x7f" for char in text):
            raise ma.ValidationError("Holds control characters.")
        return text


class JobKey(ma.fields.String):
    """A job's id or number."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        try:
            return id_in_path(text)
        except NotFound:
            return self._otherwise(text)

    def _otherwise(self, _: str) -> Any:
        raise ma.ValidationError("Neither a job's id nor its number.")


class JobOrTime(JobKey):
    """A job's id or number, or a moment."""

    def _otherwise(self, text: str) -> datetime:
        try:
            return ma.fields.AwareDateTime("iso", default_timezone=UTC).deserialize(text)
        except ma.ValidationError:
            raise ma.ValidationError("Neither a job's id or number nor a time of RFC 3339.") from None


class Domains(ma.fields.Raw):
    """A list of strings. Names at most a hundred items that are none; a field per item would be slow."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, list):
            raise ma.ValidationError("Not a valid list.")
        wrong = (index for index, item in enumerate(value) if not isinstance(item, str))
        errors = {index: ["Not a valid string."] for index in islice(wrong, MAX_OFFENDERS)}
        if errors:
            raise ma.ValidationError(errors)
        return super()._deserialize(value, attr, data, **kwargs)


def domain_list() -> ma.fields.Field[Any]:
    return Domains(required=True, metadata={"type": "array", "items": {"type": "string"}, "minItems": 1})


def moment(*, required: bool = True, allow_none: bool = False) -> ma.fields.Field[Any]:
    """A time to be shown: RFC 3339 in UTC. A stored answer holds it as text already."""
    schema = {"type": ["string", "null"] if allow_none else "string", "format": "date-time"}
    return ma.fields.Raw(required=required, metadata=schema)


def option_fields(*, strict: bool) -> dict[str, ma.fields.Field[Any]]:
    """The fields of `ScanOptions`; `strict` for JSON, else read from the text of a query."""
    number = StrictNumber if strict else ma.fields.Float
    truth = StrictBoolean if strict else ma.fields.Boolean

    def whole(least: int, most: int, default: int, what: str) -> ma.fields.Integer:
        return ma.fields.Integer(
            strict=strict, validate=ma.validate.Range(least, most), metadata={"description": what, "default": default}
        )

    def yes(default: bool, what: str) -> ma.fields.Boolean:
        return truth(metadata={"description": what, "default": default})

    return {
        "max_pages": whole(0, 10_000, _DEFAULTS.max_pages, "HTML pages fetched for metadata, the home page first"),
        "max_urls": whole(1, 50_000_000, _DEFAULTS.max_urls, "URLs taken from the site's sitemaps"),
        "max_sitemaps": whole(1, 50_000, _DEFAULTS.max_sitemaps, "sitemap files fetched"),
        "max_depth": whole(1, 20, _DEFAULTS.max_depth, "levels of sitemap indexes followed"),
        "respect_robots": yes(_DEFAULTS.respect_robots, "fetch nothing that robots.txt forbids"),
        "force": yes(_DEFAULTS.force, "ignore stored validators: read everything anew"),
        "per_host_concurrency": whole(1, 16, _DEFAULTS.per_host_concurrency, "requests at a time to the host"),
        "crawl_delay": number(
            allow_none=strict,
            validate=ma.validate.Range(0, 60),
            metadata={"description": "least seconds between requests; never below the site's own"},
        ),
        "timeout_seconds": whole(1, 86_400, _DEFAULTS.timeout_seconds, "for the whole job"),
        "thorough": yes(_DEFAULTS.thorough, "also try well-known names where robots.txt names sitemaps"),
        "country": ma.fields.String(
            allow_none=strict,
            validate=ma.validate.Regexp(r"[A-Za-z]{2}\Z", error="Not a two-letter ISO 3166 code."),
            metadata={"description": "ISO 3166 code, a hint for phone numbers", "pattern": "^[A-Za-z]{2}$"},
        ),
    }


def normalised(options: dict[str, Any] | None) -> dict[str, Any]:
    """What is kept of options as sent: those that say something.

    >>> normalised({"country": "de", "crawl_delay": None})
    {'country': 'DE'}
    """
    kept = {name: value for name, value in (options or {}).items() if value is not None}
    if "country" in kept:
        kept["country"] = kept["country"].upper()
    return kept


OptionsBody = Schema.from_dict(option_fields(strict=True), name="ScanOptions")
