"""The platform under measurement: its servers, its API, and workers as they are asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import redis
import requests

from app.repositories.batches import Line
from app.settings import Settings
from app.stack import servers
from app.stack.server import free_port
from app.stack.servers import Servers
from app.unit_of_work import Database
from benchmarks.measuring import MIB
from tests.running import PASSWORD, ROOT, until

THREADS = 32
LONGEST = 1_800.0  # seconds that anything waited for may take


class Client:
    """The API, signed in as its administrator; signed in anew when the token is too old: a run may take long."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/v2"
        self._session = requests.Session()

    def call(self, method: str, path: str, **options: Any) -> Any:
        answer = self._session.request(method, self._url + path, timeout=LONGEST, **options)
        if answer.status_code == requests.codes.unauthorized:
            self._sign_in()
            answer = self._session.request(method, self._url + path, timeout=LONGEST, **options)
        answer.raise_for_status()
        return answer.json()

    def lines(self, path: str, wanted: int) -> int:
        """Take an answer in as it comes, line by line, until there are as many of them; how many there were."""
        with self._session.get(self._url + path, stream=True, timeout=LONGEST) as answer:
            answer.raise_for_status()
            return sum(1 for _ in islice(answer.iter_lines(chunk_size=1 << 16), wanted))

    def _sign_in(self) -> None:
        who = {"email": "admin@example.com", "password": PASSWORD}
        self._session.headers.pop("Authorization", None)
        answer = self._session.post(f"{self._url}/auth/login", json=who, timeout=60)
        answer.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


class Platform:
    """Servers and an API, and worker processes as they are asked for."""

    def __init__(
        self, directory: Path, started: Servers, client: Client, environment: dict[str, str], api: int
    ) -> None:
        assert started.postgres is not None
        assert started.valkey is not None
        self._directory = directory
        self._server = started.postgres
        self._environment = environment
        self.client = client
        self.api = api
        self.postgres, self.valkey = started.postgres.pid or 0, started.valkey.pid or 0
        self.settings = started.settings
        self.database = Database(started.settings, "worker")
        self.broker_url = started.settings.redis_url.get_secret_value()  # type: ignore[union-attr]
        self.broker = redis.Redis.from_url(self.broker_url)
        name = started.settings.database_url.get_secret_value().rsplit("/", 1)[1]  # type: ignore[union-attr]
        self.superuser_url = f"{started.postgres.superuser_url().replace('+psycopg', '').rsplit('/', 1)[0]}/{name}"
        self.superuser = psycopg.connect(self.superuser_url, autocommit=True)

    @contextmanager
    def preloading(self, library: str) -> Iterator[None]:
        """PostgreSQL started anew with a library, and anew without it."""
        self.sql(f"ALTER SYSTEM SET shared_preload_libraries TO {library}")
        self._restart()
        try:
            yield
        finally:
            self.sql("ALTER SYSTEM RESET shared_preload_libraries")
            self._restart()

    def _restart(self) -> None:
        self.superuser.close()
        self._server.stop()
        self._server.start()
        self.postgres = self._server.pid or 0
        self.superuser = psycopg.connect(self.superuser_url, autocommit=True)

    def close(self) -> None:
        self.database.close()
        self.superuser.close()
        self.broker.close()

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """As the superuser, whom no row-level policy holds."""
        cursor = self.superuser.execute(statement, values)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []

    def clear(self) -> None:
        """Everything but accounts, so that one measure does not carry another's weight."""
        self.sql(f"TRUNCATE {', '.join(sorted(WORK))}")
        self.sql("VACUUM ANALYZE domains, jobs")  # else what they held counts, and both come in the midst of the next
        self.broker.delete("express", "scans", "single", "quarantine")

    def tenant(self, name: str = "default") -> UUID:
        found = self.sql("SELECT id FROM tenants WHERE name = %s", name)
        return found[0][0] if found else self.sql("INSERT INTO tenants (name) VALUES (%s) RETURNING id", name)[0][0]

    def batch(self, tenant: UUID, size: int) -> UUID:
        """Of domains that do not exist; straight into the tables, as the API writes it."""
        tag = time.monotonic_ns()
        return self.submitted(tenant, (f"d{n}-{tag}.example" for n in range(size)))

    def submitted(self, tenant: UUID, hosts: Iterable[str]) -> UUID:
        with self.database.for_tenant(tenant) as uow:
            made = uow.batches.add(name=None, options={}, priority=5, created_by=None)
            lines = (Line(n, host, host, "/", "http", None) for n, host in enumerate(hosts))
            uow.batches.land(made, lines, max_attempts=3)
            uow.commit()
        return made.id

    def work_off(self, batch: UUID) -> None:
        """Wait until none of its jobs is open: read off the row of the batch, which costs next to nothing."""
        ended = "SELECT true FROM batch_jobs WHERE id = %s AND finished_at IS NOT NULL"
        deadline = time.monotonic() + LONGEST
        while not self.sql(ended, batch):
            if time.monotonic() > deadline:
                raise RuntimeError(f"batch {batch} does not end")
            time.sleep(0.05)

    def complete(self, batch: UUID) -> int:
        """How many of its jobs ended well.

        :raises RuntimeError: not all did
        """
        found = dict(self.sql("SELECT status, count(*) FROM jobs WHERE batch_id = %s GROUP BY status", batch))
        if set(found) != {"complete"}:
            raise RuntimeError(f"jobs ended otherwise: {found}")
        return int(found["complete"])

    @contextmanager
    def workers(
        self, count: int, *, threads: int = THREADS, environment: Mapping[str, str] | None = None
    ) -> Iterator[list[int]]:
        """Worker processes as the platform runs them; their pids, once all are ready."""
        module = ["-m", "workers.process", "--queue=scans", f"--concurrency={threads}"]
        sizes = {"SCRAPERSKY_WORKER_PROCESSES": str(count), "SCRAPERSKY_WORKER_CONCURRENCY": str(threads)}
        with self._running(
            [[*module, f"--name=scans-{n}"] for n in range(count)], {**sizes, **(environment or {})}
        ) as pids:
            yield pids

    @contextmanager
    def idlers(self, count: int, *, threads: int = THREADS, pause: float = 0.0) -> Iterator[list[int]]:
        """Worker processes whose scans find nothing, after a pause (`benchmarks.noop`)."""
        module = ["-m", "benchmarks.noop", "--queue=scans", f"--concurrency={threads}"]
        more = {"BENCHMARK_PAUSE": str(pause), "SCRAPERSKY_WORKER_PROCESSES": str(count)}
        more["SCRAPERSKY_WORKER_CONCURRENCY"] = str(threads)
        with self._running([[*module, f"--name=scans-{n}"] for n in range(count)], more) as pids:
            yield pids

    @contextmanager
    def single_worker(self, environment: Mapping[str, str]) -> Iterator[None]:
        """The process that reads single scans, as it is."""
        command = ["-m", "workers.process", "--queue=single", "--concurrency=8", "--name=single"]
        with self._running([command], environment):
            yield

    @contextmanager
    def _running(self, commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> Iterator[list[int]]:
        log = self._directory / f"workers-{time.monotonic_ns()}.log"
        with ExitStack() as stack, log.open("wb") as out:
            processes = []
            for command in commands:
                process = subprocess.Popen(
                    [sys.executable, *command],
                    cwd=ROOT,
                    env={**self._environment, **environment},
                    stdout=out,
                    stderr=out,
                    start_new_session=True,  # as in production, where the processor is shared out among sessions
                )
                stack.callback(_end, process)
                processes.append(process)
            until(
                lambda: log.read_text(errors="replace").count("worker ready") == len(processes),
                seconds=180,
                what=lambda: f"workers are ready\n{log.read_text(errors='replace')[-2000:]}",
            )
            yield [process.pid for process in processes]

    def used(self) -> float:
        """The broker's memory in MiB."""
        return int(self.broker.info("memory")["used_memory"]) / MIB  # type: ignore[index,arg-type]


# What stages write; accounts and the schema's own stay.
WORK = {
    "batch_counts",
    "batch_jobs",
    "batch_rejects",
    "domains",
    "idempotency_keys",
    "jobs",
    "page_reads",
    "pages",
    "sitemap_files",
    "sitemap_reads",
    "sitemap_urls",
}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def platform(directory: Path) -> Iterator[Platform]:
    settings = Settings(_env_file=None, data_dir=directory / "var")  # type: ignore[call-arg]
    with servers.start(settings) as started, ExitStack() as ends:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPERSKY_")}
        port = str(free_port())
        environment = {
            **kept,
            **started.environment(),
            "SCRAPERSKY_PORT": port,
            "SCRAPERSKY_ADMIN_PASSWORD": PASSWORD,
            "SCRAPERSKY_REQUEST_RATE": "1000000/minute",
            "PYTHONPATH": str(ROOT),
            "MALLOC_ARENA_MAX": "2",
        }
        subprocess.run(
            [sys.executable, "manage.py", "migrate"], cwd=ROOT, env=environment, check=True, capture_output=True
        )
        with (directory / "api.log").open("wb") as out:
            api = subprocess.Popen(
                [sys.executable, "manage.py", "api"],
                cwd=ROOT,
                env=environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        ends.callback(_end, api)
        url = f"http://127.0.0.1:{port}"
        until(lambda: _answers(url), seconds=120, what="the API is ready")
        made = Platform(directory, started, Client(url), environment, api.pid)
        ends.callback(made.close)
        yield made


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health/ready", timeout=5).ok
    except requests.RequestException:
        return False
