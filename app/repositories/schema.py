"""The schema's versions: what the database is at, what the code wants, and the way from one to the other."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from app.errors import Unavailable

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def config(*, owner_url: str, app_role: str, system_role: str) -> Config:
    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS))
    settings.set_main_option("sqlalchemy.url", owner_url.replace("%", "%%"))
    settings.attributes.update(app_role=app_role, system_role=system_role)
    return settings


def upgrade(*, owner_url: str, app_url: str, system_url: str, revision: str = "head") -> None:
    """Bring the database to `revision`; safe to call from several processes at once.

    :raises Unavailable: the database cannot be reached, or refuses the owner
    """
    try:
        command.upgrade(_config(owner_url, app_url, system_url), revision)
    except OperationalError as error:
        raise Unavailable("the database cannot be reached as the role `owner`") from error


def downgrade(*, owner_url: str, app_url: str, system_url: str, revision: str) -> None:
    command.downgrade(_config(owner_url, app_url, system_url), revision)


def head() -> str | None:
    """The revision this code was written for."""
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


def serves(revision: str | None) -> bool:
    """Whether this code can work on a database at `revision`: its own, or one that only a newer release knows.

    Migrations are made safe for the release still running, so the older one goes on between `migrate` and its restart.
    """
    known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    return revision is not None and (revision == head() or revision not in known)


def current(connection: Connection) -> str | None:
    """The revision the database is at; None before the first migration."""
    return MigrationContext.configure(connection).get_current_revision()


def _config(owner_url: str, app_url: str, system_url: str) -> Config:
    return config(
        owner_url=owner_url,
        app_role=make_url(app_url).username or "",
        system_role=make_url(system_url).username or "",
    )
