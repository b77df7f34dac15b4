"""Domains over HTTP."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.api.answers import problem, without_id

DOMAINS = "/api/v2/domains"


@pytest.fixture
def known(client, operator):
    domains = ["example.com", "example.com/shop/", "b.example.com", "b.example.com:8080"]
    answer = client.post("/api/v2/batches", headers=operator, json={"domains": domains})
    assert answer.status_code == 202, answer.text
    return {item["name"]: item for item in client.get(DOMAINS, headers=operator).json["items"]}


def test_domains_are_listed_by_name_and_found_by_the_start_of_it(client, operator, known):
    assert list(known) == ["b.example.com", "b.example.com:8080", "example.com", "example.com/shop/"]
    found = client.get(f"{DOMAINS}?host=B.", headers=operator).json["items"]
    assert [item["name"] for item in found] == ["b.example.com", "b.example.com:8080"]
    page = client.get(f"{DOMAINS}?limit=3", headers=operator).json
    rest = client.get(f"{DOMAINS}?limit=3&cursor={page['next_cursor']}", headers=operator).json
    assert [item["name"] for item in page["items"] + rest["items"]] == list(known)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.com", "example.com"),
        ("example.com/", "example.com"),
        ("example.com/shop/", "example.com/shop/"),
        ("example.com%2Fshop%2F", "example.com/shop/"),
        ("https://example.com/shop/", "example.com/shop/"),
        ("b.example.com:8080", "b.example.com:8080"),
    ],
)
def test_a_domain_is_found_by_name(client, operator, known, key, name):
    answer = client.get(f"{DOMAINS}/{key}", headers=operator)
    assert answer.status_code == 200, answer.text
    assert (answer.json["id"], answer.json["details"]) == (known[name]["id"], None)
    for link in ("self", "named"):
        assert client.get(known[name]["links"][link], headers=operator).json == answer.json


def test_the_latest_metadata_and_totals_are_shown(client, operator, known, superuser_here):
    superuser_here.execute(
        'UPDATE domains SET details = \'{"title": "Hello"}\', url_count = 7, sitemap_count = 2, '
        "last_outcome = 'sitemaps_found' WHERE host = 'example.com' AND path = '/'"
    )
    shown = client.get(f"{DOMAINS}/example.com", headers=operator).json
    assert shown["details"] == {"title": "Hello"}
    assert (shown["url_count"], shown["sitemap_count"], shown["last_outcome"]) == (7, 2, "sitemaps_found")


@pytest.mark.parametrize(
    "key",
    [
        "missing.example.com",
        "localhost",
        "x",
        "%00",
        "1" * 30,
        "a" * 5_000,
        "a@example.com",
        "0193c0de-0000-7000-8000-00000000dead",
        "%FF",
    ],
)
def test_what_is_not_known_is_not_found(client, operator, known, key):
    problem(client.get(f"{DOMAINS}/{key}", headers=operator), 404, "not_found")


def test_another_tenants_domain_is_as_missing_as_a_missing_one(client, known, login, new_tenant):
    stranger = login("tenant_admin", tenant=new_tenant("acme"))
    missing = client.get(f"{DOMAINS}/{uuid4()}", headers=stranger)
    for key in (known["example.com"]["id"], "example.com"):
        theirs = client.get(f"{DOMAINS}/{key}", headers=stranger)
        assert theirs.status_code == missing.status_code == 404
        assert without_id(theirs) == without_id(missing)
    assert client.get(DOMAINS, headers=stranger).json["items"] == []


@pytest.mark.parametrize("query", ["cursor=x", "host=%00", "limit=-1", "odd=1"])
def test_a_wrong_page_is_refused(client, operator, query):
    problem(client.get(f"{DOMAINS}?{query}", headers=operator), 422, "invalid_input")
