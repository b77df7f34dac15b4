"""What may happen to a platform at any moment, each as a function that makes it happen.

A scenario leaves everything it accepted at its end, to be judged by the observer, and the platform healthy. It answers
the seconds until what it broke was being worked on again, or None where that says nothing. `short` ones run with every
`make test`; `heavy` ones last longer than half a minute.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import requests

from app.queueing import ScanMessage
from app.redis.queue import RedisTaskQueue
from tests.chaos.arena import LEASE, PROCESSES, SLOTS, SMALL_DISK, Arena, Impossible, during
from tests.chaos.barriers import Arrival
from tests.running import PATIENCE, is_alive, until


@dataclass(frozen=True)
class Scenario:
    name: str
    happens: Callable[[Arena], float | None]
    short: bool = False
    heavy: bool = False
    bar: float | None = None  # seconds of recovery that were promised
    environment: dict[str, str] = field(default_factory=dict)  # a platform of its own, started with this


SCENARIOS: dict[str, Scenario] = {}
CLOCKS = str(Path(__file__).parent / "clocks")
# Where nothing may count as lost: no machine stands still for so long that a lease passes by that. A job that is not
# put back in order is found all the same, and waits for a minute besides.
UNHURRIED = {"SCRAPERSKY_LEASE_SECONDS": "60", "SCRAPERSKY_STUCK_SECONDS": "60"}


def scenario(**options):
    def register(happens):
        SCENARIOS[happens.__name__] = Scenario(happens.__name__, happens, **options)
        return happens

    return register


# Worker processes


@scenario(short=True, bar=LEASE + 5)
def worker_killed_mid_fetch(arena: Arena) -> float:
    arena.gated(24, inside=6)
    held = {host: arena.fetched.count((host, "/index.xml")) for host in tuple(arena.sites.inside)}  # more arrive
    pids = arena.workers()
    since = time.time()
    kill(pids)
    until(lambda: len(set(arena.workers()) - set(pids)) == PROCESSES, what="fresh workers")
    arena.sites.gate.set()
    arena.settled()
    # The checkpoint held: what a killed attempt had landed was not fetched again.
    assert {host: arena.fetched.count((host, "/index.xml")) for host in held} == held
    lost = arena.left_by(pids)
    assert len(lost) >= len(held)
    return arena.recovery(lost, since)


@scenario(bar=LEASE + 5)
def worker_killed_between_claim_and_first_write(arena: Arena) -> float:
    return killed_at(arena, "claimed")


@scenario(short=True, bar=LEASE + 5)
def worker_killed_mid_copy(arena: Arena) -> float:
    """On a second scan of sites that have changed: intervals are closed and opened by what is killed."""
    hosts = arena.new_hosts(12)
    arena.submit(hosts)
    arena.settled()
    for host in hosts:
        arena.sites.editions[host] = 1
    return killed_at(arena, "copied", hosts=hosts)


@scenario(bar=LEASE + 5)
def worker_killed_between_landing_and_commit(arena: Arena) -> float:
    return killed_at(arena, "landed")


@scenario(bar=LEASE + 5)
def worker_killed_before_the_last_commit(arena: Arena) -> float:
    return killed_at(arena, "finishing")


@scenario(short=True, bar=LEASE + 5)
def worker_killed_between_commit_and_exit(arena: Arena) -> float:
    return killed_at(arena, "finished")


@scenario(bar=LEASE + 5)
def a_worker_killed_over_and_over(arena: Arena) -> float | None:
    """Anywhere: the seed decides when."""
    arena.submit(arena.new_hosts(60))
    for _ in range(4):
        time.sleep(arena.rng.uniform(0.1, 1.5))  # the fault's own time, not something waited for
        if alive := arena.workers():
            kill([arena.rng.choice(alive)])
    arena.settled()
    return None


@scenario(short=True, bar=LEASE + 15)
def a_frozen_worker_wakes_after_its_lease(arena: Arena) -> float:
    """Its host stood still between COPY and landing, the supervisor too. Its jobs are with others by then; the landing
    that it goes on with is refused. The broker may have handed it a message more: so a lost one is allowed for."""
    return frozen_at(arena, "copied")


@scenario(bar=LEASE + 15)
def a_frozen_worker_in_the_middle_of_landing(arena: Arena) -> float:
    """The same with the job's row locked: PostgreSQL ends that transaction."""
    return frozen_at(arena, "landed")


def frozen_at(arena: Arena, point: str) -> float:
    with arena.barriers.armed(point):
        arena.submit(arena.new_hosts(16))
        frozen = arena.barriers.wait()
        stopped = _freeze(arena, frozen.pid)
        lost = arena.held([frozen.pid])
        since = time.time()
    with stopped:
        until(lambda: not arena.held([frozen.pid]), what="its leases pass")
        until(lambda: _taken_from(arena, frozen.pid, lost), what="other workers took its jobs")
        frozen.order()
        os.kill(frozen.pid, signal.SIGCONT)
        until(lambda: frozen.pid in {pid for pid, _ in arena.barriers.refused()}, what="it is refused")
    arena.settled()
    return arena.recovery(lost, since)


@scenario(environment=UNHURRIED)
def term_during_work(arena: Arena) -> float:
    """A worker that is asked to go puts its scans back: none is lost, and nobody waits for a lease."""
    arena.gated(24, inside=SLOTS)
    pids = arena.workers()
    held = arena.held(pids)
    since = time.time()
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not any(map(is_alive, pids)), what="they have gone")
    arena.sites.gate.set()
    arena.settled()
    assert arena.ask("SELECT count(*) FROM jobs WHERE id = ANY(%s::uuid[]) AND lost > 0", list(held)) == [(0,)]
    return arena.recovery(held, since)


@scenario(bar=LEASE + 5)
def a_second_term(arena: Arena) -> float:
    """It insists: scans stop where they are and their jobs go back at once."""
    arena.gated(24, inside=SLOTS)
    pids = arena.workers()
    held = arena.held(pids)
    since = time.time()
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    time.sleep(arena.rng.uniform(0.2, 1.0))
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    until(lambda: not any(map(is_alive, pids)), what="they have gone")
    arena.observer.note("gone", seconds=time.time() - since)
    arena.sites.gate.set()
    arena.settled()
    return arena.recovery(held, since)


@scenario(environment=UNHURRIED)
def a_rolling_restart(arena: Arena) -> None:
    """One worker process after the other, under load."""
    batch_id = arena.submit(arena.new_hosts(120))
    there = arena.stack.workers()
    for pid in there:
        os.kill(pid, signal.SIGTERM)
        until(lambda pid=pid: not is_alive(pid), what="it has gone")
        until(lambda: len(arena.stack.workers()) == len(there), what="its successor is there")
    arena.settled()
    assert arena.ask("SELECT count(*) FROM jobs WHERE batch_id = %s AND lost > 0", batch_id) == [(0,)]


# The API and the dispatchers


@scenario(short=True, bar=10)
def api_killed_between_commit_and_send(arena: Arena) -> float:
    with arena.barriers.armed("submitted", by="gunicorn"):
        host, arrival = _arrived(arena)
        since = time.time()
        arrival.kill()
    until(arena.answers, what="the API is back")
    again = _post_scan(arena, host, f"once-{host}")
    assert again is not None
    assert again.status_code == 202
    assert again.json()["id"] == arrival.job
    arena.observer.accepted.jobs.add(arrival.job)
    arena.settled()
    return arena.recovery({arrival.job: 0}, since)


def _arrived(arena: Arena) -> tuple[str, Arrival]:
    """Single scans are submitted, one after another, until one is sent at once: a busy platform leaves them to the
    dispatcher."""
    enough = time.monotonic() + PATIENCE
    while time.monotonic() < enough:
        host = arena.new_hosts(1)[0]
        answers: list[requests.Response | None] = []
        asking = during(lambda answers=answers, host=host: answers.append(_post_scan(arena, host, f"once-{host}")))
        while asking.is_alive():
            if arrival := arena.barriers.arrived():
                return host, arrival
            asking.join(0.05)
        [answer] = answers
        assert answer is not None
        arena.observer.accepted.jobs.add(answer.json()["id"])
        until(arena.nothing_single, what="that scan ends")
    raise AssertionError("no single scan was sent at once")


@scenario(bar=10)
def api_killed_under_load_between_commit_and_send(arena: Arena) -> float:
    """The same while the batch queue is never empty."""
    arena.submit(arena.new_hosts(300))
    return api_killed_between_commit_and_send(arena)


@scenario(short=True, bar=10)
def dispatcher_killed_between_commit_and_send(arena: Arena) -> float:
    with arena.barriers.armed("dispatched"):
        arena.submit(arena.new_hosts(12))
        arrival = arena.barriers.wait()
        unsent = arena.queued()
        since = time.time()
        arrival.kill()
    assert unsent
    arena.settled()
    return arena.recovery(unsent, since)


@scenario()
def more_dispatchers_than_wanted(arena: Arena) -> None:
    """Each worker process is one anyway; two more run beside them, without a pause."""
    with arena.stack.beside("dispatcher", SCRAPERSKY_UPKEEP_SECONDS="0.05") as first:
        with arena.stack.beside("dispatcher", SCRAPERSKY_UPKEEP_SECONDS="0.05") as second:
            arena.submit(arena.new_hosts(150))
            arena.settled()
            assert first.poll() is second.poll() is None


# Messages


@scenario(short=True)
def every_message_three_times_and_stale_ones(arena: Arena) -> None:
    arena.submit(arena.new_hosts(80))
    queue = RedisTaskQueue(arena.broker_url)
    try:
        sent: set[tuple[str, int]] = set()
        until(lambda: _again(arena, queue, sent), what="all that was accepted ends")
    finally:
        queue.close()
    arena.settled()


@scenario(short=True, bar=10)
def flushall_with_a_full_window(arena: Arena) -> float:
    arena.gated(60, inside=SLOTS)
    until(lambda: len(arena.queued()) >= SLOTS, what="a full window")
    lost = arena.queued()
    since = time.time()
    with arena.broker() as client:
        client.flushall()
    arena.sites.gate.set()
    arena.settled()
    return arena.recovery(lost, since)


# The broker


@scenario(short=True)
def broker_killed_and_back_empty_when_idle(arena: Arena) -> None:
    arena.empty_broker()
    arena.submit(arena.new_hosts(10))
    arena.single(arena.new_hosts(1)[0])
    arena.settled()


@scenario(bar=10)
def broker_killed_and_back_empty_in_flight(arena: Arena) -> float:
    arena.gated(60, inside=SLOTS)
    until(lambda: len(arena.queued()) >= SLOTS, what="a full window")
    lost = arena.queued()
    arena.empty_broker()
    since = time.time()
    arena.sites.gate.set()
    arena.settled()
    return arena.recovery(lost, since)


@scenario()
def broker_killed_three_times_in_five_seconds(arena: Arena) -> None:
    """Each time one that had come back, empty, and served. On a machine where it takes longer to come back, this is
    not that scenario; what was promised is judged all the same."""
    arena.submit(arena.new_hosts(100))
    began = time.monotonic()
    killed = [arena.empty_broker()]
    for _ in range(2):
        time.sleep(arena.rng.uniform(0.0, 1.0))  # it serves for a while
        killed.append(arena.empty_broker())
    took = time.monotonic() - began
    arena.settled()
    assert len(set(killed)) == 3
    arena.observer.note("broker killed three times", seconds=took)
    if took > 5:
        raise Impossible(f"killing the broker three times took {took:.1f} s")


@scenario(heavy=True)
def broker_frozen_for_a_minute(arena: Arena) -> None:
    arena.submit(arena.new_hosts(40))
    frozen = arena.valkey
    os.kill(frozen, signal.SIGSTOP)
    try:
        assert not arena.broker_answers(seconds=1)
        _api_answers_meanwhile(arena, seconds=60)
    finally:
        os.kill(frozen, signal.SIGCONT)
    arena.broker_back()
    arena.settled()


@scenario()
def broker_paused(arena: Arena) -> None:
    """CLIENT PAUSE: it takes connections and answers nobody."""
    arena.submit(arena.new_hosts(40))
    with arena.broker() as client:
        client.execute_command("CLIENT", "PAUSE", 9_000, "ALL")
    assert not arena.broker_answers(seconds=1)
    _api_answers_meanwhile(arena, seconds=7)
    arena.broker_back()
    arena.settled()


@scenario(short=True)
def broker_out_of_memory(arena: Arena) -> None:
    with arena.broker() as client:
        client.config_set("maxmemory", "1")
        try:
            arena.submit(arena.new_hosts(30))
            arena.single(arena.new_hosts(1)[0])
            time.sleep(3)  # the fault's own time
            _api_answers_meanwhile(arena, seconds=2)
        finally:
            client.config_set("maxmemory", "0")
    arena.settled()


# The database


@scenario(short=True)
def postgres_stopped_at_once_mid_write(arena: Arena) -> None:
    with arena.barriers.armed("landed"):
        arena.submit(arena.new_hosts(30))
        arrival = arena.barriers.wait()
        os.kill(arena.postmaster, signal.SIGQUIT)
    arrival.order()
    arena.database_back()
    arena.settled()


@scenario(bar=10)
def postgres_forgets_a_claim(arena: Arena) -> float:
    """A claim does not wait for the disk. PostgreSQL is stopped at once after one, and never knew of it, while the
    worker goes on under a token that is nowhere: it writes nothing, and the job is sent again as by a lost message."""
    for _ in range(10):
        with arena.barriers.armed("claimed"):
            arena.submit(arena.new_hosts(4))
            arrival = arena.barriers.wait()
            os.kill(arena.postmaster, signal.SIGQUIT)
            arena.database_back()
            forgotten = arena.never_claimed(arrival.job)
            since = time.time()
            arrival.order()
        arena.settled()
        if forgotten:
            return arena.recovery(forgotten, since)
    raise Impossible("PostgreSQL had each claim on its disk by then")


@scenario()
def all_backends_terminated_in_a_loop(arena: Arena) -> None:
    arena.submit(arena.new_hosts(80))
    enough = time.monotonic() + 5
    terminated = 0
    while time.monotonic() < enough:
        [(some,)] = arena.ask(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE usename LIKE 'scrapersky%%' AND datname = current_database()"
        )
        terminated += some
        time.sleep(arena.rng.uniform(0.05, 0.5))
    arena.settled()
    assert terminated >= PROCESSES, terminated


@scenario(heavy=True)
def postgres_away_longer_than_the_lease(arena: Arena) -> None:
    arena.gated(20, inside=SLOTS)
    with arena.unattended():
        os.kill(arena.postmaster, signal.SIGQUIT)
        time.sleep(LEASE + 3)
    arena.sites.gate.set()
    arena.database_back()
    arena.settled()


# Owners' wishes, and what they send


@scenario(short=True, bar=5)
def pause_resume_cancel_under_load(arena: Arena) -> float:
    return _pause_resume_cancel(arena, 5_000)


@scenario(heavy=True, bar=5)
def pause_resume_cancel_of_a_large_batch(arena: Arena) -> float:
    return _pause_resume_cancel(arena, LARGE)


@scenario(short=True)
def an_upload_broken_off_and_sent_again(arena: Arena) -> None:
    _upload_twice(arena, 5_000)


@scenario(heavy=True)
def a_large_upload_broken_off_and_sent_again(arena: Arena) -> None:
    _upload_twice(arena, LARGE)


@scenario()
def api_killed_while_it_takes_an_upload_in(arena: Arena) -> None:
    """Between the rows and their commit: nothing is there; the retry makes all of it, once."""
    lines = [f"http://u{n}-{arena.rng.randrange(16**6):06x}.chaos.example/" for n in range(2_000)]
    key = f"upload-{arena.rng.randrange(16**8):08x}"
    with arena.barriers.armed("copied", by="gunicorn"):
        asking = during(lambda: _upload(arena, lines, key))
        arena.barriers.wait().kill()
        asking.join(PATIENCE)
    until(arena.answers, what="the API is back")
    _taken_once(arena, lines, key)
    arena.settled(exact=False)


@scenario()
def one_key_sent_by_many_at_once(arena: Arena) -> None:
    host = arena.new_hosts(1)[0]
    answers: list[requests.Response | None] = []
    threads = [during(lambda: answers.append(_post_scan(arena, host, f"many-{host}"))) for _ in range(12)]
    for thread in threads:
        thread.join(PATIENCE)
    ids = {a.json()["id"] for a in answers if a is not None and a.status_code == 202}
    assert len(ids) == 1
    assert {a.status_code for a in answers if a is not None} <= {202, 409}
    arena.observer.accepted.jobs |= ids
    arena.settled()
    assert arena.ask("SELECT count(*) FROM jobs j JOIN domains d ON d.id = j.domain_id WHERE host = %s", host) == [(1,)]


# The whole platform


@scenario(environment=UNHURRIED)
def the_platform_stops_and_starts(arena: Arena) -> None:
    """SIGTERM to `manage.py up` under load: what was begun goes on where it was, and nothing counts as lost."""
    batch_id = arena.submit(arena.new_hosts(60))
    time.sleep(arena.rng.uniform(0.2, 2.0))
    arena.stack.restart()
    arena.settled()
    assert arena.ask("SELECT count(*) FROM jobs WHERE batch_id = %s AND lost > 0", batch_id) == [(0,)]


@scenario()
def the_platform_is_killed_and_starts(arena: Arena) -> None:
    """SIGKILL to it; its servers and processes go with it."""
    arena.submit(arena.new_hosts(60))
    time.sleep(arena.rng.uniform(0.2, 2.0))
    arena.stack.restart(signal.SIGKILL)
    arena.settled()


@scenario(environment={"PYTHONPATH": CLOCKS, "CHAOS_CLOCKS": "scans-1:3600,scans-2:-3600,single:-3600"})
def clocks_an_hour_apart(arena: Arena) -> float:
    """One worker's clock is an hour ahead, others' an hour behind; one dies, the broker forgets.

    It is the wall clock as all Python in those processes sees it (`clocks/sitecustomize.py` tells which, and what it
    leaves). PostgreSQL, the broker, the API and the sites go by the right time.
    """
    assert _hours_ahead(arena) == {"scans-1": 1, "scans-2": -1, "single": -1, "quarantine": 0}
    arena.gated(24, inside=SLOTS)
    pid = arena.rng.choice(arena.workers())
    since = time.time()
    kill([pid])
    with arena.broker() as client:
        client.flushall()
    arena.sites.gate.set()
    arena.single(arena.new_hosts(1)[0])
    arena.settled()
    return arena.recovery(arena.left_by([pid]), since)


@scenario(heavy=True)
def an_old_snapshot_held_open(arena: Arena) -> None:
    """Nothing that dies can be cleared away, while rows are updated 300,000 times. All the while, and behind it all,
    small batches of another tenant start and end, and the API answers, as on any day."""
    lines = [f"http://o{n}-{arena.rng.randrange(16**6):06x}.chaos.example/" for n in range(3_000)]
    updated: list[int] = []
    with arena.db() as holder:
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM jobs")
        waiting = _upload(arena, lines, None).json()["id"]
        arena.accept(waiting, len(lines))
        arena.stack.call("POST", f"/batches/{waiting}/pause")
        token = arena.another_tenant()
        updating = during(lambda: _update_jobs(arena, waiting, updated, times=100))
        waited = [_seconds_to_start(arena, token, hosts=5)]
        while updating.is_alive():
            waited.append(_seconds_to_start(arena, token, hosts=5))
        waited.append(_seconds_to_start(arena, token, hosts=60))
        arena.stack.call("POST", f"/batches/{waiting}/cancel")
        arena.settled()
        holder.execute("ROLLBACK")
    arena.observer.note("behind an old snapshot", seconds=waited, slowest=arena.observer.slowest)
    assert sum(updated) == 100 * len(lines)
    assert max(waited) <= START_SECONDS, waited
    assert arena.observer.slowest <= ANSWER_SECONDS, arena.observer.slowest


@scenario()
def reconcile_has_nothing_to_tell_at_rest(arena: Arena) -> None:
    arena.submit(arena.new_hosts(40))
    kill([arena.rng.choice(arena.workers())])
    arena.settled()
    until(lambda: len(arena.workers()) == PROCESSES, what="all workers are there")
    with arena.stack.beside("reconcile") as told:
        assert told.wait(timeout=PATIENCE) == 0


@scenario(environment={SMALL_DISK: "400"})
def the_databases_disk_is_full(arena: Arena) -> None:
    """Full under load, until there is room again."""
    arena.submit(arena.new_hosts(40))
    disk = arena.var / "postgres"
    ballast = disk / "ballast"
    room = os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - (1 << 20))
    log = arena.var / "logs" / "postgres.log"
    _post_batch(arena, 40)
    until(lambda: (_post_batch(arena, 10), b"No space left" in log.read_bytes())[1], what="the disk is full")
    time.sleep(arena.rng.uniform(5, 10))  # the fault's own time
    ballast.unlink()
    arena.database_back()
    until(arena.answers, what="the API is back")
    arena.submit(arena.new_hosts(5))
    arena.settled()


# Poison


@scenario(heavy=True)
def a_job_that_exits_its_process(arena: Arena) -> None:
    poisoned(arena, "exit")


@scenario(heavy=True)
def a_job_that_eats_memory(arena: Arena) -> None:
    poisoned(arena, "memory")


@scenario(heavy=True)
def a_job_that_never_returns(arena: Arena) -> None:
    poisoned(arena, "spin")


@scenario(heavy=True)
def a_job_that_blocks_every_thread(arena: Arena) -> None:
    poisoned(arena, "block")


# How it is done


LARGE = int(os.environ.get("CHAOS_LARGE", "100000"))  # lines


def poisoned(arena: Arena, poison: str) -> None:
    """One job of a batch ends the process that works on it, each time. It fails; nobody else does."""
    hosts = arena.new_hosts(30)
    victim = arena.rng.choice(hosts)
    arena.hosts.remove(victim)

    def order(arrival) -> str:
        [(host,)] = arena.ask(
            "SELECT host FROM jobs j JOIN domains d ON d.id = j.domain_id WHERE j.id = %s", arrival.job
        )
        return poison if host == victim else "go"

    with arena.barriers.answering("scanning", order):
        batch_id = arena.submit(hosts)
        arena.settled(seconds=600)
    ends = arena.ask(
        "SELECT host, j.status, error_code FROM jobs j JOIN domains d ON d.id = j.domain_id WHERE batch_id = %s",
        batch_id,
    )
    assert [row for row in ends if row[1] != "complete"] == [(victim, "failed", "worker_lost")]
    arena.hosts.append(victim)
    arena.stack.call("POST", f"/batches/{batch_id}/retry")  # cured
    arena.settled()
    assert arena.stack.call("GET", f"/batches/{batch_id}")["status"] == "complete"


def _hours_ahead(arena: Arena) -> dict[str, int]:
    """What each worker process, by name, takes the time for, by the log that it writes."""
    told = re.findall(r"(\S+Z) info +worker ready worker=(\S+)@", arena.stack.said())
    return {name: round((datetime.fromisoformat(at).timestamp() - time.time()) / 3600) for at, name in told}


def _post_batch(arena: Arena, size: int) -> None:
    """Maybe it is taken, maybe not; if it is, it counts."""
    hosts = arena.new_hosts(size)
    try:
        answer = requests.post(
            f"{arena.stack.url}/api/v2/batches", json={"domains": [f"http://{host}/" for host in hosts]},
            headers={"Authorization": f"Bearer {arena.stack.token}"}, timeout=PATIENCE,
        )  # fmt: skip
    except requests.RequestException:
        arena.hosts = [host for host in arena.hosts if host not in hosts]
        return
    if answer.status_code == 202:
        arena.accept(answer.json()["id"], size)
    else:
        assert answer.status_code == 503, answer.text
        arena.hosts = [host for host in arena.hosts if host not in hosts]


def kill(pids) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def killed_at(arena: Arena, point: str, *, hosts: list[str] | None = None) -> float:
    """A worker process dies at `point`, with whatever its other threads had in hand."""
    with arena.barriers.armed(point):
        arena.submit(hosts if hosts is not None else arena.new_hosts(16))
        arrival = arena.barriers.wait()
        since = time.time()
        arrival.kill()
    arena.settled()
    return arena.recovery(arena.left_by([arrival.pid]), since)


def _freeze(arena: Arena, pid: int) -> AbstractContextManager[None]:
    """The process and its supervisor stand still from now on; the supervisor until the block ends."""
    unattended = ExitStack()
    unattended.enter_context(arena.unattended())
    os.kill(pid, signal.SIGSTOP)
    return unattended


def _taken_from(arena: Arena, pid: int, jobs: Iterable[str]) -> bool:
    """Whether each of `jobs` is in somebody else's hands by now, or at its end."""
    rows = arena.ask("SELECT status, worker FROM jobs WHERE id = ANY(%s::uuid[])", list(jobs))
    return not any(worker.endswith(f":{pid}") for status, worker in rows if status in ("running", "pending"))


def _post_scan(arena: Arena, host: str, key: str) -> requests.Response | None:
    try:
        return requests.post(
            f"{arena.stack.url}/api/v2/scans",
            json={"domain": f"http://{host}/"},
            headers={"Authorization": f"Bearer {arena.stack.token}", "Idempotency-Key": key},
            timeout=PATIENCE,
        )
    except requests.RequestException:
        return None


def _again(arena: Arena, queue: RedisTaskQueue, sent: set[tuple[str, int]]) -> bool:
    """Each dispatch's message twice more, and those of the dispatch before it and one that never was."""
    for tenant, job, number, limit in arena.ask(
        "SELECT tenant_id, id, dispatch_no, extract(epoch FROM coalesce(dispatch_until, now()))::float8 FROM jobs "
        "WHERE status IN ('queued', 'running')"
    ):
        if (job, number) not in sent:
            sent.add((job, number))
            queue.publish(
                "scans",
                [
                    ScanMessage(
                        tenant_id=tenant, job_id=job, dispatch_no=no, until=limit, domain="again", batch_id=None
                    )
                    for no in (number, number, number - 1, number + 1)
                ],
            )
    return arena._at_rest()


def _api_answers_meanwhile(arena: Arena, *, seconds: float) -> None:
    """Reading and submitting go on, and nobody waits for a broker that says nothing until it speaks again."""
    enough = time.monotonic() + seconds
    slowest = 0.0
    while time.monotonic() < enough:
        host = arena.new_hosts(1)[0]
        began = time.monotonic()
        arena.single(host)
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(1)
    arena.observer.note("submitting meanwhile", slowest=slowest)
    assert max(slowest, arena.observer.slowest) <= API_SECONDS, (slowest, arena.observer.slowest)


# Of a request's questions to a broker that says nothing the queue's may take the 5 s that are promised; the count of
# requests waits 1 s for a connection and 1 s for an answer, each of two caches 0.25 s for either: 8 s, if no request
# before it had found out. The rest of a request, 0.02 s at rest, has 4 s on a machine that is busy with other things.
API_SECONDS = 12.0


def _update_jobs(arena: Arena, batch_id: str, updated: list[int], *, times: int) -> None:
    with arena.db() as db:
        for _ in range(times):
            updated.append(db.execute("UPDATE jobs SET updated_at = now() WHERE batch_id = %s", [batch_id]).rowcount)


def _seconds_to_start(arena: Arena, token: str, *, hosts: int) -> float:
    """How long the owner of `token` waits for the first job of a batch to be worked on. It has ended then."""
    domains = [f"http://{host}/" for host in arena.new_hosts(hosts)]
    since = time.time()
    mine = {"Authorization": f"Bearer {token}"}
    batch_id = arena.stack.call("POST", "/batches", json={"domains": domains}, headers=mine)["id"]
    arena.accept(batch_id, hosts, token)
    path = f"/batches/{batch_id}"
    until(lambda: arena.stack.call("GET", path, headers=mine)["status"] == "complete", what="the small batch ends")
    [(at,)] = arena.ask(
        "SELECT extract(epoch FROM min(m.at))::float8 FROM jobs j JOIN chaos.moves m ON m.job_id = j.id "
        "WHERE j.batch_id = %s AND m.new_status = 'running'",
        batch_id,
    )
    return at - since


# At rest half a second and a twentieth of one; the rest is for a machine that is busy with other things.
START_SECONDS, ANSWER_SECONDS = 15.0, 5.0


def _pause_resume_cancel(arena: Arena, size: int) -> float:
    """Answers the seconds until the slower of pause and cancel had taken effect: nothing of the batch is started."""
    lines = [f"http://p{n}-{arena.rng.randrange(16**6):06x}.chaos.example/" for n in range(size)]
    answer = _upload(arena, lines, None)
    assert answer is not None
    assert answer.status_code == 202, answer.text
    batch_id = answer.json()["id"]
    arena.accept(batch_id, size)
    path = f"/batches/{batch_id}"
    until(lambda: _count(arena, batch_id, "complete") > 5, what="it is being worked on")
    asked = time.monotonic()
    assert arena.stack.call("POST", f"{path}/pause")["status"] == "paused"
    until(lambda: not _count(arena, batch_id, "queued", "running"), what="nothing of it is worked on")
    paused = time.monotonic() - asked
    before = _claims(arena, batch_id)
    time.sleep(1.5)  # three rounds of upkeep in which nothing may happen
    assert _claims(arena, batch_id) == before
    assert arena.stack.call("POST", f"{path}/resume")["status"] == "running"
    done = _count(arena, batch_id, "complete")
    until(lambda: _count(arena, batch_id, "complete") > done, what="it goes on")
    asked = time.monotonic()
    arena.stack.call("POST", f"{path}/cancel")
    until(lambda: not _count(arena, batch_id, "queued", "running"), what="nothing of it is worked on")
    cancelled = time.monotonic() - asked
    arena.settled(seconds=1_200, exact=False)
    counts = arena.stack.call("GET", path)["counts"]
    assert counts["cancelled"] + counts["complete"] == size, counts
    return max(paused, cancelled)


def _count(arena: Arena, batch_id: str, *statuses: str) -> int:
    counts = arena.stack.call("GET", f"/batches/{batch_id}")["counts"]
    return sum(counts[status] for status in statuses)


def _claims(arena: Arena, batch_id: str) -> int:
    return arena.ask("SELECT sum(dispatch_no) FROM jobs WHERE batch_id = %s", batch_id)[0][0]


def _upload(arena: Arena, lines: list[str], key: str | None, *, break_off: int | None = None):
    """Send a list as text, line by line; `break_off` hangs up after so many."""

    def body():
        for number, line in enumerate(lines):
            if number == break_off:
                raise ConnectionAbortedError
            yield f"{line}\n".encode()

    headers = {"Authorization": f"Bearer {arena.stack.token}", "Content-Type": "text/plain"}
    if key is not None:
        headers["Idempotency-Key"] = key
    try:
        return requests.post(f"{arena.stack.url}/api/v2/batches", data=body(), headers=headers, timeout=1_200)
    except (requests.RequestException, ConnectionAbortedError):
        return None


def _upload_twice(arena: Arena, size: int) -> None:
    tag = f"{arena.rng.randrange(16**6):06x}"
    lines = [f"http://u{n}-{tag}.chaos.example/" for n in range(size)]
    key = f"upload-{tag}"
    assert _upload(arena, lines, key, break_off=arena.rng.randrange(1, size)) is None
    _taken_once(arena, lines, key)
    arena.settled(seconds=1_200, exact=False)


def _taken_once(arena: Arena, lines: list[str], key: str) -> None:
    """Sent until it is answered, and once more: one batch of all the lines. Then it is cancelled, to spare the time."""
    answers = []

    def taken() -> bool:
        answer = _upload(arena, lines, key)
        if answer is not None and answer.status_code == 202:
            answers.append(answer)
        elif answer is not None:
            assert answer.status_code in (409, 503), answer.text
        return len(answers) == 2

    until(taken, seconds=1_200, what="the upload is taken")
    first, second = (answer.json()["id"] for answer in answers)
    assert first == second
    arena.accept(first, len(lines))
    tag = lines[0].split("-")[-1].split(".")[0]
    [(found,)] = arena.ask("SELECT count(*) FROM jobs WHERE batch_id = %s", first)
    assert found == len(lines), (tag, found)
    arena.stack.call("POST", f"/batches/{first}/cancel")
