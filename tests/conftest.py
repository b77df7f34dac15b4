"""What tests share: real servers, one database a test, a signed-in client.

The servers start when the first test asks for them, one set a pytest-xdist worker, and end with the session. Each test
gets a copy of one migrated database, so tests never see each other's rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import settings
from pydantic import SecretStr

from app.api.core import KEY, Core
from app.api.security import access_token
from app.factory import create_app
from app.repositories import schema
from app.services.accounts import Grant
from app.services.credentials import KEY_PREFIX
from app.services.passwords import Passwords
from app.settings import Settings
from app.stack import servers
from app.stack.postgres import DATABASE, ROLES
from app.stack.servers import Servers
from app.unit_of_work import Database
from tests.fakes import FakeTaskQueue

# What CI says of a commit must not depend on luck: the same examples each time. Elsewhere they are new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


PASSWORD = "correct horse battery"
SECRET = "the tests' own signing key, of many bytes"
NOWHERE = "redis://127.0.0.1:1/0"
_numbers = count(1)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """PostgreSQL with the schema in its database, which tests copy and never use."""
    started = _start(tmp_path_factory.mktemp("postgres"), redis_url=NOWHERE)
    with started:
        schema.upgrade(
            **{f"{role}_url": _revealed(getattr(started.settings, field)) for role, field in URL_FIELDS.items()}
        )
        yield started


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey shared by the session's tests; its database 0 is theirs to flush."""
    unused = dict.fromkeys(URL_FIELDS.values(), "postgresql://127.0.0.1:1/none")
    with _start(tmp_path_factory.mktemp("valkey"), **unused) as started:
        yield _revealed(started.settings.redis_url)


@pytest.fixture
def superuser(postgres_server: Servers) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(_plain(postgres_server.superuser_url() or ""), autocommit=True) as connection:
        yield connection


@pytest.fixture
def settings(postgres_server: Servers, superuser: psycopg.Connection[Any], tmp_path: Path) -> Iterator[Settings]:
    """Settings that lead to a database of this test's own. No broker: see `valkey_url` and `FakeTaskQueue`."""
    name = f"test_{next(_numbers)}"
    superuser.execute(f"CREATE DATABASE {name} TEMPLATE {DATABASE} STRATEGY file_copy OWNER scrapersky_owner")
    superuser.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    superuser.execute(f"GRANT CONNECT ON DATABASE {name} TO {', '.join(f'scrapersky_{r}' for r in ROLES)}")
    superuser.execute(f"GRANT TEMPORARY ON DATABASE {name} TO scrapersky_app")
    urls = {
        field: SecretStr(_revealed(getattr(postgres_server.settings, field)).rsplit("/", 1)[0] + f"/{name}")
        for field in URL_FIELDS.values()
    }
    own = {"redis_url": None, "data_dir": tmp_path / "var", "secret_key": SecretStr(SECRET), "signing_keys_file": None}
    yield postgres_server.settings.model_copy(update={**urls, **own})
    audited = _audited(_plain(postgres_server.superuser_url() or "").rsplit("/", 1)[0] + f"/{name}")
    superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")
    # Whatever the test did: nobody reads a password, a hash of one or an API key out of the trail.
    assert PASSWORD not in audited
    assert "$argon2" not in audited
    assert KEY_PREFIX not in audited


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    opened = Database(settings, "api")
    yield opened
    opened.close()


@pytest.fixture
def superuser_here(postgres_server: Servers, settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    """The superuser in this test's database, past every wall: for what no role of the platform may do."""
    name = _revealed(settings.database_url).rsplit("/", 1)[1]
    url = _plain(postgres_server.superuser_url() or "").rsplit("/", 1)[0] + f"/{name}"
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def tenant_id(database: Database) -> UUID:
    with database.system() as uow:
        tenant = uow.sign_in.tenant_named("default")
    assert tenant is not None
    return tenant.id


@pytest.fixture
def new_tenant(superuser_here: psycopg.Connection[Any]) -> Callable[[str], UUID]:
    """`new_tenant("acme")` → its id."""

    def make(name: str) -> UUID:
        row = superuser_here.execute("INSERT INTO tenants (name) VALUES (%s) RETURNING id", [name]).fetchone()
        assert row is not None
        found: UUID = row[0]
        return found

    return make


@pytest.fixture(scope="session")
def passwords() -> Passwords:
    """The cheapest Argon2id there is."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1), at_once=8)


@pytest.fixture
def queue() -> FakeTaskQueue:
    return FakeTaskQueue()


@pytest.fixture
def app(settings: Settings, queue: FakeTaskQueue, passwords: Passwords) -> Iterator[Flask]:
    made = create_app(settings, queue=queue, passwords=passwords)
    made.testing = True
    yield made
    core: Core = made.extensions[KEY]
    core.database.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def new_user(database: Database, passwords: Passwords, tenant_id: UUID) -> Callable[..., str]:
    """`new_user("operator", "viewer", tenant=…)` → the e-mail address; the password is `PASSWORD`."""

    def make(*roles: str, tenant: UUID | None = None, email: str | None = None) -> str:
        address = email or f"{'-'.join(roles) or 'nobody'}-{next(_numbers)}@example.com"
        with database.system() as uow:
            user = uow.sign_in.user_by_email(address) or uow.sign_in.add_user(address, passwords.hash(PASSWORD))
            for role in roles:
                uow.sign_in.assign(user.id, tenant or tenant_id, role)
            uow.commit()
        return address

    return make


@pytest.fixture
def grant_for(app: Flask, new_user: Callable[..., str]) -> Callable[..., Grant]:
    """A session without the round over HTTP."""

    def make(*roles: str, tenant: UUID | None = None) -> Grant:
        core: Core = app.extensions[KEY]
        return core.accounts.sign_in(new_user(*roles, tenant=tenant), PASSWORD)

    return make


@pytest.fixture
def login(app: Flask, grant_for: Callable[..., Grant]) -> Callable[..., dict[str, str]]:
    """`login("operator")` → headers of a new user with that role, in the default tenant or in `tenant`."""

    def make(*roles: str, tenant: UUID | None = None) -> dict[str, str]:
        grant = grant_for(*roles, tenant=tenant)
        with app.app_context():
            return {"Authorization": f"Bearer {access_token(grant)}"}

    return make


def _audited(url: str) -> str:
    """All that the audit trail says was so before and after."""
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass('audit_events')").fetchone() == (None,):
            return ""  # a test of migrations
        row = connection.execute("SELECT string_agg(concat(before, after), '') FROM audit_events").fetchone()
    return (row and row[0]) or ""


URL_FIELDS = {"owner": "owner_database_url", "app": "database_url", "system": "system_database_url"}


def _start(directory: Path, **urls: str) -> Servers:
    # Not from the environment or .env: a developer's settings are no business of the tests.
    settings = Settings.model_construct(**{**_defaults(), "data_dir": directory, **_secret(urls)})
    return servers.start(settings, durable=False)


def _defaults() -> dict[str, Any]:
    return {name: field.get_default() for name, field in Settings.model_fields.items()}


def _secret(urls: dict[str, str]) -> dict[str, SecretStr]:
    return {name: SecretStr(url) for name, url in urls.items()}


def _revealed(url: SecretStr | None) -> str:
    assert url is not None
    return url.get_secret_value()


def _plain(url: str) -> str:
    return url.replace("+psycopg", "")
