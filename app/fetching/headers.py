"""What we say in a request's header, and what we read out of an answer's."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from app.errors import FetchError
from app.fetching.coding import ACCEPT_ENCODING
from app.scanning.values import Purpose, Request

ERROR_BYTES: Final = 64 * 1024  # of the body of a 4xx or 5xx: no one reads more
SNIFF_BYTES: Final = 4 * 1024  # of an image, film or archive where a page was asked for

ACCEPT: Final[Mapping[Purpose, str]] = {
    "page": "text/html,application/xhtml+xml,*/*;q=0.5",
    "robots": "text/plain,*/*;q=0.5",
    "sitemap": "application/xml,text/xml,*/*;q=0.5",
}

# Fields that hold one value by their nature: of several the first is meant. All others are lists.
SINGLE: Final = frozenset({"content-type", "etag", "last-modified", "retry-after"})
CONDITIONS: Final = frozenset({"If-None-Match", "If-Modified-Since"})

_VALIDATOR = re.compile(r"[\x21-\x7e\xa0-\xff](?:[\x20-\x7e\xa0-\xff]{0,1022}[\x21-\x7e\xa0-\xff])?")
_NOT_A_PAGE = re.compile(r"(?:image|audio|video|font)/|application/(?:zip|gzip|pdf|octet-stream)\b", re.IGNORECASE)
_SECONDS = re.compile(r"[0-9]{1,10}")


def request_headers(request: Request, user_agent: str) -> dict[str, str]:
    """No cookies, no credentials, no referrer. A stored validator that no header may hold is left out."""
    headers = {
        "User-Agent": user_agent,
        "Accept": ACCEPT[request.purpose],
        "Accept-Encoding": ACCEPT_ENCODING,
    }
    if request.etag and _VALIDATOR.fullmatch(request.etag):
        headers["If-None-Match"] = request.etag
    if request.last_modified and _VALIDATOR.fullmatch(request.last_modified):
        headers["If-Modified-Since"] = request.last_modified
    return headers


def body_limit(request: Request, status: int, headers: Mapping[str, str]) -> int:
    """Decoded bytes worth receiving of this answer."""
    if status >= 400:
        return min(request.max_bytes, ERROR_BYTES)
    if request.purpose == "page" and _NOT_A_PAGE.match(headers.get("content-type", "")):
        return min(request.max_bytes, SNIFF_BYTES)
    return request.max_bytes


def answer_headers(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names in lower case; values of a repeated name joined by a comma (RFC 9110, 5.3), unless there is but one
    to be meant, or all are the same.

    >>> answer_headers([("Vary", "A"), ("vary", "B"), ("ETag", "1"), ("ETag", "2"), ("Location", "/")] * 2)
    {'vary': 'A, B, A, B', 'etag': '1', 'location': '/'}

    :raises FetchError: `bad_redirect`, two targets
    """
    found: dict[str, str] = {}
    for name, value in ((name.lower(), value) for name, value in fields):
        if name not in found:
            found[name] = value
        elif name == "location" and value != found[name]:
            raise FetchError("bad_redirect")
        elif name != "location" and name not in SINGLE:
            found[name] += f", {value}"
    return found


def redirect_reference(location: str) -> str:
    """A Location as a reference to resolve. http.client hands out Latin-1; most mean UTF-8, the rest its bytes.

    >>> redirect_reference("/caf\N{LATIN SMALL LETTER E WITH ACUTE} ")
    '/caf%E9'

    :raises FetchError: `bad_redirect`, empty
    """
    octets = location.strip(" \t").encode("latin-1", "replace")
    if not octets:
        raise FetchError("bad_redirect")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return "".join(chr(octet) if octet < 0x80 else f"%{octet:02X}" for octet in octets)


def asked_pause(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that Retry-After asks for (RFC 9110, 10.2.3); None where it says nothing usable.

    A date is meant by the server's own clock, which its `Date` tells; by ours (`now`) only where it does not.

    >>> asked_pause({"retry-after": "120"}, datetime.now(UTC))
    120.0
    >>> late = {"retry-after": "Wed, 21 Oct 2015 07:28:10 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    >>> asked_pause(late, datetime(2015, 10, 21, 8, 28, tzinfo=UTC))
    10.0
    >>> asked_pause({"retry-after": late["retry-after"]}, datetime(2015, 10, 21, 7, 28, 5, tzinfo=UTC))
    5.0
    """
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    until = _date(text)
    return None if until is None else max((until - (_date(headers.get("date", "")) or now)).total_seconds(), 0.0)


def _date(text: str) -> datetime | None:
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
