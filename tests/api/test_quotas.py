"""What a tenant may have, where it is asked for, and what is switched off."""

from __future__ import annotations

import io
import json
from uuid import UUID

import pytest

from app.factory import create_app
from app.services import domain_lines
from models.states import JobStatus
from tests.api.answers import problem

BATCHES = "/api/v2/batches"
SCANS = "/api/v2/scans"
USAGE = "/api/v2/usage"


def domains(count, start=0):
    return [f"s{n}.example.com" for n in range(start, start + count)]


@pytest.fixture
def limit(client, login, tenant_id):
    """`limit(max_open_jobs=3)` for the tenant of `operator`."""
    platform = login("platform_admin")

    def change(**limits):
        answer = client.patch(f"/api/v2/tenants/{tenant_id}", headers=platform, json={"limits": limits})
        assert answer.status_code == 200, answer.text

    return change


@pytest.fixture
def switch(client, login, tenant_id):
    platform = login("platform_admin")

    def put(name, enabled):
        url = f"/api/v2/tenants/{tenant_id}/features/{name}"
        assert client.put(url, headers=platform, json={"enabled": enabled}).status_code == 200

    return put


@pytest.fixture
def submit(client, operator):
    def post(names, path=BATCHES, **more):
        return client.post(path, headers=operator, json={"domains": names, **more})

    return post


@pytest.fixture
def scan(client, operator):
    def post(name, **more):
        return client.post(SCANS, headers=operator, json={"domain": name, **more})

    return post


@pytest.fixture
def keep_urls(superuser_here, tenant_id):
    """So many URLs are kept of a domain."""

    def keep(host, count):
        superuser_here.execute(
            "INSERT INTO domains (tenant_id, host, url_count) VALUES (%s, %s, %s)", [tenant_id, host, count]
        )

    return keep


def refused(answer, quota, **told):
    body = problem(answer, 403, "quota_exceeded")
    assert body["excess"]["quota"] == quota
    assert {name: body["excess"][name] for name in told} == told
    assert quota in body["detail"]
    return body


def used(get, quota):
    return get(USAGE)["quotas"][quota]["used"]


def test_without_limits_usage_says_so(get, submit):
    submit(domains(3))
    told = get(USAGE)
    assert told["quotas"] == {
        "batch_domains": {"limit": None, "used": None},
        "open_jobs": {"limit": None, "used": 3},
        "urls": {"limit": None, "used": 0},
        "host_requests": {"limit": None, "used": None},
    }
    assert told["rates"] == {"caller": "6000/minute", "tenant": "12000/minute", "sign_in": "10/minute"}


def test_usage_tells_limits_and_what_is_used_of_them(get, limit, submit, scan, keep_urls, end_jobs):
    limit(max_batch_domains=5, max_open_jobs=10, max_urls=1000, max_host_requests=2)
    keep_urls("kept.example", 400)
    keep_urls("more.example", 70)
    batch = submit(domains(4)).json
    assert scan("single.example.com").status_code == 202
    end_jobs(batch["id"], JobStatus.COMPLETE, JobStatus.FAILED)
    assert get(USAGE)["quotas"] == {
        "batch_domains": {"limit": 5, "used": None},
        "open_jobs": {"limit": 10, "used": 3},
        "urls": {"limit": 1000, "used": 470},
        "host_requests": {"limit": 2, "used": None},
    }


def test_usage_wants_its_permission_and_knows_one_tenant(client, login, submit, new_tenant):
    submit(domains(3))
    elsewhere = login("viewer", tenant=new_tenant("other"))
    assert client.get(USAGE, headers=elsewhere).json["quotas"]["open_jobs"]["used"] == 0
    problem(client.get(USAGE, headers=login("platform_admin")), 403, "permission_denied")


@pytest.mark.parametrize("path", [BATCHES, "/api/v1/batch"])
def test_a_list_longer_than_a_batch_may_be_is_refused(get, limit, submit, path):
    limit(max_batch_domains=3)
    refused(submit(domains(4), path), "batch_domains", limit=3, asked=4)
    assert used(get, "open_jobs") == 0
    assert submit(domains(3), path).status_code in {200, 202}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", "\n".join(domains(4))),
        ("text/csv", "domain\n" + "\n".join(domains(4))),
        ("application/x-ndjson", "\n".join(map(json.dumps, domains(4)))),
    ],
)
def test_an_upload_longer_than_a_batch_may_be_is_refused(client, operator, limit, kind, body):
    limit(max_batch_domains=3)
    answer = client.post(BATCHES, headers={**operator, "Content-Type": kind}, data=body)
    refused(answer, "batch_domains", limit=3)


def test_of_a_list_that_is_too_long_the_rest_is_not_read(client, operator, limit, monkeypatch):
    read = []
    original = domain_lines.from_upload

    def counting(file, kind):
        for line in original(file, kind):
            read.append(line)
            yield line

    monkeypatch.setattr(domain_lines, "from_upload", counting)
    limit(max_batch_domains=3)
    body = io.BytesIO("\n".join(domains(5000)).encode())
    refused(client.post(BATCHES, headers={**operator, "Content-Type": "text/plain"}, data=body), "batch_domains")
    assert len(read) == 4


def test_open_jobs_are_limited_over_batches_and_single_scans(limit, submit, scan, get, client, operator):
    limit(max_open_jobs=4)
    assert submit(domains(3)).status_code == 202
    refused(submit(domains(2, 3)), "open_jobs", limit=4, used=3, asked=2)
    refused(submit(domains(2, 3), "/api/v1/batch"), "open_jobs", limit=4, used=3, asked=2)
    assert scan("single.example.com").status_code == 202
    refused(scan("another.example.com"), "open_jobs", limit=4, used=4, asked=1)
    body = {"base_url": "https://another.example.com"}
    refused(client.post("/api/v1/scrapersky", headers=operator, json=body), "open_jobs", used=4)
    assert used(get, "open_jobs") == 4
    limit(max_open_jobs=5)
    assert scan("another.example.com").status_code == 202


def test_lines_that_become_no_job_take_no_place(limit, submit):
    limit(max_open_jobs=2)
    assert submit(["a.example.com", "A.example.com", "no domain", "b.example.com"]).status_code == 202


def test_a_refused_batch_leaves_nothing_behind(limit, submit, get):
    limit(max_open_jobs=2)
    refused(submit(domains(3)), "open_jobs", used=0, asked=3)
    assert get(BATCHES)["items"] == []
    assert get("/api/v2/domains")["items"] == []


def test_a_refusal_is_not_kept_for_the_idempotency_key(client, operator, limit):
    headers = {**operator, "Idempotency-Key": "once"}
    limit(max_open_jobs=2)
    refused(client.post(BATCHES, headers=headers, json={"domains": domains(3)}), "open_jobs")
    limit(max_open_jobs=3)
    assert client.post(BATCHES, headers=headers, json={"domains": domains(3)}).status_code == 202


def test_trying_again_takes_places_too(client, operator, limit, submit, scan, end_jobs, get):
    batch = submit(domains(3)).json
    end_jobs(batch["id"], *[JobStatus.FAILED] * 3)
    limit(max_open_jobs=2)
    refused(client.post(f"{BATCHES}/{batch['id']}/retry", headers=operator), "open_jobs", limit=2, used=0, asked=3)
    assert get(batch["links"]["self"])["counts"]["failed"] == 3
    jobs = [job["links"]["self"] for job in get(batch["links"]["jobs"])["items"]]
    assert [client.post(f"{job}/retry", headers=operator).status_code for job in jobs] == [202, 202, 403]
    assert used(get, "open_jobs") == 2


def test_jobs_that_wait_or_are_in_flight_are_open(limit, scan, superuser_here, get):
    for n, move in enumerate(
        (
            "status = 'pending', available_at = now() + interval '1 hour', dispatch_until = NULL",
            "status = 'running', lease_token = gen_random_uuid(), lease_until = now(), dispatch_until = NULL",
            "status = 'cancelled', finished_at = now(), dispatch_until = NULL",
        )
    ):
        job = scan(f"s{n}.example.com").json["id"]
        superuser_here.execute(f"UPDATE jobs SET {move} WHERE id = %s", [UUID(job)])
    assert used(get, "open_jobs") == 2


def test_another_tenants_jobs_count_for_nothing(limit, submit, client, login, new_tenant):
    elsewhere = login("operator", tenant=new_tenant("other"))
    assert client.post(BATCHES, headers=elsewhere, json={"domains": domains(5)}).status_code == 202
    limit(max_open_jobs=1)
    assert submit(domains(1)).status_code == 202
    assert client.post(BATCHES, headers=elsewhere, json={"domains": domains(5, 5)}).status_code == 202


def test_when_all_urls_are_used_new_sites_wait_and_known_ones_do_not(limit, submit, scan, keep_urls):
    keep_urls("kept.example", 400)
    keep_urls("empty.example", 0)
    limit(max_urls=400)
    refused(submit(["kept.example", "new.example"]), "urls", limit=400, used=400, asked=1)
    refused(scan("new.example"), "urls")
    refused(scan("empty.example"), "urls")
    assert submit(["kept.example"]).status_code == 202
    assert scan("kept.example").status_code == 202


def test_preflight_tells_the_quotas_and_what_would_exceed_them(client, operator, limit, keep_urls):
    def asked(names):
        return client.post(f"{BATCHES}/preflight", headers=operator, json={"domains": names}).json

    keep_urls("kept.example", 40)
    assert asked(domains(4))["quota"]["exceeded"] == []
    limit(max_batch_domains=3, max_open_jobs=2, max_urls=40)
    told = asked(domains(4))
    assert told["accepted"] is False
    assert told["quota"]["max_domains"] == 3
    assert told["quota"]["exceeded"] == ["batch_domains", "open_jobs", "urls"]
    assert told["quota"]["quotas"]["urls"] == {"limit": 40, "used": 40}
    within = asked(["kept.example", "kept.example"])
    assert (within["accepted"], within["quota"]["exceeded"]) == (True, [])


def test_the_installations_limits_hold_for_whoever_has_none_of_its_own(settings, queue, passwords, login, limit):
    changed = settings.model_copy(update={"tenant_open_jobs": 2, "tenant_batch_domains": 1})
    app = create_app(changed, queue=queue, passwords=passwords)
    headers, client = login("operator"), app.test_client()
    quotas = client.get(USAGE, headers=headers).json["quotas"]
    assert (quotas["open_jobs"]["limit"], quotas["batch_domains"]["limit"]) == (2, 1)
    refused(client.post(BATCHES, headers=headers, json={"domains": domains(2)}), "batch_domains", limit=1)
    limit(max_batch_domains=3)
    refused(client.post(BATCHES, headers=headers, json={"domains": domains(3)}), "open_jobs", limit=2)
    app.extensions["scrapersky"].database.close()


# Features


def test_without_sitemaps_nothing_is_taken_in(client, operator, switch, submit, scan, end_jobs, get):
    batch = submit(domains(1)).json
    end_jobs(batch["id"], JobStatus.FAILED)
    job = get(batch["links"]["jobs"])["items"][0]["links"]["self"]
    switch("sitemaps", False)
    v1 = {"base_url": "a.example"}
    for answer in (
        scan("a.example"),
        submit(domains(1)),
        submit(domains(1), f"{BATCHES}/preflight"),
        submit(domains(1), "/api/v1/batch"),
        client.post("/api/v1/scrapersky", headers=operator, json=v1),
        client.post(f"{job}/retry", headers=operator),
        client.post(f"{BATCHES}/{batch['id']}/retry", headers=operator),
    ):
        problem(answer, 403, "feature_disabled")
    assert get(job)["status"] == "failed"
    switch("sitemaps", True)
    assert client.post(f"{job}/retry", headers=operator).status_code == 202


def test_without_pages_none_are_fetched_or_shown(client, operator, switch, submit, scan, get):
    before = scan("a.example").json
    switch("pages", False)
    for options in ({}, {"options": {"max_pages": 0}}, {"options": {"thorough": True}}):
        assert scan("b.example", **options).json["options"]["max_pages"] == 0
    assert submit(domains(1)).json["options"]["max_pages"] == 0
    upload = client.post(f"{BATCHES}?max_pages=2", headers={**operator, "Content-Type": "text/plain"}, data="c.example")
    for answer in (
        scan("b.example", options={"max_pages": 1}),
        submit(domains(1), options={"max_pages": 3}),
        submit(domains(1), f"{BATCHES}/preflight", options={"max_pages": 3}),
        upload,
        client.post("/api/v1/scrapersky", headers=operator, json={"base_url": "b.example", "max_pages": 1}),
        client.get(f"{before['links']['self']}/pages", headers=operator),
    ):
        problem(answer, 403, "feature_disabled")
    switch("pages", True)
    assert get(f"{before['links']['self']}/pages")["items"] == []
    assert scan("b.example").json["options"]["max_pages"] == 1


def test_permission_comes_before_features(client, login, switch):
    switch("sitemaps", False)
    problem(client.post(SCANS, headers=login("viewer"), json={"domain": "a.example"}), 403, "permission_denied")
