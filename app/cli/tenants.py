"""`tenants`: for setting up, and for when nobody can get in to do it over the API."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import click

from app import settings as configuration
from app.cli import reach
from app.cli.command import Command
from app.cli.console import quiet_logs
from app.repositories.tenants import TenantView
from app.services.features import Features
from app.services.tenants import Tenants
from app.unit_of_work import Database


@click.command(cls=Command, example='manage.py tenants --create "Acme"\nmanage.py tenants --suspend acme')
@click.option("--create", metavar="NAME", help="Make a tenant; `create-admin --tenant` makes its administrator.")
@click.option("--suspend", metavar="TENANT", help="Shut it out, by name or id; within 5 seconds.")
@click.option("--resume", metavar="TENANT", help="End its suspension.")
def tenants(create: str | None, suspend: str | None, resume: str | None) -> None:
    """List all tenants, once what is asked for is done. Every change is audited.

    Wants the database, and nobody's permission.
    """
    settings = configuration.load()
    quiet_logs(settings)
    with reach.reachable(settings) as found:
        database = Database(found, "api")
        try:
            kept = Tenants(database, Features(database), forget=_nothing)
            if create is not None:
                kept.create(None, {"name": create})
            if suspend is not None:
                kept.suspend(None, kept.named(suspend))
            if resume is not None:
                kept.resume(None, kept.named(resume))
            for view in _all(kept):
                click.echo(f"{view.tenant.id}  {view.tenant.status:<9}  {view.tenant.name}")
        finally:
            database.close()


def _nothing(_tenant: UUID) -> None:
    """Nobody is remembered here; the API's processes forget within 5 seconds."""


def _all(kept: Tenants) -> Iterator[TenantView]:
    cursor = None
    while True:
        page = kept.listing(None, limit=1000, cursor=cursor, status=None)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return
