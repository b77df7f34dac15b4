"""Where words go: results to stdout, everything else to stderr."""

from __future__ import annotations

import click

from app import log
from app.settings import Settings


def say(text: str) -> None:
    """A line for the person at the terminal."""
    click.echo(text, err=True)


def quiet_logs(settings: Settings) -> None:
    """For commands whose words are their own: only warnings come between."""
    level = "DEBUG" if settings.log_level == "DEBUG" else "WARNING"
    log.configure(level=level, style=settings.log_format)
