"""The schema as PostgreSQL holds it: migrations, references, plans."""

from __future__ import annotations

from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from app.access import BUILT_IN_ROLES
from app.repositories import direct, schema
from app.repositories.batches import Line
from app.repositories.jobs import _CLAIM
from models import Base


@pytest.fixture
def urls(settings):
    return {
        "owner_url": settings.owner_database_url.get_secret_value(),
        "app_url": settings.database_url.get_secret_value(),
        "system_url": settings.system_database_url.get_secret_value(),
    }


@pytest.fixture
def owner(urls):
    engine = sa.create_engine(urls["owner_url"])
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_models_and_migrations_agree(owner):
    context = MigrationContext.configure(owner, opts={"compare_type": True, "compare_server_default": True})
    assert compare_metadata(context, Base.metadata) == []


def test_down_to_nothing_and_up_again(urls, owner):
    schema.downgrade(**urls, revision="base")
    left = owner.scalars(sa.text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
    assert set(left) <= {"alembic_version"}
    functions = owner.scalar(sa.text("SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"))
    assert functions == 0
    owner.rollback()
    schema.upgrade(**urls)
    assert schema.current(owner) == schema.head()


def test_upgrading_twice_changes_nothing(urls, owner):
    schema.upgrade(**urls)
    assert schema.current(owner) == schema.head()


@pytest.mark.parametrize("table", ["domains", "jobs"])
def test_nobody_counts_a_table_while_a_first_large_batch_comes_in(owner, table):
    """Were it counted, its rows would not be seen, and a job's domain be looked up by the tenant alone (0006)."""
    options = owner.scalar(sa.text("SELECT reloptions FROM pg_class WHERE oid = CAST(:t AS regclass)"), {"t": table})
    kept = dict(option.split("=") for option in options)
    counted = ("analyze_threshold", "vacuum_threshold", "vacuum_insert_threshold")
    assert {name: kept.get(f"autovacuum_{name}") for name in counted} == dict.fromkeys(counted, "10000")


def test_built_in_roles_are_those_of_the_code(owner, settings):
    engine = sa.create_engine(settings.system_database_url.get_secret_value())
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text("""
            SELECT r.name, p.name FROM roles r JOIN role_permissions rp ON rp.role_id = r.id
            JOIN permissions p ON p.id = rp.permission_id WHERE r.tenant_id IS NULL""")
        ).all()
    engine.dispose()
    stored: dict[str, set[str]] = {}
    for role, permission in rows:
        stored.setdefault(role, set()).add(permission)
    assert stored == {role: set(names) for role, names in BUILT_IN_ROLES.items()}


def test_a_job_of_no_batch_and_a_domain_of_no_tenant_are_refused(database, tenant_id):
    with database.for_tenant(tenant_id) as uow:
        domain = uow.domains.ensure("a.example", "/")
        with pytest.raises(sa.exc.IntegrityError, match="names no row of batch_jobs"):
            uow.session.execute(
                sa.text("INSERT INTO jobs (tenant_id, domain_id, batch_id) VALUES (:t, :d, uuidv7())"),
                {"t": tenant_id, "d": domain.id},
            )
    with (
        database.for_tenant(uuid4()) as uow,
        pytest.raises(sa.exc.IntegrityError, match="names no row of tenants"),
    ):
        uow.domains.ensure("a.example", "/")


def test_what_stands_for_a_foreign_key_has_a_parent_no_runtime_role_deletes(owner):
    rows = owner.execute(
        sa.text("""
        SELECT grantee, table_name FROM information_schema.role_table_grants
        WHERE privilege_type IN ('DELETE', 'TRUNCATE') AND table_name IN ('batch_jobs', 'tenants')
          AND grantee <> 'scrapersky_owner'""")
    ).all()
    assert rows == []


def test_rows_of_a_tenant_that_came_after_the_last_analyse_are_found_by_their_whole_key(
    database, tenant_id, new_tenant, superuser_here
):
    """Else a claim would read all of a large new tenant's jobs and domains."""
    land(database, tenant_id, 3_000)
    superuser_here.execute("ANALYZE jobs, domains")
    new = new_tenant("new")
    land(database, new, 1_000)
    with database.system() as system:
        (row,) = system.queue.dispatch(express=1, scans=0, slots=1, patience=60)
        system.commit()
    claim = {"job": row.job_id, "dispatch": row.dispatch_no, "token": uuid4(), "lease": 60, "worker": "w"}
    with database.for_tenant(row.tenant_id) as uow:
        explain = "EXPLAIN (ANALYZE, FORMAT JSON) " + _CLAIM
        (plan,) = direct.run(uow.session, explain, {"tenant": row.tenant_id, **claim}).fetchone()
    assert row.tenant_id == new
    assert [node for node in nodes(plan[0]["Plan"]) if dropped(node) > 100] == []


def land(database, tenant, size):
    with database.for_tenant(tenant) as uow:
        batch = uow.batches.add(name=None, options={}, priority=5, created_by=None)
        hosts = [f"d{n}-{batch.id}.example" for n in range(size)]
        uow.batches.land(batch, [Line(n, host, host, "/", None, None) for n, host in enumerate(hosts)], max_attempts=3)
        if size > 1_000:
            batch.status = "paused"
        uow.commit()


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def dropped(node):
    """Rows that a node of a plan read in vain."""
    return node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
