"""The audit trail in PostgreSQL: written with the act it tells of, then never changed; without secrets."""

from __future__ import annotations

import re

import psycopg
import pytest
import sqlalchemy as sa

from app.repositories.audit import PLATFORM
from tests.guards.tree import ROOT

CHANGES = (
    "UPDATE audit_events SET action = 'x'",
    "UPDATE audit_events SET before = NULL",
    "DELETE FROM audit_events",
    "TRUNCATE audit_events",
    "INSERT INTO audit_events SELECT * FROM audit_events ON CONFLICT (tenant_id, id) DO UPDATE SET action = 'x'",
    "MERGE INTO audit_events e USING (VALUES (1)) v ON true WHEN MATCHED THEN DELETE",
)


@pytest.fixture
def events(superuser_here):
    def read():
        return superuser_here.execute("SELECT action, before, after FROM audit_events ORDER BY id").fetchall()

    return read


@pytest.mark.parametrize("statement", CHANGES)
@pytest.mark.parametrize("role", ["app", "system"])
def test_no_runtime_role_changes_or_deletes_an_event(database, tenant_id, events, role, statement):
    with database.for_tenant(tenant_id) as uow:
        uow.audit.record("x.done", before={"n": 1})
        uow.commit()
    before = events()
    with database.for_tenant(tenant_id) if role == "app" else database.system() as uow:
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            uow.session.execute(sa.text(statement))
    assert events() == before != []


def test_nobody_writes_into_anothers_trail(database, tenant_id, new_tenant):
    for foreign in (new_tenant("other"), PLATFORM):
        with database.for_tenant(tenant_id) as uow, pytest.raises(sa.exc.ProgrammingError, match="row-level security"):
            uow.audit.record("x.done", tenant_id=foreign)


def test_an_act_that_is_rolled_back_leaves_no_event(database, tenant_id, events):
    with database.for_tenant(tenant_id) as uow:
        uow.domains.ensure("a.example", "/")
        uow.audit.record("x.done")
    with database.system() as uow:
        uow.audit.record("x.done")
    assert events() == []


SECRETS = {
    "refresh_token": "no-one-guesses-this",
    "password": "correct horse",
    "nested": [{"client_secret": "s3cret"}],
    "hash": "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
    "name": "my key is " + "ab" * 16 + "." + "Zz-_0" * 9,
    "url": "redis://u:s3cret@host/0",
    "note": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
}


def test_secrets_are_hidden_before_they_are_written(database, tenant_id, events):
    with database.for_tenant(tenant_id) as uow:
        uow.audit.record("x.done", before=SECRETS, after={**SECRETS, "expires_in": 3600, "password_changed": True})
        uow.commit()
    ((_, before, after),) = events()
    assert before == {
        "refresh_token": "***",
        "password": "***",
        "nested": [{"client_secret": "***"}],
        "hash": "***",
        "name": "my key is ***",
        "url": "redis://u:***@host/0",
        "note": "***",
    }
    assert after == {**before, "expires_in": 3600, "password_changed": True}


def test_only_the_owner_ends_what_was_kept_long_enough_and_leaves_word_of_it(
    database, tenant_id, settings, superuser_here
):
    """The statements of the manual, as they stand there."""
    with database.for_tenant(tenant_id) as uow:
        for action in ("x.old", "x.new"):
            uow.audit.record(action)
        uow.commit()
    superuser_here.execute("UPDATE audit_events SET at = now() - interval '401 days' WHERE action = 'x.old'")
    manual = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (statements,) = re.findall(r"^```sql\n(BEGIN;\n.*?)^```$", manual, re.DOTALL | re.MULTILINE)
    owner = settings.owner_database_url.get_secret_value().replace("+psycopg", "")
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("DELETE FROM audit_events")  # forced row-level security holds for the owner too
        connection.execute(statements)
    left = superuser_here.execute(
        "SELECT tenant_id, action, after ->> 'events' FROM audit_events ORDER BY id"
    ).fetchall()
    assert left == [(tenant_id, "x.new", None), (PLATFORM, "audit.pruned", "1")]
    walled = "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = 'audit_events'"
    assert superuser_here.execute(walled).fetchone() == (True,)
