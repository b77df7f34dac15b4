"""A job's URLs as a file: all of them, as the listing tells them, whatever their number."""

from __future__ import annotations

import csv
import io
import json
from uuid import UUID

import pytest

from app.repositories.hashes import url_key
from app.repositories.inventory import UrlRow, extras_json
from app.services import jobs
from tests.api.answers import problem

URLS = [f"https://example.com/{n:02}" for n in range(23)]
PICTURED = "https://example.com/pictured"
NASTY = 'https://example.com/?q="a,b"'
FORMULA = "=cmd()"


@pytest.fixture
def job(client, operator, database, tenant_id, superuser_here):
    """One that found 25 URLs in two files."""
    job = client.post("/api/v2/scans", headers=operator, json={"domain": "example.com"}).json
    pictures = extras_json({"images": [{"loc": "https://example.com/1.png", "caption": FORMULA}]})
    for name, urls in (("a", URLS), ("b", [PICTURED, NASTY])):
        with database.for_tenant(tenant_id) as uow:
            file = uow.inventory.ensure_file(UUID(job["domain"]["id"]), f"https://example.com/{name}.xml")
            rows = [UrlRow(url_key(u), u, *[None] * 7, pictures if u == PICTURED else None) for u in urls]
            uow.inventory.land(file, 1, rows, complete=True)
            uow.commit()
    superuser_here.execute("UPDATE jobs SET scan_no = 1 WHERE id = %s", [job["id"]])
    return job


@pytest.fixture
def export(client, operator, job, monkeypatch):
    """Ten URLs at a time, so that there are several chunks."""
    monkeypatch.setattr(jobs, "CHUNK", 10)

    def get(form=None, headers=operator):
        return client.get(
            f"/api/v2/jobs/{job['id']}/export", query_string={"format": form} if form else {}, headers=headers
        )

    return get


def test_lines_say_what_the_listing_says(client, operator, job, export):
    answer = export()
    assert answer.mimetype == "application/x-ndjson"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="job-{job["id"]}-urls.jsonl"'
    listed = client.get(f"{job['links']['urls']}?limit=100", headers=operator).json["items"]
    assert len(listed) == 25
    assert list(map(json.loads, answer.text.splitlines())) == listed


def test_a_table_says_the_same(client, operator, job, export):
    answer = export("csv")
    assert answer.mimetype == "text/csv"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    listed = client.get(f"{job['links']['urls']}?limit=100", headers=operator).json["items"]
    assert [row["url"] for row in rows] == [url["url"] for url in listed]
    for row, url in zip(rows, listed, strict=True):
        assert set(row) == set(url)
        assert row["first_seen_at"] == url["first_seen_at"]
        assert json.loads(row["images"] or "[]") == url["images"]
        assert row["removed_at"] == row["news"] == ""


def test_a_later_scan_does_not_change_what_an_earlier_one_left(client, operator, job, export, database, tenant_id):
    """Not even between two chunks of one export, each of which is read in a transaction of its own."""
    before = export().text
    pieces = export().iter_encoded()
    first = next(pieces)
    assert first.count(b"\n") == 10
    with database.for_tenant(tenant_id) as uow:
        file = uow.inventory.ensure_file(UUID(job["domain"]["id"]), "https://example.com/a.xml")
        added = "https://example.com/added"
        uow.inventory.land(file, 2, [UrlRow(url_key(added), added, *[None] * 8)], complete=True)
        uow.commit()
    told = [json.loads(line)["url"] for line in (first + b"".join(pieces)).splitlines()]
    assert told == [json.loads(line)["url"] for line in before.splitlines()]


def test_between_two_chunks_no_transaction_is_open(export, superuser_here):
    pieces = export().iter_encoded()
    next(pieces)
    open_ = (
        "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND xact_start IS NOT NULL"
    )
    assert superuser_here.execute(open_).fetchall() == []
    assert len(list(pieces)) == 2


@pytest.mark.parametrize(("form", "begins", "lines"), [("jsonl", "", 0), ("csv", "url,", 1)])
def test_a_job_that_found_nothing_has_an_empty_file(client, operator, form, begins, lines):
    job = client.post("/api/v2/scans", headers=operator, json={"domain": "empty.example"}).json
    answer = client.get(f"/api/v2/jobs/{job['number']}/export?format={form}", headers=operator)
    assert answer.status_code == 200
    assert answer.text.startswith(begins)
    assert answer.text.count("\n") == lines


def test_whose_feature_is_off_gets_none(client, login, export, tenant_id):
    switch = f"/api/v2/tenants/{tenant_id}/features/exports"
    assert client.put(switch, json={"enabled": False}, headers=login("platform_admin")).status_code == 200
    problem(export(), 403, "feature_disabled")


def test_an_unknown_format_is_refused(export):
    problem(export("xls"), 422, "invalid_input")
