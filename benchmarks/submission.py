"""How long `POST /api/v2/batches` takes for uploads of several sizes, and what it costs the API in memory.

    python -m benchmarks.submission --lines 1000 100000 1000000

The domains do not resolve to anything the workers could reach, and the batch is cancelled at once: only the submission
is measured. The baseline is PostgreSQL itself reading the same lines by COPY into a table without keys.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import psycopg

from benchmarks.streaming import resident
from tests.running import Stack, descendants, running


@dataclass(frozen=True)
class Measured:
    """Times in seconds (medians of the runs), memory in MiB."""

    lines: int
    runs: int
    submit: float
    copy: float
    times_copy: float
    api_growth_mib: float


def measure(stack: Stack, url: str, lines: int, runs: int) -> Measured:
    api = api_worker(stack)
    before = resident(api, "VmRSS")
    submits, copies = [], []
    for _ in range(runs):
        body = upload(lines)
        started = time.monotonic()
        batch = stack.call("POST", "/batches", data=body, headers={"Content-Type": "text/plain"})
        submits.append(time.monotonic() - started)
        if batch["counts"]["total"] != lines:
            raise SystemExit(f"{batch['counts']['total']} jobs of {lines} lines")
        stack.call("POST", f"/batches/{batch['id']}/cancel")
        stack.ended(batch["id"], seconds=600)
        copies.append(copied(url, body))
    submit, copy = statistics.median(submits), statistics.median(copies)
    return Measured(lines, runs, submit, copy, submit / copy, resident(api, "VmHWM") - before)


def upload(lines: int) -> bytes:
    tag = uuid4().hex[:8]
    return b"".join(f"d{n}-{tag}.example\n".encode() for n in range(lines))


def copied(url: str, body: bytes) -> float:
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE baseline (host text)")
        started = time.monotonic()
        with cursor.copy("COPY baseline FROM STDIN") as copy:
            copy.write(body)
        return time.monotonic() - started


def api_worker(stack: Stack) -> int:
    """The gunicorn process that answers: the youngest of its line."""
    return max(pid for pid in descendants(stack.process.pid) if b"gunicorn" in command(pid))


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:  # a short-lived helper's
        return b""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        # Slow upkeep: what is dispatched meanwhile would blur the figures.
        with running(Path(directory), SCRAPERSKY_UPKEEP_SECONDS="5") as stack:
            state = json.loads((Path(directory) / "var" / "stack.json").read_text())
            url = state["environment"]["SCRAPERSKY_DATABASE_URL"].replace("+psycopg", "")
            for lines in arguments.lines:
                print(json.dumps(asdict(measure(stack, url, lines, arguments.runs)), indent=2))


if __name__ == "__main__":
    main()
