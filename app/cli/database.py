"""`migrate` and `create-admin`, and what `up` shares with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

import click

from app import settings as configuration
from app.cli import reach
from app.cli.command import Command
from app.cli.console import quiet_logs, say
from app.errors import ConfigurationError
from app.repositories import schema
from app.services import administrators
from app.settings import Settings
from app.stack import secrets
from app.unit_of_work import Database


@click.command(cls=Command, example="manage.py migrate")
def migrate() -> None:
    """Bring the database to this release's schema, and make the first administrator.

    Wants SCRAPERSKY_OWNER_DATABASE_URL beside the other URLs, or the embedded server. Safe to repeat, and to run
    from several machines at once.
    """
    settings = configuration.load()
    quiet_logs(settings)
    with reach.reachable(settings) as found:
        upgrade(found)
        welcome(found)


@click.command(
    "create-admin",
    cls=Command,
    example="manage.py create-admin --email ops@example.com",
)
@click.option("--email", help="Default: SCRAPERSKY_ADMIN_EMAIL.")
@click.option("--tenant", help="Administrator of this tenant only. Default: of `default` and of the platform.")
@click.option("--password-file", type=click.File(), help="Read the password from a file, `-` for stdin.")
def create_admin(email: str | None, tenant: str | None, password_file: IO[str] | None) -> None:
    """Make an administrator, or let one in again: with a new password, the roles, and the account opened if it was
    disabled. Sessions that there were end.

    The password is asked for, unless a file or SCRAPERSKY_ADMIN_PASSWORD has it.
    """
    settings = configuration.load()
    quiet_logs(settings)
    email = email or settings.admin_email
    password = _password(settings, password_file)
    with reach.reachable(settings) as found:
        database = Database(found, "api")
        try:
            administrators.create_admin(database, email=email, password=password, tenant=tenant)
        finally:
            database.close()
    say(f"administrator {email} is ready")


def upgrade(settings: Settings, tell: Callable[[str], None] = say) -> None:
    """
    :raises ConfigurationError: there is something to do, and no owner's URL to do it with
    :raises Unavailable: the database is away
    """
    before = _revision(settings)
    if before == schema.head():
        return
    owner, app, system = settings.owner_database_url, settings.database_url, settings.system_database_url
    if owner is None or app is None or system is None:
        raise ConfigurationError("migrations run as the role `owner`: set SCRAPERSKY_OWNER_DATABASE_URL")
    schema.upgrade(
        owner_url=owner.get_secret_value(), app_url=app.get_secret_value(), system_url=system.get_secret_value()
    )
    tell(f"database migrated from {before or 'nothing'} to {schema.head()}")


def welcome(settings: Settings, tell: Callable[[str], None] = say) -> None:
    """Make the first administrator if there is none, and say how to sign in."""
    database = Database(settings, "api")
    kept = secrets.load_or_create(settings).admin_password
    try:
        made = administrators.bootstrap_admin(database, settings, generated=kept)
    finally:
        database.close()
    if made is not None:
        tell(f"administrator {settings.admin_email}, password {made} (kept in {secret_file(settings)})")
    elif settings.admin_password is None:
        tell(f"administrator {settings.admin_email}, password in {secret_file(settings)} unless changed since")


def secret_file(settings: Settings) -> str:
    return str(settings.data_dir / secrets.FILE)


def _revision(settings: Settings) -> str | None:
    database = Database(settings, "api")
    try:
        return database.revision()
    finally:
        database.close()


def _password(settings: Settings, file: IO[str] | None) -> str:
    if file is not None:
        return file.readline().rstrip("\r\n")
    if settings.admin_password is not None:
        return settings.admin_password.get_secret_value()
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
