"""A process of its own that reads what it is told to, as a worker would: fetched, parsed, thrown away.

Lines of JSON in: `url`, `purpose`. Lines of JSON out: `outcome` (the code of a failure, else the status), `cpu` seconds,
and `peak`, the most memory the process ever held, in bytes.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from app import settings as configuration
from app.errors import FetchError
from app.fetching import client
from app.fetching.control import Control
from app.fetching.ledger import LocalLedger
from app.scanning import page, robots, sitemap
from app.scanning.values import Limits, Purpose, Request, Response

LIMITS = Limits()
CAPS = {"robots": LIMITS.robots_bytes, "sitemap": LIMITS.sitemap_bytes, "page": LIMITS.page_bytes}


def consume(response: Response, purpose: Purpose) -> None:
    if purpose == "sitemap":
        for _ in sitemap.parse(response.body.chunks(), url=response.url, limits=LIMITS, truncated=response.truncated):
            pass
        return
    data = b"".join(response.body.chunks())
    if purpose == "robots":
        robots.parse(data, url=response.url, limits=LIMITS).allowed("http://www.example.com/" + "a" * 2_000, "bot")
    else:
        page.read(
            data, url=response.url, final_url=response.url, http_status=response.status, headers=response.headers,
            country=None, limits=LIMITS, truncated=response.truncated,
        )  # fmt: skip


def main() -> None:
    transport = client.build(configuration.load(), ledger=LocalLedger())
    for line in sys.stdin:
        told = json.loads(line)
        # a control of its own each time, and a name: one host that fails often would be left alone
        fetcher = transport.fetcher(host=told["host"], control=Control(), concurrency=1)
        started = time.process_time()
        request = Request(url=told["url"], purpose=told["purpose"], max_bytes=CAPS[told["purpose"]])
        try:
            with fetcher.fetch(request) as response:
                consume(response, told["purpose"])
                outcome = str(response.status)
        except FetchError as error:
            outcome = error.code
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"outcome": outcome, "cpu": time.process_time() - started, "peak": peak}), flush=True)


if __name__ == "__main__":
    main()
