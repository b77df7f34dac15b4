"""The second wall, as PostgreSQL keeps it: what raw SQL under the runtime roles sees, writes and cannot reach.

What the catalogue must say of it stands in `catalogue.py`; `wall.txt` is the whole of it, reviewed.
"""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from app.errors import ConfigurationError, TookTooLong
from app.repositories import batches, direct
from app.repositories.batches import Line
from app.unit_of_work import Database
from models import Base, Domain
from tests.guards.tree import ROOT
from tests.integration.catalogue import GLOBAL, SNAPSHOT, Catalogue

WALL = "row-level security policy"
TABLES = [table for table in Base.metadata.sorted_tables if table.name not in GLOBAL]
# Columns in which any value will not do.
VALUES = {"sitemap_reads.status": "read", "batch_rejects.reason": "invalid"}
NO_GRANT = {"password_resets"}  # tables the app role has no business with


# The catalogue


def test_the_catalogue_knows_no_way_around_the_wall(superuser_here):
    """Security D1, D3, D4"""
    assert Catalogue(superuser_here).faults() == []


def test_grants_and_policies_are_the_reviewed_ones(superuser_here):
    """Security D1: what each runtime role may do, column by column. Renewed by `python -m tests.integration.catalogue`"""
    assert Catalogue(superuser_here).text() == SNAPSHOT.read_text(encoding="utf-8")


HOLES = {
    "CREATE TABLE naked (tenant_id uuid, n int)": "naked: row-level security is not enabled and forced",
    "CREATE TABLE naked (n int)": "naked: row-level security is not enabled and forced",
    "ALTER TABLE jobs NO FORCE ROW LEVEL SECURITY": "jobs: row-level security is not enabled and forced",
    "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY": "jobs: row-level security is not enabled and forced",
    "CREATE POLICY helper ON jobs TO scrapersky_app USING (true)": "jobs: 2 policies let scrapersky_app in",
    "CREATE POLICY helper ON jobs USING (true)": "jobs: policy helper is for public",
    "DROP POLICY tenant ON jobs": "jobs: 0 policies let scrapersky_app in",
    "ALTER POLICY tenant ON jobs USING (true)": "jobs: policy tenant does not ask for the tenant",
    "ALTER POLICY tenant ON jobs WITH CHECK (true)": "jobs: policy tenant does not ask for the tenant",
    "DROP POLICY tenant ON jobs; CREATE POLICY tenant ON jobs FOR SELECT TO scrapersky_app USING (tenant_id IS NULL)": (
        "jobs: policy tenant has no USING and WITH CHECK for every command"
    ),
    "CREATE UNIQUE INDEX hosts ON domains (host)": "domains: hosts tells whether another tenant has such a row",
    "CREATE UNIQUE INDEX hosts ON domains (lower(host))": "domains: hosts tells whether another tenant has such a row",
    "CREATE UNIQUE INDEX u ON domains (id); ALTER TABLE pages ADD CONSTRAINT key FOREIGN KEY (domain_id) REFERENCES domains (id)": (
        "pages: key may lead to another tenant's row"
    ),
    "DROP POLICY own_insert ON invitations": "invitations: fk_invitations_role_id may lead to another tenant's row",
    "CREATE VIEW all_jobs AS SELECT * FROM jobs": "all_jobs: shows rows with its owner's eyes",
    "CREATE MATERIALIZED VIEW all_jobs AS SELECT * FROM jobs": "all_jobs: shows rows with its owner's eyes",
    "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM jobs'": (
        "peek: runs with its owner's rights"
    ),
    "GRANT TRUNCATE ON jobs TO scrapersky_app": "jobs: scrapersky_app has TRUNCATE, which asks no policy",
    "GRANT REFERENCES (host) ON domains TO scrapersky_app": "domains: scrapersky_app has REFERENCES, which asks no policy",
    "GRANT TRIGGER ON jobs TO scrapersky_system": "jobs: scrapersky_system has TRIGGER, which asks no policy",
    "GRANT SELECT ON jobs TO PUBLIC": "jobs: PUBLIC has SELECT",
    "GRANT SELECT (id) ON jobs TO pg_monitor": "jobs: pg_monitor has SELECT",
    "GRANT USAGE ON SEQUENCE jobs_number_seq TO scrapersky_app": "jobs_number_seq: scrapersky_app has USAGE",
    "GRANT SELECT ON jobs TO scrapersky_app WITH GRANT OPTION": "jobs: scrapersky_app may hand SELECT on",
    "GRANT CREATE ON SCHEMA public TO scrapersky_app": "schema public: scrapersky_app has CREATE",
    "GRANT USAGE ON SCHEMA public TO PUBLIC": "schema public: PUBLIC has USAGE",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO scrapersky_app": (
        "default privileges: scrapersky_app has SELECT"
    ),
    "ALTER TABLE jobs OWNER TO scrapersky_app": "jobs: belongs to scrapersky_app",
}


def test_every_kind_of_hole_is_seen(superuser_here):
    """Security D1, D3, D4: a new table cannot forget the wall"""
    for hole, told in HOLES.items():
        with superuser_here.transaction(force_rollback=True):
            superuser_here.execute(hole)
            assert told in Catalogue(superuser_here).faults(), hole


def test_a_view_with_the_readers_eyes_is_no_hole(superuser_here):
    with superuser_here.transaction(force_rollback=True):
        superuser_here.execute("SET LOCAL ROLE scrapersky_owner")
        superuser_here.execute("CREATE VIEW mine WITH (security_invoker = true) AS SELECT * FROM jobs")
        assert Catalogue(superuser_here).faults() == []


# The start


TOO_MIGHTY = {
    "ALTER ROLE frail SUPERUSER": "is a superuser",
    "ALTER ROLE frail BYPASSRLS": "bypasses row-level security",
    "ALTER ROLE frail CREATEROLE": "may make roles",
    "ALTER ROLE frail REPLICATION": "may replicate",
    "CREATE TABLE mine (n int); ALTER TABLE mine OWNER TO frail": "owns tables",
    "GRANT scrapersky_owner TO frail": "may become scrapersky_owner, which owns tables",
    "GRANT scrapersky_owner TO frail WITH INHERIT FALSE, SET TRUE": "may become scrapersky_owner",
    "GRANT scrapersky_owner TO frail WITH INHERIT TRUE, SET FALSE": "may become scrapersky_owner",
    "GRANT scrapersky_owner TO frail WITH INHERIT FALSE, SET FALSE, ADMIN TRUE": "may become scrapersky_owner",
    "GRANT scrapersky_owner TO between; GRANT between TO frail": "may become scrapersky_owner",
    "ALTER ROLE between BYPASSRLS; GRANT between TO frail WITH INHERIT FALSE": "between, which bypasses row-level security",
    "GRANT pg_read_all_data TO frail": "pg_read_all_data, which reaches past grants",
    "GRANT pg_execute_server_program TO between; GRANT between TO frail": "pg_execute_server_program",
    "GRANT scrapersky_system TO frail": "may become scrapersky_system, the other runtime role",
    "GRANT scrapersky_app TO frail": "may become scrapersky_app, the other runtime role",
}


def test_the_start_refuses_roles_that_could_walk_around_the_wall(settings, superuser_here):
    """Security D1"""
    for grant, told in TOO_MIGHTY.items():
        field = "system_database_url" if "scrapersky_app" in grant else "database_url"
        with frail(superuser_here) as url:
            superuser_here.execute(grant)
            with pytest.raises(ConfigurationError, match=told) as caught:
                checked(settings, **{field: url})
            assert f"SCRAPERSKY_{field.upper()}: role frail" in str(caught.value), grant


def test_the_start_refuses_one_role_for_both_runtime_roles(settings):
    """Security D1: both policies would hold for it, and one of them lets in everybody"""
    for one in (settings.database_url, settings.system_database_url):
        with pytest.raises(ConfigurationError, match="the app and the system role at once"):
            checked(settings, database_url=one, system_database_url=one)


def test_the_start_takes_the_stacks_roles_and_harmless_memberships(settings, superuser_here):
    checked(settings)
    with frail(superuser_here) as url:
        superuser_here.execute("GRANT between, pg_monitor TO frail")
        checked(settings, database_url=url)


@contextmanager
def frail(superuser):
    """A role with no rights but to connect, and one it may be made a member of; the URL of the first."""
    info = superuser.info
    superuser.execute("CREATE ROLE frail LOGIN PASSWORD 'frail'; CREATE ROLE between")
    superuser.execute(f"GRANT CONNECT ON DATABASE {info.dbname} TO frail")
    try:
        yield f"postgresql://frail:frail@{info.host}:{info.port}/{info.dbname}"
    finally:
        superuser.execute("DROP OWNED BY frail, between; DROP ROLE frail, between")


def checked(settings, **urls):
    secret = type(settings.database_url)
    urls = {name: secret(url) if isinstance(url, str) else url for name, url in urls.items()}
    database = Database(settings.model_copy(update=urls), "api")
    try:
        database.check()
    finally:
        database.close()


# Rows of two tenants in every table


@pytest.fixture
def tenants(superuser_here, tenant_id, new_tenant):
    """`{tenant: {table: row}}`: a row in every table for each of two tenants, by nobody's flows, so for new tables too."""
    return {tenant: fill(superuser_here, tenant) for tenant in (tenant_id, new_tenant("other"))}


def fill(superuser, tenant):
    cursor = superuser.cursor(row_factory=dict_row)
    made = {
        "tenants": cursor.execute("SELECT * FROM tenants WHERE id = %s", [tenant]).fetchone(),
        "permissions": cursor.execute("SELECT * FROM permissions ORDER BY id LIMIT 1").fetchone(),
    }
    for table in TABLES:
        if table.name not in made:
            row = new_row(table, tenant, made)
            statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING *").format(
                sql.Identifier(table.name), columns(row), sql.SQL(", ").join(map(sql.Placeholder, row))
            )
            made[table.name] = cursor.execute(statement, row).fetchone()
    return made


def new_row(table, tenant, made):
    row = {}
    for key in table.foreign_key_constraints:
        row |= {pair.parent.name: made[pair.column.table.name][pair.column.name] for pair in key.elements}
    for column in table.columns:
        if column.name == "tenant_id":
            row[column.name] = tenant
        elif column.name not in row and not (column.nullable or column.server_default or column.identity):
            row[column.name] = VALUES.get(f"{table.name}.{column.name}") or sample(column.type, tenant)
    return row


def sample(kind, tenant):
    values = {
        UUID: uuid4(), str: f"of {tenant}", int: 1, bytes: b"x", bool: True, datetime: datetime.now(UTC), list: ["x"],
        object: Jsonb({}),
    }  # fmt: skip
    return values[kind.python_type]


def columns(names):
    return sql.SQL(", ").join(map(sql.Identifier, names))


def key_of(table, row):
    return tuple(row[column.name] for column in table.primary_key)


def keys(table):
    return columns(column.name for column in table.primary_key)


@contextmanager
def acting(database, tenant):
    """A cursor of the app role inside a tenant's transaction, rolled back at the end."""
    with database.for_tenant(tenant) as uow, direct.connection(uow.session).cursor() as cursor:
        yield cursor


def is_refused(cursor, statement, values=()):
    """Whether PostgreSQL refuses it for want of rights; the transaction goes on."""
    with suppress(psycopg.errors.InsufficientPrivilege):
        with cursor.connection.transaction():
            cursor.execute(statement, values)
        return False
    return True


READABLE = [table for table in TABLES if table.name not in NO_GRANT]


def test_every_tenant_reads_its_rows_and_no_others(database, tenants):
    """Security D1, D2: SELECT and COPY, in every table"""
    for here, there in (tuple(tenants), tuple(tenants)[::-1]):
        with acting(database, here) as cursor:
            for table in READABLE:
                name = sql.Identifier(table.name)
                seen = set(cursor.execute(sql.SQL("SELECT {} FROM {}").format(keys(table), name)).fetchall())
                assert key_of(table, tenants[here][table.name]) in seen, table.name
                assert key_of(table, tenants[there][table.name]) not in seen, table.name
                with cursor.copy(sql.SQL("COPY {} ({}) TO STDOUT").format(name, keys(table))) as copied:
                    assert len(list(copied.rows())) == len(seen), table.name


def test_no_tenant_changes_or_deletes_anothers_rows(database, tenants, superuser_here):
    """Security D1"""
    here, there = tenants
    with acting(database, here) as cursor:
        for table in READABLE:
            theirs = tenants[there][table.name]
            where = sql.SQL(" AND ").join(
                sql.SQL("{} = {}").format(sql.Identifier(c.name), sql.Literal(theirs[c.name]))
                for c in table.primary_key
            )
            name = sql.Identifier(table.name)
            changes = [
                sql.SQL("UPDATE {} SET {} = {} WHERE {}").format(name, *[sql.Identifier(c.name)] * 2, where)
                for c in table.columns
                if c.identity is None
            ]
            for change in (*changes, sql.SQL("DELETE FROM {} WHERE {}").format(name, where)):
                assert is_refused(cursor, change) or cursor.rowcount == 0, change.as_string()
        cursor.execute("COMMIT")
    for table in TABLES:
        whole = sql.SQL("SELECT {} FROM {}").format(keys(table), sql.Identifier(table.name))
        assert key_of(table, tenants[there][table.name]) in set(superuser_here.execute(whole).fetchall()), table.name


def test_no_tenant_writes_rows_in_anothers_name(database, tenants):
    """Security D1: by INSERT, by UPDATE of its own, by COPY"""
    here, there = tenants
    with acting(database, here) as cursor:
        for table in READABLE:
            name = sql.Identifier(table.name)
            row = new_row(table, there, tenants[there])
            insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                name, columns(row), sql.SQL(", ").join(map(sql.Placeholder, row))
            )
            assert is_refused(cursor, insert, row), table.name
            if "tenant_id" in table.c:
                take = sql.SQL("UPDATE {} SET tenant_id = %s").format(name)
                assert is_refused(cursor, take, [there]), table.name
            with pytest.raises((psycopg.errors.FeatureNotSupported, psycopg.errors.InsufficientPrivilege)):
                with cursor.connection.transaction(), cursor.copy(sql.SQL("COPY {} FROM STDIN").format(name)):
                    pass


def test_without_a_tenant_nothing_of_any_is_seen_or_written(settings, tenants):
    """Security D2: the policy asks for a setting that is not there, or empty, and lets nobody in"""
    with psycopg.connect(plain(settings.database_url)) as connection, connection.cursor() as cursor:
        for setting in (None, ""):
            if setting is not None:
                cursor.execute("SELECT set_config('app.tenant_id', %s, false)", [setting])
            for table in READABLE:
                seen = set(cursor.execute(sql.SQL("SELECT {} FROM {}").format(keys(table), sql.Identifier(table.name))))
                assert seen.isdisjoint(key_of(table, rows[table.name]) for rows in tenants.values()), table.name
                if "tenant_id" in table.c and table.name != "roles":  # whose built-in ones are everybody's
                    assert seen == set(), table.name
        for tenant, rows in tenants.items():
            assert is_refused(cursor, "INSERT INTO domains (tenant_id, host) VALUES (%s, 'b.example')", [tenant])
            assert not is_refused(cursor, "DELETE FROM jobs WHERE id = %s", [rows["jobs"]["id"]])
            assert cursor.rowcount == 0


@pytest.mark.parametrize("statement", ["SELECT * FROM jobs", "COPY jobs TO STDOUT", "DELETE FROM jobs"])
def test_row_security_cannot_be_switched_off(database, tenants, statement):
    """Security D4: as pg_dump tries"""
    with acting(database, next(iter(tenants))) as cursor:
        cursor.execute("SET LOCAL row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            cursor.execute(statement)


@pytest.mark.parametrize("role", ["app", "system"])
def test_no_table_is_emptied_past_the_policies(database, tenants, role):
    """Security D4"""
    with database.for_tenant(next(iter(tenants))) if role == "app" else database.system() as uow:
        cursor = direct.connection(uow.session).cursor()
        for table in TABLES:
            for statement in (
                "TRUNCATE {}",
                "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
                "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY",
            ):
                said = is_refused(cursor, sql.SQL(statement).format(sql.Identifier(table.name)))
                assert said or "LOCK" in statement, (table.name, statement)


def test_statistics_and_counters_tell_no_values(database, tenants, superuser_here):
    """Accepted, and told in docs/security.md: about how many rows a table has, all tenants together"""
    superuser_here.execute("ANALYZE")
    with acting(database, next(iter(tenants))) as cursor:
        walled = [table.name for table in TABLES]
        assert cursor.execute("SELECT tablename FROM pg_stats WHERE tablename = ANY(%s)", [walled]).fetchall() == []
        counters = cursor.execute("SELECT sequencename, last_value FROM pg_sequences").fetchall()
        assert {last for _, last in counters} == {None}
        for name, _ in counters:
            assert is_refused(cursor, sql.SQL("SELECT last_value FROM {}").format(sql.Identifier(name)))


# Connections that are lent to one tenant after another


def plain(url):
    return url.get_secret_value().replace("+psycopg", "")


@pytest.fixture
def one_connection(settings):
    """A database with one connection a role, so that whoever comes next gets what the one before left."""
    opened = Database(settings.model_copy(update={"database_pool_size": 1, "database_pool_overflow": 0}), "api")
    yield opened
    opened.close()


def committed(uow, _other):
    uow.commit()


def rolled_back(uow, _other):
    uow.session.rollback()


def left_alone(_uow, _other):
    pass


def failed(uow, _other):
    uow.session.execute(sa.text("SELECT 1 / 0"))


def refused(uow, other):
    uow.session.execute(sa.text("INSERT INTO domains (tenant_id, host) VALUES (:t, 'x.example')"), {"t": other})


def cancelled(uow, _other):
    uow.session.execute(sa.text("SET LOCAL statement_timeout = 50"))
    uow.session.execute(sa.text("SELECT pg_sleep(60)"))


def back_to_a_savepoint(uow, other):
    with suppress(sa.exc.DBAPIError), uow.session.begin_nested():
        uow.session.execute(sa.text("SELECT set_config('app.tenant_id', :t, true)"), {"t": str(other)})
        uow.session.execute(sa.text("SELECT 1 / 0"))
    assert now_in(uow) == str(uow.tenant_id)
    uow.commit()


def set_for_the_transaction_alone(uow, other):
    uow.commit()
    uow.session.execute(sa.text("SET LOCAL application_name = 'x'"))
    assert now_in(uow) in ("", None)  # a second transaction of the unit is of no tenant, and so sees nothing
    assert uow.session.scalar(sa.text("SELECT count(*) FROM domains")) == 0


ENDS = [
    committed, rolled_back, left_alone, failed, refused, cancelled, back_to_a_savepoint, set_for_the_transaction_alone,
]  # fmt: skip


def now_in(uow):
    return uow.session.scalar(sa.text("SELECT current_setting('app.tenant_id', true)"))


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_a_pooled_connection_carries_no_tenant_on(one_connection, tenants, end):
    """Security D2: however the transaction before ended"""
    here, there = tenants
    with suppress(sa.exc.DBAPIError, TookTooLong), one_connection.for_tenant(here) as uow:
        before = pid(uow)
        assert uow.domains.get(tenants[here]["domains"]["id"]) is not None
        end(uow, there)
    with one_connection._app.connect() as raw:
        assert raw.scalar(sa.text("SELECT pg_backend_pid()")) == before
        assert raw.scalar(sa.text("SELECT current_setting('app.tenant_id', true)")) in ("", None)
        assert raw.scalar(sa.text("SELECT count(*) FROM domains")) == 0
    with one_connection.for_tenant(there) as uow:
        assert pid(uow) == before
        assert uow.session.scalars(sa.text("SELECT tenant_id FROM domains")).all() == [there]


def pid(uow):
    return uow.session.scalar(sa.text("SELECT pg_backend_pid()"))


def test_a_setting_of_the_whole_session_is_overruled_by_the_next_unit(one_connection, tenants):
    """Security D2: nobody does that, as the next test holds; if somebody did, her tenant is still not the next one's"""
    here, there = tenants
    with one_connection.for_tenant(here) as uow:
        uow.session.execute(sa.text("SELECT set_config('app.tenant_id', :t, false)"), {"t": str(here)})
        uow.commit()
    with one_connection.for_tenant(there) as uow:
        assert uow.session.scalars(sa.text("SELECT tenant_id FROM domains")).all() == [there]


def test_one_place_sets_the_tenant_and_for_its_transaction_only():
    """Security D2"""
    naming = [
        (path.relative_to(ROOT).as_posix(), line.strip())
        for room in ("app", "workers", "models")
        for path in (ROOT / room).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "app.tenant_id" in line
    ]
    assert naming == [("app/unit_of_work.py", '_TENANT = "app.tenant_id"')]
    transaction = (ROOT / "app/repositories/direct.py").read_text(encoding="utf-8")
    assert re.findall(r"\bSET\b \w+", transaction) == ["SET LOCAL"]


HOSTILE = ("x' OR '1'='1", "'; SELECT set_config('app.tenant_id', '{}', true); --", "{}' --", "")


def test_a_tenant_that_is_none_lets_nobody_in(database, tenants):
    """Security D2: the value is quoted, and the policy takes nothing but a UUID"""
    _, there = tenants
    for text in HOSTILE:
        with suppress(sa.exc.DataError), database.for_tenant(text.format(there)) as uow:
            assert now_in(uow) == text.format(there)
            assert uow.session.scalars(sa.text("SELECT tenant_id FROM domains")).all() == []


def test_what_a_caller_asks_for_is_never_run(database, tenants):
    """Security D2: the setting is no secret, so no statement is put together from what somebody sends"""
    here, there = tenants
    for text in HOSTILE:
        asked = text.format(there)
        with database.for_tenant(here) as uow:
            found = [
                *uow.domains.listing(limit=10, cursor=None, host=asked or "of").items,
                *uow.jobs.listing(limit=10, cursor=None, domain=asked or "of").items,
            ]
            assert uow.domains.named(asked, asked) is None
            assert now_in(uow) == str(here)
        assert {getattr(one, "domain", one).tenant_id for one in found} <= {here}


def test_what_one_unit_has_read_no_other_has(database, tenants):
    """Security D2: an object kept by its key would be handed to whoever names the key"""
    here, there = tenants
    key = tenants[here]["domains"]["id"]
    with database.for_tenant(here) as uow:
        assert uow.domains.get(key) is not None
        with database.for_tenant(there) as beside:
            assert beside.domains.get(key) is None
            assert beside.session.get(Domain, (here, key)) is None


def test_a_question_is_answered_from_its_tenants_rows(database, tenants):
    """Security D2: twice over, like all else: by what it asks for, and by the policy if it asks for too much"""
    here, there = tenants
    whose = direct.Question("SELECT tenant_id FROM batch_jobs", {}, lambda rows: {row[0] for row in rows})
    batch = tenants[there]["batch_jobs"]["id"]
    assert database.ask(here, whose) == {here}
    assert database.ask(there, batches.view(there, batch)).batch.id == batch
    assert database.ask(here, batches.view(here, batch)) is None
    assert database.ask(here, batches.view(there, batch)) is None
    assert database.ask(there, batches.view(here, batch)) is None


@pytest.mark.parametrize("end", [committed, rolled_back, left_alone, failed, cancelled], ids=lambda end: end.__name__)
def test_what_one_tenant_staged_the_next_does_not_find(one_connection, tenants, end):
    """Security D2: temporary tables stay with the connection, their rows do not"""
    here, there = tenants
    with one_connection.for_tenant(here) as uow:
        land(uow)  # the table is there from now on
        uow.commit()
    with suppress(sa.exc.DBAPIError, TookTooLong), one_connection.for_tenant(here) as uow:
        land(uow)
        before = pid(uow)
        assert staged(uow) == 3
        end(uow, there)
    with one_connection.for_tenant(there) as uow:
        assert (pid(uow), staged(uow)) == (before, 0)


def land(uow):
    batch = uow.batches.add(name=None, options={}, priority=5, created_by=None)
    lines = [Line(n, f"{n}.example", f"{n}.example", "/", None, None) for n in range(3)]
    uow.batches.land(batch, lines, max_attempts=3)


def staged(uow):
    return uow.session.scalar(sa.text("SELECT count(*) FROM staged_lines"))


# Columns and roles


def test_the_app_role_reads_no_password_hash(database, tenant_id):
    """Security D1"""
    with database.for_tenant(tenant_id) as uow, pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        uow.session.execute(sa.text("SELECT password_hash FROM users"))


@pytest.mark.parametrize(
    "statement", ["SELECT options FROM batch_jobs", "SELECT * FROM sitemap_urls", "SELECT stats FROM jobs"]
)
def test_the_system_role_sees_only_its_columns(database, statement):
    """Security D1"""
    with database.system() as uow, pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        uow.session.execute(sa.text(statement))


@pytest.fixture
def raw(database):
    """`raw(tenant, statement, **values)` in a transaction of its own that is committed; answers the rows, if any."""

    def run(tenant, statement, **values):
        with database.for_tenant(tenant) as uow:
            result = uow.session.execute(sa.text(statement), values)
            rows = result.all() if result.returns_rows else result.rowcount
            uow.commit()
        return rows

    return run


@pytest.fixture
def role(superuser_here):
    """`role(name, tenant=None)` → the id of a role, made if it is a tenant's own."""

    def find(name, tenant=None):
        if tenant is None:
            row = superuser_here.execute("SELECT id FROM roles WHERE name = %s AND tenant_id IS NULL", [name])
        else:
            row = superuser_here.execute(
                "INSERT INTO roles (tenant_id, name) VALUES (%s, %s) RETURNING id", [tenant, name]
            )
        return row.fetchone()[0]

    return find


@pytest.fixture
def user_id(new_user, superuser_here):
    return superuser_here.execute("SELECT id FROM users WHERE email = %s", [new_user("viewer")]).fetchone()[0]


GIVE_ROLE = "INSERT INTO user_roles (tenant_id, user_id, role_id) VALUES (:t, :u, :r)"
INVITE = (
    "INSERT INTO invitations (tenant_id, email, role_id, token_hash, expires_at) "
    "VALUES (:t, 'a@example.com', :r, 'x', now())"
)


class TestRolesInsideATenant:
    def test_no_built_in_role_is_made(self, raw, tenant_id):
        with pytest.raises(sa.exc.ProgrammingError, match=WALL):
            raw(tenant_id, "INSERT INTO roles (tenant_id, name) VALUES (NULL, 'root')")

    @pytest.mark.parametrize(
        "statement", ["UPDATE roles SET name = 'x' WHERE id = :r", "DELETE FROM roles WHERE id = :r"]
    )
    def test_built_in_and_others_roles_stay_as_they_are(self, raw, tenant_id, new_tenant, role, statement):
        for untouchable in (role("viewer"), role("theirs", new_tenant("other"))):
            assert raw(tenant_id, statement, r=untouchable) == 0
        assert raw(tenant_id, statement, r=role("mine", tenant_id)) == 1

    @pytest.mark.parametrize("statement", [GIVE_ROLE, INVITE])
    def test_neither_the_platforms_nor_anothers_role_is_handed_out(
        self, raw, tenant_id, new_tenant, role, user_id, statement
    ):
        values = {"t": tenant_id, "u": user_id} if statement is GIVE_ROLE else {"t": tenant_id}
        for untouchable in (role("platform_admin"), role("theirs", new_tenant("other"))):
            with pytest.raises(sa.exc.ProgrammingError, match=WALL):
                raw(tenant_id, statement, r=untouchable, **values)
        for lawful in (role("operator"), role("mine", tenant_id)):
            assert raw(tenant_id, statement, r=lawful, **values) == 1

    def test_permissions_are_given_to_and_taken_from_own_roles_only(self, raw, tenant_id, new_tenant, role):
        give = "INSERT INTO role_permissions SELECT :r, id FROM permissions WHERE name = :p"
        mine = role("mine", tenant_id)
        for untouchable in (role("viewer"), role("theirs", new_tenant("other"))):
            with pytest.raises(sa.exc.ProgrammingError, match=WALL):
                raw(tenant_id, give, r=untouchable, p="job:run")
            assert raw(tenant_id, "DELETE FROM role_permissions WHERE role_id = :r", r=untouchable) == 0
        assert raw(tenant_id, give, r=mine, p="job:run") == 1
        assert raw(tenant_id, "DELETE FROM role_permissions WHERE role_id = :r", r=mine) == 1

    def test_no_role_of_a_tenant_holds_a_permission_of_the_platform(self, raw, tenant_id, role):
        give = "INSERT INTO role_permissions SELECT :r, id FROM permissions WHERE starts_with(name, 'platform:')"
        with pytest.raises(sa.exc.ProgrammingError, match=WALL):
            raw(tenant_id, give, r=role("mine", tenant_id))


def test_what_anybody_could_do_in_a_new_database_is_taken_back(settings, superuser_here):
    superuser_here.execute("CREATE ROLE stranger LOGIN PASSWORD 'guest'")
    try:
        superuser_here.execute(f'GRANT CONNECT ON DATABASE "{superuser_here.info.dbname}" TO stranger')
        with psycopg.connect(superuser_here.info.dsn, user="stranger", password="guest") as stranger:
            with pytest.raises(psycopg.errors.UndefinedTable):  # not even the names of tables lead anywhere
                stranger.execute("SELECT FROM permissions")
    finally:
        superuser_here.execute("DROP OWNED BY stranger")
        superuser_here.execute("DROP ROLE stranger")
