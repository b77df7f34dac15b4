"""The numbers of worker processes: kept over kill -9, summed over processes, told to whoever may ask."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from app.stack.meters import DIRECTORY, VARIABLE, directory, listening

ROOT = Path(__file__).resolve().parents[2]
COUNT = """
import sys
from workers.meters import Meters
meters = Meters(sys.argv[1])
for _ in range(int(sys.argv[2])):
    meters.ended("complete", "no_sitemap")
    meters.fetched(0.3, None)
meters.held.inc()
print("counted", flush=True)
sys.stdin.read()
"""


def count(home: Path, name: str, times: int) -> subprocess.Popen[str]:
    """A process that has counted, and lives until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", COUNT, name, str(times)],
        cwd=ROOT,
        env={**os.environ, VARIABLE: str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def told(home: Path, name: str, **headers: str) -> float:
    with listening("127.0.0.1", 0, home, token=None) as port:
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10, headers=headers).text
    [found] = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found)


ATTEMPTS = 'scrapersky_attempts_total{end="complete",reason="no_sitemap"}'


def test_processes_add_up_and_a_kill_loses_nothing(tmp_path):
    home = directory(tmp_path)
    first, second = count(home, "scans-1", 3), count(home, "scans-2", 4)
    assert told(home, ATTEMPTS) == 7
    kill(first)
    assert told(home, ATTEMPTS) == 7
    first = count(home, "scans-1", 2)
    assert told(home, ATTEMPTS) == 9
    assert told(home, 'scrapersky_fetch_seconds_bucket{le="0.25",result="answered"}') == 0
    assert told(home, 'scrapersky_fetch_seconds_bucket{le="0.5",result="answered"}') == 9
    kill(first)
    kill(second)


def test_what_a_killed_process_held_its_successor_does_not(tmp_path):
    home = directory(tmp_path)
    kill(count(home, "scans-1", 0))
    process = count(home, "scans-1", 0)
    assert told(home, "scrapersky_jobs_held") == 1
    kill(process)


def test_a_supervisor_begins_anew_and_clears_away_those_that_are_gone(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (str(gone.pid), str(os.getppid()), "somebody"):
        (tmp_path / DIRECTORY / name).mkdir(parents=True)
        (tmp_path / DIRECTORY / name / "counter_scans-1.db").write_bytes(b"")
    home = directory(tmp_path)
    assert home.stat().st_mode & 0o077 == 0
    assert {path.name for path in home.parent.iterdir()} == {str(os.getpid()), str(os.getppid())}
    (home / "counter_scans-1.db").write_bytes(b"")  # made and not yet written
    with listening("127.0.0.1", 0, home, token=None) as port:
        assert requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text == ""
    assert list(directory(tmp_path).iterdir()) == []


@pytest.mark.parametrize(
    ("path", "token", "status"), [("/metrics", "m3trics", 200), ("/metrics", "wrong", 401), ("/", "m3trics", 404)]
)
def test_who_may_ask_what(tmp_path, path, token, status):
    with listening("127.0.0.1", 0, tmp_path, token="m3trics") as port:
        headers = {"Authorization": f"Bearer {token}"}
        assert requests.get(f"http://127.0.0.1:{port}{path}", timeout=10, headers=headers).status_code == status
