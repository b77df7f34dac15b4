"""What tests of the API share, beside a client and callers."""

from __future__ import annotations

import psycopg
import psycopg.rows
import pytest

from models.states import JobStatus


@pytest.fixture
def operator(login):
    return login("operator")


@pytest.fixture
def get(client, operator):
    def fetch(path):
        answer = client.get(path, headers=operator)
        assert answer.status_code == 200, answer.text
        return answer.json

    return fetch


@pytest.fixture
def end_jobs(superuser_here: psycopg.Connection):
    """End a batch's jobs, in the order of its lines, as workers would."""

    def end(batch_id, *statuses):
        rows = superuser_here.execute(
            "SELECT id FROM jobs WHERE batch_id = %s AND finished_at IS NULL ORDER BY id", [batch_id]
        ).fetchall()
        for (job_id,), status in zip(rows, statuses, strict=False):
            outcome = "sitemaps_found" if status == JobStatus.COMPLETE else None
            error = "dns_not_found" if status == JobStatus.FAILED else None
            superuser_here.execute(
                "UPDATE jobs SET status = %s, outcome = %s, error_code = %s, error_detail = %s, finished_at = now(), "
                "dispatch_until = NULL WHERE id = %s",
                [status, outcome, error, error, job_id],
            )

    return end


@pytest.fixture
def audited(superuser_here: psycopg.Connection):
    """`audited("session.")` → the events whose action begins so, oldest first, as rows of a dict each."""

    def read(beginning):
        with superuser_here.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            query = "SELECT * FROM audit_events WHERE action LIKE %s ORDER BY id"
            return cursor.execute(query, [beginning + "%"]).fetchall()

    return read
