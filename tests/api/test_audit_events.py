"""The audit trail over HTTP: who sees which events, page by page and as a file."""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from uuid import uuid4

import pytest

from app.access import Actor, Origin
from app.api.v2 import audit_events
from app.errors import AuthenticationFailed, PermissionDenied
from app.services import audit

BASE = "/api/v2/audit-events"


@pytest.fixture
def auditor(login):
    return login("tenant_admin")


@pytest.fixture
def platform_auditor(login):
    return login("platform_admin")


@pytest.fixture
def record(database, tenant_id):
    """`record("user.disabled", tenant=…, …)` → the id of an event."""

    def write(action, *, tenant=None, **told):
        with database.for_tenant(tenant or tenant_id) as uow:
            event = uow.audit.record(action, **told)
            uow.commit()
        return str(event)

    return write


@pytest.fixture
def seen(client, auditor):
    """`seen(action="x")` → the ids of the events that a tenant's auditor gets, all pages."""

    def ask(*, headers=auditor, **query):
        found, cursor = [], None
        while True:
            page = client.get(BASE, query_string={**query, **({"cursor": cursor} if cursor else {})}, headers=headers)
            assert page.status_code == 200, page.text
            found += [event["id"] for event in page.json["items"]]
            cursor = page.json["next_cursor"]
            if cursor is None:
                return found

    return ask


def lines_of(answer):
    return [json.loads(line) for line in answer.text.splitlines()]


def test_an_event_tells_who_did_what_to_what_from_where(client, auditor, record, tenant_id):
    actor = Actor(
        user_id=uuid4(), tenant_id=tenant_id, email="ada@example.com", session_id=uuid4(),
        origin=Origin(via="session", address="203.0.113.9", request_id="r-1"),
    )  # fmt: skip
    event = record("member.role_assigned", by=actor, on=("user", "u-1"), before={"n": 1}, after={"n": [2]})
    (told,) = client.get(BASE, query_string={"action": "member.role_assigned"}, headers=auditor).json["items"]
    assert told.pop("at").endswith("Z")
    assert told == {
        "id": event,
        "tenant_id": str(tenant_id),
        "actor": {"id": str(actor.user_id), "email": "ada@example.com"},
        "via": "session",
        "action": "member.role_assigned",
        "object": {"type": "user", "id": "u-1"},
        "address": "203.0.113.9",
        "request_id": "r-1",
        "before": {"n": 1},
        "after": {"n": [2]},
    }


def test_what_nobody_known_did_has_no_id(client, auditor, record):
    record("x.claimed", claimed="eve@example.com")
    record("x.nobody")
    nobody, claimed = client.get(BASE, query_string={"action": "x"}, headers=auditor).json["items"]
    assert claimed["actor"] == {"id": None, "email": "eve@example.com"}
    assert (nobody["actor"], nobody["object"], nobody["before"]) == (None, None, None)


def test_events_come_newest_first_and_each_once_however_small_the_pages(seen, record):
    written = [record("x.counted", after={"n": n}) for n in range(7)]
    for limit in (1, 2, 7, 100):
        assert seen(action="x.counted", limit=limit) == written[::-1]


def test_filters_find_what_they_say(seen, record, tenant_id):
    ada = Actor(user_id=uuid4(), tenant_id=tenant_id, email="Ada@example.com")
    first = record("x.made", by=ada, on=("user", "u-1"))
    second = record("x.unmade", by=ada, on=("key", "u-1"))
    third = record("xy.made", claimed="ada@example.com", on=("user", "u-2"))
    percent = record("x%.made", claimed="eve@example.com")
    assert seen(action="x") == [second, first]
    assert seen(action="x.made") == [first]
    assert seen(action="x%") == [percent]
    assert seen(actor=str(ada.user_id)) == [second, first]
    assert seen(actor="ADA@example.com") == [third, second, first]
    assert seen(object_type="user", action="x") == [first]
    assert seen(object_id="u-1") == [second, first]
    assert seen(object_id="nothing") == []


def test_times_bound_from_the_first_moment_up_to_the_first_too_late(seen, record, superuser_here):
    events = [record("x.timed") for _ in range(3)]
    hours = dict(zip(events, ("09:59:59", "10:00:00", "11:00:00"), strict=True))
    for event, hour in hours.items():
        # As if made then: ids are made of times, too.
        made = "UPDATE audit_events SET at = m, id = uuidv7(m - now()) FROM (SELECT %s::timestamptz m) t WHERE id = %s"
        superuser_here.execute(made, [f"2026-05-01T{hour}Z", event])
    at = dict(
        superuser_here.execute("SELECT id::text, to_char(at, 'HH24:MI') FROM audit_events WHERE action = 'x.timed'")
    )

    def told(**bounds):
        return [at[event] for event in seen(action="x.timed", **bounds)]

    assert told(since="2026-05-01T10:00:00Z") == ["11:00", "10:00"]
    assert told(until="2026-05-01T10:00:00Z") == ["09:59"]
    assert told(since="2026-05-01T12:00:00+02:00", until="2026-05-01T11:00:00Z") == ["10:00"]
    assert told(since="0001-01-01T00:00:00+14:00", until="9999-12-31T23:59:59-14:00") == ["11:00", "10:00", "09:59"]


@pytest.mark.parametrize(
    "query",
    ["since=yesterday", "action=", "actor=a%0d%0ab", "tenant_id=1", "since=2026-13-01", "cursor=abc", "colour=red"],
)
def test_a_filter_that_is_none_is_refused_by_name(client, auditor, query):
    answer = client.get(f"{BASE}?{query}", headers=auditor)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["pointer"] == query.partition("=")[0]


def test_a_tenants_auditor_sees_the_tenants_events_and_whoever_keeps_the_platform_all(
    seen, record, new_tenant, login, database, platform_auditor
):
    other = new_tenant("other")
    mine, theirs = record("x.done"), record("x.done", tenant=other)
    with database.system() as uow:
        platforms = str(uow.audit.record("x.done"))
        uow.commit()
    assert seen(action="x.done") == [mine]
    assert seen(action="x.done", tenant_id=str(other)) == []
    assert seen(action="x.done", headers=login("tenant_admin", tenant=other)) == [theirs]
    assert seen(action="x.done", headers=platform_auditor) == [platforms, theirs, mine]
    assert seen(action="x.done", headers=platform_auditor, tenant_id=str(other)) == [theirs]


def test_what_concerns_no_single_tenant_has_none(client, database, platform_auditor):
    with database.system() as uow:
        uow.audit.record("x.done")
        uow.commit()
    (told,) = client.get(BASE, query_string={"action": "x.done"}, headers=platform_auditor).json["items"]
    assert told["tenant_id"] is None


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_others_see_none(client, login, role):
    for path in (BASE, f"{BASE}/export"):
        assert client.get(path, headers=login(role)).status_code == 403


class TestExport:
    def test_lines_are_the_events_of_the_list(self, client, auditor, record, monkeypatch):
        monkeypatch.setattr(audit, "CHUNK", 2)
        for n in range(5):
            record("x.done", after={"n": n, "said": "ä\u2028\n"})
        listed = client.get(BASE, query_string={"action": "x"}, headers=auditor).json["items"]
        answer = client.get(f"{BASE}/export", query_string={"action": "x"}, headers=auditor)
        assert answer.mimetype == "application/x-ndjson"
        assert lines_of(answer) == listed
        assert answer.headers["Content-Disposition"] == 'attachment; filename="audit-events.jsonl"'

    def test_rows_are_the_events_of_the_list(self, client, auditor, record, monkeypatch):
        monkeypatch.setattr(audit, "CHUNK", 2)
        for n in range(5):
            record("x.done", on=("user", n), after={"n": n})
        answer = client.get(f"{BASE}/export", query_string={"format": "csv", "action": "x"}, headers=auditor)
        assert answer.mimetype == "text/csv"
        rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        assert [json.loads(row["after"]) for row in rows] == [{"n": n} for n in (4, 3, 2, 1, 0)]
        assert [row["object_id"] for row in rows] == ["4", "3", "2", "1", "0"]
        assert {row["before"] for row in rows} == {""}

    def test_nothing_found_is_an_empty_file(self, client, auditor):
        asked = {"action": "no.such"}
        assert client.get(f"{BASE}/export", query_string=asked, headers=auditor).text == ""
        header = client.get(f"{BASE}/export", query_string={**asked, "format": "csv"}, headers=auditor).text
        assert header.splitlines() == [",".join(header.strip().split(","))]

    @pytest.mark.parametrize(
        "said",
        [
            "+1+1",
            "-2+3",
            "@SUM(1)",
            "=1+1",
            "\t=1",
            "\r=1+1",
            "\n=1",
            " =1+1",
            "\uff1d1+1",
            "\ufeff=1",
            'a","=HYPERLINK(""x"")',
        ],
    )
    def test_no_cell_is_run_by_a_spreadsheet(self, client, auditor, record, said):
        """Security P6"""
        record("x.done", claimed=said, on=("user", said), after={"said": said})
        answer = client.get(f"{BASE}/export", query_string={"format": "csv", "action": "x"}, headers=auditor)
        header, row = csv.reader(io.StringIO(answer.text, newline=""))
        assert len(row) == len(header)
        assert not any(cell.lstrip("\ufeff \n\t\r").startswith(("=", "+", "-", "@", "\uff1d")) for cell in row), row
        told = dict(zip(header, row, strict=True))
        assert told["actor_email"].removeprefix("'") == told["object_id"].removeprefix("'") == said.replace("\r", " ")
        assert json.loads(told["after"]) == {"said": said}

    def test_it_is_an_event_of_its_own_and_holds_what_was_before(self, client, auditor, record):
        event = record("x.done")
        (line,) = lines_of(client.get(f"{BASE}/export", query_string={"action": "x"}, headers=auditor))
        assert line["id"] == event
        (exported,) = client.get(BASE, query_string={"action": "audit.exported"}, headers=auditor).json["items"]
        assert exported["after"] == {"filters": {"action": "x"}}
        assert exported["actor"]["email"].startswith("tenant_admin")
        again = client.get(f"{BASE}/export", query_string={"action": "audit.exported"}, headers=auditor)
        assert [one["id"] for one in lines_of(again)] == [exported["id"]]

    def test_between_two_chunks_no_transaction_is_open(self, client, auditor, record, superuser_here, monkeypatch):
        monkeypatch.setattr(audit, "CHUNK", 1)
        for _ in range(3):
            record("x.done")
        pieces = client.get(f"{BASE}/export", query_string={"action": "x"}, headers=auditor).iter_encoded()
        assert next(pieces).count(b"\n") == 1
        inside = superuser_here.execute(
            "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND xact_start IS NOT NULL"
        ).fetchall()
        assert inside == []
        assert len(list(pieces)) == 2

    @pytest.mark.parametrize("role", ["tenant_admin", "platform_admin"])
    def test_it_breaks_off_when_the_callers_rights_end(self, client, login, record, endless_checks, role):
        headers = login(role)
        for _ in range(3):
            record("x.done")
        pieces = client.get(f"{BASE}/export", query_string={"action": "x"}, headers=headers).iter_encoded()
        next(pieces)
        assert client.post("/api/v2/auth/logout", headers=headers).status_code == 204
        with pytest.raises(AuthenticationFailed):
            list(pieces)

    def test_it_breaks_off_for_who_no_longer_keeps_the_platform_though_still_an_auditor(
        self, client, login, record, endless_checks, superuser_here
    ):
        headers = login("platform_admin", "tenant_admin")
        for _ in range(3):
            record("x.done")
        pieces = client.get(f"{BASE}/export", query_string={"action": "x"}, headers=headers).iter_encoded()
        next(pieces)
        superuser_here.execute(
            "DELETE FROM user_roles m USING roles r WHERE r.id = m.role_id AND r.name = 'platform_admin'"
        )
        with pytest.raises(PermissionDenied, match="platform:audit"):
            list(pieces)

    @pytest.fixture
    def endless_checks(self, monkeypatch):
        """Rights are asked for before each piece, and a piece is one event."""
        monkeypatch.setattr(audit, "CHUNK", 1)
        monkeypatch.setattr(audit_events, "while_allowed", partial(audit_events.while_allowed, every=0))
