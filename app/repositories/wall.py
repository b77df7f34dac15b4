"""Whether a role the platform runs under could walk around the second wall: by itself, or as one it may become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

POWERS = {
    "rolsuper": "is a superuser",
    "rolbypassrls": "bypasses row-level security",
    "rolcreaterole": "may make roles",
    "rolreplication": "may replicate",
    "owns": "owns tables or the database",
    "predefined": "reaches past grants",
}
# Inherited or not, with SET or without, through however many others: a member may become it, or arrange that it may.
_REACHED = sa.text("""
    SELECT r.rolname AS name, r.rolname = current_user AS itself,
           r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolreplication,
           EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relowner = r.oid)
           OR EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'public' AND n.nspowner = r.oid)
           OR EXISTS (SELECT FROM pg_database d WHERE d.datname = current_database() AND d.datdba = r.oid) AS owns,
           r.rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_maintain', 'pg_create_subscription',
                         'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program') AS predefined
    FROM pg_roles r WHERE pg_has_role(current_user, r.oid, 'MEMBER') ORDER BY itself DESC, name""")


def reached(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
    """The connection's role, then every role it is a member of."""
    return connection.execute(_REACHED).all()


def faults(roles: Sequence[sa.Row[Any]], other: str) -> list[str]:
    """What is wrong with a runtime role, given what `reached` found; `other` is the other runtime role's name."""
    itself = roles[0]
    if itself.rolsuper:
        return [POWERS["rolsuper"]]  # a member of all others
    if itself.name == other:
        return ["is the app and the system role at once"]
    found = [
        power if role.itself else f"may become {role.name}, which {power}"
        for role in roles
        for name, power in POWERS.items()
        if getattr(role, name)
    ]
    return found + [f"may become {other}, the other runtime role" for role in roles if role.name == other]
