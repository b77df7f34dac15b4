"""What a worker counts of its jobs."""

from __future__ import annotations

import pytest

from workers import scan

ROBOTS = b"Sitemap: http://a.example/sitemap.xml\n"
URLSET = b"<urlset><url><loc>http://a.example/1</loc></url></urlset>"


def value(metric):
    return {sample.name.rpartition("_")[2]: sample.value for family in metric.collect() for sample in family.samples}


def test_a_complete_job(web, runtime, submit, work):
    web.resources |= {("a.example", "/robots.txt"): ROBOTS, ("a.example", "/sitemap.xml"): URLSET}
    _, job_id = submit()
    assert work(job_id).job.status == "complete"
    meters = runtime.meters
    assert meters.messages.labels("claimed")._value.get() == 1
    assert meters.attempts.labels("complete", "sitemaps_found")._value.get() == 1
    assert value(meters.landings)["count"] == 1
    assert value(meters.fetches.labels("answered"))["count"] == len(web.server.requests)
    assert value(meters.held)["held"] == 0


def test_a_stale_message(runtime, submit, tenant_id):
    _, job_id = submit()
    scan.run(runtime, tenant_id, job_id, 7)
    assert runtime.meters.messages.labels("dropped")._value.get() == 1


@pytest.mark.parametrize(("attempts", "end"), [(3, "retry"), (1, "failed")])
def test_a_site_that_fails(web, runtime, submit, work, superuser_here, attempts, end):
    web.resources["a.example", "/robots.txt"] = (503, {}, b"")
    _, job_id = submit()
    superuser_here.execute("UPDATE jobs SET max_attempts = %s", [attempts])
    work(job_id)
    assert runtime.meters.attempts.labels(end, "robots_unreachable")._value.get() == 1


def test_a_request_that_fails_is_counted_under_its_failure(web, runtime, submit, work):
    _, job_id = submit("https://b.example/")  # for which the server has no certificate
    work(job_id)
    assert value(runtime.meters.fetches.labels("tls_failed"))["count"] >= 1
