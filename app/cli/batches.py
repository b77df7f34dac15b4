"""`submit` and `watch`: a batch by way of the REST API, here or elsewhere."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from app import settings as configuration
from app.cli import listeners
from app.cli.client import Client
from app.cli.command import Command
from app.cli.console import quiet_logs, say
from app.cli.progress import follow
from app.settings import Settings
from app.stack import secrets

KINDS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
}
F = TypeVar("F", bound=Callable[..., Any])


def reaching(command: F) -> F:
    """The options that say which API, and as whom."""
    for option in (
        click.option("--password-file", type=click.File(), help="Default: SCRAPERSKY_ADMIN_PASSWORD, or as generated."),
        click.option("--email", help="Default: SCRAPERSKY_ADMIN_EMAIL."),
        click.option("--url", help="Where the API is. Default: SCRAPERSKY_HOST and SCRAPERSKY_PORT."),
    ):
        command = option(command)
    return command


@click.command(
    cls=Command,
    example="manage.py submit examples/domains.csv\necho example.com | manage.py submit -",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--name", help="What to call the batch.")
@click.option("--priority", type=click.IntRange(0, 9), help="9 goes first among your own batches.")
@click.option("-o", "--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of the scans.")
@click.option("--no-wait", is_flag=True, help="Print the batch's id and leave.")
@reaching
def submit(
    *,
    file: str,
    name: str | None,
    priority: int | None,
    options: tuple[str, ...],
    no_wait: bool,
    url: str | None,
    email: str | None,
    password_file: IO[str] | None,
) -> None:
    """Send a list of domains and watch the batch until it ends.

    FILE is CSV (.csv), JSON (.json), JSON lines (.jsonl, .ndjson) or a domain a line; `-` is standard input. The
    batch's id goes to stdout. The exit status is 0 only if every domain was scanned.
    """
    settings = configuration.load()
    quiet_logs(settings)
    kind = KINDS.get(Path(file).suffix.lower(), "text/plain")
    terms = _terms(name, priority, options, kind)
    with closing(_client(settings, url, email, password_file)) as client, _opened(file) as body:
        batch = client.submit(body, kind, terms)
        click.echo(batch["id"])
        _tell_rejected(batch)
        if not no_wait:
            _watch(client, batch["id"])


@click.command(cls=Command, example="manage.py watch 01993e0c-8a3b-7d29-b8f4-3f2a54c8d1e6")
@click.argument("batch_id", type=click.UUID)
@reaching
def watch(*, batch_id: object, url: str | None, email: str | None, password_file: IO[str] | None) -> None:
    """Watch a batch until it ends. The exit status is 0 only if every domain was scanned."""
    settings = configuration.load()
    quiet_logs(settings)
    with closing(_client(settings, url, email, password_file)) as client:
        _watch(client, str(batch_id))


def _watch(client: Client, batch_id: str) -> None:
    try:
        batch = follow(lambda: client.batch(batch_id))
    except KeyboardInterrupt:
        say(f"the batch goes on; see it again with: manage.py watch {batch_id}")
        raise
    counts = batch["counts"]
    say(f"{batch['status']}: {counts['complete']:,} complete, {counts['failed']:,} failed of {counts['total']:,}")
    if batch["status"] != "complete":
        raise SystemExit(1)


def _tell_rejected(batch: dict[str, Any]) -> None:
    rejected = batch["rejected"]
    if rejected["count"] or rejected["duplicates"]:
        say(f"{rejected['count']:,} lines are no domains, {rejected['duplicates']:,} repeat one")


def _terms(name: str | None, priority: int | None, options: tuple[str, ...], kind: str) -> dict[str, str]:
    terms = {} if name is None else {"name": name}
    if priority is not None:
        terms["priority"] = str(priority)
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise click.BadParameter(f"{option!r} is not NAME=VALUE", param_hint="--option")
        terms[key.strip()] = value.strip()
    if terms and kind == "application/json":
        raise click.UsageError("a JSON file says these things itself: name, priority and options are its fields")
    return terms


def _client(settings: Settings, url: str | None, email: str | None, password_file: IO[str] | None) -> Client:
    password = password_file.readline().rstrip("\r\n") if password_file else _known_password(settings, email)
    if password is None:
        if not sys.stdin.isatty():
            raise click.UsageError("no password: give --password-file or SCRAPERSKY_ADMIN_PASSWORD")
        password = str(click.prompt("Password", hide_input=True, err=True))
    where = url or listeners.url(settings, local=True)
    return Client(where, email=email or settings.admin_email, password=password)


def _known_password(settings: Settings, email: str | None) -> str | None:
    """The administrator's, if it is set or was generated on this machine."""
    if email not in (None, settings.admin_email):
        return None
    if settings.admin_password is not None:
        return settings.admin_password.get_secret_value()
    if (settings.data_dir / secrets.FILE).exists():
        return secrets.load_or_create(settings).admin_password
    return None


def _opened(file: str) -> IO[bytes]:
    if file != "-":
        return Path(file).open("rb")
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    shutil.copyfileobj(sys.stdin.buffer, spool)  # whole: an upload tells its length
    spool.seek(0)
    return spool
