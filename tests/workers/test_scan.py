"""One attempt of one job, from its message to its end, against a real database and a real site."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import replace
from uuid import uuid4

import pytest
import sqlalchemy as sa

from app.errors import Aborted, Unavailable
from app.fetching import client
from app.repositories.inventory import Inventory
from app.scanning.values import SitemapFile, SitemapRead, UrlEntry
from app.services import scans, upkeep
from app.services.jobs import waiting_on
from app.services.scans import Recorder
from app.settings import parse_connect_to
from tests.running import until
from workers import scan

HOST = "a.example"
ROBOTS = b"Sitemap: http://a.example/sitemap.xml\n"


def urlset(*paths, lastmod=None):
    stamp = f"<lastmod>{lastmod}</lastmod>" if lastmod else ""
    return (
        "<urlset>" + "".join(f"<url><loc>http://{HOST}{p}</loc>{stamp}</url>" for p in paths) + "</urlset>"
    ).encode()


def index(*paths):
    return ("<sitemapindex>" + "".join(f"<sitemap><loc>http://{HOST}{p}</loc></sitemap>" for p in paths) + "</sitemapindex>").encode()  # fmt: skip


@pytest.fixture
def site(web):
    web.resources |= {
        (HOST, "/robots.txt"): ROBOTS,
        (HOST, "/sitemap.xml"): urlset("/1", "/2", "/3"),
        (HOST, "/"): (200, {"Content-Type": "text/html"}, b"<html lang=en><title>Hello</title></html>"),
    }
    return web


def test_a_domain_is_landed(site, submit, work, urls_of, database, tenant_id):
    batch_id, job_id = submit()
    view = work(job_id)
    assert (view.job.status, view.job.outcome, view.job.progress) == ("complete", "sitemaps_found", 100)
    assert urls_of(job_id) == [f"http://{HOST}/{n}" for n in (1, 2, 3)]
    assert view.job.stats["urls"] == view.domain.url_count == 3
    assert (view.domain.details["title"], view.domain.scheme, view.domain.last_job_id) == ("Hello", "http", job_id)
    with database.for_tenant(tenant_id) as uow:
        (page,) = uow.pages.of_job(job_id, limit=10, cursor=None).items
        (read,) = uow.inventory.all_reads(job_id)
        uow.batches.settle(batch_id)
        batch = uow.batches.get(batch_id)
    assert (page.page.title, page.page.language, page.read.is_home) == ("Hello", "en", True)
    assert (read.read.status, read.read.discovered_by, read.read.url_count, read.read.http_status) == ("read", "robots", 3, 200)  # fmt: skip
    assert (batch.batch.status, batch.counts["complete"]) == ("complete", 1)


def test_a_stale_message_does_nothing(site, submit, runtime, dispatch, tenant_id, look):
    _, job_id = submit()
    (row,) = dispatch().values()
    scan.run(runtime, tenant_id, job_id, row.dispatch_no - 1)
    scan.run(runtime, tenant_id, job_id, row.dispatch_no + 1)
    assert look(job_id).job.status == "queued"
    scan.run(runtime, tenant_id, job_id, row.dispatch_no)
    assert look(job_id).job.status == "complete"
    asked = len(site.server.requests)
    scan.run(runtime, tenant_id, job_id, row.dispatch_no)  # delivered again
    assert len(site.server.requests) == asked


def test_an_unreachable_host_is_tried_again_then_failed(web, submit, work):
    web.server.requests.clear()
    web.resources[HOST, "/robots.txt"] = lambda: (503, {}, b"")
    _, job_id = submit()
    first = work(job_id)
    assert (first.job.status, first.job.attempt, first.job.waiting_on) == ("pending", 1, "retry")
    assert first.job.error_code == "robots_unreachable"
    work(job_id)
    last = work(job_id)
    assert (last.job.status, last.job.attempt, last.job.error_retryable) == ("failed", 3, True)
    assert last.domain.url_count == 0
    assert last.job.stats["requests"] == 3


def test_a_blocked_address_fails_at_once(submit, work, runtime, worker_settings):
    runtime.transport.close()
    runtime.transport = client.build(worker_settings.model_copy(update={"connect_to": ()}), ledger=runtime.ledger)
    _, job_id = submit("http://127.0.0.1/")
    view = work(job_id)
    assert (view.job.status, view.job.attempt, view.job.error_retryable) == ("failed", 1, False)
    assert view.job.error_code == "blocked_address"
    assert "127" not in view.job.error_detail


def test_cancelling_a_running_job_stops_it_within_seconds(site, submit, work, look, database, tenant_id, urls_of):
    asked, go = site.gate(HOST, "/sitemap.xml", urlset("/1"))
    _, job_id = submit()
    worker = threading.Thread(target=work, args=(job_id,))
    worker.start()
    assert asked.wait(20)
    with database.for_tenant(tenant_id) as uow:
        assert uow.jobs.cancel(job_id)
        uow.commit()
    worker.join(10)  # the gate is still shut: only the abort can have ended it
    assert not worker.is_alive()
    go.set()
    assert look(job_id).job.status == "cancelled"
    assert urls_of(job_id) == []


def test_cancelling_the_batch_stops_its_running_job(site, submit, work, look, database, tenant_id):
    asked, go = site.gate(HOST, "/sitemap.xml", urlset("/1"))
    batch_id, job_id = submit()
    worker = threading.Thread(target=work, args=(job_id,))
    worker.start()
    assert asked.wait(20)
    with database.for_tenant(tenant_id) as uow:
        uow.batches.lock(batch_id).status = "cancelling"
        uow.commit()
    worker.join(10)
    assert not worker.is_alive()
    go.set()
    upkeep.sweep(database)
    upkeep.settle(database)
    with database.for_tenant(tenant_id) as uow:
        batch = uow.batches.get(batch_id)
    assert (batch.batch.status, batch.counts["cancelled"], look(job_id).job.status) == ("cancelled", 1, "cancelled")


@pytest.mark.parametrize(
    ("hold", "let_go", "waits_for"),
    [
        ("UPDATE batch_jobs SET status = 'paused'", "UPDATE batch_jobs SET status = 'running'", "paused"),
        ("UPDATE tenants SET status = 'suspended'", "UPDATE tenants SET status = 'active'", "tenant_suspended"),
    ],
)
def test_running_work_of_a_paused_batch_or_suspended_tenant_goes_back_and_goes_on_later(
    site, submit, work, look, dispatch, urls_of, superuser_here, hold, let_go, waits_for
):
    asked, go = site.gate(HOST, "/sitemap.xml", urlset("/1"))
    _, job_id = submit()
    worker = threading.Thread(target=work, args=(job_id,))
    worker.start()
    assert asked.wait(20)
    superuser_here.execute(hold)
    worker.join(10)  # the gate is still shut: only the abort can have ended it
    assert not worker.is_alive()
    go.set()
    view = look(job_id)
    assert (view.job.status, view.job.attempt, view.job.lost) == ("pending", 0, 0)
    assert waiting_on(view) == waits_for
    assert dispatch() == {}
    superuser_here.execute(let_go)
    assert work(job_id).job.status == "complete"
    assert urls_of(job_id) == [f"http://{HOST}/1"]


def test_an_attempt_that_lost_its_job_writes_nothing(site, submit, work, look, database, tenant_id, urls_of):
    """As after SIGSTOP past the lease: another token owns the job now."""
    asked, go = site.gate(HOST, "/sitemap.xml", urlset("/stale"))
    _, job_id = submit()
    worker = threading.Thread(target=work, args=(job_id,))
    worker.start()
    assert asked.wait(20)
    with database.for_tenant(tenant_id) as uow:
        uow.session.execute(sa.text("UPDATE jobs SET lease_token = :t WHERE id = :j"), {"t": uuid4(), "j": job_id})
        uow.commit()
    go.set()
    worker.join(10)
    assert not worker.is_alive()
    view = look(job_id)
    assert (view.job.status, view.job.outcome, urls_of(job_id)) == ("running", None, [])


def test_a_yield_spends_no_attempt_and_the_next_goes_on_from_the_checkpoint(site, submit, work, runtime, urls_of):
    children = [f"/{n}.xml" for n in range(6)]
    site.resources |= {(HOST, "/sitemap.xml"): index(*children)}
    site.resources |= {(HOST, path): urlset(f"/of{path}") for path in children}
    runtime.settings = runtime.settings.model_copy(update={"slice_seconds": 0.0})  # yields after each event
    _, job_id = submit(per_host_concurrency=1)
    rounds = 0
    while (view := work(job_id)).job.status != "complete":
        assert (view.job.status, view.job.attempt) == ("pending", 0)
        rounds += 1
        assert rounds < 20
        runtime.settings = runtime.settings.model_copy(update={"slice_seconds": 60.0 if rounds > 3 else 0.0})
    assert rounds >= 3
    assert view.job.attempt == 1
    assert len(urls_of(job_id)) == len(children)
    assert site.asked("/sitemap.xml") <= 2
    assert [site.asked(path) for path in children] == [1] * len(children)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 1), (4, 3)])
def test_a_slice_worked_alone_takes_a_loss_off_and_one_among_neighbours_none(
    site, submit, work, runtime, database, tenant_id, before, after
):
    """Else a job that works and crashes by turns would take its neighbours along again and again."""
    _, job_id = submit()
    with database.for_tenant(tenant_id) as uow:
        uow.session.execute(sa.text("UPDATE jobs SET lost = :n"), {"n": before})
        uow.commit()
    runtime.settings = runtime.settings.model_copy(update={"slice_seconds": 0.0})
    view = work(job_id)
    assert (view.job.status, view.job.lost) == ("pending", after)
    assert view.job.queue == ("quarantine" if before > 1 else "express")


def test_draining_puts_the_job_back(site, submit, work, runtime, look):
    asked, go = site.gate(HOST, "/sitemap.xml", urlset("/1"))
    _, job_id = submit()
    worker = threading.Thread(target=work, args=(job_id,))
    worker.start()
    assert asked.wait(20)
    runtime.draining.set()
    runtime.leases.abort_all("shutdown")
    worker.join(10)
    assert not worker.is_alive()
    go.set()
    view = look(job_id)
    assert (view.job.status, view.job.attempt, view.job.lost) == ("pending", 0, 0)


def test_a_message_that_reaches_a_draining_process_is_not_held_back(submit, work, runtime, look):
    _, job_id = submit()
    runtime.draining.set()
    view = work(job_id)
    assert (view.job.status, view.job.attempt) == ("pending", 0)


def test_a_database_that_is_away_at_the_claim_costs_the_job_nothing(submit, work, runtime, monkeypatch):
    def away(tenant, **options):
        raise Unavailable

    monkeypatch.setattr(runtime.database, "for_tenant", away)
    _, job_id = submit()
    view = work(job_id)
    assert (view.job.status, view.job.attempt, view.job.lost) == ("queued", 0, 0)  # as if its message was lost


def test_a_statement_past_its_time_limit_is_no_database_that_is_away(site, submit, work, monkeypatch):
    """Else a job whose file cannot be landed in time would be put back and tried again for ever."""
    land = Inventory.land

    def slow(self, *arguments, **options):
        self._session.execute(sa.text("SET LOCAL statement_timeout = '50ms'"))
        self._session.execute(sa.text("SELECT pg_sleep(5)"))
        return land(self, *arguments, **options)

    monkeypatch.setattr(Inventory, "land", slow)
    _, job_id = submit()
    seen = [work(job_id).job for _ in range(3)]
    assert [(job.status, job.attempt) for job in seen] == [("pending", 1), ("pending", 2), ("failed", 3)]
    assert seen[-1].error_code == "internal"


def test_parsing_holds_no_lock_on_the_job(site, submit, work, runtime, look, database, tenant_id, monkeypatch):
    """A large file is parsed for minutes: who cancels its job must not wait."""
    stage, cancelled = Inventory.stage, []

    def cancel_meanwhile(self, rows):
        stage(self, rows)
        with database.for_tenant(tenant_id) as uow:
            uow.session.execute(sa.text("SET LOCAL lock_timeout = '3s'"))
            cancelled.append(uow.jobs.cancel(job_id))
            uow.commit()

    monkeypatch.setattr(Inventory, "stage", cancel_meanwhile)
    _, job_id = submit()
    assert work(job_id).job.status == "cancelled"
    assert cancelled == [True]


def test_two_jobs_of_one_domain_never_run_together(site, submit, dispatch, runtime, look):
    asked, go = site.gate(HOST, "/sitemap.xml", urlset("/1"))
    (_, first), (_, second) = submit(), submit()
    rows = dispatch()
    worker = threading.Thread(target=scan.run, args=(runtime, rows[first].tenant_id, first, rows[first].dispatch_no))
    worker.start()
    assert asked.wait(20)
    scan.run(runtime, rows[second].tenant_id, second, rows[second].dispatch_no)
    busy = look(second).job
    assert (busy.status, busy.waiting_on, busy.attempt) == ("pending", "domain_busy", 0)
    go.set()
    worker.join(20)
    assert look(first).job.status == "complete"


def test_a_rescan_writes_the_difference(site, submit, work, urls_of, database, tenant_id):
    _, first = submit()
    work(first)
    site.resources[HOST, "/sitemap.xml"] = urlset("/2", "/3", "/4")
    _, second = submit()
    view = work(second)
    assert view.job.outcome == "sitemaps_found"
    assert urls_of(first) == [f"http://{HOST}/{n}" for n in (1, 2, 3)]
    assert urls_of(second) == [f"http://{HOST}/{n}" for n in (2, 3, 4)]
    with database.for_tenant(tenant_id) as uow:
        rows = uow.session.scalar(sa.text("SELECT count(*) FROM sitemap_urls"))
    assert rows == 4


@pytest.mark.parametrize("again", [(304, {}, b""), urlset("/1", "/2", "/3")], ids=["304", "the same bytes"])
def test_a_rescan_of_what_is_unchanged_touches_neither_the_rows_nor_their_index(
    site, submit, work, urls_of, superuser_here, monkeypatch, again
):
    """Byte by byte, as PostgreSQL has them on disk; and nothing is parsed into rows."""
    site.resources[HOST, "/sitemap.xml"] = (200, {"ETag": '"1"'}, urlset("/1", "/2", "/3"))
    _, first = submit()
    work(first)
    superuser_here.execute("VACUUM (FREEZE) sitemap_urls")  # or reading would leave hints in the rows
    before = on_disk(superuser_here)
    site.resources[HOST, "/sitemap.xml"] = again
    monkeypatch.setattr(Inventory, "stage", lambda *_: pytest.fail("rows were staged"))
    _, second = submit()
    view = work(second)
    assert (view.job.status, view.job.outcome) == ("complete", "unchanged")
    assert on_disk(superuser_here) == before
    assert urls_of(second) == urls_of(first) != []


def on_disk(superuser):
    superuser.execute("CHECKPOINT")
    query = "SELECT pg_read_binary_file(pg_relation_filepath(name)) FROM unnest(ARRAY['sitemap_urls', 'pk_sitemap_urls']) name"
    return superuser.execute(query).fetchall()


def test_a_scan_that_goes_on_after_another_of_its_domain_counts_as_the_newer(
    site, submit, work, runtime, urls_of, database
):
    patient, hasty = runtime.settings, runtime.settings.model_copy(update={"slice_seconds": 0.0})
    _, first = submit()
    runtime.settings = hasty
    assert work(first).job.status == "pending"  # claimed, and yielded before it read the sitemap
    runtime.settings = patient
    _, second = submit()
    work(second)
    with database.system() as uow:
        uow.session.execute(sa.text("UPDATE jobs SET dispatch_until = now() - interval '1 s' WHERE status = 'queued'"))
        # The first one's message, which went out with the second's.
        assert uow.queue.reap_messages({}, patience=60) == 1
        uow.commit()
    site.resources[HOST, "/sitemap.xml"] = urlset("/2", "/3")
    view = work(first)
    assert (view.job.status, view.job.stats["urls"], view.domain.last_job_id) == ("complete", 2, first)
    assert urls_of(first) == [f"http://{HOST}/{n}" for n in (2, 3)]
    assert urls_of(second) == [f"http://{HOST}/{n}" for n in (1, 2, 3)]


def test_a_priority_too_small_for_the_database_fails_nothing(site, submit, work, urls_of):
    site.resources[HOST, "/sitemap.xml"] = urlset("/1").replace(b"</loc>", b"</loc><priority>1e-300</priority>")
    _, job_id = submit()
    assert (work(job_id).job.status, urls_of(job_id)) == ("complete", [f"http://{HOST}/1"])


def test_an_unchanged_site_costs_no_row(site, submit, work, urls_of, database, tenant_id):
    tagged = urlset("/1", "/2")
    site.resources[HOST, "/sitemap.xml"] = (200, {"ETag": '"one"'}, tagged)
    _, first = submit()
    work(first)
    site.resources[HOST, "/sitemap.xml"] = (304, {"ETag": '"one"'}, b"")
    _, second = submit()
    view = work(second)
    assert (view.job.outcome, view.job.stats["not_modified"], view.job.stats["urls"]) == ("unchanged", 1, 2)
    assert urls_of(second) == urls_of(first)
    _, forced = submit(force=True)
    site.resources[HOST, "/sitemap.xml"] = tagged
    assert work(forced).job.outcome == "sitemaps_found"


@pytest.fixture
def tagged(site):
    """A site of an index and two files, and a way to give one of them other URLs; what did not change is 304."""
    at = {}

    def put(path, body):
        def answer():
            return (200, {"ETag": tag}, body) if at.pop(path, None) else (304, {"ETag": tag}, b"")

        tag = f'"{hash(body)}"'
        at[path] = True
        site.resources[HOST, path] = answer

    put("/sitemap.xml", index("/a.xml", "/b.xml"))
    put("/a.xml", urlset("/1"))
    put("/b.xml", urlset("/2"))
    return put


def test_an_unchanged_tree_is_written_in_one_transaction(tagged, submit, work, database, tenant_id, superuser_here):
    for outcome in ("sitemaps_found", "unchanged"):
        view = work(job_id := submit()[1])
        assert (view.job.outcome, view.domain.url_count, view.job.stats["urls"]) == (outcome, 2, 2)
    with database.for_tenant(tenant_id) as uow:
        reads = {one.url.rpartition("/")[2]: one for one in uow.inventory.all_reads(job_id)}
        (page,) = uow.pages.of_job(job_id, limit=10, cursor=None).items
    assert {name: one.read.status for name, one in reads.items()} == dict.fromkeys(
        ("sitemap.xml", "a.xml", "b.xml"), "unchanged"
    )
    assert reads["a.xml"].parent_url == reads["sitemap.xml"].url
    assert (page.read.is_home, page.page.title) == (True, "Hello")
    writers = "SELECT DISTINCT xmin::text FROM {} WHERE job_id = %s"
    assert superuser_here.execute(
        f"{writers.format('sitemap_reads')} UNION {writers.format('page_reads')}", [job_id, job_id]
    ).rowcount == 1  # fmt: skip


def test_what_waits_is_written_when_the_job_is_put_back_and_under_its_own_token_only(
    tagged, submit, work, dispatch, database, tenant_id
):
    work(submit()[1])
    _, job_id = submit()
    (row,) = dispatch().values()
    mine = scans.claim(
        database, tenant_id=tenant_id, job_id=job_id, dispatch_no=row.dispatch_no, lease=60, worker="w:1"
    )
    for token, taken in ((uuid4(), []), (mine.token, ["unchanged"])):
        recorder = Recorder(database, replace(mine, token=token), lease=60, check=lambda: None)
        recorder.take(SitemapRead(file=unchanged("/a.xml"), batches=()))
        with nullcontext() if taken else pytest.raises(Aborted):
            recorder.put_back(seconds=0, reason=None)
        with database.for_tenant(tenant_id) as uow:
            assert [one.read.status for one in uow.inventory.all_reads(job_id)] == taken


def unchanged(path):
    url = f"http://{HOST}{path}"
    return SitemapFile(url=url, final_url=url, discovered_by="robots", parent=None, depth=0, status="unchanged")


def test_urls_are_counted_anew_after_a_scan_that_never_ended(tagged, submit, work, dispatch, database, tenant_id):
    work(submit()[1])
    _, stopped = submit()
    (row,) = dispatch().values()
    mine = scans.claim(
        database, tenant_id=tenant_id, job_id=stopped, dispatch_no=row.dispatch_no, lease=60, worker="w:1"
    )
    read = replace(unchanged("/a.xml"), status="read", kind="urlset", etag='"x"', complete=True)
    urls = [UrlEntry(url=f"http://{HOST}/{n}", listed=f"http://{HOST}/{n}") for n in (1, 3)]
    Recorder(database, mine, lease=60, check=lambda: None).take(SitemapRead(file=read, batches=[urls]))
    with database.for_tenant(tenant_id) as uow:
        assert uow.jobs.cancel(stopped)
        assert uow.jobs.get(stopped).domain.url_count == 2
        uow.commit()
    view = work(submit()[1])
    assert (view.job.outcome, view.domain.url_count) == ("unchanged", 3)


def test_a_304_that_no_one_asked_for_is_a_failure_and_removes_nothing(site, submit, work, urls_of):
    site.resources[HOST, "/sitemap.xml"] = urlset("/1", "/2")  # it brings no validator
    _, first = submit()
    work(first)
    site.resources[HOST, "/sitemap.xml"] = (304, {"ETag": '"one"'}, b"")
    _, second = submit()
    view = work(second)
    assert (view.job.outcome, view.job.error_code) == (None, "sitemaps_failed")
    assert urls_of(first) == [f"http://{HOST}/1", f"http://{HOST}/2"]


def test_a_validator_that_no_database_would_keep_fails_no_job(site, submit, work, urls_of):
    site.resources[HOST, "/sitemap.xml"] = (200, {"ETag": 'W/"a\x00b"', "Last-Modified": "\x00"}, urlset("/1"))
    _, job_id = submit()
    assert (work(job_id).job.status, urls_of(job_id)) == ("complete", [f"http://{HOST}/1"])


def test_what_no_database_would_keep_fails_no_job(site, submit, work, urls_of, database, tenant_id):
    """Security P5"""
    image = "<image:image><image:loc>/i.png</image:loc><image:title>a&#0;b\x00\x0b\ufffe</image:title></image:image>"
    urls = f"<url><loc>http://{HOST}/1\x00</loc><lastmod>\x00soon</lastmod>{image}</url><url><loc>http://{HOST}/2</loc></url>"
    feed = '{"version": "https://jsonfeed.org/version/1.1", "items": [{"url": "/3\\u0000"}, {"url": "/4\\ud800"}]}'
    site.resources |= {
        (HOST, "/robots.txt"): ROBOTS + f"Sitemap: http://{HOST}/feed\x00.json\n".encode(),
        (HOST, "/sitemap.xml"): f"<urlset>{urls}</urlset>".encode(),
        (HOST, "/feed.json"): feed.encode(),
        (HOST, "/"): (
            200,
            {"Content-Type": "text/html"},
            (
                b"<html lang='e\0n'><title>a\0b&#xd800;&#0;c</title><meta name=description content='\xed\xa0\x80'>"
                b"<script type='application/ld+json'>{\"@type\": \"A\\u0000B\\udfff\"}</script><a href='mailto:a\0@b.example'>x</a>"
            ),
        ),
    }
    _, job_id = submit()
    view = work(job_id)
    assert view.job.status == "complete"
    assert {f"http://{HOST}/2", f"http://{HOST}/3"} <= set(urls_of(job_id))
    with database.for_tenant(tenant_id) as uow:
        (page,) = uow.pages.of_job(job_id, limit=10, cursor=None).items
    assert page.page.title is not None
    assert "\0" not in page.page.title


def test_a_partial_read_removes_nothing_and_is_read_again(site, submit, work, urls_of):
    _, first = submit()
    work(first)
    site.resources[HOST, "/sitemap.xml"] = urlset("/1", "/9")[:-22]  # breaks off inside the second URL
    _, second = submit()
    work(second)
    assert urls_of(second) == urls_of(first)
    site.resources[HOST, "/sitemap.xml"] = urlset("/1")
    _, third = submit()
    work(third)
    assert urls_of(third) == [f"http://{HOST}/1"]


def test_a_file_its_index_no_longer_lists_takes_its_urls_along(site, submit, work, urls_of):
    site.resources |= {
        (HOST, "/sitemap.xml"): index("/a.xml", "/b.xml"),
        (HOST, "/a.xml"): urlset("/a"),
        (HOST, "/b.xml"): urlset("/b"),
    }
    _, first = submit()
    work(first)
    site.resources[HOST, "/sitemap.xml"] = index("/a.xml")
    _, second = submit()
    view = work(second)
    assert (urls_of(first), urls_of(second)) == ([f"http://{HOST}/a", f"http://{HOST}/b"], [f"http://{HOST}/a"])
    assert view.domain.url_count == 1


def test_404_removes_on_the_second_scan_only(site, submit, work, urls_of):
    site.resources |= {
        (HOST, "/sitemap.xml"): index("/a.xml", "/b.xml"),
        (HOST, "/a.xml"): urlset("/a"),
        (HOST, "/b.xml"): urlset("/b"),
    }
    _, first = submit()
    work(first)
    del site.resources[HOST, "/b.xml"]
    _, second = submit()
    work(second)
    assert urls_of(second) == urls_of(first)
    _, third = submit()
    work(third)
    assert urls_of(third) == [f"http://{HOST}/a"]


def test_a_host_that_asks_for_patience_puts_the_job_back(site, submit, work):
    site.resources[HOST, "/sitemap.xml"] = lambda: (429, {"Retry-After": "120"}, b"")
    _, job_id = submit()
    view = work(job_id)
    assert (view.job.status, view.job.waiting_on, view.job.attempt) == ("pending", "host_cooldown", 0)
    assert (view.job.available_at - view.job.updated_at).total_seconds() > 60


def test_a_pause_longer_than_the_jobs_time_limit_ends_it(site, submit, work):
    site.resources[HOST, "/sitemap.xml"] = lambda: (429, {"Retry-After": "120"}, b"")
    _, job_id = submit(timeout_seconds=60)
    view = work(job_id)
    assert (view.job.status, view.job.error_code) == ("failed", "job_timeout")


def test_waiting_in_a_paused_batch_or_for_a_worker_costs_a_job_none_of_its_time(
    site, submit, work, runtime, database, tenant_id, look
):
    patient, hasty = runtime.settings, runtime.settings.model_copy(update={"slice_seconds": 0.0})
    _, job_id = submit(timeout_seconds=60)
    runtime.settings = hasty
    assert work(job_id).job.status == "pending"
    assert 0 < look(job_id).job.spent_seconds < 30
    with database.for_tenant(tenant_id) as uow:  # a day passes
        uow.session.execute(sa.text("UPDATE jobs SET started_at = now() - interval '1 day', updated_at = started_at"))
        uow.commit()
    runtime.settings = patient
    assert work(job_id).job.status == "complete"


def test_pauses_that_the_host_asks_for_use_its_time_up(site, submit, work, runtime, database, tenant_id):
    site.resources[HOST, "/sitemap.xml"] = lambda: (429, {"Retry-After": "20"}, b"")
    _, job_id = submit(timeout_seconds=45)
    seen = []
    while not seen or seen[-1].status == "pending":
        seen.append(work(job_id).job)
        assert len(seen) < 9
        with database.for_tenant(tenant_id) as uow:  # the pauses are over
            uow.session.execute(sa.text("UPDATE jobs SET available_at = now() WHERE available_at IS NOT NULL"))
            uow.commit()
        runtime.ledger._redis.flushdb()
    assert [job.waiting_on for job in seen] == ["host_cooldown", "host_cooldown", None]
    assert (seen[-1].status, seen[-1].error_code) == ("failed", "job_timeout")


def test_a_host_that_refuses_every_connection_ends_its_job_though_its_circuit_opens(
    submit, work, runtime, worker_settings
):
    """Two schemes times three attempts are more failures in a row than the ledger bears."""
    nowhere = tuple(parse_connect_to(f"*:{port}:127.0.0.1:1") for port in (80, 443))
    runtime.transport.close()
    runtime.transport = client.build(worker_settings.model_copy(update={"connect_to": nowhere}), ledger=runtime.ledger)
    _, job_id = submit("a.example")
    seen = [work(job_id).job for _ in range(3)]
    assert [(job.status, job.attempt) for job in seen] == [("pending", 1), ("pending", 2), ("failed", 3)]
    assert {job.error_code for job in seen} == {"connect_refused"}


def test_the_jobs_own_time_limit_fails_it(site, submit, work, database, tenant_id, look):
    _, job_id = submit(timeout_seconds=5)
    asked, go = site.gate(HOST, "/sitemap.xml", urlset("/1"))
    worker = threading.Thread(target=work, args=(job_id,))
    worker.start()
    assert asked.wait(20)
    until(lambda: look(job_id).job.status == "failed", seconds=15, what="the time limit holds")
    go.set()
    worker.join(20)
    assert look(job_id).job.error_code == "job_timeout"
