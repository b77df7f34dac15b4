"""What a tenant may have holds for its scans, whatever their callers asked for."""

from __future__ import annotations

import pytest

from tests.workers.test_scan import HOST, ROBOTS, urlset


@pytest.fixture
def site(web):
    web.resources |= {(HOST, "/robots.txt"): ROBOTS, (HOST, "/sitemap.xml"): urlset("/1", "/2", "/3")}
    return web


@pytest.fixture
def limit(superuser_here, tenant_id):
    def change(**limits):
        for name, value in limits.items():
            superuser_here.execute(f"UPDATE tenants SET {name} = %s WHERE id = %s", [value, tenant_id])

    return change


@pytest.fixture
def keep_urls(superuser_here, tenant_id):
    def keep(host, count):
        superuser_here.execute(
            "INSERT INTO domains (tenant_id, host, url_count) VALUES (%s, %s, %s)", [tenant_id, host, count]
        )

    return keep


@pytest.fixture
def problems_of(database, tenant_id):
    def read(job_id):
        with database.for_tenant(tenant_id) as uow:
            return {view.url: view.read.error_code for view in uow.inventory.all_reads(job_id)}

    return read


def test_a_scan_keeps_as_many_urls_as_the_tenant_has_room_for(
    site,
    submit,
    work,
    limit,
    keep_urls,
    urls_of,
    problems_of,
):
    keep_urls("elsewhere.example", 8)
    limit(max_urls=10)
    _, job_id = submit()
    view = work(job_id)
    assert (view.job.status, view.job.outcome) == ("complete", "incomplete")
    assert urls_of(job_id) == [f"http://{HOST}/1", f"http://{HOST}/2"]
    assert view.job.stats["urls"] == view.domain.url_count == 2
    assert problems_of(job_id) == {f"http://{HOST}/sitemap.xml": "quota_exceeded"}


def test_what_is_kept_of_a_site_may_be_read_again(site, submit, work, limit, urls_of):
    limit(max_urls=3)
    for paths in (("/1", "/2", "/3"), ("/1", "/3", "/4")):
        site.resources[HOST, "/sitemap.xml"] = urlset(*paths)
        _, job_id = submit()
        assert work(job_id).job.outcome == "sitemaps_found"
        assert urls_of(job_id) == [f"http://{HOST}{path}" for path in paths]


def test_without_any_room_nothing_is_kept_and_the_job_says_so(site, submit, work, limit, keep_urls, urls_of):
    keep_urls("elsewhere.example", 8)
    limit(max_urls=8)
    _, job_id = submit()
    assert (work(job_id).job.outcome, urls_of(job_id)) == ("incomplete", [])


def test_without_a_limit_of_its_own_a_tenant_has_the_installations(site, submit, work, runtime):
    runtime.quotas._settings = runtime.settings.model_copy(update={"tenant_urls": 1})
    _, job_id = submit()
    assert work(job_id).domain.url_count == 1


def test_requests_at_a_time_to_a_host_are_lowered_and_never_raised(site, submit, work, limit, runtime, monkeypatch):
    asked = []
    fetcher = runtime.transport.fetcher

    def noting(**options):
        asked.append(options["concurrency"])
        return fetcher(**options)

    monkeypatch.setattr(runtime.transport, "fetcher", noting)
    limit(max_host_requests=3)
    for wanted in (8, 2):
        _, job_id = submit(per_host_concurrency=wanted)
        work(job_id)
    assert asked == [3, 2]


def test_pages_switched_off_after_a_job_was_submitted_are_not_fetched(site, submit, work, superuser_here, tenant_id):
    _, job_id = submit(max_pages=5)
    superuser_here.execute("INSERT INTO tenant_features VALUES (%s, 'pages', false)", [tenant_id])
    view = work(job_id)
    assert (view.job.outcome, view.job.stats["pages"], site.asked("/")) == ("sitemaps_found", 0, 0)
