"""Jobs over HTTP: reading them and what they found, cancelling, trying again."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from app.repositories.hashes import url_key
from app.repositories.inventory import UrlRow, extras_json
from models import Page, PageRead, SitemapRead
from tests.api.answers import problem, without_id

JOBS = "/api/v2/jobs"


@pytest.fixture
def scan(client, operator):
    def post(domain="example.com"):
        answer = client.post("/api/v2/scans", headers=operator, json={"domain": domain})
        assert answer.status_code == 202, answer.text
        return answer.json

    return post


@pytest.fixture
def change(superuser_here):
    """Move a job as a worker would have."""

    def move(job_id, **values):
        columns = ", ".join(f"{name} = %s" for name in values)
        superuser_here.execute(f"UPDATE jobs SET {columns} WHERE id = %s", [*values.values(), job_id])

    return move


def failed(change, job_id):
    change(
        job_id, status="failed", dispatch_until=None, finished_at=datetime.now(UTC), attempt=3, progress=40,
        error_code="dns_not_found", error_detail="the host name does not resolve", error_retryable=True,
    )  # fmt: skip


def test_a_job_is_found_by_id_and_by_number(scan, get):
    job = scan()
    assert get(f"{JOBS}/{job['id']}") == get(f"{JOBS}/{job['number']}") == job


def test_jobs_are_listed_newest_first(scan, get):
    jobs = [scan(f"s{n}.example.com") for n in range(3)]
    assert [job["id"] for job in get(JOBS)["items"]] == [job["id"] for job in reversed(jobs)]
    assert [job["id"] for job in get(f"{JOBS}?domain=s1.")["items"]] == [jobs[1]["id"]]
    assert get(f"{JOBS}?status=running")["items"] == []
    page = get(f"{JOBS}?limit=2")
    assert [job["id"] for job in get(f"{JOBS}?limit=2&cursor={page['next_cursor']}")["items"]] == [jobs[0]["id"]]


def test_progress_is_a_share_of_one(scan, get, change):
    job = scan()
    change(job["id"], progress=40)
    assert get(f"{JOBS}/{job['id']}")["progress"] == 0.4


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"waiting_on": None}, "dispatch"),
        ({"lost": 2}, "quarantine"),
        (
            {"waiting_on": "host_cooldown", "available_at": "2030-01-02T03:04:05Z"},
            "host_cooldown until 2030-01-02T03:04:05Z",
        ),
        ({"waiting_on": None, "available_at": "2030-01-02T03:04:05Z"}, "retry until 2030-01-02T03:04:05Z"),
    ],
)
def test_a_waiting_job_says_what_it_waits_for(scan, get, change, values, said):
    job = scan()
    change(job["id"], status="pending", dispatch_until=None, **values)
    shown = get(f"{JOBS}/{job['id']}")
    assert shown["waiting_on"] == said
    assert shown["next_attempt_at"] == values.get("available_at")


def test_a_job_that_its_tenant_holds_up_says_so(scan, get, change, superuser_here):
    first, second = scan(), scan()
    change(second["id"], status="pending", dispatch_until=None)
    for column, value, said in (("max_running", 2, "dispatch"), ("max_running", 1, "tenant_limit"),
                                ("status", "suspended", "tenant_suspended")):  # fmt: skip
        superuser_here.execute(f"UPDATE tenants SET {column} = %s", [value])
        assert look(get, second) == said
    assert look(get, first) == "tenant_suspended"


def look(get, job):
    return get(f"{JOBS}/{job['id']}")["waiting_on"]


def test_a_failed_job_says_why_and_can_be_tried_again(client, operator, scan, get, change):
    job = scan()
    failed(change, job["id"])
    shown = get(f"{JOBS}/{job['id']}")
    assert shown["error"] == {"code": "dns_not_found", "detail": "the host name does not resolve", "retryable": True}
    answer = client.post(f"{JOBS}/{job['id']}/retry", headers=operator)
    assert answer.status_code == 202
    again = answer.json
    assert (again["status"], again["attempt"], again["progress"], again["error"]) == ("pending", 0, 0, None)
    problem(client.post(f"{JOBS}/{job['id']}/retry", headers=operator), 409, "conflict")


def test_trying_a_job_again_opens_its_batch_again(client, operator, get, change):
    batch = client.post("/api/v2/batches", headers=operator, json={"domains": ["example.com"]}).json
    job = get(batch["links"]["jobs"])["items"][0]
    failed(change, job["id"])
    assert get(batch["links"]["self"])["status"] == "failed"
    assert client.post(f"{JOBS}/{job['id']}/retry", headers=operator).status_code == 202
    opened = get(batch["links"]["self"])
    assert (opened["status"], opened["finished_at"], opened["counts"]["pending"]) == ("running", None, 1)


def test_a_job_of_a_batch_being_cancelled_is_not_tried_again(client, operator, get, change):
    batch = client.post("/api/v2/batches", headers=operator, json={"domains": ["a.example.com", "b.example.com"]}).json
    job = get(batch["links"]["jobs"])["items"][0]
    failed(change, job["id"])
    client.post(f"{batch['links']['self']}/cancel", headers=operator)
    problem(client.post(f"{JOBS}/{job['id']}/retry", headers=operator), 409, "conflict")


def test_cancelling_is_repeatable_and_ends_a_batch_with_its_last_job(client, operator, get):
    batch = client.post("/api/v2/batches", headers=operator, json={"domains": ["example.com"]}).json
    job = get(batch["links"]["jobs"])["items"][0]
    for _ in range(2):
        answer = client.post(f"{JOBS}/{job['number']}/cancel", headers=operator)
        assert (answer.status_code, answer.json["status"]) == (202, "cancelled")
    assert get(batch["links"]["self"])["status"] == "cancelled"


def test_a_job_that_has_failed_stays_failed_when_cancelled(client, operator, scan, change):
    job = scan()
    failed(change, job["id"])
    answer = client.post(f"{JOBS}/{job['id']}/cancel", headers=operator)
    assert (answer.status_code, answer.json["status"]) == (202, "failed")


def test_what_a_scan_found_is_shown(scan, get, database, tenant_id, superuser_here):
    job = scan()
    job_id, domain_id = UUID(job["id"]), UUID(job["domain"]["id"])
    read_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    with database.for_tenant(tenant_id) as uow:
        root = uow.inventory.ensure_file(domain_id, "https://example.com/sitemap.xml")
        child = uow.inventory.ensure_file(domain_id, "https://example.com/child.xml")
        extras = extras_json({"images": [{"loc": "https://example.com/1.png"}]})
        row = UrlRow(
            url_key("https://example.com/a"),
            "https://example.com/a",
            None,
            read_at,
            "second",
            None,
            "daily",
            0.8,
            "article",
            extras,
        )
        uow.inventory.land(child, 1, [row], complete=True)
        met = {"tenant_id": tenant_id, "job_id": job_id, "http_status": 200, "read_at": sa.func.now()}
        home = Page(
            tenant_id=tenant_id, domain_id=domain_id, url="https://example.com/",
            url_hash=url_key("https://example.com/"), title="Hello",
        )  # fmt: skip
        uow.session.add_all([
            SitemapRead(**met, file_id=root, discovered_by="robots", depth=0, status="read", kind="index"),
            SitemapRead(
                **met, file_id=child, parent_id=root, discovered_by="index", depth=1, status="partial", kind="urlset",
                size=123, url_count=1, error_code="truncated", error_line=9, content_hash=b"\x01\x02", etag='"e"',
            ),
            home,
        ])  # fmt: skip
        uow.session.flush()
        uow.session.add(PageRead(**met, page_id=home.id, is_home=True, final_url="https://example.com/"))
        uow.commit()
    superuser_here.execute("UPDATE jobs SET scan_no = 1 WHERE id = %s", [job_id])
    (url,) = get(job["links"]["urls"])["items"]
    assert (url["url"], url["lastmod"], url["changefreq"], url["priority"]) == (
        "https://example.com/a", "2026-01-02T03:04:05Z", "daily", 0.8,
    )  # fmt: skip
    assert url["images"] == [{"loc": "https://example.com/1.png"}]
    assert (url["videos"], url["news"], url["alternates"], url["removed_at"]) == ([], None, [], None)
    assert url["sitemap_url"] == "https://example.com/child.xml"
    tree = get(job["links"]["sitemaps"])["items"]
    assert [(f["url"], f["parent"], f["type"], f["status"]) for f in tree] == [
        ("https://example.com/sitemap.xml", None, "index", "read"),
        ("https://example.com/child.xml", "https://example.com/sitemap.xml", "urlset", "partial"),
    ]
    assert tree[1]["error"] == {"code": "truncated", "detail": None, "line": 9}
    assert (tree[1]["bytes"], tree[1]["content_hash"]) == (123, "0102")
    (page,) = get(job["links"]["pages"])["items"]
    assert (page["title"], page["is_home"], page["partial"], page["error"]) == ("Hello", True, False, None)


def test_a_polled_job_is_not_sent_twice(client, operator, scan):
    job = scan()
    tag = client.get(f"{JOBS}/{job['id']}", headers=operator).headers["ETag"]
    assert client.get(f"{JOBS}/{job['id']}", headers={**operator, "If-None-Match": tag}).status_code == 304


def test_urls_of_another_host_are_marked(scan, get, database, tenant_id, superuser_here):
    job = scan()
    listed = {"http://example.com/a": False, "https://www.example.com/b": False, "https://shop.example.com/c": True}
    with database.for_tenant(tenant_id) as uow:
        file = uow.inventory.ensure_file(UUID(job["domain"]["id"]), "https://cdn.example.net/map.xml")
        rows = [UrlRow(url_key(url), url, *[None] * 8) for url in listed]
        uow.inventory.land(file, 1, rows, complete=True)
        uow.commit()
    superuser_here.execute("UPDATE jobs SET scan_no = 1 WHERE id = %s", [job["id"]])

    assert {url["url"]: url["cross_host"] for url in get(job["links"]["urls"])["items"]} == listed


@pytest.mark.parametrize("tail", ["", "/urls", "/export", "/sitemaps", "/pages"])
def test_another_tenants_job_is_as_missing_as_a_missing_one(client, scan, login, new_tenant, tail):
    job = scan()
    stranger = login("tenant_admin", tenant=new_tenant("acme"))
    missing = client.get(f"{JOBS}/{uuid4()}{tail}", headers=stranger)
    for key in (job["id"], job["number"]):
        theirs = client.get(f"{JOBS}/{key}{tail}", headers=stranger)
        assert theirs.status_code == missing.status_code == 404
        assert without_id(theirs) == without_id(missing)
    assert client.get(JOBS, headers=stranger).json["items"] == []


@pytest.mark.parametrize("move", ["cancel", "retry"])
def test_another_tenants_job_cannot_be_moved(client, scan, login, new_tenant, get, move):
    job = scan()
    stranger = login("tenant_admin", tenant=new_tenant("acme"))
    assert client.post(f"{JOBS}/{job['number']}/{move}", headers=stranger).status_code == 404
    assert get(f"{JOBS}/{job['id']}") == job


@pytest.mark.parametrize("key", ["0", "-1", "x", "1" * 30, str(2**63), "%00", "\u0661", "1.0", "007"])
@pytest.mark.parametrize("tail", ["", "/urls", "/export", "/sitemaps", "/pages"])
def test_what_is_no_id_is_not_found(client, operator, key, tail):
    problem(client.get(f"{JOBS}/{key}{tail}", headers=operator), 404, "not_found")


@pytest.mark.parametrize("query", ["cursor=x", "limit=0", "odd=1"])
@pytest.mark.parametrize("tail", ["/urls", "/sitemaps", "/pages"])
def test_a_wrong_page_is_refused(client, operator, scan, change, query, tail):
    job = scan()
    change(job["id"], scan_no=1)
    problem(client.get(f"{JOBS}/{job['id']}{tail}?{query}", headers=operator), 422, "invalid_input")


def test_a_viewer_reads_but_does_not_act(client, login, scan):
    job = scan()
    viewer = login("viewer")
    assert client.get(f"{JOBS}/{job['id']}/urls", headers=viewer).status_code == 200
    problem(client.get(f"{JOBS}/{job['id']}/export", headers=viewer), 403, "permission_denied")
    for move in ("cancel", "retry"):
        problem(client.post(f"{JOBS}/{job['id']}/{move}", headers=viewer), 403, "permission_denied")
