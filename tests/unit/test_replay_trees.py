"""Trees, indexes and home pages from other projects' tests and their users' reports, scanned over a fake web."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from app.scanning.reading import FOUND
from app.scanning.urls import canonical
from tests.fakes import Resource
from tests.unit.replay import body_of, needs_cases, replay_cases
from tests.unit.scanned import Scanned, scanned

pytestmark = needs_cases


def web_of(case: dict[str, Any]) -> dict[str, Resource]:
    return {
        resource["url"]: (resource["status"], resource["headers"], body_of(resource)) for resource in case["resources"]
    }


def with_robots(case: dict[str, Any]) -> dict[str, Resource]:
    """A case that starts at a sitemap: robots.txt of its host names it."""
    parts = urlsplit(case["start"])
    named = (200, {}, f"Sitemap: {case['start']}".encode())
    return {f"{parts.scheme}://{parts.netloc}/robots.txt": named, **web_of(case)}


def accepted(case: dict[str, Any], name: str, alternatives: str) -> list[set[str]]:
    return [{canonical(url, allow_special=True) for url in urls} for urls in case.get(alternatives) or [case[name]]]


def found(result: Scanned) -> set[str]:
    return {file.url for file in result.files if file.status in FOUND}


@pytest.mark.parametrize("case", replay_cases("tree", "homepage"))
def test_a_tree_is_read_from_the_home_page(case):
    result = scanned(web_of(case), case["start"])

    assert result.urls in accepted(case, "expected_urls", "alternatives")
    assert not result.urls & set(case.get("must_not_contain") or ())
    if case.get("expected_sitemaps") and "alternatives" not in case:
        assert found(result) == set(case["expected_sitemaps"])


@pytest.mark.parametrize("case", replay_cases("index"))
def test_an_index_leads_to_its_children(case):
    result = scanned(with_robots(case), case["start"])

    children = {child.url for child in result.file(case["start"]).children}
    assert children in accepted(case, "expected_sitemaps", "alternatives_sitemaps")
    assert children <= set(result.statuses)  # each was asked for (and is missing here)


@pytest.mark.parametrize("case", replay_cases("robots"))
def test_every_sitemap_that_robots_txt_names_is_asked_for(case):
    parts = urlsplit(case["start"])

    result = scanned(web_of(case), f"{parts.scheme}://{parts.netloc}/")

    assert set(result.statuses) in accepted(case, "expected_sitemaps", "alternatives_sitemaps")
