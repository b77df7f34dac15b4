"""The walls between tenants, from inside a worker."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from workers import scan

HOST = "a.example"
FOUND = ("domains", "jobs", "sitemap_files", "sitemap_reads", "sitemap_urls", "pages", "page_reads", "batch_counts")
SITE = {
    "/robots.txt": f"Sitemap: http://{HOST}/sitemap.xml".encode(),
    "/sitemap.xml": f"<urlset><url><loc>http://{HOST}/1</loc></url></urlset>".encode(),
    "/": b"<title>x</title>",
}


@pytest.fixture
def worker_settings(worker_settings):
    """One connection a role, which serves one tenant after the other."""
    return worker_settings.model_copy(update={"database_pool_size": 1, "database_pool_overflow": 0})


def test_a_message_in_another_tenants_name_moves_nothing(runtime, web, submit, dispatch, look, new_tenant):
    """Security D1: whoever writes into the broker still scans nobody's job for somebody else"""
    web.resources |= {(HOST, path): body for path, body in SITE.items()}
    _, job_id = submit()
    row = dispatch()[job_id]
    scan.run(runtime, new_tenant("other"), row.job_id, row.dispatch_no)
    untouched = look(job_id).job
    assert (untouched.status, untouched.attempt, untouched.lease_token) == ("queued", 0, None)
    assert web.server.requests == []
    scan.run(runtime, row.tenant_id, row.job_id, row.dispatch_no)
    assert look(job_id).job.status == "complete"


def test_after_one_tenants_scan_the_next_finds_nothing_of_it(runtime, web, submit, work, tenant_id, new_tenant):
    """Security D2: on the very connection that landed it, temporary tables included"""
    web.resources |= {(HOST, path): body for path, body in SITE.items()}
    _, job_id = submit()
    assert work(job_id).job.status == "complete"
    with runtime.database.for_tenant(tenant_id) as uow:
        assert all(count(uow, table) for table in FOUND)
        landed_on = pid(uow)
    with runtime.database.for_tenant(new_tenant("other")) as uow:
        assert {table: count(uow, table) for table in (*FOUND, "staged_urls")} == dict.fromkeys(
            (*FOUND, "staged_urls"), 0
        )
        assert pid(uow) == landed_on


def count(uow, table):
    return uow.session.scalar(sa.text(f"SELECT count(*) FROM {table}"))


def pid(uow):
    return uow.session.scalar(sa.text("SELECT pg_backend_pid()"))
