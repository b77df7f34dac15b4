"""The inventory against a naive model: any series of scans, read back as of each of them."""

from __future__ import annotations

from threading import Event
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.errors import Unavailable
from app.repositories.hashes import url_key
from app.repositories.inventory import UrlRow
from app.unit_of_work import Database

URLS = [f"https://a.example/{n}" for n in range(6)]
listing = st.dictionaries(st.sampled_from(URLS), st.sampled_from(["weekly", "daily", None]))
scans = st.lists(st.tuples(listing, st.booleans()), min_size=1, max_size=5)


def rows(listed):
    return [UrlRow(url_key(url), url, None, None, None, None, freq, None, None, None) for url, freq in listed.items()]


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(series=scans)
def test_as_of_every_scan_the_inventory_is_what_a_naive_copy_would_be(database, tenant_id, series):
    expected = {}
    standing: dict[str, str | None] = {}
    host = f"{uuid4()}.example"
    for listed, complete in series:
        with database.for_tenant(tenant_id) as uow:
            domain, file_id = a_file(uow, host)
            scan_no = len(expected) + 1
            land(uow, file_id, scan_no, listed, complete=complete)
            uow.commit()
        standing = {**({} if complete else standing), **listed}
        expected[scan_no] = dict(standing)
    with database.for_tenant(tenant_id) as uow:
        for scan_no, wanted in expected.items():
            assert as_of(uow, domain, scan_no) == wanted


def a_file(uow, host="a.example"):
    domain = uow.domains.ensure(host, "/")
    return domain, uow.inventory.ensure_file(domain.id, f"https://{host}/sitemap.xml")


def land(uow, file_id, scan_no, listed, *, complete=True):
    return uow.inventory.land(file_id, scan_no, rows(listed), complete=complete)


def as_of(uow, domain, scan_no):
    job = type("AsOf", (), {"scan_no": scan_no, "domain_id": domain.id})
    found = uow.inventory.urls(job, limit=1000, cursor=None).items
    return {view.row.url: view.row.changefreq for view in found}


def test_landing_the_same_again_writes_no_row(database, tenant_id):
    listed = dict.fromkeys(URLS, "daily")
    outcomes = []
    for scan_no in (1, 2):
        with database.for_tenant(tenant_id) as uow:
            outcomes.append(land(uow, a_file(uow)[1], scan_no, listed))
            uow.commit()
    first, again = outcomes
    assert (first.added, again.added, again.changed, again.removed) == (6, 0, 0, 0)


def test_a_url_listed_twice_in_one_file_is_one_row(database, tenant_id):
    with database.for_tenant(tenant_id) as uow:
        landed = uow.inventory.land(a_file(uow)[1], 1, rows({URLS[0]: None}) * 2, complete=False)
    assert landed.added == 1


def slowly(listed, seconds):
    yield from rows(listed)
    Event().wait(seconds)


def test_staging_may_take_longer_than_a_statement(settings, tenant_id):
    """It lasts as long as parsing does."""
    database = Database(settings.model_copy(update={"database_statement_timeout": 1}), "worker")
    with database.for_tenant(tenant_id) as uow:
        landed = uow.inventory.land(a_file(uow)[1], 1, slowly({URLS[0]: None}, 1.3), complete=False)
    database.close()
    assert landed.added == 1


def test_a_connection_that_breaks_while_rows_are_staged_is_no_defect(database, tenant_id, superuser_here):
    def rows_of_a_dying_server():
        yield from rows({URLS[0]: None})
        superuser_here.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY %'")
        while True:
            yield from rows(dict.fromkeys(URLS))

    with pytest.raises(Unavailable), database.for_tenant(tenant_id) as uow:
        uow.inventory.land(a_file(uow)[1], 1, rows_of_a_dying_server(), complete=False)


def test_a_standby_in_the_primarys_place_is_an_absence(database, tenant_id, superuser_here):
    superuser_here.execute("ALTER ROLE scrapersky_app SET default_transaction_read_only = on")
    try:
        with pytest.raises(Unavailable), database.for_tenant(tenant_id) as uow:
            a_file(uow)
    finally:
        superuser_here.execute("ALTER ROLE scrapersky_app RESET default_transaction_read_only")


def test_staging_twice_in_one_transaction_is_refused(database, tenant_id):
    with database.for_tenant(tenant_id) as uow:
        _, file_id = a_file(uow)
        land(uow, file_id, 1, {URLS[0]: None})
        with pytest.raises(RuntimeError, match="staged_urls"):
            land(uow, file_id, 2, {URLS[1]: None})


def test_a_change_keeps_when_the_url_was_first_seen(database, tenant_id):
    with database.for_tenant(tenant_id) as uow:
        domain, file_id = a_file(uow)
        uow.inventory.land(file_id, 1, rows({URLS[0]: "daily"}), complete=False)
        uow.commit()
    with database.for_tenant(tenant_id) as uow:
        before = _only(uow, domain, 1)
        landed = uow.inventory.land(file_id, 2, rows({URLS[0]: "weekly"}), complete=False)
        after = _only(uow, domain, 2)
        assert (landed.added, landed.changed) == (0, 1)
        assert after.first_seen_at == before.first_seen_at
        assert after.changed_at > before.changed_at
        assert _only(uow, domain, 1).changefreq == "daily"


def _only(uow, domain, scan_no):
    job = type("AsOf", (), {"scan_no": scan_no, "domain_id": domain.id})
    (view,) = uow.inventory.urls(job, limit=10, cursor=None).items
    return view.row


def a_site(database, tenant_id, *sizes):
    """A domain with files of that many URLs, half of them emptied by a second scan; its URLs as of the first."""
    listed = []
    for number, size in enumerate(sizes):
        urls = [f"https://long.example/{number}/{n}" for n in range(size)]
        listed += urls
        with database.for_tenant(tenant_id) as uow:
            domain = uow.domains.ensure("long.example", "/")
            file_id = uow.inventory.ensure_file(domain.id, f"https://long.example/{number}.xml")
            land(uow, file_id, 1, dict.fromkeys(urls))
            if number % 2:
                uow.inventory.remove_urls(file_id, 2)
            uow.commit()
    return domain, listed


def paged(uow, domain, limit):
    """Every page of the inventory as of the first scan, and how many index entries each one had read for it."""
    job, cursor = type("AsOf", (), {"scan_no": 1, "domain_id": domain.id}), None
    while True:
        before = entries_read(uow)
        found = uow.inventory.urls(job, limit=limit, cursor=cursor)
        yield found.items, entries_read(uow) - before
        if (cursor := found.next_cursor) is None:
            return


def entries_read(uow):
    read = "SELECT pg_stat_get_xact_tuples_returned(CAST(name AS regclass)) FROM unnest(CAST(:names AS text[])) AS name"
    names = ["sitemap_urls", "pk_sitemap_urls", "sitemap_files", "uq_sitemap_files_url", "pk_sitemap_files"]
    return sum(uow.session.scalars(sa.text(read), {"names": names}))


@pytest.mark.parametrize("limit", [1, 7, 1000])
@pytest.mark.parametrize("sizes", [(40,), (20, 20), (1,) * 20, (0, 3, 0, 0, 7, 1, 0), (7, 7, 14)], ids=str)
def test_pages_hold_every_url_once_and_in_order(database, tenant_id, sizes, limit):
    domain, listed = a_site(database, tenant_id, *sizes)
    with database.for_tenant(tenant_id) as uow:
        pages = [[view.row for view in items] for items, _ in paged(uow, domain, limit)]
        whole = [view.row.url for items, _ in paged(uow, domain, 1000) for view in items]
    assert sorted(whole) == sorted(listed)
    assert [row.url for items in pages for row in items] == whole
    assert {len(items) for items in pages[:-1]} <= {limit}


@pytest.mark.parametrize("sizes", [(2_000,), (1_000, 1_000), (20,) * 50], ids=["one file", "two files", "many files"])
def test_no_page_reads_more_than_it_shows(database, tenant_id, sizes):
    """Nothing was ever analysed here: to the planner these are a handful of rows."""
    domain, _ = a_site(database, tenant_id, *sizes)
    with database.for_tenant(tenant_id) as uow:
        read = [entries for _, entries in paged(uow, domain, 100)]
    assert max(read) <= 101 * 2 + 20
