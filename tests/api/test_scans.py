"""Submitting one domain."""

from __future__ import annotations

import pytest

from tests.api.answers import problem

DOMAIN = {"domain": "Example.com"}


def post(client, headers, body=None, **more):
    return client.post("/api/v2/scans", headers={**headers, **more.pop("extra", {})}, json=body, **more)


def test_a_domain_is_taken_and_its_message_sent_at_once(client, operator, queue):
    answer = post(client, operator, DOMAIN)
    assert answer.status_code == 202, answer.text
    job = answer.json
    assert answer.headers["Location"] == f"/api/v2/jobs/{job['id']}" == job["links"]["self"]
    assert (job["status"], job["batch_id"], job["waiting_on"]) == ("queued", None, "worker")
    assert job["domain"]["name"] == "example.com"
    assert [(name, str(m.job_id), m.dispatch_no) for name, m in queue.messages] == [("single", job["id"], 1)]
    assert client.get(answer.headers["Location"], headers=operator).json == job


def test_base_url_keeps_its_path_and_scheme(client, operator):
    job = post(client, operator, {"base_url": "http://example.com/shop/index.html"}).json
    assert job["domain"]["name"] == "example.com/shop/"
    assert job["domain"]["url"] == "http://example.com/shop/"


def test_a_scan_waits_for_the_dispatcher_while_the_broker_is_away(client, operator, queue):
    queue.away = True
    job = post(client, operator, DOMAIN).json
    assert (job["status"], job["waiting_on"]) == ("pending", "dispatch")


def test_the_ninth_waiting_scan_of_a_tenant_is_not_sent_at_once(client, operator, queue):
    states = [post(client, operator, {"domain": f"s{n}.example.com"}).json["status"] for n in range(9)]
    assert states == ["queued"] * 8 + ["pending"]
    assert len(queue.messages) == 8


def test_options_in_the_query_are_refused_not_overheard(client, operator, queue):
    answer = problem(client.post("/api/v2/scans?max_pages=9", headers=operator, json=DOMAIN), 422, "invalid_input")
    assert answer["errors"] == [{"pointer": "max_pages", "detail": "there is no such field"}]
    assert queue.messages == []


def test_options_are_kept_and_shown_with_the_defaults(client, operator):
    options = {"max_pages": 0, "respect_robots": False, "crawl_delay": 1.5, "country": "de"}
    shown = post(client, operator, {**DOMAIN, "options": options}).json["options"]
    assert shown["max_pages"] == 0
    assert shown["respect_robots"] is False
    assert (shown["crawl_delay"], shown["country"], shown["max_depth"]) == (1.5, "DE", 5)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/domain"),
        ({"domain": "a.example.com", "base_url": "b.example.com"}, "/domain"),
        ({"domain": 5}, "/domain"),
        ({"domain": None}, "/domain"),
        ({"domain": ""}, "/domain"),
        ({"domain": "not a domain"}, "/domain"),
        ({"domain": "localhost"}, "/domain"),
        ({"domain": "user@example.com"}, "/domain"),
        ({"domain": "http://good.com\\@127.0.0.1/"}, "/domain"),
        ({"base_url": "ftp://example.com"}, "/base_url"),
        ({**DOMAIN, "surprise": 1}, "/surprise"),
        ({**DOMAIN, "webhook": "https://example.com/"}, "/webhook"),
        ({**DOMAIN, "options": {"max_page": 1}}, "/options/max_page"),
        ({**DOMAIN, "options": {"max_pages": "1"}}, "/options/max_pages"),
        ({**DOMAIN, "options": {"max_pages": True}}, "/options/max_pages"),
        ({**DOMAIN, "options": {"max_pages": 1.5}}, "/options/max_pages"),
        ({**DOMAIN, "options": {"max_pages": -1}}, "/options/max_pages"),
        ({**DOMAIN, "options": {"max_urls": 10**30}}, "/options/max_urls"),
        ({**DOMAIN, "options": {"force": 1}}, "/options/force"),
        ({**DOMAIN, "options": {"force": "yes"}}, "/options/force"),
        ({**DOMAIN, "options": {"crawl_delay": "1"}}, "/options/crawl_delay"),
        ({**DOMAIN, "options": {"crawl_delay": 61}}, "/options/crawl_delay"),
        ({**DOMAIN, "options": {"country": "Germany"}}, "/options/country"),
        ({**DOMAIN, "options": []}, "/options"),
    ],
)
def test_what_cannot_be_used_is_refused_and_pointed_at(client, operator, queue, body, pointer):
    answer = problem(post(client, operator, body), 422, "invalid_input")
    assert pointer in {error["pointer"].removesuffix("/_schema") for error in answer["errors"]}
    assert client.get("/api/v2/jobs", headers=operator).json["items"] == []
    assert queue.messages == []


@pytest.mark.parametrize("body", [b"{", b"", b"[1]", b'{"domain": NaN}', b'{"domain": "a", "domain": "b"}', b"\xff"])
def test_what_is_no_json_object_is_refused(client, operator, body):
    answer = client.post("/api/v2/scans", headers={**operator, "Content-Type": "application/json"}, data=body)
    assert answer.status_code in {400, 422}
    assert answer.content_type == "application/problem+json"


def test_a_name_of_ten_megabytes_is_refused_without_repeating_it(client, operator):
    answer = post(client, operator, {"domain": "a" * 10_000_000 + ".com"})
    problem(answer, 422, "invalid_input")
    assert len(answer.data) < 1_000


def test_a_repeated_submission_gets_the_first_answer(client, operator, queue):
    first = post(client, operator, DOMAIN, extra={"Idempotency-Key": "one"})
    again = post(client, operator, DOMAIN, extra={"Idempotency-Key": "one"})
    assert (again.status_code, again.data) == (202, first.data)
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(queue.messages) == 1
    other = post(client, operator, DOMAIN, extra={"Idempotency-Key": "two"})
    assert other.json["id"] != first.json["id"]


def test_a_key_with_another_body_is_refused(client, operator):
    post(client, operator, DOMAIN, extra={"Idempotency-Key": "one"})
    answer = post(client, operator, {"domain": "other.example.com"}, extra={"Idempotency-Key": "one"})
    problem(answer, 422, "idempotency_key_reused")


def test_a_failed_submission_leaves_the_key_free(client, operator):
    problem(post(client, operator, {"domain": "no"}, extra={"Idempotency-Key": "one"}), 422, "invalid_input")
    assert post(client, operator, DOMAIN, extra={"Idempotency-Key": "one"}).status_code == 202


def test_the_same_key_of_another_tenant_is_another_key(client, operator, login, new_tenant):
    first = post(client, operator, DOMAIN, extra={"Idempotency-Key": "one"})
    stranger = login("operator", tenant=new_tenant("acme"))
    second = post(client, stranger, DOMAIN, extra={"Idempotency-Key": "one"})
    assert second.status_code == 202
    assert second.json["id"] != first.json["id"]


@pytest.mark.parametrize("key", ["", "k" * 256, "smile\u00e9"])
def test_an_unusable_key_is_refused(client, operator, key):
    problem(post(client, operator, DOMAIN, extra={"Idempotency-Key": key}), 422, "invalid_input")


def test_a_key_in_use_right_now_is_a_conflict(client, operator, database, tenant_id):
    with database.for_tenant(tenant_id) as uow:
        uow.idempotency.claim("scans", "one", b"x")
        problem(post(client, operator, DOMAIN, extra={"Idempotency-Key": "one"}), 409, "request_in_flight")


def test_reading_does_not_allow_running(client, login):
    problem(post(client, login("viewer"), DOMAIN), 403, "permission_denied")
    problem(post(client, {}, DOMAIN), 401, "authentication_failed")
