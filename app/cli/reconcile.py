"""`reconcile`: do PostgreSQL, the broker and the workers tell the same story?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app import settings as configuration
from app.cli import reach
from app.cli.command import Command
from app.cli.console import quiet_logs, say
from app.errors import ConfigurationError
from app.redis.contents import Contents
from app.services.reconcile import Difference, Reconciler
from app.settings import Settings
from app.unit_of_work import Database
from workers import celery_app, roster

LEAST_PAUSE = 1.5
UPKEEP_ROUNDS = 1.5  # between two looks: time for what upkeep mends to be mended


@click.command(
    cls=Command,
    example="manage.py reconcile\nmanage.py reconcile --fix\nmanage.py reconcile --json | jq '.[].kind'",
)
@click.option("--fix", is_flag=True, help="Mend what can be mended without harm.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array instead of a table.")
def reconcile(*, fix: bool, as_json: bool) -> None:
    """Compare PostgreSQL, the broker and the workers, and print where they differ.

    May be run while work goes on: only what stands in three looks, a few seconds apart, is a difference. Exit status 0
    if nothing differs, or all that did was mended; else 1.
    """
    settings = configuration.load()
    quiet_logs(settings)
    with closing(_Parts(reach.running(settings))) as parts:
        found = parts.reconciler.differences()
        told = parts.reconciler.mend(found) if fix else found
    _print(told, fix=fix, as_json=as_json)
    raise SystemExit(int(not all(one.mended for one in told)))


class _Parts:
    def __init__(self, settings: Settings) -> None:
        if settings.redis_url is None:
            raise ConfigurationError("no broker: set SCRAPERSKY_REDIS_URL")
        self._celery = celery_app.make(settings)
        self._contents = Contents(settings.redis_url.get_secret_value())
        self._database = Database(settings, "worker")
        self.reconciler = Reconciler(
            self._database,
            self._contents,
            workers=lambda: roster.seen(self._celery),
            pause=max(LEAST_PAUSE, settings.upkeep_seconds * UPKEEP_ROUNDS),
            lease=settings.lease_seconds,
        )

    def close(self) -> None:
        self._database.close()
        self._contents.close()
        self._celery.close()


def _print(found: Sequence[Difference], *, fix: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([_as_json(one) for one in found], indent=2))
    elif found:
        Console().print(_table(found, fix=fix))
    mended = sum(one.mended for one in found)
    some = f"{len(found)} difference{'' if len(found) == 1 else 's'}" if found else "nothing differs"
    say(f"{some}, {mended} mended" if found and fix else some)


def _as_json(one: Difference) -> dict[str, str | bool]:
    return {"kind": one.kind.value, "about": one.about, "detail": one.detail, "mended": one.mended}


def _table(found: Sequence[Difference], *, fix: bool) -> Table:
    table = Table(*("difference", "about", "what it is"), *(["mended"] if fix else []))
    for one in found:
        cells = [one.kind.value, one.about, one.detail, *(["yes" if one.mended else "no"] if fix else [])]
        table.add_row(*map(Text, cells))  # names of keys are others' words: no markup
    return table
