"""`rotate-keys`."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from app import settings as configuration
from app.cli.command import Command
from app.cli.console import say
from app.errors import ConfigurationError
from app.stack import servers, signing


@click.command("rotate-keys", cls=Command, example="manage.py rotate-keys\nmanage.py rotate-keys --revoke")
@click.option("--revoke", is_flag=True, help="A key has leaked: let no other key count any longer.")
def rotate_keys(*, revoke: bool) -> None:
    """Sign tokens with a fresh key from now on.

    Running API processes take it up within seconds, without a restart. The key before it checks what it has signed
    until the last of those tokens has expired; later rotations leave it out of the file.

    With --revoke every access token that is out dies at once; clients get new ones for their refresh tokens.
    """
    settings = configuration.load()
    settings = servers.attach(settings) or settings  # keys are where a running stack has them
    if settings.secret_key is not None and settings.signing_keys_file is None:
        raise ConfigurationError(
            "the signing key comes from SCRAPERSKY_SECRET_KEY, so it is changed there: set a new one, put the old one "
            "into SCRAPERSKY_SECRET_KEY_PREVIOUS, and restart the API; or take both out, and keys are kept in a file"
        )
    path = signing.with_keys(settings).signing_keys_file
    assert path is not None
    *others, fresh = signing.rotate(path, now=time.time(), alone=revoke)
    click.echo(fresh.id)
    say(f"signs from {_moment(fresh.signs_from)} on (kept in {path})")
    if others:
        say(f"{others[-1].id} checks until {_moment(fresh.signs_from + signing.OVERLAP_SECONDS)}")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
