"""The first version's contract."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.api.answers import problem, without_id


@pytest.fixture
def post(client, operator):
    def send(path, body):
        return client.post(f"/api/v1{path}", headers=operator, json=body)

    return send


def test_scanning_one_domain(post, get, tenant_id, client, operator):
    answer = post("/scrapersky", {"base_url": "https://Example.com", "tenant_id": str(tenant_id), "max_pages": 5})
    assert answer.status_code == 200, answer.text
    taken = answer.json
    assert set(taken) == {"job_id", "status", "status_url"}
    assert taken["status"] == "pending"
    assert taken["status_url"] == f"/api/v1/status/{taken['job_id']}"
    told = get(taken["status_url"])
    assert set(told) == {
        "job_id", "status", "progress", "domain", "domain_id", "created_at", "updated_at", "error", "metadata", "result",
    }  # fmt: skip
    assert (told["status"], told["progress"], told["domain"], told["error"]) == (
        "pending",
        0,
        "https://Example.com",
        None,
    )
    job = get(f"/api/v2/jobs/{taken['job_id']}")
    assert job["options"]["max_pages"] == 5
    assert get(f"/api/v1/status/{job['number']}") == told


def test_a_finished_job_tells_its_result(post, get, superuser_here):
    job_id = post("/scrapersky", {"base_url": "example.com"}).json["job_id"]
    superuser_here.execute(
        "UPDATE jobs SET status = 'complete', outcome = 'sitemaps_found', progress = 100, finished_at = now(), "
        "dispatch_until = NULL, stats = '{\"urls\": 3}' WHERE id = %s",
        [job_id],
    )
    superuser_here.execute('UPDATE domains SET details = \'{"title": "Hello"}\'')
    told = get(f"/api/v1/status/{job_id}")
    assert (told["status"], told["progress"], told["metadata"]) == ("complete", 1, {"title": "Hello"})
    assert (told["result"]["outcome"], told["result"]["urls"]) == ("sitemaps_found", 3)


def test_a_batch_is_told_name_by_name(post, get, end_jobs):
    sent = ["https://a.example.com/", "A.example.com", "b.example.com", "no domain"]
    answer = post("/batch", {"domains": sent, "max_pages": 2, "options": {"thorough": True}})
    assert answer.status_code == 200, answer.text
    taken = answer.json
    assert set(taken) == {"batch_id", "status", "total_domains", "status_url"}
    assert (taken["status"], taken["total_domains"]) == ("pending", 4)
    options = get(f"/api/v2/batches/{taken['batch_id']}")["options"]
    assert (options["max_pages"], options["thorough"]) == (2, True)
    told = get(taken["status_url"])
    assert set(told) == {
        "batch_id", "status", "total_domains", "completed_domains", "failed_domains", "progress", "start_time",
        "end_time", "domain_statuses",
    }  # fmt: skip
    assert (told["status"], told["total_domains"], told["completed_domains"], told["failed_domains"]) == (
        "pending",
        4,
        0,
        1,
    )
    assert set(told["domain_statuses"]) == set(sent)
    first, second = (told["domain_statuses"][name] for name in sent[:2])
    assert first == second
    assert first["status"] == "pending"
    assert told["domain_statuses"]["no domain"]["status"] == "failed"
    assert told["domain_statuses"]["no domain"]["error"]
    end_jobs(taken["batch_id"], "complete", "complete")
    done = get(taken["status_url"])
    assert (done["status"], done["completed_domains"], done["failed_domains"], done["progress"]) == ("partial", 3, 1, 1)
    assert done["end_time"] is not None


def test_a_batch_whose_jobs_all_succeed_is_complete(post, get, end_jobs):
    taken = post("/batch", {"domains": ["a.example.com", "a.example.com"]}).json
    end_jobs(taken["batch_id"], "complete")
    told = get(taken["status_url"])
    assert (told["status"], told["total_domains"], told["completed_domains"]) == ("complete", 2, 2)
    assert list(told["domain_statuses"]) == ["a.example.com"]


def test_a_failed_domain_says_why(post, get, end_jobs):
    taken = post("/batch", {"domains": ["a.example.com"]}).json
    end_jobs(taken["batch_id"], "failed")
    told = get(taken["status_url"])
    assert (told["status"], told["failed_domains"]) == ("failed", 1)
    assert told["domain_statuses"]["a.example.com"]["error"] == "dns_not_found"


@pytest.mark.parametrize("move", ["pause", "cancel"])
def test_what_this_version_has_no_word_for_is_running(post, get, client, operator, move):
    taken = post("/batch", {"domains": ["a.example.com"]}).json
    client.post(f"/api/v2/batches/{taken['batch_id']}/{move}", headers=operator)
    assert get(taken["status_url"])["status"] == "running"


def test_a_tenant_may_be_named_by_id_or_name_but_no_other(post, new_tenant, tenant_id):
    for own in (str(tenant_id), str(tenant_id).upper(), "default", None):
        assert post("/scrapersky", {"base_url": "example.com", "tenant_id": own}).status_code == 200
    for other in (str(new_tenant("acme")), "acme", str(uuid4()), "nonsense"):
        problem(post("/scrapersky", {"base_url": "example.com", "tenant_id": other}), 403, "permission_denied")
        problem(post("/batch", {"domains": ["example.com"], "tenant_id": other}), 403, "permission_denied")


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/scrapersky", {}, "/base_url"),
        ("/scrapersky", {"base_url": 5}, "/base_url"),
        ("/scrapersky", {"base_url": "no domain"}, "/base_url"),
        ("/scrapersky", {"base_url": "example.com", "surprise": 1}, "/surprise"),
        ("/scrapersky", {"base_url": "example.com", "max_pages": "5"}, "/max_pages"),
        ("/scrapersky", {"base_url": "example.com", "max_pages": -1}, "/max_pages"),
        ("/scrapersky", {"base_url": "example.com", "tenant_id": 5}, "/tenant_id"),
        ("/batch", {}, "/domains"),
        ("/batch", {"domains": []}, "/domains"),
        ("/batch", {"domains": [5]}, "/domains/0"),
        ("/batch", {"domains": ["example.com"], "options": {"surprise": 1}}, "/options/surprise"),
        ("/batch", {"domains": ["example.com"], "max_pages": True}, "/max_pages"),
    ],
)
def test_what_cannot_be_used_is_refused_and_pointed_at(post, path, body, pointer):
    answer = problem(post(path, body), 422, "invalid_input")
    assert pointer in {error["pointer"] for error in answer["errors"]}


@pytest.mark.parametrize("key", ["0", "x", "1" * 30, "%00", "\u0661", "0193c0de-0000-7000-8000-00000000dead"])
def test_an_unknown_id_is_a_problem(client, operator, key):
    problem(client.get(f"/api/v1/status/{key}", headers=operator), 404, "not_found")
    problem(client.get(f"/api/v1/batch/status/{key}", headers=operator), 404, "not_found")


def test_another_tenants_work_is_as_missing_as_a_missing_one(client, post, login, new_tenant):
    job = post("/scrapersky", {"base_url": "example.com"}).json
    batch = post("/batch", {"domains": ["example.com"]}).json
    stranger = login("tenant_admin", tenant=new_tenant("acme"))
    for url, base in ((job["status_url"], "/api/v1/status"), (batch["status_url"], "/api/v1/batch/status")):
        theirs = client.get(url, headers=stranger)
        missing = client.get(f"{base}/{uuid4()}", headers=stranger)
        assert theirs.status_code == missing.status_code == 404
        assert without_id(theirs) == without_id(missing)


def test_without_a_token_or_the_right_nothing_is_done(client, login):
    body = {"base_url": "example.com"}
    problem(client.post("/api/v1/scrapersky", json=body), 401, "authentication_failed")
    problem(client.post("/api/v1/scrapersky", json=body, headers=login("viewer")), 403, "permission_denied")
