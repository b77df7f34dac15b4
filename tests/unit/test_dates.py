"""How sitemaps and feeds date their entries: what is an instant, how precise it is, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scanning.dates import parse_lastmod

W3C = [  # the six forms of https://www.w3.org/TR/NOTE-datetime, and zones west and east
    ("2019", "year", "2019-01-01T00:00:00Z"),
    ("2019-10", "month", "2019-10-01T00:00:00Z"),
    ("2019-10-27", "day", "2019-10-27T00:00:00Z"),
    ("2019-10-27T04:05+01:00", "minute", "2019-10-27T03:05:00Z"),
    ("2019-10-27T04:05:06Z", "second", "2019-10-27T04:05:06Z"),
    ("2019-10-27T04:05:06.75-03:30", "second", "2019-10-27T07:35:06.750000Z"),
]
RFC_822 = [
    ("Sun, 27 Oct 2019 04:05:06 GMT", "second", "2019-10-27T04:05:06Z"),
    ("Sun, 27 Oct 2019 04:05:06 +0100", "second", "2019-10-27T03:05:06Z"),
    ("27 Oct 2019 04:05:06 EST", "second", "2019-10-27T09:05:06Z"),
    ("27 Oct 19 04:05 UT", "minute", "2019-10-27T04:05:00Z"),
    ("Sun,27 Oct 2019 04:05:06 GMT", "second", "2019-10-27T04:05:06Z"),
    ("Sun, 27 Oct 2019 04:05:06 +0100 (CET)", "second", "2019-10-27T03:05:06Z"),
    ("Sunday, 27-Oct-19 04:05:06 GMT", "second", "2019-10-27T04:05:06Z"),
    ("27 Oct 70 00:00:00 GMT", "second", "1970-10-27T00:00:00Z"),
]
DEVIATIONS = [
    ("2019-10-27T04:05:06", "second", "2019-10-27T04:05:06Z"),  # no zone: read as UTC
    ("2019-10-27 04:05:06", "second", "2019-10-27T04:05:06Z"),
    ("2019-10-27 04:05:06.123456 +0100", "second", "2019-10-27T03:05:06.123456Z"),
    ("2019-10-27T04:05:06+0100", "second", "2019-10-27T03:05:06Z"),
    ("2019-10-27T04:05:06+01", "second", "2019-10-27T03:05:06Z"),
    ("2019-10-27T04:05:06.1234567890Z", "second", "2019-10-27T04:05:06.123456Z"),
    ("2019-10-27T24:00:00Z", "second", "2019-10-28T00:00:00Z"),
    ("2016-12-31T23:59:60Z", "second", "2016-12-31T23:59:59Z"),
    ("2019-10-27Z", "day", "2019-10-27T00:00:00Z"),  # XML Schema's date; the day is the one that was named
    ("2019-10-27+02:00", "day", "2019-10-27T00:00:00Z"),
    ("2019-10-27 04:05:06 AM", "second", "2019-10-27T04:05:06Z"),
    ("2019-10-27 12:05 am", "minute", "2019-10-27T00:05:00Z"),
    ("2019-10-27 04:05:06 PM", "second", "2019-10-27T16:05:06Z"),
    ("2019/10/27", "day", "2019-10-27T00:00:00Z"),
    ("2019-1-2", "day", "2019-01-02T00:00:00Z"),
    ("27.10.2019 04:05", "minute", "2019-10-27T04:05:00Z"),
    ("20191027", "day", "2019-10-27T00:00:00Z"),
    ("20191027T040506Z", "second", "2019-10-27T04:05:06Z"),
    ("20191027T040506+0100", "second", "2019-10-27T03:05:06Z"),
    ("October 27, 2019", "day", "2019-10-27T00:00:00Z"),
    ("Oct 27, 2019 4:05 PM", "minute", "2019-10-27T16:05:00Z"),
    ("Sun Oct 27 04:05:06 2019", "second", "2019-10-27T04:05:06Z"),
    ("Sun Oct  7 04:05:06 CEST 2018", "second", "2018-10-07T02:05:06Z"),
    ("Sun Oct 27 2019 04:05:06 GMT+0100 (Central European Standard Time)", "second", "2019-10-27T03:05:06Z"),
    ("2019-10-27T04:05:06+01:00[Europe/Berlin]", "second", "2019-10-27T03:05:06Z"),
]


@pytest.mark.parametrize(("text", "precision", "instant"), W3C + RFC_822 + DEVIATIONS)
def test_dates_as_they_are_written(text, precision, instant):
    found = parse_lastmod(text)
    assert (found.precision, found.at, found.raw) == (precision, datetime.fromisoformat(instant), text)


@pytest.mark.parametrize(
    "text",
    [
        *("soon", "", "-", "n/a", "{{ lastmod }}", "1572149106", "10/11/2019", "11-10-2019", "2019-10-", "2019-10-27T"),
        *("2019-13-01", "2019-02-30", "31 Jun 2019 00:00:00 GMT", "2019-10-27T25:00:00Z", "2019-10-27T24:00:01Z"),
        *("2019-10-27T04:60:00Z", "2019-10-27T04:05:06+99:00", "0000-00-00", "0000-00-00 00:00:00"),
        *("-0001-11-30T00:00:00+00:00", "20191-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"),
        *("2019-10-27T04:05:06Z 2018-01-02T03:04:05Z", "2019-W43-7", "2019-300", "27 juin 2019", "<b>2019</b>"),
    ],
)
def test_what_is_no_date_is_null_and_kept_as_it_stood(text):
    found = parse_lastmod(text)
    assert (found.at, found.precision, found.raw) == (None, None, text)


def test_what_is_kept_is_bounded():
    assert len(parse_lastmod("2019-10-27" + " " * 10_000_000).raw) <= 100


@given(st.text(alphabet="0123456789-/.:TZ+ ,()[]JanFebGMTPM", max_size=120) | st.text(max_size=120))
def test_any_text_is_a_date_or_none(text):
    found = parse_lastmod(text)
    assert (found.at is None) is (found.precision is None)
    assert found.at is None or found.at.tzinfo is UTC
    assert text.startswith(found.raw)


@given(st.datetimes(timezones=st.timezones()))
def test_what_python_writes_is_read(at):
    try:
        instant = at.astimezone(UTC)
    except OverflowError:
        return
    if at.isoformat()[-6] in "+-":  # zones of before 1900 have seconds, which no sitemap has
        assert parse_lastmod(at.isoformat()).at == instant
