"""Fixtures for tests that fetch for real, from servers on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.fetching import client
from app.fetching.client import SiteFetcher, Transport
from app.fetching.control import Control
from app.fetching.ledger import LocalLedger
from app.settings import Settings
from tests.hostile import HostileServer


@pytest.fixture
def transports() -> Iterator[list[Transport]]:
    made: list[Transport] = []
    yield made
    for transport in made:
        transport.close()


@pytest.fixture
def fetcher_for(transports: list[Transport]) -> Callable[..., SiteFetcher]:
    """Make a fetcher whose requests to port 80 of any name go to `server` (and 443 to `tls`)."""

    def make(
        server: HostileServer | None = None,
        *,
        tls: HostileServer | None = None,
        ledger: Any = None,
        control: Control | None = None,
        crawl_delay: float | None = None,
        resolve: Any = None,
        connect: Any = None,
        **settings: Any,
    ) -> SiteFetcher:
        rules = [f"*:80:127.0.0.1:{server.port}"] if server else []
        rules += [f"*:443:127.0.0.1:{tls.port}"] if tls else []
        values = {"connect_to": ",".join(rules), "request_timeout": 2.0, "connect_timeout": 1.0, "dns_timeout": 0.5}
        transport = client.build(
            Settings(_env_file=None, **{**values, **settings}),  # type: ignore[call-arg]
            ledger=ledger or LocalLedger(),
            **({"resolve": resolve} if resolve else {}),
            **({"connect": connect} if connect else {}),
        )
        transports.append(transport)
        return transport.fetcher(
            host="www.example.com", control=control or Control(), concurrency=4, crawl_delay=crawl_delay
        )

    return make
