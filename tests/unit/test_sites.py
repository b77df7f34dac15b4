"""Sixty-one real websites, scanned in process: as many distinct pages must be found as were counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fakes import Resource
from tests.unit.replay import CASES, base_of, needs_cases, sites
from tests.unit.scanned import scanned

pytestmark = needs_cases


# Where the count and this reader differ; docs/scanning.md argues each ("Held against real sites").
COUNTED_OTHERWISE = {
    "ecoconsulting.co.uk": 24,  # 25 with `http://ecoconsulting.co.uk` and `…uk/`, which are one URL (RFC 3986, 6.2.3)
    "www.941hm.com": 3705,  # 3,694 where GBK is read as broken UTF-8, so that eleven pairs of URLs look the same
}


def web_of(site: dict[str, Any]) -> dict[str, Resource]:
    """The site's files under their URLs; a directory's `index.html` is the directory's page."""
    base = urlsplit(site["expected"]["base"])
    root = CASES / "sites" / site["host"]
    web: dict[str, Resource] = {}
    for path in filter(Path.is_file, root.rglob("*")):
        name = path.relative_to(root).as_posix()
        for url in (name, name.removesuffix("index.html")):
            web[f"{base.scheme}://{base.netloc}/{url}"] = (200, {}, path.read_bytes())
    return web


def closes_itself(site: dict[str, Any]) -> bool:
    return site["host"] == "cafre.ru"  # robots.txt disallows everything and names no sitemap


@pytest.mark.parametrize("site", sites())
def test_a_real_site_is_read_whole(site):
    options = {"max_pages": 1, "respect_robots": not closes_itself(site)}

    result = scanned(web_of(site), base_of(site), **options)

    expected = site["expected"]["distinct_pages_reachable_B"]
    assert len(result.urls) == COUNTED_OTHERWISE.get(site["host"], expected)
    assert result.outcome == ("sitemaps_found" if site["expected"]["roots"] else "no_sitemap")
    assert not [file.problem for file in result.files if file.status == "failed"]


def test_a_real_site_that_closes_itself_is_left_alone():
    [site] = [param.values[0] for param in sites() if closes_itself(param.values[0])]

    result = scanned(web_of(site), base_of(site), max_pages=1)

    assert result.outcome == "disallowed"
    assert result.fetcher.urls == ["https://cafre.ru/robots.txt"]
