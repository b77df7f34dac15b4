"""What the queue costs when it is long: claims, reads, the broker, pause, cancel, fairness, processes, latency, disk.

    python -m benchmarks.scale                       # all of it, with 1,000,000 pending jobs
    python -m benchmarks.scale --only processes --processes 1 2 4

Embedded servers as `manage.py up` starts them, the API under gunicorn, and real worker processes whose scans find
nothing (`benchmarks.noop`), so that only the platform's own work is measured. Each measure prints one JSON object.
Times are seconds or milliseconds as named; CPU is read from /proc, of worker processes and of all of PostgreSQL.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import psycopg
import redis
import requests

from app.repositories.batches import Line
from app.repositories.inventory import UrlRow
from app.repositories.queue import Dispatch
from app.scanning import dates
from app.scanning.values import UrlEntry
from app.services import scans
from app.services.upkeep import WINDOW_PER_SLOT
from app.settings import Settings
from app.stack import servers
from app.stack.server import free_port
from app.stack.servers import Servers
from app.unit_of_work import Database
from benchmarks.submission import upload
from tests.running import PASSWORD, ROOT, descendants, until
from tests.site_server import Answer, serving

MIB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")
SLOTS = 64  # two processes of 32 threads, as by default
NEIGHBOURS, THEIR_JOBS = 20, 1_000


class Client:
    """The API, signed in as its administrator; signed in anew when the token is too old: a run may take long."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/v2"
        self._session = requests.Session()

    def call(self, method: str, path: str, **options: Any) -> Any:
        answer = self._session.request(method, self._url + path, timeout=900, **options)
        if answer.status_code == requests.codes.unauthorized:
            self._sign_in()
            answer = self._session.request(method, self._url + path, timeout=900, **options)
        answer.raise_for_status()
        return answer.json()

    def _sign_in(self) -> None:
        who = {"email": "admin@example.com", "password": PASSWORD}
        answer = self._session.post(f"{self._url}/auth/login", json=who, timeout=60)
        answer.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


class Platform:
    """Servers and an API, and worker processes as they are asked for."""

    def __init__(self, directory: Path, started: Servers, client: Client, environment: dict[str, str]) -> None:
        self._directory = directory
        self._environment = environment
        self.client = client
        self.settings = started.settings
        self.database = Database(started.settings, "worker")
        url = (started.superuser_url() or "").replace("+psycopg", "").rsplit("/", 1)[0]
        name = started.settings.database_url.get_secret_value().rsplit("/", 1)[1]  # type: ignore[union-attr]
        self.superuser = psycopg.connect(f"{url}/{name}", autocommit=True)
        self.broker = redis.Redis.from_url(started.settings.redis_url.get_secret_value())  # type: ignore[union-attr]

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = self.superuser.execute(statement, values)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []

    def tenant(self, name: str) -> UUID:
        made: UUID = self.sql("INSERT INTO tenants (name) VALUES (%s) RETURNING id", name)[0][0]
        return made

    def batch(self, tenant: UUID, size: int) -> UUID:
        """Straight into the tables, as the API writes it."""
        with self.database.for_tenant(tenant) as uow:
            made = uow.batches.add(name=None, options={}, priority=5, created_by=None)
            hosts = (f"d{n}-{made.id}.example" for n in range(size))
            uow.batches.land(
                made, (Line(n, host, host, "/", None, None) for n, host in enumerate(hosts)), max_attempts=3
            )
            uow.commit()
        return made.id

    @contextmanager
    def workers(self, count: int, *, threads: int = 32, pause: float = 0.0) -> Iterator[list[int]]:
        """Worker processes that find nothing; their pids, once all are ready."""
        module = ["-m", "benchmarks.noop", "--queue=scans", f"--concurrency={threads}"]
        more = {"BENCHMARK_PAUSE": str(pause), "SCRAPERSKY_WORKER_PROCESSES": str(count)}
        more["SCRAPERSKY_WORKER_CONCURRENCY"] = str(threads)
        with self._running([[*module, f"--name=scans-{n}"] for n in range(count)], more) as pids:
            yield pids

    @contextmanager
    def single_worker(self, environment: dict[str, str]) -> Iterator[None]:
        """The process that reads single scans, as it is."""
        with self._running(
            [["-m", "workers.process", "--queue=single", "--concurrency=8", "--name=single"]], environment
        ):
            yield

    @contextmanager
    def _running(self, commands: Sequence[Sequence[str]], environment: dict[str, str]) -> Iterator[list[int]]:
        log = self._directory / f"workers-{time.monotonic_ns()}.log"
        with ExitStack() as stack, log.open("wb") as out:
            processes = []
            for command in commands:
                argv = [sys.executable, *command]
                process = subprocess.Popen(
                    argv, cwd=ROOT, env={**self._environment, **environment}, stdout=out, stderr=out
                )
                stack.callback(_end, process)
                processes.append(process)
            until(
                lambda: log.read_text(errors="replace").count("worker ready") == len(processes),
                seconds=120,
                what=f"workers are ready\n{log.read_text(errors='replace')[-2000:]}",
            )
            yield [process.pid for process in processes]

    def used(self) -> float:
        """The broker's memory in MiB."""
        return int(self.broker.info("memory")["used_memory"]) / MIB  # type: ignore[index,arg-type]


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
        subprocess.run([sys.executable, "manage.py", "migrate"], cwd=ROOT, env=environment, check=True)
        log = directory / "api.log"
        with log.open("wb") as out:
            api = subprocess.Popen(
                [sys.executable, "manage.py", "api"], cwd=ROOT, env=environment, stdout=out, stderr=out
            )
        ends.callback(_end, api)
        url = f"http://127.0.0.1:{port}"
        until(lambda: _answers(url), seconds=60, what="the API is ready")
        made = Platform(directory, started, Client(url), environment)
        ends.callback(made.database.close)
        ends.callback(made.superuser.close)
        yield made


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health/ready", timeout=5).ok
    except requests.RequestException:
        return False


# One domain, from POST to the first fetch


@dataclass(frozen=True)
class Latency:
    measure: str
    runs: int
    p50_ms: float
    p95_ms: float
    bar_ms: float = 100


def latency(on: Platform, directory: Path, *, runs: int) -> Latency:
    """`POST /scans` on an idle system until the site hears of it."""
    asked: dict[str, float] = {}

    def answer(host: str, _path: str) -> Answer | None:
        asked.setdefault(host, time.monotonic())
        return None

    found = []
    with serving(answer, directory, ["s.example"], tls_hosts={"s.example"}) as site, on.single_worker(site.environment):
        for n in range(runs + 3):
            host = f"s{n}.example"
            sent = time.monotonic()
            job = on.client.call("POST", "/scans", json={"domain": f"http://{host}/"})
            until(lambda host=host: host in asked, seconds=30, what=f"{host} is asked")
            found.append((asked[host] - sent) * 1000)
            path = f"/jobs/{job['id']}"
            until(lambda path=path: on.client.call("GET", path)["finished_at"], seconds=60, what=path)
    warm = found[3:]
    return Latency("single scan, POST to first fetch", len(warm), statistics.median(warm), p95(warm))


# Jobs that find nothing, over one process and several: `benchmarks.bookkeeping` takes the same apart by step


@dataclass(frozen=True)
class NoOps:
    measure: str
    processes: int
    jobs: int
    jobs_per_second: float
    client_ms: float
    database_ms: float
    cpu_ms_per_job: float
    commits_per_job: float
    wal_bytes_per_job: float
    bar_ms: float = 2.0


def noops(on: Platform, tenant: UUID, *, jobs: int, processes: int) -> NoOps:
    """CPU of worker processes and PostgreSQL for jobs that find nothing, from the first claim to the last."""
    postgres = _postmaster()
    with on.workers(processes) as pids:
        work_off(on, on.batch(tenant, 64 * processes))  # warm: connections, plans, imports
        batch = on.batch(tenant, jobs)
        before, database, written, began = sum(map(cpu, pids)), cpu_of_postgres(postgres), Written(on), time.monotonic()
        work_off(on, batch)
        seconds = time.monotonic() - began
        client = (sum(map(cpu, pids)) - before) / jobs * 1000
        database = (cpu_of_postgres(postgres) - database) / jobs * 1000
        commits, wal = written.since()
    return NoOps(
        measure="no-op jobs, Celery and all",
        processes=processes,
        jobs=jobs,
        jobs_per_second=jobs / seconds,
        client_ms=client,
        database_ms=database,
        cpu_ms_per_job=client + database,
        commits_per_job=commits / jobs,
        wal_bytes_per_job=wal / jobs,
    )


class Written:
    """Commits and bytes of write-ahead log, from now on."""

    def __init__(self, on: Platform) -> None:
        self._on = on
        self._before = self._now()

    def since(self) -> tuple[int, int]:
        commits, wal = self._now()
        return commits - self._before[0], wal - self._before[1]

    def _now(self) -> tuple[int, int]:
        self._on.sql("SELECT pg_stat_force_next_flush()")
        (row,) = self._on.sql(
            "SELECT xact_commit, pg_current_wal_insert_lsn() - '0/0'::pg_lsn FROM pg_stat_database "
            "WHERE datname = current_database()"
        )
        return int(row[0]), int(row[1])


def work_off(on: Platform, batch: UUID) -> None:
    """Wait until none of its jobs is open: read off the index of open batches, which costs next to nothing."""
    ended = "SELECT true FROM batch_jobs WHERE id = %s AND finished_at IS NOT NULL"
    deadline = time.monotonic() + 900
    while not on.sql(ended, batch):
        if time.monotonic() > deadline:
            raise SystemExit(f"batch {batch} does not end")
        time.sleep(0.2)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICK


def cpu_of_postgres(postmaster: int) -> float:
    """All of it: backends that live, and those that have ended."""
    ended = (int(_stat(postmaster)[13]) + int(_stat(postmaster)[14])) / TICK
    return ended + sum(cpu(pid) for pid in [postmaster, *descendants(postmaster)])


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:  # it has just ended: its parent has its figures now
        return ["0"] * 50


def _postmaster() -> int:
    for pid in descendants(os.getpid()):
        parent = int(_stat(pid)[1])
        if _comm(pid) == "postgres" and _comm(parent) != "postgres":
            return pid
    raise LookupError("no postmaster among our children")


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""


# What a row takes


@dataclass(frozen=True)
class Stored:
    measure: str
    rows: int
    bytes_per_row: float
    of_it_indexes: float
    wal_bytes_per_row: float


def storage(on: Platform, *, rows: int) -> Iterator[Stored]:
    """Disk and write-ahead log for a domain and a job as submitted, and for a URL of a first scan."""
    tenant = on.tenant("stored")
    tables = ("domains", "jobs", "sitemap_urls")
    before, written = {table: _sizes(on, table) for table in tables}, Written(on)
    batch = on.batch(tenant, rows)
    wal = written.since()[1]
    yield _stored("a domain as submitted", before["domains"], _sizes(on, "domains"), rows, 0)
    yield _stored("a job as submitted; the log is its domain's too", before["jobs"], _sizes(on, "jobs"), rows, wal)
    (domain,) = on.sql("SELECT domain_id FROM jobs WHERE batch_id = %s LIMIT 1", batch)[0]
    written = Written(on)
    with on.database.for_tenant(tenant) as uow:
        file = uow.inventory.ensure_file(domain, "https://stored.example/sitemap.xml")
        uow.inventory.land(file, 1, (_url(n) for n in range(rows)), complete=True)
        uow.commit()
    wal, name = written.since()[1], "sitemap_urls"
    yield _stored("a URL of 60 characters, first scan", before[name], _sizes(on, name), rows, wal)


def _url(n: int) -> UrlRow:
    url = f"https://stored.example/catalogue/section/item-{n:09}.html"
    return scans.url_row(
        UrlEntry(url=url, listed=url, lastmod=dates.parse_lastmod("2026-05-17T08:00:00Z"), priority=0.5)
    )


def _sizes(on: Platform, table: str) -> tuple[int, int]:
    (row,) = on.sql("SELECT pg_table_size(%s::regclass), pg_indexes_size(%s::regclass)", table, table)
    return row[0], row[1]


def _stored(measure: str, before: tuple[int, int], after: tuple[int, int], rows: int, wal: int) -> Stored:
    heap, indexes = (now - then for now, then in zip(after, before, strict=True))
    return Stored(measure, rows, (heap + indexes) / rows, indexes / rows, wal / rows)


# A small batch behind another tenant's large one


@dataclass(frozen=True)
class Fairness:
    measure: str
    runs: int
    started_seconds: list[float]  # from the small batch's submission to its first claim; the last of its five likewise
    all_started_seconds: list[float]
    bar_seconds: float = 2.0


def fairness(on: Platform, large: UUID, small: UUID, *, jobs: int, runs: int) -> Fairness:
    first, last = [], []
    batch = on.batch(large, jobs)
    with on.workers(2, threads=32, pause=0.5):
        until(lambda: _running(on, batch) >= SLOTS / 2, seconds=60, what="the large batch has the slots")
        for _ in range(runs):
            began = on.batch(small, 5)
            until(lambda began=began: _unstarted(on, began) == 0, seconds=120, what="all five have begun")
            (row,) = on.sql(
                "SELECT extract(epoch FROM min(j.started_at) - b.created_at), "
                "extract(epoch FROM max(j.started_at) - b.created_at) "
                "FROM jobs j JOIN batch_jobs b ON b.id = j.batch_id WHERE b.id = %s GROUP BY b.created_at",
                began,
            )
            first.append(round(float(row[0]), 3))
            last.append(round(float(row[1]), 3))
        cancel(on, batch)
    return Fairness("a batch of five behind another tenant's", runs, first, last)


def _running(on: Platform, batch: UUID) -> int:
    found: int = on.sql("SELECT count(*) FROM jobs WHERE batch_id = %s AND status = 'running'", batch)[0][0]
    return found


def _unstarted(on: Platform, batch: UUID) -> int:
    found: int = on.sql("SELECT count(*) FROM jobs WHERE batch_id = %s AND started_at IS NULL", batch)[0][0]
    return found


# A long queue


@dataclass(frozen=True)
class Timed:
    measure: str
    pending: int
    runs: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    bar_ms: float
    cpu_ms: float | None = None  # of this process and PostgreSQL: says more than time where others work


class Stopwatch:
    """Times of repeated work, and the CPU that it took here and in PostgreSQL. The first two are for warming up."""

    WARM = 2

    def __init__(self) -> None:
        self._postgres = _postmaster()
        self._times: list[float] = []
        self._cpu = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        before, began = self._spent(), time.perf_counter()
        yield
        self._times.append((time.perf_counter() - began) * 1000)
        if len(self._times) > self.WARM:
            self._cpu += self._spent() - before

    def told(self, measure: str, pending: int, bar: float) -> Timed:
        found = self._times[self.WARM :]
        cpu_ms = self._cpu / len(found) * 1000
        return Timed(measure, pending, len(found), statistics.median(found), p95(found), max(found), bar, cpu_ms)

    def _spent(self) -> float:
        return time.process_time() + cpu_of_postgres(self._postgres)


def claims(on: Platform, pending: int, *, runs: int) -> Iterator[Timed]:
    """The dispatcher's statement with its commit, for half a window and a whole one; and a worker's claim."""
    for want in (SLOTS, SLOTS * WINDOW_PER_SLOT):
        watch = Stopwatch()
        for _ in range(runs + Stopwatch.WARM):
            with watch.running():
                rows = _dispatched(on, want)
            _put_back(on)
        yield watch.told(f"dispatching {want} jobs, with commit", pending, 10)
    watch, rows = Stopwatch(), _dispatched(on, runs + Stopwatch.WARM)
    for row in rows:
        key = {"tenant_id": row.tenant_id, "job_id": row.job_id, "dispatch_no": row.dispatch_no}
        with watch.running():
            scans.claim(on.database, **key, lease=60, worker="bench")  # type: ignore[arg-type]
    _put_back(on)
    yield watch.told("a worker's claim, with commit", pending, 10)


def _dispatched(on: Platform, want: int) -> list[Dispatch]:
    with on.database.system() as uow:
        rows = uow.queue.dispatch(express=want // 2, scans=want // 2, slots=SLOTS, patience=3600)
        uow.commit()
    return rows


def _put_back(on: Platform) -> None:
    on.sql(
        "UPDATE jobs SET status = 'pending', dispatch_until = NULL, lease_token = NULL, lease_until = NULL, "
        "attempt = 0, started_at = NULL WHERE status IN ('queued', 'running')"
    )


def reads(on: Platform, path: str, pending: int, *, runs: int, bar: float, when: str) -> Timed:
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        on.client.call("GET", path)
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(0.02)
    return timed(f"GET {path.split('/')[1]}{'/{id}' if path.count('/') > 1 else ''}, {when}", pending, found, bar)


def timed(measure: str, pending: int, found: Sequence[float], bar: float) -> Timed:
    return Timed(measure, pending, len(found), statistics.median(found), p95(found), max(found), bar)


def p95(found: Sequence[float]) -> float:
    return statistics.quantiles(found, n=20)[-1]


@dataclass(frozen=True)
class Move:
    """`effective` until nothing of the batch runs or is handed out; `done` until every row says so."""

    measure: str
    jobs: int
    answered_seconds: float
    effective_seconds: float
    done_seconds: float
    exact: bool
    bar_seconds: float = 5.0


def pause(on: Platform, batch: UUID, jobs: int) -> Move:
    return _move(on, batch, jobs, "pause", lambda shown: shown["counts"]["running"] == shown["counts"]["queued"] == 0)


def cancel(on: Platform, batch: UUID, jobs: int = 0) -> Move:
    if not jobs:  # another tenant's, which our administrator may not cancel
        on.sql("UPDATE batch_jobs SET status = 'cancelling' WHERE id = %s", batch)
        work_off(on, batch)
        return Move("cancel", 0, 0, 0, 0, exact=True)
    return _move(on, batch, jobs, "cancel", lambda shown: shown["status"] == "cancelled")


def _move(on: Platform, batch: UUID, jobs: int, move: str, is_done: Callable[[dict[str, Any]], bool]) -> Move:
    began = time.monotonic()
    on.client.call("POST", f"/batches/{batch}/{move}")
    answered = time.monotonic() - began
    taken = "SELECT true FROM jobs WHERE status IN ('queued', 'running') AND batch_id = %s LIMIT 1"
    while on.sql(taken, batch):
        time.sleep(0.02)
    effective = time.monotonic() - began
    exact = True
    while True:
        shown = on.client.call("GET", f"/batches/{batch}")
        counts = dict(shown["counts"])
        exact &= counts.pop("total") == sum(counts.values())
        if is_done(shown):
            break
        time.sleep(0.1)
    done = time.monotonic() - began
    rows = dict(on.sql("SELECT status, count(*) FROM jobs WHERE batch_id = %s GROUP BY status", batch))
    exact &= {status: n for status, n in counts.items() if n} == rows
    return Move(f"{move} a batch at work", jobs, answered, effective, done, exact)


@dataclass(frozen=True)
class Broker:
    measure: str
    pending: int
    idle_mib: float
    most_mib: float
    above_idle_mib: float
    most_messages: int
    bar_mib: float = 16


class Watched:
    """The broker's memory and messages, looked at ten times a second from its own thread."""

    def __init__(self, on: Platform) -> None:
        self._on = on
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.most, self.messages = 0.0, 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.most = max(self.most, self._on.used())
            depths = [self._on.broker.llen(queue) for queue in ("express", "scans", "single", "quarantine")]
            self.messages = max(self.messages, sum(depths))  # type: ignore[arg-type]


def long_queue(on: Platform, *, jobs: int, runs: int) -> Iterator[Any]:
    neighbours = [on.tenant(f"neighbour-{n}") for n in range(NEIGHBOURS)]
    for tenant in neighbours:
        on.batch(tenant, THEIR_JOBS)
    with on.workers(0):
        idle = on.used()
    batch = submitted(on, jobs)
    pending = jobs + NEIGHBOURS * THEIR_JOBS
    on.sql("VACUUM ANALYZE jobs")  # what autovacuum does within a minute or two
    yield from claims(on, pending, runs=runs)
    yield reads(on, f"/batches/{batch}", pending, runs=runs * 5, bar=20, when="no worker runs")
    yield reads(on, "/queue", pending, runs=runs * 5, bar=20, when="no worker runs")
    with on.workers(2, pause=0.05), Watched(on) as watched:
        until(lambda: _running(on, UUID(batch)) > 0, seconds=60, what="the batch is at work")
        yield reads(on, f"/batches/{batch}", pending, runs=runs * 5, bar=20, when="64 slots at work")
        yield reads(on, "/queue", pending, runs=runs * 5, bar=20, when="64 slots at work")
        yield pause(on, UUID(batch), jobs)
        on.client.call("POST", f"/batches/{batch}/resume")
        until(lambda: _running(on, UUID(batch)) > 0, seconds=60, what="the batch goes on")
        yield cancel(on, UUID(batch), jobs)
    yield Broker("the broker's memory", pending, idle, watched.most, watched.most - idle, watched.messages)


def submitted(on: Platform, jobs: int) -> str:
    answer = on.client.call("POST", "/batches", data=upload(jobs), headers={"Content-Type": "text/plain"})
    if answer["counts"]["total"] != jobs:
        raise SystemExit(f"{answer['counts']['total']} jobs of {jobs} lines")
    return str(answer["id"])


PARTS = ("latency", "processes", "storage", "fairness", "long")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="pending, for `long`")
    parser.add_argument("--behind", type=int, default=100_000, help="of the other tenant, for `fairness`")
    parser.add_argument("--noops", type=int, default=5_000, help="jobs a run, for `processes`")
    parser.add_argument("--stored", type=int, default=200_000, help="rows of each kind, for `storage`")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="for `processes`")
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, platform(Path(directory)) as on:
        for measured in measures(on, Path(directory), arguments):
            print(json.dumps(asdict(measured), default=str), flush=True)


def measures(on: Platform, directory: Path, arguments: argparse.Namespace) -> Iterator[Any]:
    if "latency" in arguments.only:
        yield latency(on, directory, runs=arguments.runs)
    if "processes" in arguments.only:
        tenant = on.tenant("no-op")
        for processes in arguments.processes:
            yield noops(on, tenant, jobs=arguments.noops, processes=processes)
    if "storage" in arguments.only:
        yield from storage(on, rows=arguments.stored)
    if "fairness" in arguments.only:
        yield fairness(on, on.tenant("large"), on.tenant("small"), jobs=arguments.behind, runs=5)
    if "long" in arguments.only:
        yield from long_queue(on, jobs=arguments.jobs, runs=arguments.runs)


if __name__ == "__main__":
    main()
