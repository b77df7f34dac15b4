"""What the second wall costs: the same rows landed with row-level security and without, turn by turn.

    python -m benchmarks.wall --urls 20000 --rounds 15

The CPU of the one PostgreSQL process that lands them, as the kernel counts it, so that other work on the machine makes
it wait but not dearer. A round lands a new sitemap file, the same again unchanged, the same with a tenth changed, and
a batch of domains. "Without" switches row-level security off for the tables; grants, triggers and keys stay.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from uuid import UUID

import psycopg
import sqlalchemy as sa

from app.cli.database import upgrade
from app.repositories.batches import Line
from app.repositories.hashes import url_key
from app.repositories.inventory import UrlRow
from app.settings import Settings
from app.stack import servers
from app.unit_of_work import Database, TenantUnit

TABLES = ("domains", "jobs", "batch_jobs", "batch_counts", "batch_rejects", "sitemap_files", "sitemap_urls", "tenants")
STEPS = ("a new file", "the same again", "a tenth of it changed", "a batch of domains")


class Landing:
    """The steps of one round, each in a transaction of its own, over one connection."""

    def __init__(self, database: Database, tenant: UUID, urls: int) -> None:
        self._database = database
        self._tenant = tenant
        self._urls = urls
        self._round = 0

    def run(self) -> dict[str, float]:
        """CPU milliseconds of the server process, step by step."""
        self._round += 1
        with self._database.for_tenant(self._tenant) as uow:
            domain = uow.domains.ensure(f"d{self._round}.example", "/").id
            uow.commit()
        works = (
            lambda uow: self._land(uow, domain, 1, 0),
            lambda uow: self._land(uow, domain, 2, 0),
            lambda uow: self._land(uow, domain, 3, self._urls // 10),
            self._submit,
        )
        return {step: self._measured(work) for step, work in zip(STEPS, works, strict=True)}

    def _measured(self, work) -> float:
        with self._database.for_tenant(self._tenant) as uow:
            process = uow.session.scalar(sa.text("SELECT pg_backend_pid()"))
            before = _cpu(process)
            work(uow)
            uow.commit()
            return _cpu(process) - before

    def _land(self, uow: TenantUnit, domain: UUID, scan: int, changed: int) -> None:
        file = uow.inventory.ensure_file(domain, f"https://d{self._round}.example/sitemap.xml")
        uow.inventory.land(file, scan, self._rows(changed), complete=True)

    def _rows(self, changed: int):
        for n in range(self._urls):
            url = f"https://d{self._round}.example/products/{n}/a-name-as-long-as-most"
            yield UrlRow(
                url_key(url), url, None, None, None, None, "daily" if n < changed else None, 0.5, "product", None
            )

    def _submit(self, uow: TenantUnit) -> None:
        batch = uow.batches.add(name=None, options={}, priority=5, created_by=None)
        hosts = (f"s{n}.r{self._round}.example" for n in range(self._urls // 10))
        uow.batches.land(batch, (Line(n, h, h, "/", None, None) for n, h in enumerate(hosts)), max_attempts=3)


def _cpu(process: int) -> float:
    """Milliseconds on a processor; the kernel counts them in nanoseconds."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e6


def run(database: Database, superuser: psycopg.Connection, *, urls: int, rounds: int) -> dict[str, dict[bool, float]]:
    with database.system() as system:
        tenant = system.sign_in.tenant_named("default").id
    landing = Landing(database, tenant, urls)
    found = defaultdict(lambda: defaultdict(list))
    for number in range(-1, rounds):
        # Which goes first changes from round to round, for tables grow.
        for walled in (True, False) if number % 2 else (False, True):
            switch(superuser, walled)
            for step, spent in landing.run().items():
                if number >= 0:  # the first round warms up
                    found[step][walled].append(spent)
    switch(superuser, walled=True)
    return {step: {walled: statistics.median(spent) for walled, spent in ways.items()} for step, ways in found.items()}


def switch(superuser: psycopg.Connection, walled: bool) -> None:
    for table in TABLES:
        superuser.execute(f"ALTER TABLE {table} {'ENABLE' if walled else 'DISABLE'} ROW LEVEL SECURITY")
    superuser.execute("CHECKPOINT")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--urls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        unused = {"redis_url": "redis://127.0.0.1:1/0", "database_pool_size": 1, "database_pool_overflow": 0}
        settings = Settings(_env_file=None, data_dir=Path(directory), **unused)
        with servers.start(settings) as started:
            upgrade(started.settings, lambda _: None)
            database = Database(started.settings, "api")
            url = (started.superuser_url() or "").replace("+psycopg", "").rsplit("/", 1)[0] + "/scrapersky"
            with psycopg.connect(url, autocommit=True) as superuser:
                medians = run(database, superuser, urls=arguments.urls, rounds=arguments.rounds)
            database.close()
    if arguments.json:
        print(json.dumps({step: {"with": ways[True], "without": ways[False]} for step, ways in medians.items()}))
        return
    for step, ways in medians.items():
        ratio = ways[True] / ways[False]
        print(f"{step:24} with {ways[True]:8.1f} ms  without {ways[False]:8.1f} ms  ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
