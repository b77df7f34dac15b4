"""Submitting lists of domains, and what their owner may do with them."""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from app.api import submitting
from app.api.core import KEY
from models.states import JobStatus
from tests.api.answers import problem, without_id

BATCHES = "/api/v2/batches"


@pytest.fixture
def submit(client, operator):
    def post(domains, extra=None, **more):
        return client.post(BATCHES, headers={**operator, **(extra or {})}, json={"domains": domains, **more})

    return post


@pytest.fixture
def upload(client, operator):
    def post(body, kind="text/plain", query="", extra=None):
        data = body.encode() if isinstance(body, str) else body
        headers = {**operator, "Content-Type": kind, **(extra or {})}
        return client.post(f"{BATCHES}{query}", headers=headers, data=data)

    return post


def names(page):
    return [job["domain"]["name"] for job in page["items"]]


def test_a_list_becomes_jobs_and_says_what_it_left_out(submit, get):
    answer = submit(["b.example.com", "A.example.com", "http://b.example.com/", "no domain", "a.example.com/shop/"])
    assert answer.status_code == 202, answer.text
    batch = answer.json
    assert answer.headers["Location"] == batch["links"]["self"]
    assert batch["status"] == "pending"
    assert batch["counts"] == {
        "total": 3, "pending": 3, "queued": 0, "running": 0, "complete": 0, "failed": 0, "cancelled": 0,
    }  # fmt: skip
    assert batch["rejected"] == {"count": 1, "duplicates": 1}
    assert batch["progress"] == 0
    assert get(batch["links"]["self"]) == batch
    jobs = get(batch["links"]["jobs"])
    assert names(jobs) == ["b.example.com", "a.example.com", "a.example.com/shop/"]
    assert {job["batch_id"] for job in jobs["items"]} == {batch["id"]}
    assert [(r["line"], r["reason"], r["same_as"]) for r in get(batch["links"]["rejected"])["items"]] == [
        (3, "duplicate", "b.example.com"),
        (4, "invalid", None),
    ]
    only = get(f"{batch['links']['rejected']}?reason=invalid")["items"]
    assert [(r["value"], bool(r["detail"])) for r in only] == [("no domain", True)]


def test_name_priority_and_options_are_kept(submit):
    batch = submit(["example.com"], name="mine", priority=7, options={"max_pages": 3, "thorough": True}).json
    assert (batch["name"], batch["priority"]) == ("mine", 7)
    assert (batch["options"]["max_pages"], batch["options"]["thorough"], batch["options"]["force"]) == (3, True, False)


def test_jobs_of_a_batch_can_be_filtered_and_paged(submit, get, end_jobs):
    batch = submit([f"s{n}.example.com" for n in range(5)]).json
    end_jobs(batch["id"], JobStatus.COMPLETE, JobStatus.FAILED)
    jobs = batch["links"]["jobs"]
    assert names(get(f"{jobs}?status=failed")) == ["s1.example.com"]
    assert names(get(f"{jobs}?domain=S3")) == ["s3.example.com"]
    first = get(f"{jobs}?limit=3")
    rest = get(f"{jobs}?limit=3&cursor={first['next_cursor']}")
    assert names(first) + names(rest) == [f"s{n}.example.com" for n in range(5)]
    assert rest["next_cursor"] is None


def test_a_list_never_shows_a_batch_as_running_that_is_over(submit, get, end_jobs):
    batches = [submit(["a.example.com", "b.example.com"]).json for _ in range(2)]
    end_jobs(batches[0]["id"], JobStatus.COMPLETE, JobStatus.FAILED)
    end_jobs(batches[1]["id"], JobStatus.COMPLETE)
    assert [batch["status"] for batch in get(BATCHES)["items"]] == ["pending", "partial"]
    assert [batch["id"] for batch in get(f"{BATCHES}?status=partial")["items"]] == [batches[0]["id"]]


def test_batches_are_listed_newest_first_and_by_status(submit, get, client, operator):
    ids = [submit([f"s{n}.example.com"]).json["id"] for n in range(3)]
    client.post(f"{BATCHES}/{ids[1]}/cancel", headers=operator)
    assert [batch["id"] for batch in get(BATCHES)["items"]] == ids[::-1]
    assert [batch["id"] for batch in get(f"{BATCHES}?status=cancelling")["items"]] == [ids[1]]
    page = get(f"{BATCHES}?limit=2")
    assert [b["id"] for b in get(f"{BATCHES}?limit=2&cursor={page['next_cursor']}")["items"]] == ids[:1]


# Uploads


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", "a.example.com\nb.example.com\n"),
        ("text/plain", "\ufeffa.example.com\r\n\r\n  b.example.com  \r\n"),
        ("text/plain", "a.example.com\rb.example.com"),
        ("text/plain; charset=UTF-8", "a.example.com\n\n\nb.example.com"),
        ("text/csv", "domain\na.example.com\nb.example.com\n"),
        ("text/csv", "a.example.com,1\nb.example.com,2\n"),
        ("text/csv", 'name,Domain\n"Smith, ""Joe""\nand Co",a.example.com\n,"b.example.com"\n'),
        ("text/csv", "name;url\nx;a.example.com\ny;b.example.com\n"),
        ("application/x-ndjson", '"a.example.com"\n{"domain": "b.example.com"}\n'),
    ],
)
def test_an_upload_is_read_as_what_it_says_it_is(upload, get, kind, body):
    answer = upload(body, kind)
    assert answer.status_code == 202, answer.text
    assert answer.json["rejected"] == {"count": 0, "duplicates": 0}
    assert names(get(answer.json["links"]["jobs"])) == ["a.example.com", "b.example.com"]


def test_an_uploads_terms_are_query_parameters(upload):
    batch = upload("a.example.com", query="?name=n&priority=2&max_pages=4&respect_robots=false&crawl_delay=0.5").json
    assert (batch["name"], batch["priority"]) == ("n", 2)
    shown = batch["options"]
    assert (shown["max_pages"], shown["respect_robots"], shown["crawl_delay"]) == (4, False, 0.5)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("?surprise=1", "surprise"),
        ("?max_pages=1&max_pages=2", "max_pages"),
        ("?max_pages=many", "max_pages"),
        ("?max_pages=-1", "max_pages"),
        ("?force=perhaps", "force"),
        ("?crawl_delay=nan", "crawl_delay"),
        ("?priority=10", "priority"),
        ("?name=%00", "name"),
        ("?on_invalid=explode", "on_invalid"),
    ],
)
def test_an_uploads_wrong_terms_are_refused(upload, get, query, pointer):
    answer = problem(upload("a.example.com", query=query), 422, "invalid_input")
    assert [error["pointer"] for error in answer["errors"]] == [pointer]
    assert get(BATCHES)["items"] == []


def test_lines_that_cannot_be_read_are_counted_and_shown_harmlessly(upload, get):
    lines = [
        b"good.example.com",
        b"caf\xe9.example.com",
        b"a" * 10_000_000 + b".com",
        b"nul\0.example.com",
        b"# a comment",
        b"also-good.example.com",
    ]
    batch = upload(b"\n".join(lines)).json
    assert batch["counts"]["total"] == 2
    rejects = get(batch["links"]["rejected"])["items"]
    assert [reject["line"] for reject in rejects] == [2, 3, 4, 5]
    assert all(len(reject["value"]) <= 256 and "\0" not in reject["value"] for reject in rejects)
    assert "UTF-8" in rejects[0]["detail"]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("application/x-ndjson", "{"),
        ("application/x-ndjson", "5"),
        ("application/x-ndjson", '{"domain": 5}'),
        ("application/x-ndjson", '{"domain": "b.example.com", "more": 1}'),
        ("application/x-ndjson", "[" * 4_000),
        ("application/x-ndjson", '"\\ud800.example.com"'),
        ("application/x-ndjson", '{"domain": "b.example.com", "domain": "c.example.com"}'),
        ("text/csv", '"' + "x" * 200_000),
    ],
)
def test_a_broken_line_does_not_stop_the_others(upload, get, kind, line):
    good = '"a.example.com"'
    batch = upload(f"{good}\n{line}\n", kind).json
    assert batch["counts"]["total"] == 1, batch
    assert [reject["line"] for reject in get(batch["links"]["rejected"])["items"]] == [2]


@pytest.mark.parametrize(
    ("stray", "rows"),
    # The table ends in the quote; a cell grows too long for the csv module.
    [('"open.example.com', 3), ('"open.example.com', 20_000), ('"', 3), ('open.example.com,"a note', 20_000)],
)
def test_a_quote_never_closed_costs_its_line_and_no_other(upload, get, stray, rows):
    body = "".join(f"s{n}.example.com,x\n" for n in range(rows))
    batch = upload(f"first.example.com\n{stray}\n{body}", "text/csv").json
    assert batch["counts"]["total"] == rows + 1
    (reject,) = get(batch["links"]["rejected"])["items"]
    assert (reject["line"], reject["value"]) == (2, stray)
    assert "not CSV" in reject["detail"]


@pytest.mark.parametrize("rows", [3, 20_000])
def test_a_quote_never_closed_in_the_header_swallows_nothing(upload, rows):
    body = "".join(f"s{n}.example.com\n" for n in range(rows))
    batch = upload(f'domain,"note\n{body}', "text/csv")
    assert batch.status_code == 202, batch.text
    assert batch.json["counts"]["total"] == rows


def test_a_rejected_row_is_numbered_by_its_first_line(upload, get):
    batch = upload('note,domain\n"two\nlines",a.example.com\n"two\nlines",bad host\n', "text/csv").json
    assert batch["counts"]["total"] == 1
    assert [reject["line"] for reject in get(batch["links"]["rejected"])["items"]] == [4]


@pytest.mark.parametrize("extra", [{}, {"Idempotency-Key": "k"}])
def test_an_upload_that_breaks_off_creates_nothing(client, operator, get, extra):
    answer = client.post(
        BATCHES,
        headers={**operator, **extra, "Content-Type": "text/plain"},
        input_stream=io.BytesIO(b"a.example.com\nb.exam"),
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": "5000"},
    )
    assert "broke off" in problem(answer, 400, "bad_request")["detail"]
    assert get(BATCHES)["items"] == []


def test_an_upload_without_a_length_is_taken_too(client, operator):
    lines = "".join(f"s{n}.example.com\n" for n in range(1_000)).encode()
    answer = client.post(
        BATCHES,
        headers={**operator, "Content-Type": "text/plain", "Transfer-Encoding": "chunked"},
        input_stream=io.BytesIO(lines),
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert answer.status_code == 202, answer.text
    assert answer.json["counts"]["total"] == 1_000


@pytest.mark.parametrize("announced", [True, False])
def test_an_upload_may_be_larger_than_a_json_body(app, client, operator, submit, upload, announced):
    app.config["MAX_CONTENT_LENGTH"] = 1_000
    names = [f"s{n}.example.com" for n in range(500)]
    body = "\n".join(names).encode()
    problem(submit(names), 413, "too_large")
    if announced:
        answer = upload(body)
    else:
        answer = client.post(
            BATCHES,
            headers={**operator, "Content-Type": "text/plain"},
            input_stream=io.BytesIO(body),
            environ_overrides={"wsgi.input_terminated": True},
        )
    assert answer.status_code == 202, answer.text
    assert answer.json["counts"]["total"] == 500


@pytest.mark.parametrize("announced", [True, False])
def test_an_upload_that_is_too_large_is_refused(app, client, operator, upload, get, monkeypatch, announced):
    core = app.extensions[KEY]
    small = replace(core, settings=core.settings.model_copy(update={"max_upload_bytes": 10_000}))
    monkeypatch.setitem(app.extensions, KEY, small)
    body = b"a.example.com\n" * 1_000
    if announced:
        answer = upload(body)
    else:
        answer = client.post(
            BATCHES,
            headers={**operator, "Content-Type": "text/plain"},
            input_stream=io.BytesIO(body),
            environ_overrides={"wsgi.input_terminated": True},
        )
    problem(answer, 413, "too_large")
    assert get(BATCHES)["items"] == []


def test_a_batch_with_too_many_lines_is_refused(app, submit, upload, get, monkeypatch):
    core = app.extensions[KEY]
    small = dataclasses.replace(core, settings=core.settings.model_copy(update={"max_batch_domains": 3}))
    monkeypatch.setitem(app.extensions, KEY, small)
    four = [f"s{n}.example.com" for n in range(4)]
    problem(submit(four), 413, "too_large")
    problem(upload("\n".join(four)), 413, "too_large")
    assert get(BATCHES)["items"] == []
    assert get("/api/v2/domains")["items"] == []


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("application/xml", {}),
        ("multipart/form-data; boundary=x", {}),
        ("text/csv; charset=utf-16", {}),
        ("text/plain", {"Content-Encoding": "gzip"}),
    ],
)
def test_what_is_not_read_here_is_an_unsupported_type(upload, kind, extra):
    assert upload("a.example.com", kind, extra=extra).status_code == 415


def test_utf_16_is_named_as_what_it_is(upload):
    answer = problem(upload("a.example.com\n".encode("utf-16")), 422, "invalid_input")
    assert "UTF-16" in answer["detail"]


# Bad input


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/domains"),
        ({"domains": []}, "/domains"),
        ({"domains": "example.com"}, "/domains"),
        ({"domains": ["a.example.com", 5]}, "/domains/1"),
        ({"domains": [None]}, "/domains/0"),
        ({"domains": ["a.example.com"], "surprise": 1}, "/surprise"),
        ({"domains": ["a.example.com"], "webhook": "https://example.com/"}, "/webhook"),
        ({"domains": ["a.example.com"], "options": {"surprise": 1}}, "/options/surprise"),
        ({"domains": ["a.example.com"], "priority": "5"}, "/priority"),
        ({"domains": ["a.example.com"], "priority": 10}, "/priority"),
        ({"domains": ["a.example.com"], "name": 5}, "/name"),
        ({"domains": ["a.example.com"], "name": "x" * 201}, "/name"),
        ({"domains": ["a.example.com"], "name": "a\nb"}, "/name"),
        ({"domains": ["a.example.com"], "on_invalid": "ignore"}, "/on_invalid"),
    ],
)
def test_what_cannot_be_used_is_refused_and_pointed_at(client, operator, get, body, pointer):
    answer = problem(client.post(BATCHES, headers=operator, json=body), 422, "invalid_input")
    assert pointer in {error["pointer"] for error in answer["errors"]}
    assert get(BATCHES)["items"] == []


@pytest.mark.parametrize("kind", ["text/plain", "text/csv", "application/x-ndjson"])
@pytest.mark.parametrize("body", ["", "\n \n\r\n", "\ufeff"])
def test_an_upload_without_a_line_creates_nothing(upload, get, kind, body):
    problem(upload(body, kind), 422, "invalid_input")
    assert get(BATCHES)["items"] == []


def test_malformed_json_is_a_bad_request(client, operator):
    headers = {**operator, "Content-Type": "application/json"}
    problem(client.post(BATCHES, headers=headers, data=b'{"domains": ['), 400, "bad_request")
    problem(client.post(BATCHES, headers=headers, data=b'{"domains": ["\xff"]}'), 400, "bad_request")


def test_a_hundred_thousand_wrong_types_make_a_short_answer(client, operator):
    answer = client.post(BATCHES, headers=operator, json={"domains": [0] * 100_000})
    assert answer.status_code == 422
    assert len(answer.json["errors"]) == 100


def test_a_name_of_ten_megabytes_is_one_invalid_line(submit, get):
    batch = submit(["a" * 10_000_000, "example.com"]).json
    assert batch["counts"]["total"] == 1
    assert len(get(batch["links"]["rejected"])["items"][0]["value"]) <= 256


def test_reject_creates_nothing_and_names_the_lines(submit, upload, get):
    answer = problem(submit(["a.example.com", "no domain", "b"], on_invalid="reject"), 422, "invalid_input")
    assert [error["pointer"] for error in answer["errors"]] == ["/domains/1", "/domains/2"]
    many = problem(upload("bad\n" * 500, query="?on_invalid=reject"), 422, "invalid_input")
    assert len(many["errors"]) == 100
    assert many["errors"][0]["pointer"] == "/lines/1"
    assert get(BATCHES)["items"] == []
    assert submit(["a.example.com", "a.example.com"], on_invalid="reject").status_code == 202


def test_a_list_without_any_domain_is_a_batch_that_failed(submit):
    batch = submit(["no", "neither"]).json
    assert (batch["status"], batch["status_reason"]) == ("failed", "no line was a domain")
    assert batch["finished_at"] is not None
    assert batch["counts"]["total"] == 0
    assert batch["progress"] == 1


# At most once


def test_a_repeated_submission_gets_the_first_answer(submit, upload, get):
    key = {"Idempotency-Key": "one"}
    first = submit(["a.example.com"], key)
    again = submit(["a.example.com"], key)
    assert (again.status_code, again.data, again.headers["Location"]) == (202, first.data, first.headers["Location"])
    problem(submit(["b.example.com"], key), 422, "idempotency_key_reused")
    problem(upload("a.example.com", extra=key), 422, "idempotency_key_reused")
    assert len(get(BATCHES)["items"]) == 1


def test_a_repeated_upload_gets_the_first_answer_and_other_terms_do_not(upload):
    key = {"Idempotency-Key": "two"}
    first = upload("a.example.com", query="?name=x", extra=key)
    assert upload("a.example.com", query="?name=x", extra=key).data == first.data
    problem(upload("a.example.com", query="?name=y", extra=key), 422, "idempotency_key_reused")


# Moves


def test_cancelling_is_repeatable_and_leaves_an_ended_batch_alone(client, operator, submit, get, end_jobs):
    batch = submit(["a.example.com", "b.example.com"]).json
    cancel = f"{batch['links']['self']}/cancel"
    for _ in range(2):
        answer = client.post(cancel, headers=operator)
        assert (answer.status_code, answer.json["status"]) == (202, "cancelling")
    end_jobs(batch["id"], JobStatus.COMPLETE, JobStatus.CANCELLED)
    assert get(batch["links"]["self"])["status"] == "cancelled"
    assert client.post(cancel, headers=operator).json["status"] == "cancelled"


def test_pausing_and_resuming(client, operator, submit, get):
    batch = submit(["a.example.com"]).json
    itself = batch["links"]["self"]
    assert client.post(f"{itself}/pause", headers=operator).json["status"] == "paused"
    assert client.post(f"{itself}/pause", headers=operator).status_code == 202
    assert get(batch["links"]["jobs"])["items"][0]["waiting_on"] == "paused"
    assert client.post(f"{itself}/resume", headers=operator).json["status"] == "pending"
    assert get(batch["links"]["jobs"])["items"][0]["waiting_on"] == "dispatch"


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ((JobStatus.COMPLETE, JobStatus.COMPLETE), "complete"),
        ((JobStatus.COMPLETE, JobStatus.FAILED), "partial"),
        ((JobStatus.FAILED, JobStatus.FAILED), "failed"),
    ],
)
def test_status_and_counts_never_disagree(submit, get, end_jobs, ends, status):
    batch = submit(["a.example.com", "b.example.com"]).json
    end_jobs(batch["id"], ends[0])
    half = get(batch["links"]["self"])
    assert (half["status"], half["progress"], half["finished_at"]) == ("pending", 0.5, None)
    end_jobs(batch["id"], ends[1])
    whole = get(batch["links"]["self"])
    assert (whole["status"], whole["progress"]) == (status, 1)
    assert whole["finished_at"] is not None


def test_retrying_opens_an_ended_batch_again(client, operator, submit, get, end_jobs):
    batch = submit(["a.example.com", "b.example.com", "c.example.com"]).json
    end_jobs(batch["id"], JobStatus.COMPLETE, JobStatus.FAILED, JobStatus.CANCELLED)
    assert get(batch["links"]["self"])["status"] == "partial"
    again = client.post(f"{batch['links']['self']}/retry", headers=operator)
    assert again.status_code == 202
    assert (again.json["status"], again.json["finished_at"]) == ("running", None)
    assert (again.json["counts"]["pending"], again.json["counts"]["cancelled"]) == (1, 1)
    everything = client.post(f"{batch['links']['self']}/retry?only=all", headers=operator).json
    assert (everything["counts"]["pending"], everything["counts"]["cancelled"]) == (2, 0)


@pytest.mark.parametrize("move", ["cancel", "pause", "resume", "retry"])
def test_a_move_with_words_nobody_would_hear_is_not_made(client, operator, submit, get, move):
    path = submit(["a.example.com"]).json["links"]["self"]
    before = get(path)
    answer = problem(client.post(f"{path}/{move}", headers=operator, json={"what": "all"}), 422, "invalid_input")
    assert answer["errors"][0]["pointer"] == "/what"
    answer = problem(client.post(f"{path}/{move}?what=all", headers=operator), 422, "invalid_input")
    assert answer["errors"][0]["pointer"] == "what"
    assert get(path) == before
    assert client.post(f"{path}/{move}", headers=operator, json={}).status_code == 202


def test_retrying_what_succeeded_changes_nothing(client, operator, submit, get, end_jobs):
    batch = submit(["a.example.com"]).json
    end_jobs(batch["id"], JobStatus.COMPLETE)
    before = get(batch["links"]["self"])
    assert client.post(f"{batch['links']['self']}/retry", headers=operator).json == before


def test_a_batch_being_cancelled_cannot_be_retried(client, operator, submit):
    batch = submit(["a.example.com"]).json
    client.post(f"{batch['links']['self']}/cancel", headers=operator)
    problem(client.post(f"{batch['links']['self']}/retry", headers=operator), 409, "conflict")


def test_preflight_tells_and_creates_nothing(client, operator, get):
    body = {"domains": ["a.example.com", "A.example.com", "no domain"], "on_invalid": "reject"}
    answer = client.post(f"{BATCHES}/preflight", headers=operator, json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json
    assert (told["lines"], told["valid"], told["duplicates"], told["invalid"]) == (3, 1, 1, 1)
    assert [reject["reason"] for reject in told["rejected"]] == ["duplicate", "invalid"]
    assert told["accepted"] is False
    assert get(BATCHES)["items"] == get("/api/v2/domains")["items"] == []


# Polling, other people's batches


def test_a_polled_batch_is_not_sent_twice(client, operator, submit, end_jobs):
    batch = submit(["a.example.com"]).json
    first = client.get(batch["links"]["self"], headers=operator)
    known = {**operator, "If-None-Match": first.headers["ETag"]}
    assert client.get(batch["links"]["self"], headers=known).status_code == 304
    end_jobs(batch["id"], JobStatus.COMPLETE)
    assert client.get(batch["links"]["self"], headers=known).status_code == 200


@pytest.mark.parametrize("tail", ["", "/jobs", "/rejected"])
def test_another_tenants_batch_is_as_missing_as_a_missing_one(client, submit, login, new_tenant, tail):
    batch = submit(["a.example.com"]).json
    stranger = login("tenant_admin", tenant=new_tenant("acme"))
    theirs = client.get(f"{BATCHES}/{batch['id']}{tail}", headers=stranger)
    missing = client.get(f"{BATCHES}/{uuid4()}{tail}", headers=stranger)
    assert theirs.status_code == missing.status_code == 404
    assert without_id(theirs) == without_id(missing)


@pytest.mark.parametrize("move", ["cancel", "pause", "resume", "retry"])
def test_another_tenants_batch_cannot_be_moved(client, submit, login, new_tenant, get, move):
    batch = submit(["a.example.com"]).json
    stranger = login("tenant_admin", tenant=new_tenant("acme"))
    assert client.post(f"{BATCHES}/{batch['id']}/{move}", headers=stranger).status_code == 404
    assert get(batch["links"]["self"]) == batch


@pytest.mark.parametrize("key", ["0", "1", "x", "1" * 30, "%00", "\u0661", "{" + str(UUID(int=1)) + "}", "..%2f"])
def test_what_is_no_id_is_not_found(client, operator, key):
    for path in (f"{BATCHES}/{key}", f"{BATCHES}/{key}/jobs", f"{BATCHES}/{key}/rejected"):
        assert client.get(path, headers=operator).status_code == 404


@pytest.mark.parametrize(
    "query", ["cursor=x", "cursor=%00", "cursor=WyJhIl0", "limit=0", "limit=1001", "limit=x", "status=odd", "odd=1"]
)
def test_a_wrong_page_is_refused(client, operator, submit, query):
    batch = submit(["a.example.com"]).json
    for path in (BATCHES, batch["links"]["jobs"]):
        problem(client.get(f"{path}?{query}", headers=operator), 422, "invalid_input")


def test_a_nul_in_a_filter_is_refused(client, operator, submit):
    batch = submit(["a.example.com"]).json
    problem(client.get(f"{batch['links']['jobs']}?domain=%00", headers=operator), 422, "invalid_input")


def test_a_viewer_reads_but_does_not_act(client, login, submit):
    batch = submit(["a.example.com"]).json
    viewer = login("viewer")
    assert client.get(batch["links"]["self"], headers=viewer).status_code == 200
    problem(client.post(BATCHES, headers=viewer, json={"domains": ["a.example.com"]}), 403, "permission_denied")
    for move in ("cancel", "pause", "resume", "retry"):
        problem(client.post(f"{batch['links']['self']}/{move}", headers=viewer), 403, "permission_denied")


def test_the_body_is_not_touched_before_the_caller_is_known(client, login, monkeypatch):
    received = []
    monkeypatch.setattr(submitting.tempfile, "TemporaryFile", lambda: received.append(1))
    answer = client.post(BATCHES, headers=login("viewer"), data=b"a.example.com", content_type="text/plain")
    assert answer.status_code == 403
    assert received == []


def test_json_numbers_and_order_survive_a_long_list(submit, get):
    sent = [f"s{n:04}.example.com" for n in range(1_500)]
    batch = submit(sent).json
    found, cursor = [], ""
    while cursor is not None:
        page = get(f"{batch['links']['jobs']}?limit=1000{cursor and '&cursor=' + cursor}")
        found += names(page)
        cursor = page["next_cursor"]
    assert found == sent
    assert json.dumps(batch["counts"]["total"]) == "1500"
