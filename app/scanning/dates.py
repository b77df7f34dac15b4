"""Dates as sitemaps and feeds write them: W3C datetime, RFC 822, and the deviations seen in the wild."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache, partial
from itertools import repeat
from typing import Final

from app.scanning.values import Lastmod, LastmodPrecision

MAX_LENGTH: Final = 100

_TIME = r"(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9})\d*)?)?\s*(?P<half>[AP]M)?"
_OFFSETS = r"Z|(?:GMT|UTC)?[+\-]\d\d:?\d\d|[+\-]\d\d"
_ZONE = rf"(?P<zone>{_OFFSETS}|[A-Z]{{2,5}})?"
_WEEKDAY = r"(?:[A-Z]{2,9}\.?(?:,\s*|\s+))?"
_YEAR_FIRST = re.compile(
    rf"(?P<year>\d{{4}})(?:[-/.](?P<month>\d\d?)(?:[-/.](?P<day>\d\d?)(?:(?:T|\s|,)\s*{_TIME}\s*{_ZONE}|(?:{_OFFSETS}))?)?)?",
    re.IGNORECASE,
)
_COMPACT = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?:T?(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)?"
    rf"(?P<zone>{_OFFSETS})?)?",
    re.IGNORECASE,
)
_RFC_822 = re.compile(
    rf"{_WEEKDAY}(?P<day>\d\d?)[\s-]+(?P<name>[A-Z]{{3,9}})\.?,?[\s-]+(?P<year>\d{{4}}|\d\d)"
    rf"(?:,?\s+{_TIME}\s*{_ZONE})?",
    re.IGNORECASE,
)
_MONTH_FIRST = re.compile(
    rf"{_WEEKDAY}(?P<name>[A-Z]{{3,9}})\.?\s+(?P<day>\d\d?)(?:st|nd|rd|th)?,?\s+(?P<year>\d{{4}})"
    rf"(?:,?\s+(?:at\s+)?{_TIME}\s*{_ZONE})?",
    re.IGNORECASE,
)
_ASCTIME = re.compile(  # of C, and with a zone of Unix and Ruby: the year stands last
    rf"{_WEEKDAY}(?P<name>[A-Z]{{3,9}})\s+(?P<day>\d\d?)\s+{_TIME}\s*{_ZONE}\s+(?P<year>\d{{4}})", re.IGNORECASE
)
# With dots the day comes first wherever dates are written so; with slashes it may be either, so those are not read
_DOTTED = re.compile(rf"(?P<day>\d\d?)\.(?P<month>\d\d?)\.(?P<year>\d{{4}})(?:,?\s+{_TIME}\s*{_ZONE})?", re.IGNORECASE)
_FORMS = (_YEAR_FIRST, _COMPACT, _RFC_822, _MONTH_FIRST, _ASCTIME, _DOTTED)
_REMARK = re.compile(
    r"\s*(?:\([^()]*\)|\[[^\[\]]*\])\s*$"
)  # `(CEST)` in RFC 822 and JavaScript, `[Europe/Berlin]` in Java
_MONTHS: Final = {
    name: number
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)  # noqa: SIM905 - reads as a row
}
# RFC 822, 5.1, and others that mean one zone; names that mean several are left out and read as UTC
_ZONES: Final = {
    "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
    "WEST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3, "JST": 9, "KST": 9, "AEST": 10, "AEDT": 11,
}  # fmt: skip
_PLAIN_LENGTHS: Final = frozenset(
    map(len, ("2004-12-23", "2004-12-23T18:00:15Z", "2004-12-23T18:00:15.123Z", "2004-12-23T18:00:15+02:00"))
)
_UTC_INSTANTS = re.compile(
    r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?(?:Z|\+00:00)(?:\n|\Z))*+"
)
_lastmod = partial(tuple.__new__, Lastmod)  # `Lastmod._make` without a call of Python's own for each
_OFFSET = re.compile(r"([+\-])(\d\d):?(\d\d)?$")


@lru_cache(maxsize=8_192)  # whole sitemaps share a handful of dates
def parse_lastmod(raw: str) -> Lastmod:
    """Read a date with its precision. What is not one gives `at=None` and keeps the raw text.

    No zone means UTC. `2014` is the first instant of that year, precise to the year.

    >>> parse_lastmod("2014").precision
    'year'
    >>> parse_lastmod("2004-12-23T18:00:15+02:00").at.isoformat()
    '2004-12-23T16:00:15+00:00'
    >>> parse_lastmod("soon")
    Lastmod(at=None, precision=None, raw='soon')
    """
    if len(raw) in _PLAIN_LENGTHS and raw[4] == raw[7] == "-" and raw[10:11] in ("", "T"):
        known = _plain(raw)
        if known is not None:
            return known
    raw = raw[:MAX_LENGTH]
    text = _REMARK.sub("", raw)
    for form in _FORMS:
        found = form.fullmatch(text)
        if found:
            return _build(found.groupdict(), raw)
    return Lastmod(None, None, raw)


def parse_lastmods(raws: Sequence[str]) -> Iterable[Lastmod | None]:
    """The same for many; None for empty ones. Instants in UTC, of which each is another, are read all at once.

    >>> [one and one.precision for one in parse_lastmods(["2014", "", "2004-12-23T18:00:15Z"])]
    ['year', None, 'second']
    """
    if _UTC_INSTANTS.fullmatch("\n".join(raws)):
        try:
            instants = zip(map(datetime.fromisoformat, raws), repeat("second"), raws)
            return list(map(_lastmod, instants))
        except ValueError:  # some 31 February
            pass
    return [parse_lastmod(raw) if raw else None for raw in raws]


def _plain(raw: str) -> Lastmod | None:
    """What nearly every sitemap writes, and `datetime` reads by itself."""
    try:
        at = datetime.fromisoformat(raw)
    except ValueError:
        return None
    if len(raw) == 10:
        return Lastmod(at.replace(tzinfo=UTC), "day", raw)
    if at.tzinfo is None or raw[13] != ":" or raw[16] != ":":
        return None
    try:
        return Lastmod(at if at.tzinfo is UTC else at.astimezone(UTC), "second", raw)
    except OverflowError:
        return None


def _build(parts: dict[str, str | None], raw: str) -> Lastmod:
    try:
        at = _instant(parts)
    except (ValueError, OverflowError):  # 31 February; 9999-12-31T23:59:59-14:00
        return Lastmod(None, None, raw)
    return Lastmod(at, _precision(parts), raw)


def _instant(parts: dict[str, str | None]) -> datetime:
    local = datetime(
        _year(parts["year"] or ""),
        _month(parts),
        int(parts.get("day") or 1),
        _hour(parts),
        int(parts.get("minute") or 0),
        min(int(parts.get("second") or 0), 59),  # a leap second has no other place
        int((parts.get("fraction") or "")[:6].ljust(6, "0")),
        tzinfo=_zone(parts.get("zone")),
    )
    return (local + timedelta(days=_is_midnight_at_end(parts))).astimezone(UTC)


def _is_midnight_at_end(parts: dict[str, str | None]) -> bool:
    """24:00, which ISO 8601 has for the end of a day."""
    return parts.get("hour") == "24" and not int(parts["minute"] or 0) and not int(parts.get("second") or 0)


def _year(text: str) -> int:
    year = int(text)
    if len(text) == 2:  # RFC 2822, 4.3
        year += 2000 if year < 50 else 1900
    return year


def _month(parts: dict[str, str | None]) -> int:
    name = parts.get("name")
    if name is None:
        return int(parts.get("month") or 1)
    number = _MONTHS.get(name[:3].lower())
    if number is None:
        raise ValueError(name)
    return number


def _hour(parts: dict[str, str | None]) -> int:
    hour = 0 if _is_midnight_at_end(parts) else int(parts.get("hour") or 0)
    half = (parts.get("half") or "").upper()
    if half and hour <= 12:  # "14:05 PM" means what its first half says
        return hour % 12 + (12 if half == "PM" else 0)
    return hour


def _zone(text: str | None) -> timezone:
    found = _OFFSET.search(text or "")
    if found is None:
        return timezone(timedelta(hours=_ZONES.get((text or "").upper(), 0)))
    offset = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
    return timezone(-offset if found[1] == "-" else offset)


def _precision(parts: dict[str, str | None]) -> LastmodPrecision:
    finest: tuple[LastmodPrecision, ...] = ("second", "minute", "day", "month")
    for precision in finest:
        if parts.get(precision) or (precision == "month" and parts.get("name")):
            return precision
    return "year"
