"""The commands, by name. Each one's module is imported when it is called, so that help and errors come at once."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, NoReturn, cast

import click

from app.errors import ScraperSkyError

COMMANDS = {
    "up": ("app.cli.up:up", "Start the whole stack in the foreground."),
    "api": ("app.cli.services:api", "Serve the API."),
    "worker": ("app.cli.services:worker", "Run worker processes."),
    "dispatcher": ("app.cli.services:dispatcher", "Dispatch and reap, without scanning."),
    "flower": ("app.cli.services:flower", "Serve Flower, to watch the queue."),
    "migrate": ("app.cli.database:migrate", "Bring the database to this release's schema."),
    "create-admin": ("app.cli.database:create_admin", "Make an administrator, or give one a new password."),
    "rotate-keys": ("app.cli.keys:rotate_keys", "Sign tokens with a fresh key."),
    "tenants": ("app.cli.tenants:tenants", "List tenants; make, suspend or resume one."),
    "submit": ("app.cli.batches:submit", "Send a list of domains to the API and watch it."),
    "watch": ("app.cli.batches:watch", "Watch a batch until it ends."),
    "scan": ("app.cli.scan:scan", "Scan domains here and now, without servers."),
    "reconcile": ("app.cli.reconcile:reconcile", "Compare database, broker and workers; mend what differs."),
    "doctor": ("app.cli.doctor:doctor", "Check every part, and say how to mend what is wrong."),
    "bench": ("app.cli.bench:bench", "Measure how fast everything is, against peers."),
    "demo": ("app.cli.demo:demo", "Show the whole platform at work on sample sites."),
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
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        return cast("click.Command", getattr(import_module(module), name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])

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
