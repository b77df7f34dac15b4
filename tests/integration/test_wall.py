"""The second wall, as PostgreSQL keeps it: what raw SQL under the runtime roles sees, writes and cannot reach."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

WALL = "row-level security policy"


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
