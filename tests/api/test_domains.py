"""Domains over HTTP."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from app.repositories.hashes import url_key
from app.repositories.inventory import UrlRow
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


@pytest.fixture
def scanned(client, operator, known, database, tenant_id, superuser_here):
    """example.com, scanned three times: by a job each, which ended in 2026, 2027 and 2028. → the jobs' ids"""
    domain, jobs = UUID(known["example.com"]["id"]), []
    lists = ({"a": 0.1, "b": 0.1}, {"a": 0.2, "c": 0.1}, {"a": 0.2, "c": 0.1, "d": 0.1})
    for number, listed in enumerate(lists, 1):
        job = client.post("/api/v2/scans", headers=operator, json={"domain": "example.com"}).json["id"]
        with database.for_tenant(tenant_id) as uow:
            file = uow.inventory.ensure_file(domain, "https://example.com/sitemap.xml")
            rows = [_row(f"https://example.com/{path}", priority) for path, priority in listed.items()]
            uow.inventory.land(file, number, rows, complete=True)
            uow.commit()
        superuser_here.execute(
            "UPDATE jobs SET scan_no = %s, status = 'complete', outcome = 'sitemaps_found', dispatch_until = NULL, "
            "finished_at = %s WHERE id = %s",
            [number, f"{2025 + number}-06-01T00:00:00Z", job],
        )
        superuser_here.execute("UPDATE domains SET scan_count = %s WHERE id = %s", [number, domain])
        jobs.append(job)
    return jobs


def _row(url, priority):
    return UrlRow(url_key(url), url, *[None] * 5, priority, None, None)


def paths(page):
    return sorted(item["url"].rsplit("/", 1)[1] for item in page["items"])


def told(page):
    return sorted((item["url"].rsplit("/", 1)[1], item["change"]) for item in page["items"])


def test_the_inventory_is_that_of_now_or_of_any_job(scanned, get, known):
    urls = known["example.com"]["links"]["urls"]
    assert paths(get(urls)) == paths(get(f"{DOMAINS}/example.com/urls")) == ["a", "c", "d"]
    wanted = (["a", "b"], ["a", "c"], ["a", "c", "d"])
    assert [paths(get(f"{urls}?as_of={job}")) for job in scanned] == list(wanted)
    number = get(f"/api/v2/jobs/{scanned[0]}")["number"]
    assert get(f"{urls}?as_of={number}") == get(f"{urls}?as_of={scanned[0]}")
    page = get(f"{urls}?limit=2")
    assert paths({"items": page["items"] + get(f"{urls}?limit=2&cursor={page['next_cursor']}")["items"]}) == wanted[2]


def test_changes_are_told_since_any_job_or_moment(scanned, get, known):
    changes = known["example.com"]["links"]["changes"]
    first, second, third = scanned
    newest = [("d", "added")]
    assert told(get(changes)) == told(get(f"{changes}?since={second}")) == newest
    both = [("a", "changed"), ("b", "removed"), ("c", "added"), ("d", "added")]
    assert told(get(f"{changes}?since={first}")) == told(get(f"{changes}?since={first}&until={third}")) == both
    assert told(get(f"{changes}?until={second}")) == both[:3]
    assert told(get(f"{changes}?since={third}&until={second}")) == [("d", "removed")]
    assert told(get(f"{changes}?since={first}&change=removed")) == [("b", "removed")]
    for moment, wanted in (
        ("2027-01-01T00:00:00Z", both),
        ("2027-06-01T00:00:00Z", newest),
        ("2030-01-01T00:00:00Z", []),
    ):
        assert told(get(f"{changes}?since={moment}")) == wanted
    assert told(get(f"{changes}?since=2020-01-01T00:00:00Z")) == [("a", "added"), ("c", "added"), ("d", "added")]
    for moment, count in (("0001-01-01T00:00:00%2B14:00", 3), ("9999-12-31T23:59:59-12:00", 0)):
        assert len(told(get(f"{changes}?since={moment}"))) == count
    page = get(f"{changes}?since={first}&limit=3")
    rest = get(f"{changes}?since={first}&limit=3&cursor={page['next_cursor']}")
    assert sorted(told(page) + told(rest)) == both


def test_a_change_shows_both_sides_and_what_differs(scanned, get):
    found = get(f"{DOMAINS}/example.com/changes?since={scanned[0]}&change=changed")["items"]
    blank = {"lastmod": None, "changefreq": None, "images": [], "videos": [], "news": None, "alternates": []}
    assert found == [
        {
            "change": "changed", "url": "https://example.com/a", "cross_host": False, "differs": ["priority"],
            "sitemap_url": "https://example.com/sitemap.xml",
            "before": {**blank, "page_type": None, "priority": 0.1},
            "after": {**blank, "page_type": None, "priority": 0.2},
        }
    ]  # fmt: skip
    (removed,) = get(f"{DOMAINS}/example.com/changes?since={scanned[0]}&change=removed")["items"]
    assert (removed["after"], removed["differs"], removed["before"]["priority"]) == (None, [], 0.1)


@pytest.mark.parametrize("query", ["urls?as_of=", "changes?since=", "changes?until="])
def test_a_job_of_another_domain_is_as_missing_as_another_tenants(
    client, operator, login, new_tenant, scanned, query, superuser_here
):
    other = client.post("/api/v2/scans", headers=operator, json={"domain": "b.example.com"}).json
    superuser_here.execute("UPDATE jobs SET scan_no = 1 WHERE id = %s", [other["id"]])
    stranger = login("tenant_admin", tenant=new_tenant("acme"))
    theirs = client.post("/api/v2/scans", headers=stranger, json={"domain": "example.com"}).json
    missing = client.get(f"{DOMAINS}/example.com/{query}{uuid4()}", headers=operator)
    problem(missing, 404, "not_found")
    for key in (other["id"], other["number"], theirs["id"], theirs["number"]):
        answer = client.get(f"{DOMAINS}/example.com/{query}{key}", headers=operator)
        assert (answer.status_code, without_id(answer)) == (404, without_id(missing))


@pytest.mark.parametrize("query", ["urls?as_of=", "changes?since=", "changes?until="])
def test_a_job_that_has_not_scanned_has_no_inventory(client, operator, scanned, query):
    waiting = client.post("/api/v2/scans", headers=operator, json={"domain": "example.com"}).json
    problem(client.get(f"{DOMAINS}/example.com/{query}{waiting['id']}", headers=operator), 409, "conflict")


@pytest.mark.parametrize(
    "query",
    ["urls?as_of=x", "urls?as_of=2026-01-01T00:00:00Z", "changes?since=x", "changes?until=%00", "changes?change=moved",
     "changes?since=2026-13-01", "changes?cursor=x", "urls?cursor=x", "urls?since=1"],
)  # fmt: skip
def test_what_names_neither_a_job_nor_a_moment_is_refused(client, operator, scanned, query):
    problem(client.get(f"{DOMAINS}/example.com/{query}", headers=operator), 422, "invalid_input")


def test_a_domain_never_scanned_has_nothing_to_tell(get, known):
    for name in ("urls", "changes"):
        assert get(known["b.example.com"]["links"][name])["items"] == []


@pytest.mark.parametrize("tail", ["urls", "changes"])
def test_another_tenants_history_is_as_missing_as_a_missing_one(client, scanned, known, login, new_tenant, tail):
    stranger = login("tenant_admin", tenant=new_tenant("acme"))
    missing = client.get(f"{DOMAINS}/{uuid4()}/{tail}", headers=stranger)
    for key in (known["example.com"]["id"], "example.com"):
        theirs = client.get(f"{DOMAINS}/{key}/{tail}?", headers=stranger)
        assert (theirs.status_code, without_id(theirs)) == (404, without_id(missing))
