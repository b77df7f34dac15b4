"""The way out: every request to a site goes through a `SiteFetcher`, made by the process's one `Transport`.

One hop: the guard takes the canonical URL apart → the name is resolved once and every address checked → the ledger
lets it in, by name and by address → a kept connection, or a new one to one of those addresses → head and body under
one deadline and the caps. A redirect starts the next hop from the top; its body is never read.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, NamedTuple

from app.errors import FetchError, InvalidUrl, Postponed, ScanStopped
from app.fetching.body import SpoolBudget
from app.fetching.connection import MAX_ADDRESSES, Connect, Pool, Route, tls_context
from app.fetching.control import Control
from app.fetching.deadline import Lifeline, Watchdog
from app.fetching.exchange import Exchange
from app.fetching.failures import FOREIGN, translate
from app.fetching.guard import Address, Guard, Target, parse_address, unwrapped
from app.fetching.headers import CONDITIONS, asked_pause, body_limit, redirect_reference, request_headers
from app.fetching.ledger import Ledger, Place
from app.fetching.resolver import Resolve, Resolver, system_resolve
from app.scanning.urls import canonical
from app.scanning.values import Request, Response
from app.settings import Settings

MAX_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MAX_PAUSE: Final = 5.0  # seconds of politeness a slot may sleep at a time, and
MAX_WAIT: Final = 10.0  # in all before one request
LONGEST_LOOK: Final = 0.5  # seconds between two questions to the ledger whether a place came free
ADDRESS_SECONDS: Final = 30.0  # that one scan believes one answer of the DNS

# Failures that speak of the host itself, not of its name, its content or of us.
HOST_FAILURES: Final = frozenset(
    {"connect_refused", "connect_timeout", "connect_failed", "reset", "timeout", "bad_response"}
)

Addresses = tuple[Address, ...]
Outcome = Response | FetchError
Fetched = Callable[[float, str | None], object]  # (seconds, code of the failure): told of each hop


class Stats:
    """What a fetcher did so far: requests sent (each hop is one) and bytes received, headers included."""

    def __init__(self) -> None:
        self.requests = 0
        self.wire_bytes = 0
        self._lock = threading.Lock()

    def add(self, wire_bytes: int) -> None:
        with self._lock:
            self.requests += 1
            self.wire_bytes += wire_bytes


class Posted(NamedTuple):
    """All that a caller of `Transport.post` learns of the answer."""

    status: int
    retry_after: float | None


class Transport:
    """What all fetchers of a process share. Thread-safe."""

    def __init__(
        self, settings: Settings, *, ledger: Ledger, resolve: Resolve, connect: Connect, fetched: Fetched
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.fetched = fetched
        self.connect = connect
        self.guard = Guard(
            allowed_networks=settings.allowed_networks,
            allowed_ports=settings.allowed_ports,
            connect_to=settings.connect_to,
        )
        self.resolver = Resolver(resolve=resolve)
        self.budget = SpoolBudget(settings.spool_bytes)
        self.watchdog = Watchdog()
        self.pool = Pool()
        self.tls = tls_context(settings.ca_file)
        self.threads = ThreadPoolExecutor(2 * settings.worker_concurrency + 8, thread_name_prefix="fetch")

    def fetcher(
        self, *, host: str, control: Control, concurrency: int, crawl_delay: float | None = None
    ) -> SiteFetcher:
        """The fetcher of one scan; `host` is the scan's own, to which `crawl_delay` (seconds) applies."""
        return SiteFetcher(self, host=host, control=control, concurrency=concurrency, crawl_delay=crawl_delay)

    def post(self, url: str, *, body: bytes, headers: Mapping[str, str], control: Control, timeout: float) -> Posted:
        """Deliver a webhook: same guard, caps and deadline, but no redirects and nothing of the answer's body.

        :raises FetchError, Aborted: as a fetcher does
        """
        target = self.guard.check_url(canonical_url(url, None, "blocked_url"))
        lifeline = _lifeline(time.monotonic() + timeout, control)
        with self.in_flight(lifeline, control):
            addresses = None if target.rule else self.addresses(target, lifeline, control)
            with self.exchange(target, addresses, lifeline) as exchange:
                exchange.ask("POST", {"User-Agent": self.settings.user_agent, **headers}, body)
                pause = asked_pause(exchange.headers, datetime.now(UTC))
                return Posted(exchange.status, pause)

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.resolver.close()
        self.pool.close()
        self.watchdog.close()

    @contextmanager
    def in_flight(self, lifeline: Lifeline, control: Control) -> Iterator[None]:
        """What happens inside ends at the deadline or by an abort, and fails in our own words."""
        with self.watchdog.watching(lifeline), control.cutting(lambda: lifeline.sever("aborted")):
            try:
                yield
            except (FetchError, *FOREIGN) as error:
                control.check()
                raise FetchError("timeout") if lifeline.cut else translate(error) from error

    def addresses(self, target: Target, lifeline: Lifeline, control: Control) -> Addresses:
        """Resolve a target's name once.

        :raises FetchError: `blocked_address` if any one address is not allowed, `dns_…`
        """
        if target.literal is not None:
            return (target.literal,)
        budget = min(self.settings.dns_timeout, lifeline.remaining())
        addresses = self.resolver.addresses(target.host, timeout=budget, control=control)
        for address in addresses:
            self.guard.check_address(address)
        return addresses

    def exchange(self, target: Target, addresses: Addresses | None, lifeline: Lifeline) -> Exchange:
        """`addresses` None: the target's CONNECT_TO rule says where to connect."""
        port = target.port
        if addresses is None:
            assert target.rule is not None
            addresses, port = (parse_address(target.rule.address),), target.rule.target
        route = Route(addresses, port, self.settings.connect_timeout, self.connect)
        return Exchange(target, route, lifeline, pool=self.pool, tls=self.tls)


def build(
    settings: Settings,
    *,
    ledger: Ledger,
    resolve: Resolve = system_resolve,
    connect: Connect = socket.socket.connect,
    fetched: Fetched = lambda _seconds, _failure: None,
) -> Transport:
    """The transport of this process; `resolve` and `connect` stand in for the system's in tests."""
    return Transport(settings, ledger=ledger, resolve=resolve, connect=connect, fetched=fetched)


class SiteFetcher:
    """The `Fetcher` of one scan."""

    def __init__(
        self, transport: Transport, *, host: str, control: Control, concurrency: int, crawl_delay: float | None
    ) -> None:
        self.stats = Stats()
        self._transport = transport
        self._settings = transport.settings
        self._ledger = transport.ledger
        self._host = _without_www(host)
        self._control = control
        self._concurrency = min(concurrency, self._settings.host_concurrency)
        self._crawl_delay = crawl_delay or 0.0
        self._resolved: dict[str, tuple[float, Addresses]] = {}

    def fetch(self, request: Request) -> Response:
        started, slept = time.monotonic(), 0.0
        trail = [canonical_url(request.url, None, "blocked_url")]
        while True:
            self._control.check()
            target = self._transport.guard.check_url(trail[-1])
            addresses = self._addresses(target, self._lifeline(started + slept))
            places = self._places(target, addresses)
            slept += self._admit(places)
            lifeline = self._lifeline(started + slept)
            with self._holding(places), self._transport.in_flight(lifeline, self._control):
                outcome = self._hop(request, tuple(trail), target, addresses, lifeline)
            if isinstance(outcome, Response):
                return outcome
            if len(trail) > MAX_REDIRECTS:
                raise FetchError("too_many_redirects")
            trail.append(canonical_url(outcome, trail[-1], "bad_redirect"))

    def fetch_all(self, requests: Sequence[Request], *, concurrency: int) -> Iterator[Outcome]:
        """No more than `concurrency` bodies are held ahead of the caller."""
        if concurrency <= 1 or len(requests) <= 1 or self._crawl_delay >= 1.0:
            yield from map(self._outcome, requests)
            return
        ahead: deque[Future[Outcome]] = deque()
        try:
            for request in requests:
                ahead.append(self._transport.threads.submit(self._outcome, request))
                if len(ahead) == concurrency:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            _settle(ahead)

    def set_crawl_delay(self, seconds: float) -> None:
        self._crawl_delay = seconds

    def _outcome(self, request: Request) -> Outcome:
        try:
            return self.fetch(request)
        except FetchError as error:
            return error

    def _hop(
        self,
        request: Request,
        trail: tuple[str, ...],
        target: Target,
        addresses: Addresses | None,
        lifeline: Lifeline,
    ) -> Response | str:
        """The response, or where it sends us."""
        exchange = self._transport.exchange(target, addresses, lifeline)
        try:
            with exchange:
                headers = request_headers(request, self._settings.user_agent)
                exchange.ask("GET", headers)
                if exchange.status == 304 and CONDITIONS.isdisjoint(headers):
                    raise FetchError("bad_response")  # nothing was known that could be unchanged
                if exchange.status in REDIRECTS and "location" in exchange.headers:
                    exchange.skip()
                    self._ledger.succeeded(target.host)
                    return redirect_reference(exchange.headers["location"])
                limit = body_limit(request, exchange.status, exchange.headers)
                body, truncated = exchange.receive(limit=limit, budget=self._transport.budget)
        finally:
            self.stats.add(exchange.wire_bytes)
        self._tell(target.host, exchange)
        return Response(
            requested_url=request.url,
            url=trail[-1],
            status=exchange.status,
            headers=exchange.headers,
            body=body,
            wire_bytes=exchange.wire_bytes,
            redirects=trail[1:],
            truncated=truncated or exchange.status == 206,  # a part that no one asked for
        )

    def _lifeline(self, started: float) -> Lifeline:
        return _lifeline(started + self._settings.request_timeout, self._control)

    def _addresses(self, target: Target, lifeline: Lifeline) -> Addresses | None:
        """Checked addresses are good for some seconds: a scan need not ask for every file again. None: a rule says
        where to connect.
        """
        if target.rule:
            return None
        until, addresses = self._resolved.get(target.host, (0.0, ()))
        if until < time.monotonic():
            addresses = self._transport.addresses(target, lifeline, self._control)
            self._resolved[target.host] = (time.monotonic() + ADDRESS_SECONDS, addresses)
        return addresses

    def _places(self, target: Target, addresses: Addresses | None) -> tuple[Place, ...]:
        """One under the name, and one under each address that may be tried: whoever answers for a name could list an
        address in second place that it wants to be flooded.
        """
        delay = max(self._settings.host_delay, self._crawl_delay if _without_www(target.host) == self._host else 0.0)
        shared = [unwrapped(address) for address in (addresses or ())[:MAX_ADDRESSES]]
        return (
            Place(target.host, self._concurrency, delay),
            *(Place(f"@{a}", self._settings.address_concurrency) for a in shared if not a.is_loopback),
        )

    def _admit(self, places: Sequence[Place]) -> float:
        """Wait for the ledger's yes; returns the seconds waited.

        :raises Postponed: the pause is longer than a slot may sleep
        """
        waited = 0.0
        while pause := self._ledger.enter(places):
            if pause > MAX_PAUSE or waited > MAX_WAIT:
                raise Postponed(seconds=max(pause, MAX_PAUSE))
            pause = max(pause, min(waited / 8, LONGEST_LOOK))
            self._control.wait(pause)
            waited += pause
        return waited

    @contextmanager
    def _holding(self, places: Sequence[Place]) -> Iterator[None]:
        """The places that the ledger gave, given back at the end; tells it of failures of the host."""
        began, failure = time.monotonic(), None
        try:
            yield
        except FetchError as error:
            failure = error.code
            if failure in HOST_FAILURES:
                self._ledger.failed(places[0].key)
            raise
        finally:
            self._ledger.leave(places)
            self._transport.fetched(time.monotonic() - began, failure)

    def _tell(self, host: str, exchange: Exchange) -> None:
        """404 is an answer like any other; 429 and 5xx say that the host is not well."""
        if exchange.status < 500 and exchange.status != 429:
            self._ledger.succeeded(host)
            return
        self._ledger.failed(host)
        if exchange.status in (429, 503):
            pause = asked_pause(exchange.headers, datetime.now(UTC))
            if pause:
                self._ledger.cool_down(host, pause)


def canonical_url(url: str, base: str | None, code: str) -> str:
    """What is sent of a URL: no fragment.

    :raises FetchError: with `code`
    """
    try:  # special-use names are the guard's business: a CONNECT_TO rule may stand for one
        return canonical(url, base=base, allow_special=True).partition("#")[0]
    except InvalidUrl as error:
        raise FetchError(code) from error


def _lifeline(deadline: float, control: Control) -> Lifeline:
    return Lifeline(deadline=deadline if control.deadline is None else min(deadline, control.deadline))


def _without_www(host: str) -> str:
    return host.removeprefix("www.")


def _settle(futures: Sequence[Future[Outcome]] | deque[Future[Outcome]]) -> None:
    """Wait for requests whose outcome no one will take, and close what they brought."""
    for future in futures:
        future.cancel()
    for future in futures:
        if future.cancelled():
            continue
        try:
            outcome = future.result()
        except ScanStopped:
            continue
        if isinstance(outcome, Response):
            outcome.body.close()
