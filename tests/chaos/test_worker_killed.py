"""A worker process killed with SIGKILL in the middle of a batch: the batch completes, exactly."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.running import running, until
from tests.site_server import serving

SITES = 24
URLS_PER_FILE = 40
pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(240)]


class Sites:
    """Sites with an index and two children each. The second child of half of them waits at a gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.waiting = threading.Semaphore(0)
        self.inside: set[str] = set()  # hosts whose scan has read the index and waits for a child
        self.hosts = [f"site-{n:02}.example" for n in range(SITES)]

    def __call__(self, host, path):
        if path == "/robots.txt":
            return 200, {}, f"Sitemap: http://{host}/index.xml\n".encode()
        if path == "/index.xml":
            children = "".join(f"<sitemap><loc>http://{host}/{n}.xml</loc></sitemap>" for n in "ab")
            return 200, {}, f"<sitemapindex>{children}</sitemapindex>".encode()
        if path == "/b.xml" and int(host[5:7]) % 2 and not self.gate.is_set():
            self.inside.add(host)
            self.waiting.release()
            self.gate.wait(120)
        if path in ("/a.xml", "/b.xml"):
            # 10 URLs stand in both files: distinct is not the same as listed.
            first = 0 if path == "/a.xml" else URLS_PER_FILE - 10
            urls = "".join(f"<url><loc>http://{host}/{n}</loc></url>" for n in range(first, first + URLS_PER_FILE))
            return 200, {}, f"<urlset>{urls}</urlset>".encode()
        if path == "/":
            return 200, {"Content-Type": "text/html"}, f"<title>{host}</title>".encode()
        return None


def test_kill_9_in_the_middle_of_a_batch_loses_and_doubles_nothing(tmp_path):
    sites = Sites()
    fast = {
        "SCRAPERSKY_LEASE_SECONDS": "4",
        "SCRAPERSKY_WORKER_CONCURRENCY": "8",
        "SCRAPERSKY_UPKEEP_SECONDS": "0.3",
        "SCRAPERSKY_RETRY_BASE_SECONDS": "0.5",
    }
    with (
        serving(sites, tmp_path, sites.hosts, tls_hosts=set(sites.hosts)) as server,
        running(tmp_path, **server.environment, **fast) as stack,
    ):
        batch_id = stack.submit([f"http://{host}/" for host in sites.hosts])
        for _ in range(6):  # scans that are for certain inside a fetch
            assert sites.waiting.acquire(timeout=60)
        held = set(sites.inside)
        killed = [pid for pid in stack.workers() if _reads(pid, "scans")]
        assert len(killed) == 2
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        until(
            lambda: len(set(stack.workers()) - set(killed)) >= 2 and not set(stack.workers()) & set(killed),
            seconds=30,
            what="fresh workers",
        )
        sites.gate.set()
        batch = stack.ended(batch_id, seconds=120)
        assert batch["status"] == "complete"
        assert batch["counts"]["complete"] == batch["counts"]["total"] == SITES
        for job in stack.items(f"/batches/{batch_id}/jobs"):
            listed = [(u["sitemap_url"], u["url"]) for u in stack.items(f"/jobs/{job['id']}/urls")]
            assert len(listed) == len(set(listed)) == 2 * URLS_PER_FILE
            assert len({url for _, url in listed}) == job["stats"]["urls"] == 2 * URLS_PER_FILE - 10
            assert job["attempt"] == 1  # a vanished worker is not the site's fault
            assert job["outcome"] == "sitemaps_found"
            assert [p["title"] for p in stack.items(f"/jobs/{job['id']}/pages")] == [job["domain"]["name"]]
        # The checkpoint held: what a killed attempt had landed was not fetched again.
        for host in held:
            asked = [path for name, path in server.requests if name == host]
            assert asked.count("/index.xml") == 1, asked


def _reads(pid, queue):
    return f"--queue={queue}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
