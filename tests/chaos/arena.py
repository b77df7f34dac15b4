"""A whole platform to be maltreated: real servers and processes, sites, barriers, and the observer beside them."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import redis
import requests

from app.queueing import QUEUES
from tests.chaos.barriers import Barriers
from tests.chaos.observer import Observer
from tests.chaos.sites import Sites
from tests.running import ADMINISTRATOR, PATIENCE, Stack, is_alive, running, until
from tests.site_server import serving

LEASE = 5.0
PROCESSES, SLOTS = 2, 8  # for batches
SMALL_DISK = "CHAOS_SMALL_DISK"  # MiB that the database's disk has
ENVIRONMENT = {
    "SCRAPERSKY_TEST_POINTS": "tests.chaos.hooks:reached",
    "SCRAPERSKY_LEASE_SECONDS": str(LEASE),
    "SCRAPERSKY_WORKER_PROCESSES": str(PROCESSES),
    "SCRAPERSKY_WORKER_CONCURRENCY": str(SLOTS // PROCESSES),
    "SCRAPERSKY_SINGLE_CONCURRENCY": "2",
    "SCRAPERSKY_UPKEEP_SECONDS": "0.5",
    "SCRAPERSKY_RETRY_BASE_SECONDS": "0.2",
    "SCRAPERSKY_WORKER_MEMORY_MIB": "512",
    "SCRAPERSKY_STUCK_SECONDS": "15",
    "SCRAPERSKY_REQUEST_TIMEOUT": "20",
    "SCRAPERSKY_LOGIN_RATE": "1000/minute",
}
AUDIT = (Path(__file__).parent / "audit.sql").read_text(encoding="utf-8")
_names = count(1)


class Arena:
    def __init__(self, stack: Stack, sites: Sites, barriers: Barriers, directory: Path, fetched: list) -> None:
        self.stack, self.sites, self.barriers, self.directory = stack, sites, barriers, directory
        self.fetched = fetched  # (host, path) as the sites saw it
        self.rng = random.Random()
        self.var = directory / "var"
        secrets = json.loads((self.var / "secrets.json").read_text(encoding="utf-8"))
        port = (self.var / "postgres" / "port").read_text(encoding="utf-8").strip()
        self.database_url = f"postgresql://postgres:{secrets['superuser_password']}@127.0.0.1:{port}/scrapersky"
        self.environment = json.loads((self.var / "stack.json").read_text(encoding="utf-8"))["environment"]
        self.broker_url: str = self.environment["SCRAPERSKY_REDIS_URL"]
        with self.db() as db:
            if db.execute("SELECT to_regnamespace('chaos') IS NULL").fetchone()[0]:
                db.execute(AUDIT)
                db.execute("GRANT USAGE ON SCHEMA chaos TO PUBLIC")
        self.hosts: list[str] = []
        self.observer = Observer(
            url=lambda: stack.url, database=self.database_url, broker=self.broker_url,
            log=directory / "observer.jsonl", token=lambda: stack.token,
        )  # fmt: skip

    # A scenario's beginning and end

    def begin(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.hosts = []
        until(self._is_whole, what="what the scenario before broke is back")
        self.stack.sign_in()
        self.observer.begin()
        self.observer.note("begin", seed=seed)

    def settled(self, *, seconds: float = 2 * PATIENCE, exact: bool = True) -> None:
        """Wait until all that was accepted has ended, then judge. `exact`: every site was read to its end."""
        self.sites.gate.set()
        until(self._at_rest, seconds=seconds, what="all that was accepted ends")
        until(self._broker_drained, what="stale messages are taken away")
        expected = {(h, *pair) for h in self.hosts for pair in self.sites.expected(h)} if exact else None
        with self.db() as db:
            self.observer.judge(db, hosts=self.hosts, expected=expected)
            if exact:
                told = {host: len({url for _, url in self.sites.expected(host)}) for host in self.hosts}
                self.observer.judge_scans(db, told)
        assert not self.observer.violations, "\n".join(self.observer.violations)

    def _is_whole(self) -> bool:
        """The API answers, and every worker process takes messages: one that starts may take long to."""
        ready = {int(pid) for pid in re.findall(r"worker ready worker=\S+:(\d+)\n", self.stack.said())}
        return self.answers() and len(self.workers()) == PROCESSES and ready.issuperset(self.stack.workers())

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.stack.url}/health/ready", timeout=30).ok
        except requests.RequestException:
            return False

    def _at_rest(self) -> bool:
        accepted = self.observer.accepted
        with suppress(psycopg.Error), self.db() as db:
            open_batches = db.execute(
                "SELECT count(*) FROM batch_jobs WHERE id = ANY(%s::uuid[]) AND finished_at IS NULL",
                [list(accepted.batches)],
            ).fetchone()[0]
            open_jobs = db.execute(
                "SELECT count(*) FROM jobs WHERE id = ANY(%s::uuid[]) AND finished_at IS NULL", [list(accepted.jobs)]
            ).fetchone()[0]
            return open_batches == open_jobs == 0
        return False

    def nothing_single(self) -> bool:
        """No single scan that was accepted is open."""
        jobs = list(self.observer.accepted.jobs)
        return not self.ask("SELECT FROM jobs WHERE id = ANY(%s::uuid[]) AND finished_at IS NULL LIMIT 1", jobs)

    def _broker_drained(self) -> bool:
        with suppress(redis.RedisError), self.broker() as client:
            return not any(client.llen(name) for name in QUEUES)
        return False

    def standing(self) -> str:
        """For people: what is open, what the program said last, and what was seen from outside."""
        try:
            rows = self.ask(
                "SELECT number, batch_id, status, waiting_on, attempt, lost, dispatch_no, worker, dispatch_until, "
                "lease_until, available_at, now() FROM jobs WHERE finished_at IS NULL ORDER BY number LIMIT 10"
            )
        except psycopg.Error as error:
            rows = [(repr(error),)]
        said = [line for line in self.stack.said().splitlines() if "request method=GET" not in line]
        seen = (self.directory / "observer.jsonl").read_text(encoding="utf-8").splitlines()
        return "\n".join(["open:", *map(str, rows), "said:", *said[-40:], "seen:", *seen[-10:]])

    # Work

    def new_hosts(self, n: int) -> list[str]:
        tag = f"{next(_names)}-{self.rng.randrange(16**6):06x}"
        made = [f"s{i}-{tag}.chaos.example" for i in range(n)]
        self.hosts += made
        return made

    def submit(self, hosts: Iterable[str], **body: Any) -> str:
        domains = [f"http://{host}/" for host in hosts]
        batch_id = self.stack.submit(domains, **body)
        self.accept(batch_id, len(domains))
        return batch_id

    def accept(self, batch_id: str, total: int, token: str | None = None) -> None:
        """`token`: whose batch it is, if it is not the administrator's tenant's."""
        if token is not None:
            self.observer.accepted.tokens[batch_id] = token
        self.observer.accepted.batches[batch_id] = total
        self.observer.note("accepted", batch=batch_id, total=total)

    def another_tenant(self) -> str:
        """A token of the same administrator for a tenant made just now."""
        name = f"t{next(_names)}-{self.rng.randrange(16**6):06x}"
        tenant, me = self.stack.call("POST", "/tenants", json={"name": name}), self.stack.call("GET", "/auth/me")
        role = f"/users/{me['user']['id']}/roles/tenant_admin"
        self.stack.call("PUT", role, params={"tenant": tenant["id"]})
        self.stack.sign_in()  # whose rights change signs in again
        return str(self.stack.call("POST", "/auth/login", json={**ADMINISTRATOR, "tenant": name})["access_token"])

    def single(self, host: str) -> str:
        job = str(self.stack.call("POST", "/scans", json={"domain": f"http://{host}/"})["id"])
        self.observer.accepted.jobs.add(job)
        return job

    def gated(self, n: int, *, inside: int, others: int = 0) -> str:
        """A batch of which `inside` scans are for certain in the middle of a fetch."""
        hosts = self.new_hosts(n)
        self.sites.close_gate(hosts)
        batch_id = self.submit([*hosts, *self.new_hosts(others)])
        until(lambda: len(self.sites.inside) >= inside, what=f"{inside} scans inside a fetch")
        return batch_id

    # What there is to break

    @contextmanager
    def db(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=30) as connection:
            yield connection

    def ask(self, statement: str, *values: Any) -> list[tuple]:
        with self.db() as db:
            return db.execute(statement, values or None).fetchall()

    def broker(self, *, seconds: float = 30) -> redis.Redis:
        return redis.Redis.from_url(self.broker_url, socket_timeout=seconds, socket_connect_timeout=seconds)

    def workers(self, queue: str = "scans") -> list[int]:
        return [pid for pid in self.stack.workers() if f"--queue={queue}".encode() in _command(pid)]

    def api_processes(self) -> list[int]:
        return self.stack.api_processes()

    @property
    def postmaster(self) -> int:
        return int((self.var / "postgres" / "data" / "postmaster.pid").read_text().split()[0])

    @property
    def valkey(self) -> int:
        return int((self.var / "valkey" / "data" / "valkey.pid").read_text())

    @contextmanager
    def unattended(self) -> Iterator[None]:
        """Nobody starts again what dies meanwhile."""
        os.kill(self.stack.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.stack.process.pid, signal.SIGCONT)

    def empty_broker(self) -> int:
        """Killed while it serves, and back with nothing of what it knew; answers which process that was."""
        pid, left = self.valkey, "chaos:left"
        with self.unattended():
            with self.broker() as client:
                client.set(left, 1)
            os.kill(pid, signal.SIGKILL)
            until(lambda: not is_alive(pid), what="the broker is dead")
            shutil.rmtree(self.var / "valkey" / "data" / "appendonlydir")
        self.broker_back()
        with self.broker() as client:
            assert not client.exists(left)
        return pid

    def broker_answers(self, *, seconds: float = 30) -> bool:
        with suppress(redis.RedisError), self.broker(seconds=seconds) as client:
            return bool(client.ping())
        return False

    def broker_back(self) -> None:
        until(self.broker_answers, what="the broker is back")

    def database_back(self) -> None:
        def answers() -> bool:
            with suppress(psycopg.Error):
                return bool(self.ask("SELECT true"))
            return False

        until(answers, what="the database is back")

    # Jobs that the fault took, each with the last of its moves by then

    def held(self, pids: Iterable[int]) -> dict[str, int]:
        """Jobs that these worker processes hold, by what the rows say."""
        return self._moved("status = 'running' AND split_part(worker, ':', 2)::int = ANY(%s)", list(pids))

    def queued(self) -> dict[str, int]:
        return self._moved("status = 'queued'")

    def never_claimed(self, job: str | None) -> dict[str, int]:
        """This job, if it was not claimed once as far as its row knows."""
        return self._moved("id = %s AND attempt = 0 AND started_at IS NULL", job)

    def left_by(self, pids: Iterable[int]) -> dict[str, int]:
        """Jobs that these processes claimed in this scenario and never let go of.

        True at any time after their death, while a look at the rows is a race: a commit may be on its way still, or
        the lease be gone by now.
        """
        return dict(
            self.ask(
                "SELECT job_id::text, n FROM chaos.moves claim WHERE new_status = 'running' AND old_status = 'queued' "
                "AND n > %s AND split_part(by_whom, ':', 2)::int = ANY(%s) AND NOT EXISTS (SELECT FROM chaos.moves m "
                "WHERE m.job_id = claim.job_id AND m.n > claim.n AND m.by_whom = claim.by_whom)",
                self.observer.before,
                list(pids),
            )
        )

    def _moved(self, which: str, *values: Any) -> dict[str, int]:
        return dict(
            self.ask(
                "SELECT id::text, (SELECT coalesce(max(n), 0) FROM chaos.moves WHERE job_id = id) FROM jobs "
                f"WHERE {which}",
                *values,
            )
        )

    def recovery(self, jobs: Mapping[str, int], since: float) -> float:
        """Seconds after `since` until the last of `jobs` was in a worker's hand again, or at its end."""
        rows = dict(
            self.ask(
                "SELECT job_id::text, extract(epoch FROM min(at))::float8 "
                "FROM chaos.moves JOIN unnest(%s::uuid[], %s::bigint[]) AS lost (id, move) ON job_id = id AND n > move "
                "WHERE old_status <> new_status AND new_status IN ('running', 'complete', 'failed', 'cancelled') "
                "GROUP BY 1",
                list(jobs),
                list(jobs.values()),
            )
        )
        assert set(rows) == set(jobs), f"never taken up again: {set(jobs) - set(rows)}"
        return max((at - since for at in rows.values()), default=0.0)


@contextmanager
def arena(directory: Path, **environment: str) -> Iterator[Arena]:
    directory.mkdir(parents=True, exist_ok=True)
    sites = Sites()
    with ExitStack() as undo:
        # A directory of its own with a short name: a socket's path must not be long.
        hooks = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        barriers = Barriers(hooks)
        undo.callback(barriers.close)
        if SMALL_DISK in environment:
            undo.enter_context(small_disk(directory / "var" / "postgres", int(environment[SMALL_DISK])))
        server = undo.enter_context(serving(sites, directory, [], tls_hosts={"chaos.example"}))
        stack = undo.enter_context(
            running(directory, **{**server.environment, **ENVIRONMENT, "CHAOS_DIRECTORY": str(hooks), **environment})
        )
        made = Arena(stack, sites, barriers, directory, server.requests)
        undo.callback(made.observer.close)
        yield made


class Impossible(Exception):
    """This machine does not let us do that."""


@contextmanager
def small_disk(directory: Path, mib: int) -> Iterator[None]:
    directory.mkdir(parents=True, mode=0o700)
    directory.parent.chmod(0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "tmpfs", str(directory)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        raise Impossible(f"no disk of our own: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=False)


def during(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
