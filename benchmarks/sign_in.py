"""How long signing in takes, and whether the time tells an account that exists from one that does not.

The whole request, in this process, with Argon2 as in production: the right password, a wrong one, an address nobody
has, and a disabled account, by turns in an order drawn anew. What is compared is one try with the try of another kind
next to it: a machine's speed drifts.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flask.testing import FlaskClient

from app import log
from app.api.core import KEY
from app.factory import create_app
from app.services.passwords import Passwords
from benchmarks.measuring import p95, ratio
from benchmarks.record import OURS, Result, Table, spread
from benchmarks.runner import Bench
from benchmarks.stack import Platform
from tests.fakes import FakeTaskQueue

PASSWORD = "a word for every door"
RIGHT, WRONG, UNKNOWN, DISABLED = "right password", "wrong password", "unknown address", "disabled account"
Times = dict[str, list[float]]
STATUS = {RIGHT: 200, WRONG: 401, UNKNOWN: 401, DISABLED: 401}


def run(bench: Bench) -> Result:
    log.configure(level="WARNING", style="console")
    with _client(bench.platform) as client:
        kinds = {kind: (f"{name}@bench.example", PASSWORD) for kind, name in _people(bench.platform).items()}
        kinds[WRONG] = (kinds[RIGHT][0], "another word entirely")
        kinds[UNKNOWN] = ("nobody@bench.example", PASSWORD)
        wall, cpu = _tries(client, kinds, bench.size(200, 20))
    hashes = list(_hashed(bench.size(100, 5)))
    rows = {
        f"{OURS}, {kind}": {"time": spread(wall[kind]), "p95": p95(wall[kind]), "cpu": spread(cpu[kind])}
        for kind in STATUS
    }
    bars = {
        "sign_in": p95(hashes),
        "sign_in_unknown": _apart(wall[UNKNOWN], wall[WRONG]),
        "sign_in_disabled": _apart(wall[DISABLED], wall[WRONG]),
    }
    note = f"One Argon2 hash alone: {statistics.median(hashes):.0f} ms, p95 {p95(hashes):.0f} ms."
    title = "`POST /auth/login`, one at a time"
    return Result(
        {"sign_in": Table(title, {"time": "ms", "p95": "p95", "cpu": "CPU ms of the API"}, rows, "time")}, bars, [note]
    )


@contextmanager
def _client(on: Platform) -> Iterator[FlaskClient]:
    """The API in this process, which does not count refusals: the run is nothing but refusals."""
    settings = on.settings.model_copy(update={"login_rate": "1000000/minute", "redis_url": None})
    app = create_app(settings, queue=FakeTaskQueue())
    try:
        yield app.test_client()
    finally:
        app.extensions[KEY].database.close()


def _people(on: Platform) -> dict[str, str]:
    """Two accounts, one of them disabled."""
    made = {RIGHT: "somebody", DISABLED: "gone"}
    stored = Passwords().hash(PASSWORD)
    for name in made.values():
        on.sql(
            "INSERT INTO users (email, password_hash) VALUES (%s, %s) ON CONFLICT (lower(email)) DO NOTHING",
            f"{name}@bench.example",
            stored,
        )
    on.sql(
        "INSERT INTO user_roles (user_id, tenant_id, role_id) SELECT u.id, t.id, r.id FROM users u, tenants t, roles r "
        "WHERE u.email LIKE '%%@bench.example' AND t.name = 'default' AND r.name = 'viewer' AND r.tenant_id IS NULL "
        "ON CONFLICT DO NOTHING"
    )
    on.sql("UPDATE users SET status = 'disabled' WHERE email = 'gone@bench.example'")
    return made


def _tries(client: FlaskClient, kinds: dict[str, tuple[str, str]], turns: int) -> tuple[Times, Times]:
    """Milliseconds by kind, and those of CPU. The first tenth of the turns is not counted."""
    wall: Times = {kind: [] for kind in STATUS}
    cpu: Times = {kind: [] for kind in STATUS}
    for turn in range(turns + turns // 10):
        for kind in random.sample(list(STATUS), len(STATUS)):
            email, password = kinds[kind]
            began, worked = time.perf_counter(), time.process_time()
            answer = client.post("/api/v2/auth/login", json={"email": email, "password": password})
            taken = (time.perf_counter() - began, time.process_time() - worked)
            if answer.status_code != STATUS[kind]:
                raise RuntimeError(f"{kind}: {answer.status_code}")
            if turn >= turns // 10:
                wall[kind].append(taken[0] * 1000)
                cpu[kind].append(taken[1] * 1000)
    return wall, cpu


def _apart(ones: list[float], others: list[float]) -> float:
    """How many times as long the longer of the two takes."""
    found = ratio(ones, others)
    return max(found, 1 / found)


def _hashed(times: int) -> Iterator[float]:
    passwords = Passwords()
    stored = passwords.hash(PASSWORD)
    for _ in range(times):
        began = time.perf_counter()
        passwords.matches(stored, PASSWORD)
        yield (time.perf_counter() - began) * 1000
