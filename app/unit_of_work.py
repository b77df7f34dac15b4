"""The one owner of transactions.

    with database.for_tenant(tenant_id) as uow:
        uow.jobs.cancel(job_id)
        uow.after_commit(lambda: …)
        uow.commit()

Leaving without `commit` rolls back. What is handed to `after_commit` runs once the rows are safe. A unit is bound to
its tenant twice: its repositories filter, and row-level security in PostgreSQL does. `system()` is for claims,
heartbeats, reaping, folding and sign-in only. No unit may be open while a socket to a site is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import permutations
from typing import Any, Literal, TypeVar
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import ConfigurationError, TookTooLong, Unavailable
from app.repositories import direct, schema, wall
from app.repositories.accounts import Accounts, SignIn
from app.repositories.api_keys import ApiKeys
from app.repositories.audit import Audit
from app.repositories.batches import Batches
from app.repositories.credentials import Credentials
from app.repositories.depths import Depths
from app.repositories.differences import Differences
from app.repositories.domains import Domains
from app.repositories.history import History
from app.repositories.idempotency import IdempotencyKeys
from app.repositories.inventory import Inventory
from app.repositories.invitations import Invitations, Invited
from app.repositories.jobs import Jobs
from app.repositories.members import Members, Memberships
from app.repositories.pages import Pages
from app.repositories.people import People
from app.repositories.queue import Queue
from app.repositories.reads import Reads
from app.repositories.roles import Roles
from app.repositories.sessions import Sessions
from app.repositories.tenants import Tenants
from app.settings import PoolSettings, Settings

T = TypeVar("T")
IDLE_SINCE = "idle since"
TRUSTED_SECONDS = 1.0  # for which a connection that worked is taken to work still
IDLE_SECONDS = 60.0  # that a transaction may wait for its own process


class _Unit:
    def __init__(self, session: Session) -> None:
        self.session = session
        self._after: list[Callable[[], object]] = []

    def after_commit(self, action: Callable[[], object]) -> None:
        """Run `action` once the rows are safe; it must not raise for a broker that is away."""
        self._after.append(action)

    def commit(self) -> None:
        direct.commit(self.session)
        waiting, self._after = self._after, []
        for action in waiting:
            action()


class TenantUnit(_Unit):
    """One transaction in one tenant."""

    def __init__(self, session: Session, tenant_id: UUID) -> None:
        super().__init__(session)
        self.tenant_id = tenant_id
        self.accounts = Accounts(session, tenant_id)
        self.api_keys = ApiKeys(session, tenant_id)
        self.audit = Audit(session, tenant_id)
        self.batches = Batches(session, tenant_id)
        self.depths = Depths(session, tenant_id)
        self.domains = Domains(session, tenant_id)
        self.history = History(session, tenant_id)
        self.idempotency = IdempotencyKeys(session, tenant_id)
        self.inventory = Inventory(session, tenant_id)
        self.invitations = Invitations(session, tenant_id)
        self.jobs = Jobs(session, tenant_id)
        self.members = Members(session, tenant_id)
        self.memberships = Memberships(session, tenant_id)
        self.pages = Pages(session, tenant_id)
        self.reads = Reads(session, tenant_id)
        self.tenants = Tenants(session, tenant_id)
        self.roles = Roles(session, tenant_id)
        self.sessions = Sessions(session, tenant_id)


class SystemUnit(_Unit):
    """One transaction over all tenants, on the few columns the system role may see."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.audit = Audit(session, None)
        self.credentials = Credentials(session)
        self.depths = Depths(session, None)
        self.differences = Differences(session)
        self.invitations = Invited(session)
        self.members = Members(session, None)
        self.people = People(session)
        self.queue = Queue(session)
        self.sessions = Sessions(session, None)
        self.sign_in = SignIn(session)
        self.tenants = Tenants(session, None)

    def memberships(self, tenant_id: UUID) -> Memberships:
        return Memberships(self.session, tenant_id)

    def roles(self, tenant_id: UUID) -> Roles:
        return Roles(self.session, tenant_id)


class Database:
    """The connections of one process, and the units of work made from them."""

    def __init__(self, settings: Settings, part: Literal["api", "worker"]) -> None:
        if settings.database_url is None or settings.system_database_url is None:
            raise ConfigurationError("no database: start the embedded one or set SCRAPERSKY_DATABASE_URL")
        pool = settings.pool(part)
        # A worker that stands still inside a transaction keeps the reaper from its job: not past the job's lease.
        idle = IDLE_SECONDS if part == "api" else min(settings.lease_seconds, IDLE_SECONDS)
        limits = {
            "statement_timeout": settings.database_statement_timeout * 1000,
            "idle_in_transaction_session_timeout": int(idle * 1000),
        }
        self._app = _engine(settings.database_url.get_secret_value(), pool, limits)
        self._system = _engine(settings.system_database_url.get_secret_value(), settings.system_pool(), limits)

    @contextmanager
    def for_tenant(self, tenant_id: UUID, *, durable: bool = True) -> Iterator[TenantUnit]:
        """Not `durable`: its commit does not wait for the disk, and may be undone by a crash of PostgreSQL.

        :raises Unavailable: PostgreSQL is away or all connections stay busy
        """
        with _translated(), self._app.connect() as connection, Session(connection, expire_on_commit=False) as session:
            settings = {_TENANT: str(tenant_id), **({} if durable else _NEED_NOT_LAST)}
            self._at_first(connection, lambda: direct.begin(session, connection, settings))
            yield TenantUnit(session, tenant_id)

    def ask(self, tenant_id: UUID, question: direct.Question[T]) -> T:
        """What a tenant's rows say, in one round trip: beside workers that fill a machine each costs milliseconds.

        :raises Unavailable: PostgreSQL is away or all connections stay busy
        """
        with _translated(), self._app.connect() as connection:
            return self._at_first(connection, lambda: direct.ask(connection, {_TENANT: str(tenant_id)}, question))

    @contextmanager
    def system(self) -> Iterator[SystemUnit]:
        """:raises Unavailable: PostgreSQL is away or all connections stay busy"""
        with _translated(), Session(self._system, expire_on_commit=False) as session:
            yield SystemUnit(session)

    def check(self) -> None:
        """Refuse runtime roles that could walk around the second wall.

        :raises ConfigurationError: one is too mighty, may become one that is, or is the other
        """
        found = {}
        for name, engine in (("SCRAPERSKY_DATABASE_URL", self._app), ("SCRAPERSKY_SYSTEM_DATABASE_URL", self._system)):
            with _translated(), engine.connect() as connection:
                found[name] = wall.reached(connection)
        for (name, roles), (_, others) in permutations(found.items()):
            if faults := wall.faults(roles, others[0].name):
                raise ConfigurationError(
                    f"{name}: role {roles[0].name} {', '.join(faults)}; tenants would not be walled off from each other"
                )

    def revision(self) -> str | None:
        """The schema version the database is at."""
        with _translated(), self._app.connect() as connection:
            return schema.current(connection)

    def clock_skew(self) -> float:
        """Seconds by which the database's clock is ahead of ours; half a round trip is taken for the way back."""
        with _translated(), self._app.connect() as connection:
            asked = time.time()
            theirs = connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())::float8")).scalar_one()
            return float(theirs) - (asked + time.time()) / 2

    def close(self) -> None:
        self._app.dispose()
        self._system.dispose()

    def _at_first(self, connection: sa.Connection, act: Callable[[], T]) -> T:
        """What a connection is first used for since it was lent out, over a new one if it was cut in the pool."""
        try:
            return act()
        except psycopg.OperationalError as error:
            if isinstance(error, direct.NoAnswer) or not direct.lost(connection):
                raise
            # The others were cut with it. Nothing was done yet: once more.
            connection.invalidate()
            self._app.dispose()
            return act()


_TENANT = "app.tenant_id"
_NEED_NOT_LAST = {"synchronous_commit": "off"}


def _engine(url: str, pool: PoolSettings, limits: Mapping[str, int]) -> sa.Engine:
    engine = sa.create_engine(
        sa.engine.make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool.size,
        max_overflow=pool.overflow,
        pool_timeout=pool.timeout,
        pool_use_lifo=True,  # few connections that are warm, with their statements prepared, before many that are not
        pool_recycle=pool.recycle,
        connect_args={
            "prepare_threshold": pool.prepare_threshold,
            "connect_timeout": 5,
            "options": " ".join(f"-c {name}={milliseconds}" for name, milliseconds in limits.items()),
            # A server that vanished without a word is noticed within half a minute.
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
        },
    )
    _be_patient(engine, limits["statement_timeout"] / 1000 + direct.GRACE_SECONDS)
    if pool.pre_ping:
        _ping_when_idle(engine)
    return engine


def _be_patient(engine: sa.Engine, seconds: float) -> None:
    """Connections that wait for an answer so long and no longer; whoever was given more time had it for once."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, arguments: list[str], options: dict[str, Any]) -> direct.Connection:
        made = direct.Connection.connect(*arguments, **options)
        made.patience = seconds
        return made

    @event.listens_for(engine, "checkin")
    def checkin(connection: object, _record: object) -> None:
        if isinstance(connection, direct.Connection):
            connection.patience = seconds


def _ping_when_idle(engine: sa.Engine) -> None:
    """Check a connection before it is lent out, unless it worked a moment ago: a ping costs as much as a statement."""

    @event.listens_for(engine, "checkin")
    def checkin(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info[IDLE_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def checkout(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        if time.monotonic() - record.info.get(IDLE_SINCE, time.monotonic()) < TRUSTED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise exc.InvalidatePoolError from error  # the others will hardly be better


@contextmanager
def _translated() -> Iterator[None]:
    """:raises Unavailable, TookTooLong: in place of the driver's errors that tell so"""
    try:
        yield
    except exc.TimeoutError as error:
        raise Unavailable("all connections to the database are busy for the moment") from error
    except exc.DBAPIError as error:
        _tell(error.orig, error)
        raise
    except psycopg.Error as error:  # COPY speaks to psycopg without SQLAlchemy between
        _tell(error, error)
        raise


def _tell(driver: BaseException | None, error: Exception) -> None:
    if isinstance(driver, psycopg.errors.QueryCanceled):
        raise TookTooLong from error
    # Read-only: a standby that has yet to be promoted, or a primary that no longer is one.
    away = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
    if isinstance(driver, away) or getattr(error, "connection_invalidated", False):
        raise Unavailable("the database cannot be reached for the moment") from error
