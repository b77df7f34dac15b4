"""The access matrix: every rule × method × every kind of caller, generated from the application's own routes.

Nothing here names a route's permission; `access.txt` beside this file does, for reviewers: a change of it is a change
of who may do what. A new path parameter needs a factory of what it names, or these tests fail.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from flask import Flask

from app.access import BUILT_IN_ROLES, PERSONAL, READ_ONLY, TENANT_PERMISSIONS
from app.api.core import KEY
from app.api.security import Access, access_token, declared
from app.services.accounts import Grant
from app.services.credentials import Claims
from tests.api.answers import problem, without_id
from tests.conftest import PASSWORD

SNAPSHOT = Path(__file__).with_name("access.txt")
RENEW = "RENEW=1 .venv/bin/python -m pytest tests/api/test_matrix.py -k snapshot"
NOTHING = "00000000-0000-7000-8000-000000000000"
PARAMETER = re.compile(r"<(?:\w+:)?\w+>")
TO_SEND = ("POST", "PUT", "PATCH")
# The example's password is nobody's; this one is right, and what it would be changed to is refused.
UNLIKE_THE_EXAMPLE = {"/api/v2/auth/password": {"current": PASSWORD, "new": "short"}}


@dataclass(frozen=True)
class Caller:
    name: str
    held: frozenset[str]
    enter: Callable[[], dict[str, str]]  # the headers of a new session: the call before may have ended the last
    delegate: bool = False  # an API key or break-glass


@dataclass(frozen=True)
class Route:
    method: str
    rule: str
    access: Access

    def __str__(self) -> str:
        return f"{self.method} {self.rule}"

    @property
    def parameters(self) -> list[str]:
        """What stands before each parameter, from the version on, other parameters as `*`: `users/*/roles`."""
        found = list(PARAMETER.finditer(self.rule))
        before = [self.rule[: place.start()] for place in found]
        return [re.sub(r"^/(api/v\d+/)?", "", PARAMETER.sub("*", text)).rstrip("/") for text in before]

    def path(self, values: list[str]) -> str:
        given = iter(values)
        return PARAMETER.sub(lambda _: next(given), self.rule)

    def lets_in(self, caller: Caller) -> bool:
        if caller.delegate and not self.access.delegated:
            return False
        return self.access.kind != "requires" or not caller.held.isdisjoint(self.access.permissions)


class World:
    """A tenant of ours with callers of every kind in it, and things to act on."""

    def __init__(
        self, app: Flask, superuser: psycopg.Connection[Any], new_user: Callable[..., str], ours: UUID, theirs: UUID
    ) -> None:
        self.app, self.superuser, self.new_user = app, superuser, new_user
        self.ours, self.theirs = ours, theirs
        self._emails: dict[tuple[str, UUID], str] = {}
        self._numbers = iter(range(10**6))
        doc = app.test_client().get("/openapi.json").json
        self._examples = {
            (method.upper(), re.sub(r"\{\w+\}", "*", path)): said["requestBody"]["content"]
            for path, said_of in doc["paths"].items()
            for method, said in said_of.items()
            if isinstance(said, dict) and "requestBody" in said
        }

    def sql(self, statement: str, *values: object) -> Any:
        row = self.superuser.execute(statement, values).fetchone()
        return row[0] if row else None

    def callers(self, route: Route) -> Iterator[Caller]:
        """Each built-in role; roles of the tenant's own that carry one permission, the right or a wrong one; delegates."""
        for name, held in BUILT_IN_ROLES.items():
            yield Caller(name, frozenset(held), partial(self.enter, name))
        declared_ones = TENANT_PERMISSIONS.intersection(route.access.permissions)
        for one in sorted({*declared_ones, min(TENANT_PERMISSIONS - declared_ones)}):
            yield Caller(f"only {one}", frozenset({one}), partial(self.enter, f"only {one}"))
        yield Caller("an API key", TENANT_PERMISSIONS - PERSONAL, self.key, delegate=True)
        yield Caller("break-glass", READ_ONLY, self.break_glass, delegate=True)

    def enter(self, role: str, tenant: UUID | None = None) -> dict[str, str]:
        """As somebody who holds this built-in role, or `only job:run`, and nothing else."""
        where = tenant or self.ours
        if (role, where) not in self._emails:
            built_in = role in BUILT_IN_ROLES
            email = self._emails[role, where] = self.new_user(*([role] if built_in else []), tenant=where)
            if not built_in:
                self.hold_own_role(email, role.removeprefix("only "))
        return self.sign_in(self._emails[role, where])

    def hold_own_role(self, email: str, permission: str) -> None:
        role = self.role()
        self.superuser.execute(
            "INSERT INTO role_permissions SELECT %s, id FROM permissions WHERE name = %s", [role, permission]
        )
        self.superuser.execute(
            "INSERT INTO user_roles (tenant_id, user_id, role_id) SELECT %s, id, %s FROM users WHERE email = %s",
            [self.ours, role, email],
        )

    def sign_in(self, email: str) -> dict[str, str]:
        return self.bearer(self.app.extensions[KEY].accounts.sign_in(email, PASSWORD))

    def bearer(self, grant: Grant) -> dict[str, str]:
        with self.app.app_context():
            return {"Authorization": f"Bearer {access_token(grant)}"}

    @cache  # noqa: B019 - a world lasts as long as its test
    def key(self) -> dict[str, str]:
        """All that an API key can carry."""
        body = {"name": "a key", "permissions": sorted(TENANT_PERMISSIONS - PERSONAL)}
        made = self.app.test_client().post("/api/v2/api-keys", headers=self.enter("tenant_admin"), json=body)
        assert made.status_code == 201, made.text
        return {"X-API-Key": made.json["key"]}

    @cache  # noqa: B019
    def break_glass(self) -> dict[str, str]:
        """A platform administrator of another tenant, who looks into ours."""
        email = self.new_user("platform_admin", tenant=self.theirs)
        user, version = self.superuser.execute(
            "SELECT id, authz_version FROM users WHERE email = %s", [email]
        ).fetchone() or (None, None)
        session = self.sql(
            "INSERT INTO sessions (tenant_id, user_id, refresh_hash, expires_at, reason) "
            "VALUES (%s, %s, '', now() + interval '1 hour', 'a test') RETURNING id",
            self.ours,
            user,
        )
        claims = Claims(user_id=user, tenant_id=self.ours, session_id=session, version=version)
        return self.bearer(Grant(claims, ""))

    def make(self, route: Route, role: str = "tenant_admin") -> list[str]:
        """New things of ours for the route's parameters."""
        values: list[str] = []
        for name in route.parameters:
            values.append(str(FACTORIES[name](self, role, values)))
        return values

    def call(self, route: Route, values: list[str], headers: dict[str, str]) -> Any:
        """With the documented example as body, if there is one, or what stands in for it."""
        sent: dict[str, Any] = {}
        if route.method in TO_SEND:
            content = self._examples.get((route.method, PARAMETER.sub("*", route.rule)), {})
            example = content.get("application/json", {}).get("example")
            example = UNLIKE_THE_EXAMPLE.get(route.rule, example)
            sent = {"json": example} if example is not None else {}
        return self.app.test_client().open(route.path(values), method=route.method, headers=headers, **sent)

    def number(self) -> int:
        return next(self._numbers)

    # ---- things ----------------------------------------------------------------------------------------------------

    def submit(self, path: str, body: dict[str, Any]) -> str:
        answer = self.app.test_client().post(path, json=body, headers=self.enter("operator"))
        assert answer.status_code == 202, answer.text
        return str(answer.json["id"])

    def batch(self, *_: object) -> str:
        return self.submit("/api/v2/batches", {"domains": [f"b{self.number()}.example"]})

    def job(self, *_: object) -> str:
        return self.submit("/api/v2/scans", {"domain": f"j{self.number()}.example"})

    def domain(self, *_: object) -> str:
        return str(self.sql("SELECT domain_id FROM jobs WHERE id = %s", self.job()))

    def user(self, *_: object) -> str:
        return str(self.sql("SELECT id FROM users WHERE email = %s", self.new_user("viewer", tenant=self.ours)))

    def api_key(self, *_: object) -> str:
        return str(
            self.sql(
                "INSERT INTO api_keys (tenant_id, name, key_hash, permissions, created_by, expires_at) "
                "VALUES (%s, 'k', '', '{job:run}', %s, now() + interval '1 day') RETURNING id",
                self.ours,
                self.user(),
            )
        )

    def session(self, *_: object) -> str:
        email = self.new_user("viewer", tenant=self.ours)
        self.sign_in(email)
        return str(self.sql("SELECT s.id FROM sessions s JOIN users u ON u.id = user_id WHERE email = %s", email))

    def invitation(self, *_: object) -> str:
        query = (
            "INSERT INTO invitations (tenant_id, email, role_id, token_hash, expires_at) SELECT %s, %s, id, '', "
            "now() + interval '1 day' FROM roles WHERE name = 'viewer' AND tenant_id IS NULL RETURNING id"
        )
        return str(self.sql(query, self.ours, f"i{self.number()}@new.example"))

    def role(self, *_: object) -> str:
        name = f"r{self.number()}"
        return str(self.sql("INSERT INTO roles (tenant_id, name) VALUES (%s, %s) RETURNING id", self.ours, name))

    def held_role(self, _: str, before: list[str]) -> str:
        role = self.role()
        self.superuser.execute("INSERT INTO user_roles VALUES (%s, %s, %s)", [self.ours, before[0], role])
        return role

    def tenant(self, role: str, _: list[str]) -> str:
        """Her own for who is in one; for the platform's people one that may be suspended without harm to the rest."""
        if role != "platform_admin":
            return str(self.ours)
        return str(self.sql("INSERT INTO tenants (name) VALUES (%s) RETURNING id", f"t{self.number()}"))


FACTORIES: dict[str, Callable[[World, str, list[str]], object]] = {
    "api-keys": World.api_key,
    "batch/status": World.batch,
    "batches": World.batch,
    "domains": World.domain,
    "invitations": World.invitation,
    "jobs": World.job,
    "roles": World.role,
    "sessions": World.session,
    "static": lambda *_: "docs/docs.js",
    "status": World.job,
    "tenants": World.tenant,
    "tenants/*/features": lambda *_: "pages",
    "users": World.user,
    "users/*/roles": World.held_role,
}


@pytest.fixture
def routes(app):
    found = [Route(method, rule.rule, access) for rule, method, access in declared(app)]
    assert len(found) > 50
    return found


@pytest.fixture
def world(app, superuser_here, new_user, tenant_id, new_tenant):
    return World(app, superuser_here, new_user, tenant_id, new_tenant("theirs"))


def test_every_parameter_of_a_path_has_a_factory(routes):
    missing = {f"{route}: {name}" for route in routes for name in route.parameters if name not in FACTORIES}
    assert not missing, "add a factory to tests/api/test_matrix.py"


def test_the_snapshot_is_what_the_routes_declare(routes):
    """A review of a change to access.txt is a review of who may do what."""
    ordered = sorted(routes, key=lambda route: (route.rule, route.method))
    true = "".join(f"{route.method:6} {route.rule}  {told(route.access)}\n" for route in ordered)
    if os.environ.get("RENEW"):
        SNAPSHOT.write_text(true, encoding="utf-8")
    assert SNAPSHOT.read_text(encoding="utf-8") == true, f"if it is meant: {RENEW}"


def told(access: Access) -> str:
    delegates = {False: "no API key or break-glass", True: ""}[access.delegated or access.kind == "public"]
    feature = f"feature {access.feature}" if access.feature else ""
    return ", ".join(filter(None, (str(access), delegates, feature)))


@pytest.mark.slow
def test_whoever_may_not_is_refused(routes, world):
    """With real ids of her own tenant. Nobody is told to sign in, everybody else what is missing."""
    headers: dict[str, dict[str, str]] = {}
    for route in routes:
        values = world.make(route)
        if route.access.kind == "public":
            assert world.call(route, values, {}).status_code not in {403, 500}, str(route)
            continue
        refused(world.call(route, values, {}), route, "nobody", 401, "authentication_failed")
        for caller in world.callers(route):
            if not route.lets_in(caller):
                known = headers.get(caller.name) or headers.setdefault(caller.name, caller.enter())
                refused(world.call(route, values, known), route, caller.name, 403, "permission_denied")


@pytest.mark.slow
def test_whoever_lost_the_right_is_refused(routes, world, new_user, new_tenant, superuser_here):
    """Disabled, removed, signed out: 401. In a suspended tenant: 403."""
    closed = new_tenant("closed")
    people = {name: new_user("tenant_admin", "platform_admin") for name in ("disabled", "removed", "signed out")}
    people["suspended"] = new_user("tenant_admin", "platform_admin", tenant=closed)
    headers = {name: world.sign_in(email) for name, email in people.items()}
    of = "(SELECT id FROM users WHERE email = %s)"
    superuser_here.execute(f"UPDATE users SET status = 'disabled' WHERE id = {of}", [people["disabled"]])
    superuser_here.execute(f"DELETE FROM user_roles WHERE user_id = {of}", [people["removed"]])
    superuser_here.execute(f"UPDATE sessions SET revoked_at = now() WHERE user_id = {of}", [people["signed out"]])
    superuser_here.execute("UPDATE tenants SET status = 'suspended' WHERE id = %s", [closed])
    for route in routes:
        if route.access.kind == "public":
            continue
        values = world.make(route)
        for name in people:
            answer = world.call(route, values, headers[name])
            if name == "suspended":
                refused(answer, route, name, 403, "permission_denied")
            else:
                refused(answer, route, name, 401, "authentication_failed")


@pytest.mark.slow
def test_what_is_ours_is_to_another_tenants_administrator_as_if_it_were_not(routes, world):
    admin = Caller(
        "their administrator",
        frozenset(BUILT_IN_ROLES["tenant_admin"]),
        partial(world.enter, "tenant_admin", world.theirs),
    )
    headers, seen = admin.enter(), 0
    for route in routes:
        if not route.parameters or route.access.kind == "public" or not route.lets_in(admin):
            continue
        ours = world.make(route)
        real, missing = (world.call(route, values, headers) for values in (ours, [NOTHING, *ours[1:]]))
        assert real.status_code == missing.status_code == 404, f"{route}: {real.text or real.status}"
        if route.method != "HEAD":
            problem(real, 404, "not_found")
            assert without_id(real) == without_id(missing), str(route)
        seen += 1
    assert seen > 20


@pytest.mark.slow
def test_whoever_may_gets_through(routes, world):
    """Past the guard, to real things."""
    for route in routes:
        if route.access.kind == "public":
            continue
        for caller in filter(route.lets_in, world.callers(route)):
            answer = world.call(route, world.make(route, caller.name), caller.enter())
            shown = f"{route} as {caller.name}: {answer.status} {answer.text[:300]}"
            assert answer.status_code < 500, shown
            assert answer.status_code != 401, shown
            # A service may ask for more than the route does, and says so in other words.
            assert f"this needs the permission {route.access}" not in answer.text, shown
            if route.method in {"GET", "HEAD"}:
                assert answer.status_code == 200, shown
            if caller.name == "tenant_admin":
                assert answer.status_code != 404, shown


def refused(answer: Any, route: Route, who: str, status: int, code: str) -> None:
    shown = f"{route} as {who}: {answer.status} {answer.text[:300]}"
    assert answer.status_code == status, shown
    if route.method != "HEAD":
        assert answer.json["code"] == code, shown
