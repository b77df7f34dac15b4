"""The inventory against a naive model: any series of scans, read back as of each of them."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from app.repositories.hashes import url_key
from app.repositories.inventory import UrlRow

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
    with database.for_tenant(tenant_id) as uow:
        domain = uow.domains.ensure("a.example", "/")
        file_id = uow.inventory.ensure_file(domain.id, "https://a.example/sitemap.xml")
        for listed, complete in series:
            scan_no = uow.domains.next_scan(domain.id)
            uow.inventory.land(file_id, scan_no, rows(listed), complete=None)
            if complete:
                uow.inventory.remove_missing(file_id, scan_no)
                standing = {}
            standing = {**standing, **listed}
            expected[scan_no] = dict(standing)
        uow.session.flush()
        for scan_no, wanted in expected.items():
            job = type("AsOf", (), {"scan_no": scan_no, "domain_id": domain.id})
            found = uow.inventory.urls(job, limit=1000, cursor=None).items
            assert {view.row.url: view.row.changefreq for view in found} == wanted


def test_landing_the_same_again_writes_no_row(database, tenant_id):
    with database.for_tenant(tenant_id) as uow:
        domain = uow.domains.ensure("a.example", "/")
        file_id = uow.inventory.ensure_file(domain.id, "https://a.example/sitemap.xml")
        listed = dict.fromkeys(URLS, "daily")
        first = uow.inventory.land(file_id, 1, rows(listed) * 2, complete=None)
        again = uow.inventory.land(file_id, 2, rows(listed), complete=None)
        assert (first.added, again.added, again.changed, uow.inventory.remove_missing(file_id, 2)) == (6, 0, 0, 0)


def test_a_change_keeps_when_the_url_was_first_seen(database, tenant_id):
    with database.for_tenant(tenant_id) as uow:
        domain = uow.domains.ensure("a.example", "/")
        file_id = uow.inventory.ensure_file(domain.id, "https://a.example/sitemap.xml")
        uow.inventory.land(file_id, 1, rows({URLS[0]: "daily"}), complete=None)
        uow.commit()
    with database.for_tenant(tenant_id) as uow:
        before = _only(uow, domain, 1)
        landed = uow.inventory.land(file_id, 2, rows({URLS[0]: "weekly"}), complete=None)
        after = _only(uow, domain, 2)
        assert (landed.added, landed.changed) == (0, 1)
        assert after.first_seen_at == before.first_seen_at
        assert after.changed_at > before.changed_at
        assert _only(uow, domain, 1).changefreq == "daily"


def _only(uow, domain, scan_no):
    job = type("AsOf", (), {"scan_no": scan_no, "domain_id": domain.id})
    (view,) = uow.inventory.urls(job, limit=10, cursor=None).items
    return view.row
