"""The second wall as PostgreSQL's catalogue has it: what is wrong with it, and the whole of it as text to be reviewed.

python -m tests.integration.catalogue     writes wall.txt, beside this file, anew
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from pathlib import Path

import psycopg
from psycopg.rows import namedtuple_row

from app.cli.database import upgrade
from app.settings import Settings
from app.stack import servers

SNAPSHOT = Path(__file__).with_name("wall.txt")
OWNER, APP, SYSTEM = "scrapersky_owner", "scrapersky_app", "scrapersky_system"
RUNTIME = (APP, SYSTEM)
GLOBAL = {"alembic_version", "permissions"}  # the same for every tenant, and not secret
ASKS = "current_setting('app.tenant_id'::text, true)"
TENANT = re.compile(
    r"\( SELECT \(NULLIF\(current_setting\('app\.tenant_id'::text, true\), ''::text\)\)::uuid AS \"?nullif\"?\)"
)

RELATIONS = """
    SELECT c.oid, c.relname AS name, c.relkind AS kind, pg_get_userbyid(c.relowner) AS owner,
           c.relrowsecurity AND c.relforcerowsecurity AS walled,
           coalesce('security_invoker=true' = ANY (c.reloptions), false) AS invoker,
           EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') AS of_tenant,
           EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = c.oid AND c.relkind IN ('r', 'p')) AS rewritten
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    ORDER BY c.relname"""

# What roles other than the owner may do, column by column where it is so granted.
GRANTS = """
    SELECT c.relname AS name, c.relkind AS kind, a.privilege_type AS privilege, a.is_grantable AS lendable, NULL AS columns,
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END AS role
    FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner
    UNION ALL
    SELECT c.relname, c.relkind, a.privilege_type, bool_or(a.is_grantable), string_agg(t.attname, ', ' ORDER BY t.attname),
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
    WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner
    GROUP BY c.relname, c.relkind, a.privilege_type, a.grantee
    ORDER BY 1, 6, 3, 5"""

POLICIES = """
    SELECT tablename AS name, policyname AS policy, permissive = 'PERMISSIVE' AS lets_in, roles::text[] AS roles,
           cmd AS command, qual AS using, with_check AS check
    FROM pg_policies WHERE schemaname = 'public' ORDER BY 1, 3 DESC, 2"""

UNIQUE = """
    SELECT c.relname AS name, i.relname AS index, array_agg(coalesce(a.attname, '(…)')::text ORDER BY k.n) AS columns,
           bool_and(coalesce(a.attidentity = 'a', false)) AS counted
    FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
    CROSS JOIN LATERAL unnest(x.indkey) WITH ORDINALITY k (attnum, n)
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
    WHERE x.indisunique AND c.relnamespace = 'public'::regnamespace GROUP BY 1, 2 ORDER BY 1, 2"""

FOREIGN_KEYS = """
    SELECT c.conrelid::regclass::text AS name, c.confrelid::regclass::text AS parent, c.conname AS key,
           EXISTS (SELECT FROM unnest(c.conkey, c.confkey) k (here, there)
                   JOIN pg_attribute h ON h.attrelid = c.conrelid AND h.attnum = k.here AND h.attname = 'tenant_id'
                   JOIN pg_attribute t ON t.attrelid = c.confrelid AND t.attnum = k.there AND t.attname = 'tenant_id'
                  ) AS with_tenant
    FROM pg_constraint c WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace ORDER BY 1, 3"""

FUNCTIONS = """
    SELECT p.proname AS name, p.prosecdef AS definer, pg_get_userbyid(p.proowner) AS owner,
           EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0) AS public
    FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace ORDER BY 1"""

PLACES = """
    SELECT 'schema public' AS name, a.privilege_type AS privilege,
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END AS role
    FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'public' AND a.grantee <> n.nspowner
    UNION ALL
    SELECT 'database', a.privilege_type, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END
    FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database() AND a.grantee <> d.datdba
    UNION ALL
    SELECT 'default privileges', a.privilege_type, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END
    FROM pg_default_acl f, aclexplode(f.defaclacl) a WHERE a.grantee <> f.defaclrole
    ORDER BY 1, 3, 2"""

HARMLESS = {  # places and what runtime roles may there
    ("schema public", "USAGE", APP), ("schema public", "USAGE", SYSTEM),
    ("database", "CONNECT", APP), ("database", "CONNECT", SYSTEM), ("database", "TEMPORARY", APP),
}  # fmt: skip
ROUND_THE_WALL = {"TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"}


class Catalogue:
    """One reading of it."""

    def __init__(self, connection: psycopg.Connection) -> None:
        def read(query):
            return connection.cursor(row_factory=namedtuple_row).execute(query).fetchall()

        self.relations = read(RELATIONS)
        self.grants = read(GRANTS)
        self.policies = read(POLICIES)
        self.unique = read(UNIQUE)
        self.foreign_keys = read(FOREIGN_KEYS)
        self.functions = read(FUNCTIONS)
        self.places = read(PLACES)
        self.of_tenants = {one.name for one in self.relations if one.of_tenant}

    def faults(self) -> list[str]:
        """Every way in which a row of one tenant might be reached from another, as a sentence."""
        found = [*self._relations(), *self._policies(), *self._keys(), *self._rights()]
        return [f"{name}: {what}" for name, what in found]

    def _relations(self):
        for one in self.relations:
            if one.kind in "rp" and one.name not in GLOBAL and not one.walled:
                yield one.name, "row-level security is not enabled and forced"
            if (one.kind == "v" and not one.invoker) or one.kind in "mf" or one.rewritten:
                yield one.name, "shows rows with its owner's eyes"
            if one.owner != OWNER:
                yield one.name, f"belongs to {one.owner}"
        for function in self.functions:
            if function.definer:
                yield function.name, "runs with its owner's rights"
            if function.owner != OWNER:
                yield function.name, f"belongs to {function.owner}"

    def _policies(self):
        letting_in = defaultdict(list)
        for policy in self.policies:
            if strangers := set(policy.roles) - set(RUNTIME):
                yield policy.name, f"policy {policy.policy} is for {', '.join(sorted(strangers))}"
            for role in policy.roles if policy.lets_in else ():
                letting_in[policy.name, role].append(policy)
        for table, role in sorted({(grant.name, grant.role) for grant in self.grants if grant.name not in GLOBAL}):
            policies = letting_in[table, role]
            if len(policies) != 1:
                yield table, f"{len(policies)} policies let {role} in"
                continue
            (policy,) = policies
            if policy.command != "ALL" or not policy.using or not policy.check:
                yield table, f"policy {policy.policy} has no USING and WITH CHECK for every command"
            elif role == APP and table in self.of_tenants and not (ASKS in policy.using and ASKS in policy.check):
                yield table, f"policy {policy.policy} does not ask for the tenant"

    def _keys(self):
        for index in self.unique:
            # What PostgreSQL counts by itself nobody can try to take.
            if index.name in self.of_tenants and "tenant_id" not in index.columns and not index.counted:
                yield index.name, f"{index.index} tells whether another tenant has such a row"
        for key in self.foreign_keys:
            inside = {key.name, key.parent} <= self.of_tenants
            if inside and not key.with_tenant and not (key.parent == "roles" and self._guards_roles(key.name)):
                yield key.name, f"{key.key} may lead to another tenant's row"

    def _guards_roles(self, table):
        """Built-in roles are of no tenant, so no key can carry it; a policy that takes away stands in."""
        return any(
            policy.name == table and policy.command == "INSERT" and not policy.lets_in and "FROM roles" in policy.check
            for policy in self.policies
        )

    def _rights(self):
        for grant in self.grants:
            if grant.role not in RUNTIME or grant.kind == "S":
                yield grant.name, f"{grant.role} has {grant.privilege}"
            if grant.privilege in ROUND_THE_WALL:
                yield grant.name, f"{grant.role} has {grant.privilege}, which asks no policy"
            if grant.lendable:
                yield grant.name, f"{grant.role} may hand {grant.privilege} on"
        for place in self.places:
            if (place.name, place.privilege, place.role) not in HARMLESS:
                yield place.name, f"{place.role} has {place.privilege}"
        for function in self.functions:
            if function.public:
                yield function.name, "everybody may call it"

    def text(self) -> str:
        """Grants and policies of both runtime roles, table by table."""
        lines = [
            "# What the runtime roles may do, and to which rows. Made by `python -m tests.integration.catalogue`.",
            "# <tenant> is the transaction's app.tenant_id; a policy with `only` takes away from what others let in.",
        ]
        for place in self.places:
            lines.append(f"{place.name}: {_short(place.role)} {place.privilege}")
        for one in self.relations:
            if one.kind not in "rpv":
                continue
            lines += ["", one.name + ("" if one.walled else "  (no wall)")]
            for role in RUNTIME:
                lines += [f"  {_short(role):7}{line}" for line in self._told(one.name, role)]
        return "\n".join(lines) + "\n"

    def _told(self, table, role):
        grants = [grant for grant in self.grants if (grant.name, grant.role) == (table, role)]
        if whole := [grant.privilege for grant in grants if not grant.columns]:
            yield ", ".join(whole)
        yield from (f"{grant.privilege} ({grant.columns})" for grant in grants if grant.columns)
        for policy in self.policies:
            if policy.name == table and role in policy.roles:
                word = "rows" if policy.lets_in else f"{policy.command} only"
                yield f"{word}: {' / written: '.join(filter(None, dict.fromkeys(map(_shown, (policy.using, policy.check)))))}"


def _short(role: str) -> str:
    return role.removeprefix("scrapersky_")


def _shown(expression: str | None) -> str:
    return " ".join(TENANT.sub("<tenant>", expression or "").split())


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(_env_file=None, data_dir=Path(directory), redis_url="redis://127.0.0.1:1/0")
        with servers.start(settings, durable=False) as started:
            upgrade(started.settings, lambda _: None)
            url = (started.superuser_url() or "").replace("+psycopg", "").rsplit("/", 1)[0] + "/scrapersky"
            with psycopg.connect(url) as connection:
                SNAPSHOT.write_text(Catalogue(connection).text(), encoding="utf-8")


if __name__ == "__main__":
    main()
