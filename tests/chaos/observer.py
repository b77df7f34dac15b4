"""Watches from outside: its own connection to PostgreSQL as superuser, its own requests to the API, the broker, the sites.

What it sees goes into an append-only log; what must never be seen is a violation, and is kept.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis
import requests
from psycopg.rows import dict_row

POLL_SECONDS = 0.25
BROKER_BYTES = 16 << 20  # above idle
COUNTED_BY_HAND = 50_000  # jobs; beyond that GROUP BY is for the end
OPEN = ("pending", "queued", "running")

LEGAL = {
    ("pending", "queued"), ("queued", "running"), ("queued", "pending"), ("running", "pending"),
    ("running", "complete"), ("running", "failed"),
    ("pending", "cancelled"), ("queued", "cancelled"), ("running", "cancelled"),
    ("failed", "pending"), ("cancelled", "pending"),
}  # fmt: skip

_COUNTS = """
    SELECT b.id::text, b.status, b.total,
           (SELECT coalesce(jsonb_object_agg(status, n), '{}') FROM (
                SELECT status, sum(n) AS n FROM batch_counts c WHERE c.batch_id = b.id
                GROUP BY status HAVING sum(n) <> 0) counted) AS counted,
           CASE WHEN %(by_hand)s THEN (SELECT coalesce(jsonb_object_agg(status, n), '{}') FROM (
                SELECT status, count(*) AS n FROM jobs j WHERE j.tenant_id = b.tenant_id AND j.batch_id = b.id
                GROUP BY status) there) END AS there
    FROM batch_jobs b WHERE b.id = ANY(%(batches)s::uuid[])"""

# Two intervals of one URL in one file that overlap, or more than one that is open.
_OVERLAPS = """
    SELECT count(*) FROM (
        SELECT to_scan, lead(from_scan) OVER (PARTITION BY tenant_id, file_id, url_hash ORDER BY from_scan) AS following
        FROM sitemap_urls) intervals
    WHERE following IS NOT NULL AND (to_scan IS NULL OR to_scan > following)"""

_STANDING = """
    SELECT d.host, f.url, u.url FROM domains d
    JOIN sitemap_files f ON f.tenant_id = d.tenant_id AND f.domain_id = d.id
    JOIN sitemap_urls u ON u.tenant_id = f.tenant_id AND u.file_id = f.id AND u.to_scan IS NULL
    WHERE d.host = ANY(%s)"""


_SCANS = """
    SELECT DISTINCT ON (d.host) d.host, j.status, j.outcome, (j.stats->>'urls')::int,
           (SELECT count(*) FROM page_reads p WHERE p.tenant_id = j.tenant_id AND p.job_id = j.id)
    FROM domains d JOIN jobs j ON j.tenant_id = d.tenant_id AND j.domain_id = d.id
    WHERE d.host = ANY(%s) ORDER BY d.host, j.number DESC"""


@dataclass
class Accepted:
    """Work the API said yes to."""

    batches: dict[str, int] = field(default_factory=dict)  # id → how many jobs it must have
    jobs: set[str] = field(default_factory=set)  # single scans
    tokens: dict[str, str] = field(default_factory=dict)  # of batches that are another tenant's


class Observer:
    def __init__(
        self, *, url: Callable[[], str], database: str, broker: str, log: Path, token: Callable[[], str]
    ) -> None:
        self._url, self._database, self._broker, self._token = url, database, broker, token
        self._log = log.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.accepted = Accepted()
        self.violations: list[str] = []
        self.slowest = 0.0  # answer of the API, seconds
        self.broker_idle = self._broker_memory() or 0
        self.broker_peak = 0
        self._seen = 0  # the newest move that was judged
        self.before = 0  # the newest move before this scenario
        self._strays = 0
        self._connection: psycopg.Connection | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    # What it is told

    def begin(self) -> None:
        """A scenario begins: nothing is left of the one before."""
        self.accepted = Accepted()
        self.violations = []
        self.slowest = 0.0
        self.broker_peak = 0
        self.before = self._seen

    def note(self, what: str, **details: Any) -> None:
        with self._lock:
            self._log.write(json.dumps({"at": time.time(), "what": what, **details}, default=str) + "\n")
            self._log.flush()

    def violated(self, what: str) -> None:
        if what not in self.violations:
            self.violations.append(what)
            self.note("VIOLATION", detail=what)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        self._log.close()

    # What it sees all the time

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            if self.accepted.batches:
                with suppress(psycopg.Error):
                    self._see_counts()
                self._see_answers()
            self._see_broker()

    def _see_counts(self) -> None:
        accepted = dict(self.accepted.batches)
        by_hand = sum(accepted.values()) <= COUNTED_BY_HAND
        for row in self._own().execute(_COUNTS, {"batches": list(accepted), "by_hand": by_hand}).fetchall():
            self.note("counts", **row)
            self.judge_counts(row)

    def judge_counts(self, row: dict[str, Any]) -> None:
        if sum(row["counted"].values()) != row["total"]:
            self.violated(f"counts do not add up to the total: {row}")
        if row["there"] is not None and row["there"] != row["counted"]:
            self.violated(f"counts are not what GROUP BY says: {row}")
        if row["status"] in ("complete", "partial", "failed", "cancelled") and any(row["counted"].get(s) for s in OPEN):
            self.violated(f"a batch has ended with open jobs: {row}")

    def _see_answers(self) -> None:
        accepted = self.accepted  # of one scenario, though the next may begin meanwhile
        for batch_id in list(accepted.batches):
            began = time.monotonic()
            token = accepted.tokens.get(batch_id) or self._token()
            try:
                answer = requests.get(
                    f"{self._url()}/api/v2/batches/{batch_id}",
                    headers={"Authorization": f"Bearer {token}"},
                    timeout=60,
                )
            except requests.RequestException as error:
                self.note("no answer", batch=batch_id, error=type(error).__name__)
                return
            self.slowest = max(self.slowest, time.monotonic() - began)
            if answer.status_code != 200:
                self.note("answer", batch=batch_id, status=answer.status_code)
                if answer.status_code not in (401, 503):
                    self.violated(f"GET /batches answered {answer.status_code}: {answer.text[:300]}")
                return
            counts = dict(answer.json()["counts"])
            self.note("answer", batch=batch_id, seconds=time.monotonic() - began, **counts)
            if counts.pop("total") != sum(counts.values()):
                self.violated(f"the API's counts do not add up: {answer.text[:300]}")

    def _see_broker(self) -> None:
        memory = self._broker_memory()
        if memory is not None:
            self.broker_peak = max(self.broker_peak, memory - self.broker_idle)
            if memory - self.broker_idle > BROKER_BYTES:
                self.violated(f"the broker holds {memory - self.broker_idle} bytes above idle")

    def _broker_memory(self) -> int | None:
        try:
            with redis.Redis.from_url(self._broker, socket_timeout=1, socket_connect_timeout=1) as client:
                return int(client.info("memory")["used_memory"])
        except redis.RedisError:
            return None

    def _own(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._database, autocommit=True, row_factory=dict_row, connect_timeout=3,
                application_name="observer", options="-c statement_timeout=120000",
            )  # fmt: skip
        return self._connection

    # What it judges when a scenario is at rest

    def judge(
        self, db: psycopg.Connection, *, hosts: Sequence[str], expected: set[tuple[str, str, str]] | None
    ) -> None:
        """Everything the invariants say, of all that happened since it last judged."""
        self._judge_accepted(db)
        self._judge_moves(db)
        self._judge_landings(db)
        if stray := db.execute("SELECT relation, operation, told, by_whom FROM chaos.strays WHERE n > %s LIMIT 3", [self._strays]).fetchall():  # fmt: skip
            self.violated(f"results written by somebody who does not hold the job: {stray}")
        self._strays = db.execute("SELECT coalesce(max(n), 0) FROM chaos.strays").fetchone()[0]
        if overlaps := db.execute(_OVERLAPS).fetchone()[0]:
            self.violated(f"{overlaps} URLs stand twice in one file at one time")
        if expected is not None:
            standing = db.execute(_STANDING, [list(hosts)]).fetchall()
            if len(standing) != len(set(standing)):
                self.violated("a URL stands twice in its file")
            if set(standing) != expected:
                lost, more = expected - set(standing), set(standing) - expected
                self.violated(f"{len(lost)} URLs are missing, {len(more)} are too many: {sorted(lost | more)[:3]}")

    def judge_scans(self, db: psycopg.Connection, urls: dict[str, int]) -> None:
        """Host → how many URLs it has: each one's newest job is complete, tells so, and has read the home page."""
        rows = db.execute(_SCANS, [list(urls)]).fetchall()
        wrong = [row for row in rows if row[1:] != ("complete", "sitemaps_found", urls[row[0]], 1)]
        if wrong or len(rows) != len(urls):
            self.violated(f"{len(urls) - len(rows)} hosts without a scan, {len(wrong)} scanned wrong: {wrong[:3]}")

    def _judge_accepted(self, db: psycopg.Connection) -> None:
        for batch_id, total in self.accepted.batches.items():
            found = dict(db.execute("SELECT status, count(*) FROM jobs WHERE batch_id = %s GROUP BY 1", [batch_id]))
            if sum(found.values()) != total:
                self.violated(f"batch {batch_id} has {found}, but {total} domains were accepted")
            if any(found.get(status) for status in OPEN):
                self.violated(f"batch {batch_id} has open jobs at the end: {found}")
        with db.cursor(row_factory=dict_row) as rows:
            accepted = {"batches": list(self.accepted.batches), "by_hand": True}
            for row in rows.execute(_COUNTS, accepted).fetchall():
                self.judge_counts(row)
        ended = dict(db.execute("SELECT id::text, status FROM jobs WHERE id = ANY(%s::uuid[])", [list(self.accepted.jobs)]))  # fmt: skip
        for job in self.accepted.jobs:
            if ended.get(job) not in ("complete", "failed", "cancelled"):
                self.violated(f"single scan {job} is {ended.get(job)} at the end")
        left = db.execute("SELECT status, count(*) FROM jobs WHERE status IN ('queued', 'running') GROUP BY 1").fetchall()  # fmt: skip
        if left:
            self.violated(f"left at the end: {left}")

    def _judge_moves(self, db: psycopg.Connection) -> None:
        """Each job's moves in their order: legal, one claim a dispatch, one end, and only by whoever held it."""
        claimed: set[tuple[str, int]] = set()
        ended: dict[str, str] = {}
        with db.cursor(row_factory=dict_row) as rows:
            rows.execute("SELECT * FROM chaos.moves WHERE n > %s ORDER BY n", [self._seen])
            for move in rows:
                self._seen = move["n"]
                self._judge_move(move, claimed, ended)

    def _judge_move(self, move: dict[str, Any], claimed: set[tuple[str, int]], ended: dict[str, str]) -> None:
        job, old, new = move["job_id"], move["old_status"], move["new_status"]
        if old != new and (old, new) not in LEGAL:
            self.violated(f"no such move: {move}")
        if old == new == "running" and move["old_token"] != move["new_token"]:
            self.violated(f"a running job changed hands: {move}")
        if new == "running" and old != new:
            if (job, move["dispatch_no"]) in claimed:
                self.violated(f"one dispatch, two claims: {move}")
            claimed.add((job, move["dispatch_no"]))
        if new == "complete" and str(move["told"]) != str(move["old_token"]):
            self.violated(f"completed by somebody who did not hold it: {move}")
        if new in ("complete", "failed", "cancelled"):
            if job in ended:
                self.violated(f"ended twice: {move}")
            ended[job] = new
        elif old in ("failed", "cancelled"):  # by its owner's wish
            ended.pop(job, None)

    def _judge_landings(self, db: psycopg.Connection) -> None:
        """A file that a job has read is not read by it again, whoever goes on with the job."""
        twice = db.execute("""
            SELECT job_id::text, file_id, count(*) FROM chaos.landings
            WHERE new_status IN ('read', 'partial', 'unchanged') GROUP BY 1, 2 HAVING count(*) > 1 LIMIT 3""").fetchall()
        if twice:
            self.violated(f"a file landed twice for one job: {twice}")
