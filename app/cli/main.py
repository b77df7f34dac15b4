"""The commands, by name. Each one's module is imported when it is called or listed."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, NoReturn, cast

import click

from app.errors import ScraperSkyError

COMMANDS = {
    "up": "app.cli.up:up",
    "api": "app.cli.services:api",
    "worker": "app.cli.services:worker",
    "dispatcher": "app.cli.services:dispatcher",
    "flower": "app.cli.services:flower",
    "migrate": "app.cli.database:migrate",
    "create-admin": "app.cli.database:create_admin",
    "submit": "app.cli.batches:submit",
    "watch": "app.cli.batches:watch",
    "scan": "app.cli.scan:scan",
    "doctor": "app.cli.doctor:doctor",
    "demo": "app.cli.demo:demo",
}
INTERRUPTED = 130  # as a shell tells a death by SIGINT


class Failed(click.ClickException):
    """A reason in one line on stderr, exit status 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {' '.join(self.message.split())}", file=file, err=True)


class Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        return cast("click.Command", getattr(import_module(module), name))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ScraperSkyError as error:
            raise Failed(error.detail) from error
        except BrokenPipeError:
            _nobody_reads()
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


def _nobody_reads() -> NoReturn:
    """`… | head` closed the pipe: no error of ours, and the interpreter must not complain when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise click.exceptions.Exit(1) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """ScraperSky: domains in over REST, their sitemaps and metadata into PostgreSQL."""
