"""`manage.py up` for real: ready, watched by Flower, mended, stopped in order with nothing left."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import requests

from app.stack.server import free_port
from tests.running import ROOT, Stack, descendants, running, until
from tests.site_server import SiteServer, serving

pytestmark = pytest.mark.slow
HOSTS = ["one.example", "two.example"]


def answer(host: str, path: str):
    bodies = {"/robots.txt": b"Sitemap: /sitemap.txt\n", "/sitemap.txt": f"https://{host}/a\n".encode(), "/": b"<p>hi"}
    body = bodies.get(path)
    return None if body is None else (200, {"Content-Type": "text/plain"}, body)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteServer]:
    with serving(answer, tmp_path_factory.mktemp("sites"), HOSTS) as server:
        yield server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")


@pytest.fixture(scope="module")
def flower_url() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def stack(home: Path, sites: SiteServer, flower_url: str) -> Iterator[Stack]:
    """Leaving it sends SIGTERM, and asserts exit status 0 and that no descendant is left."""
    more = {"SCRAPERSKY_FLOWER_PORT": flower_url.rpartition(":")[2], "SCRAPERSKY_UPKEEP_SECONDS": "0.3"}
    with running(home, **sites.environment, **more) as started:
        yield started


@pytest.fixture(scope="module")
def flower(home: Path, flower_url: str, stack: Stack) -> Iterator[requests.Session]:
    kept = json.loads((home / "var" / "secrets.json").read_text())
    with requests.Session() as session:
        session.auth = ("admin", kept["flower_password"])
        until(lambda: reached(flower_url), seconds=30, what="Flower listens")
        yield session


def reached(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 401
    except requests.ConnectionError:
        return False


def manage(stack: Stack, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPERSKY_")}
    more = {"SCRAPERSKY_DATA_DIR": str(home / "var"), "SCRAPERSKY_ADMIN_PASSWORD": "an administrator's password"}
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *words],
        cwd=home,
        env={**kept, **more},
        input="one.example\ntwo.example\none.example\n",
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_the_ready_line_is_exact_and_true(stack):
    assert f"ready {stack.url}" in stack.said().splitlines()
    assert requests.get(f"{stack.url}/health/ready", timeout=10).status_code == 200


def test_reconcile_finds_nothing_while_work_goes_on_nor_at_rest(stack: Stack, home: Path):
    batch = stack.submit([f"http://site-{n}.example/" for n in range(150)])
    going = manage(stack, home, "reconcile")
    assert (going.returncode, going.stdout) == (0, ""), going.stdout
    assert stack.ended(batch, seconds=120)["status"] == "complete"
    rest = manage(stack, home, "reconcile", "--json")
    assert (rest.returncode, json.loads(rest.stdout)) == (0, []), rest.stdout


def counted(stack: Stack, series: str) -> float:
    """The sum of a metric's series that begin so."""
    lines = requests.get(f"{stack.url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(series))


def test_workers_count_and_a_killed_one_takes_no_number_along(stack: Stack):
    batch = stack.submit(["one.example", "two.example"])
    stack.ended(batch, seconds=60)
    series = ("scrapersky_attempts_total{", "scrapersky_messages_total{", "scrapersky_fetch_seconds_count{")
    before = [counted(stack, one) for one in series]
    assert before[0] >= 2
    assert counted(stack, "scrapersky_landing_seconds_count") >= 1
    for worker in (killed := stack.workers()):
        os.kill(worker, signal.SIGKILL)
    until(lambda: len(set(stack.workers()) - set(killed)) == len(killed), seconds=30, what="fresh workers")
    assert [counted(stack, one) for one in series] >= before
    stack.ended(stack.submit(["one.example"], options={"force": True}), seconds=120)
    assert counted(stack, series[0]) > before[0]


def test_reconcile_tells_what_differs_and_mends_it(stack: Stack, home: Path):
    batch = stack.submit(["one.example", "two.example"])
    stack.ended(batch, seconds=60)
    servers = json.loads((home / "var" / "stack.json").read_text())["environment"]
    with psycopg.connect(servers["SCRAPERSKY_SYSTEM_DATABASE_URL"].replace("+psycopg", "")) as connection:
        connection.execute("DELETE FROM batch_counts WHERE batch_id = %s", [batch])
    told = manage(stack, home, "reconcile", "--json")
    assert told.returncode == 1
    assert [(one["kind"], one["about"]) for one in json.loads(told.stdout)] == [("counts_wrong", batch)]
    shown = manage(stack, home, "reconcile", "--fix")
    assert shown.returncode == 0, shown.stderr
    assert "counts_wrong" in shown.stdout
    assert shown.stderr == "1 difference, 1 mended\n"
    assert stack.call("GET", f"/batches/{batch}")["counts"]["complete"] == 2
    assert manage(stack, home, "reconcile").stderr == "nothing differs\n"


def test_submit_and_watch_tell_success_by_their_exit_status(stack, home):
    told = manage(stack, home, "submit", "-", "--url", stack.url, "--name", "from a pipe", "-o", "max_pages=0")
    assert told.returncode == 0, told.stderr
    batch = stack.call("GET", f"/batches/{told.stdout.strip()}")
    assert (batch["status"], batch["name"], batch["options"]["max_pages"]) == ("complete", "from a pipe", 0)
    assert "1 repeat one" in told.stderr
    assert "complete: 2 complete, 0 failed of 2" in told.stderr
    again = manage(stack, home, "watch", batch["id"], "--url", stack.url)
    assert again.returncode == 0, again.stderr


def test_submit_speaks_in_the_apis_words(stack, home):
    told = manage(stack, home, "submit", "-", "--url", stack.url, "-o", "max_sausages=3")
    assert told.returncode == 1
    assert "max_sausages" in told.stderr
    assert told.stderr.count("\n") == 1
    told = manage(stack, home, "watch", "01993e0c-8a3b-7d29-b8f4-3f2a54c8d1e6", "--url", stack.url)
    assert told.returncode == 1
    assert told.stderr.startswith("error: ")


def key_of(stack: Stack) -> str:
    head = stack.token.split(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])


def test_keys_are_rotated_under_a_running_api(stack: Stack, home: Path):
    old = stack.token, key_of(stack)
    told = manage(stack, home, "rotate-keys")
    assert told.returncode == 0, told.stderr
    fresh = told.stdout.strip()

    def signs() -> bool:
        stack.sign_in()
        return key_of(stack) == fresh

    until(signs, seconds=20, what="tokens are signed with the new key")
    assert requests.get(f"{stack.url}/api/v2/auth/me", headers=bearer(old[0]), timeout=10).status_code == 200
    assert manage(stack, home, "rotate-keys", "--revoke").returncode == 0
    until(
        lambda: requests.get(f"{stack.url}/api/v2/auth/me", headers=bearer(old[0]), timeout=10).status_code == 401,
        seconds=20,
        what="the old key counts no longer",
    )
    stack.sign_in()
    assert key_of(stack) not in {old[1], fresh}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", ["/", "/tasks", "/workers", "/broker", "/api/tasks", "/api/workers"])
def test_flower_lets_nobody_in_without_the_password(flower, flower_url, path):
    assert requests.get(f"{flower_url}{path}", timeout=10).status_code == 401
    assert requests.get(f"{flower_url}{path}", auth=("admin", "admin"), timeout=10).status_code == 401


def test_flower_finds_a_job_by_its_id_with_domain_batch_and_tenant(stack, flower, flower_url):
    batch_id = stack.submit(HOSTS)
    stack.ended(batch_id, seconds=60)
    tenant = stack.call("GET", "/auth/me")["tenant"]["id"]
    for job in stack.items(f"/batches/{batch_id}/jobs"):
        url = f"{flower_url}/api/task/info/{job['id']}"
        until(lambda url=url: is_shown(flower, url), seconds=20, what="Flower hears of the job")
        label = flower.get(url, timeout=10).json()["args"]
        assert label.startswith(f"domain={job['domain']['name']} batch={batch_id} tenant={tenant} dispatch=")
        page = flower.get(f"{flower_url}/task/{job['id']}", timeout=10)
        assert page.status_code == 200
        assert job["domain"]["name"] in page.text


def test_flower_shows_a_failed_attempt_as_failed_and_why(stack, flower, flower_url):
    batch_id = stack.submit(["http://10.0.0.1/"])
    assert stack.ended(batch_id, seconds=60)["status"] == "failed"
    (job,) = stack.items(f"/batches/{batch_id}/jobs")
    url = f"{flower_url}/api/task/info/{job['id']}"
    until(lambda: is_shown(flower, url, "FAILURE"), seconds=20, what="Flower hears of the failure")
    assert job["error"]["code"] in flower.get(url, timeout=10).json()["exception"]
    assert "Traceback" not in stack.said()


def is_shown(flower: requests.Session, url: str, state: str = "SUCCESS") -> bool:
    found = flower.get(url, timeout=10)
    return found.status_code == 200 and found.json()["state"] == state


def test_flower_may_look_and_not_touch(stack, flower, flower_url):
    for path in ("/api/task/send-task/scrapersky.scan", "/api/task/revoke/some-id", "/api/worker/shutdown/scans-1"):
        assert flower.post(f"{flower_url}{path}", json={"args": []}, timeout=10).status_code == 403, path
    assert stack.process.poll() is None


def test_flower_is_found_and_its_password_is_told_by_place_only(stack, home):
    kept = json.loads((home / "var" / "secrets.json").read_text())
    assert f"user admin, password in {home / 'var' / 'secrets.json'}" in stack.said()
    assert kept["flower_password"] not in stack.said()
    for pid in descendants(stack.process.pid):
        assert kept["flower_password"].encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_second_stack_on_the_same_data_is_refused(stack, home):
    told = manage(stack, home, "up")
    assert told.returncode == 1
    assert "error: " in told.stderr
    assert stack.process.poll() is None


def test_a_killed_worker_comes_back_and_work_goes_on(stack):
    before = stack.workers()
    os.kill(before[0], signal.SIGKILL)
    until(
        lambda: before[0] not in stack.workers() and len(stack.workers()) == len(before),
        seconds=30,
        what="a new worker",
    )
    assert stack.ended(stack.submit(HOSTS), seconds=90)["status"] == "complete"


def test_a_killed_database_comes_back_and_work_goes_on(stack, home):
    pid = int((home / "var" / "postgres" / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
    os.kill(pid, signal.SIGKILL)
    ready = f"{stack.url}/health/ready"
    until(lambda: requests.get(ready, timeout=10).status_code == 503, seconds=30, what="the API notices")
    until(lambda: requests.get(ready, timeout=10).status_code == 200, seconds=60, what="ready again")
    assert stack.ended(stack.submit(HOSTS), seconds=90)["status"] == "complete"


def test_ctrl_c_stops_api_workers_flower_and_servers_in_this_order(tmp_path):
    """What `stack` shows of SIGTERM, for SIGINT; and the order, by when each has gone."""
    more = {"SCRAPERSKY_FLOWER_PORT": str(free_port()), "SCRAPERSKY_WORKER_PROCESSES": "1"}
    with running(tmp_path, **more) as started:
        parts = {name: pids_of(started, word) for name, word in WORDS.items()}
        assert all(parts.values()), parts
        started.process.send_signal(signal.SIGINT)
        order = order_of_ends(parts)
        assert started.process.wait(30) == 0
    assert order == ["api", "workers", "flower", "valkey", "postgres"]


WORDS = {
    "api": b"gunicorn",
    "workers": b"workers.process",
    "flower": b"--app=workers.celery_app",
    "valkey": b"valkey-server",
    "postgres": b"bin/postgres",
}


def pids_of(stack: Stack, word: bytes) -> set[int]:
    return {pid for pid in descendants(stack.process.pid) if word in command(pid)}


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for a zombie
    except OSError:
        return b""


def order_of_ends(parts: dict[str, set[int]]) -> list[str]:
    """Looked at from the back, so that two that went at once come out in the wrong order."""
    left, order = dict(reversed(parts.items())), list[str]()
    deadline = time.monotonic() + 60
    while left:
        assert time.monotonic() < deadline, left
        for name in [name for name, pids in left.items() if not any(map(command, pids))]:
            order.append(name)
            del left[name]
        time.sleep(0.002)
    return order
