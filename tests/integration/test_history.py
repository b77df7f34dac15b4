"""What a series of scans left, read as of each of them and between any two, against copies kept by a naive model."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.repositories.hashes import url_key
from app.repositories.history import Entry
from app.repositories.inventory import UrlRow

URLS = [f"https://a.example/{n}" for n in range(4)]
FILES = ["https://a.example/1.xml", "https://a.example/2.xml"]
values = st.tuples(
    st.sampled_from(["weekly", "daily", None]), st.sampled_from([None, datetime(2026, 1, 2, tzinfo=UTC)])
)
listings = st.dictionaries(st.sampled_from(URLS), values)
# What one scan meets at one file: it reads it all, or a part, or hears that it is unchanged, or gone, or fails.
meetings = st.one_of(
    st.tuples(st.just("read"), listings),
    st.tuples(st.just("partial"), listings),
    st.sampled_from([("unchanged", None), ("failed", None), ("gone", None), ("unlisted", None)]),
)
scans = st.lists(st.fixed_dictionaries(dict.fromkeys(FILES, meetings)), min_size=1, max_size=5)


class Naive:
    """A copy of everything after every scan: (file, URL) → its values."""

    def __init__(self):
        self.copies = [{}]
        self._gone = {}

    def scan(self, met):
        now = dict(self.copies[-1])
        for file, (how, listed) in met.items():
            missed = self._gone.pop(file, False) if how != "failed" else False
            self._gone |= {file: True} if how == "gone" else {}
            if how in ("read", "unlisted") or (how == "gone" and missed):
                now = {key: value for key, value in now.items() if key[0] != file}
            now |= {(file, url): value for url, value in (listed or {}).items()}
        self.copies.append(now)

    def differences(self, since, until):
        old, new = self.copies[since], self.copies[until]
        return {key: (old.get(key), new.get(key)) for key in old | new if old.get(key) != new.get(key)}


def rows(listed):
    return [UrlRow(url_key(url), url, None, at, None, None, freq, *[None] * 3) for url, (freq, at) in listed.items()]


MET = sa.text("UPDATE sitemap_files SET gone_scan = NULL, removed_at = NULL WHERE id = :file")


def land(uow, domain, file, scan_no, how, listed):
    """As `services.scans` does it."""
    file_id = uow.inventory.ensure_file(domain.id, file)
    match how:
        case "read" | "partial":
            if listed:
                uow.inventory.land(file_id, scan_no, rows(listed), complete=how == "read")
            elif how == "read":
                uow.inventory.remove_urls(file_id, scan_no)
            uow.session.execute(MET, {"file": file_id})
        case "unchanged":
            uow.session.execute(MET, {"file": file_id})
        case "gone":
            uow.inventory.met_gone(file_id, scan_no)
        case "unlisted":
            uow.inventory._retire(file_id, scan_no)


def landed(database, tenant_id, series):
    """Series of scans of a new domain → it."""
    for number, met in enumerate(series, 1):
        for file, (how, listed) in met.items():
            with database.for_tenant(tenant_id) as uow:
                domain = uow.domains.ensure(series.host, "/")
                land(uow, domain, file, number, how, listed)
                uow.commit()
    return domain


class Series(list):
    """Scans of one host of its own."""

    def __init__(self, met):
        super().__init__(met)
        self.host = f"{uuid4()}.example"


def all_of(ask):
    """Every item of a list, page by page."""
    cursor, found = None, []
    while True:
        page = ask(cursor)
        found += page.items
        if (cursor := page.next_cursor) is None:
            return found
        assert page.items
        assert len(found) <= 1000  # or it begins anew


def as_of(uow, domain, scan_no, limit):
    job = type("AsOf", (), {"scan_no": scan_no, "domain_id": domain.id})
    found = all_of(lambda cursor: uow.inventory.urls(job, limit=limit, cursor=cursor))
    return [((view.sitemap_url, view.row.url), (view.row.changefreq, view.row.lastmod)) for view in found]


def short(entry):
    return entry and (entry.changefreq, entry.lastmod)


def between(uow, domain, since, until, limit=1000, change=None):
    found = all_of(
        lambda cursor: uow.history.differences(domain, since, until, limit=limit, cursor=cursor, change=change)
    )
    return [((one.sitemap_url, one.url), (short(one.before), short(one.after)), one.change) for one in found]


@hypothesis_settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(series=scans, limit=st.sampled_from([1, 2, 1000]))
def test_any_two_scans_differ_as_naive_copies_do_there_and_back(database, tenant_id, series, limit):
    naive = Naive()
    for met in series:
        naive.scan(met)
    domain = landed(database, tenant_id, Series(series))
    with database.for_tenant(tenant_id) as uow:
        for scan_no, copy in enumerate(naive.copies):
            found = as_of(uow, domain, scan_no, limit)
            assert (dict(found), len(found)) == (copy, len(copy))
        for since in range(len(naive.copies)):
            for until in range(len(naive.copies)):
                wanted = naive.differences(since, until)
                found = between(uow, domain, since, until, limit)
                assert ({key: both for key, both, _ in found}, len(found)) == (wanted, len(wanted))
                for _, (before, after), change in found:
                    assert change == ("added" if before is None else "removed" if after is None else "changed")


@pytest.mark.parametrize(("since", "until"), [(1, 2), (2, 1)])
@pytest.mark.parametrize("change", ["added", "removed", "changed"])
def test_one_kind_of_change_can_be_asked_for(database, tenant_id, since, until, change):
    at_first = dict.fromkeys(URLS[:3], ("daily", None))
    later = {URLS[0]: ("daily", None), URLS[1]: ("weekly", None), URLS[3]: ("daily", None)}
    domain = landed(database, tenant_id, Series([{FILES[0]: ("read", at_first)}, {FILES[0]: ("read", later)}]))
    with database.for_tenant(tenant_id) as uow:
        everything = between(uow, domain, since, until)
        assert len(everything) == 3
        assert between(uow, domain, since, until, change=change) == [one for one in everything if one[2] == change]


def test_a_value_that_came_back_is_no_change_but_those_in_between_are(database, tenant_id):
    frequencies = ("daily", "weekly", "daily")
    domain = landed(
        database, tenant_id, Series([{FILES[0]: ("read", {URLS[0]: (freq, None)})} for freq in frequencies])
    )
    with database.for_tenant(tenant_id) as uow:
        assert between(uow, domain, 1, 3) == []
        assert [both for _, both, _ in between(uow, domain, 2, 3)] == [(("weekly", None), ("daily", None))]


def test_an_entry_is_all_that_is_staged_of_a_url():
    assert UrlRow._fields[2:] == Entry._fields


# What it costs


FILL = """
    INSERT INTO sitemap_urls (tenant_id, file_id, url_hash, from_scan, to_scan, url)
    SELECT :tenant, :file, md5(CAST(:file AS text) || n)::uuid, 1 + (n % 50) / 49, CASE WHEN n % 50 = 0 THEN 2 END,
           'https://a.example/' || n
    FROM generate_series(1, :count) n"""


@pytest.fixture
def filled(database, tenant_id):
    """Two domains: a small one of ten files, and one with fifty times as many URLs. → the small one"""
    with database.for_tenant(tenant_id) as uow:
        for host, files, urls in (("large.example", 10, 5_000), ("small.example", 10, 100)):
            domain = uow.domains.ensure(host, "/")
            for number in range(files):
                file = uow.inventory.ensure_file(domain.id, f"https://{host}/{number}.xml")
                uow.session.execute(sa.text(FILL), {"tenant": tenant_id, "file": file, "count": urls})
        uow.commit()
    return domain


def reads(uow):
    """Of this transaction: scans of all of `sitemap_urls`, and rows fetched by its index."""
    query = "SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'sitemap_urls'"
    return tuple(uow.session.execute(sa.text(query)).one())


OWN = 1_000


@pytest.mark.parametrize(
    ("ask", "found", "most"),
    [
        pytest.param(lambda uow, domain: as_of(uow, domain, 1, 1000), 980, 2 * OWN, id="as of a scan"),
        pytest.param(lambda uow, domain: between(uow, domain, 1, 2), 40, 2 * OWN, id="between two"),
        pytest.param(lambda uow, domain: between(uow, domain, 2, 1, change="added"), 20, 2 * OWN, id="one kind, back"),
        pytest.param(
            lambda uow, domain: uow.history.differences(domain, 1, 2, limit=3, cursor=None).items,
            3,
            OWN // 5,
            id="a page",
        ),
    ],
)
def test_history_is_read_by_index_and_costs_what_the_domain_has(
    database, tenant_id, filled, superuser_here, ask, found, most
):
    superuser_here.execute("VACUUM ANALYZE sitemap_urls")
    superuser_here.execute("VACUUM ANALYZE sitemap_files")
    with database.for_tenant(tenant_id) as uow:
        assert len(ask(uow, filled)) == found
        scans_of_all, fetched = reads(uow)
    assert scans_of_all == 0
    assert fetched <= most
