"""Stand-ins for the outside world. `conformance_fetcher.py` holds the fake and the real fetcher to one contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.errors import FetchError, InvalidUrl, ScanStopped
from app.queueing import EMPTY, QUEUES, QueueName, ScanMessage, Waiting
from app.scanning.urls import canonical
from app.scanning.values import BytesBody, Request, Response

MAX_REDIRECTS = 5
REDIRECTS = {301, 302, 303, 307, 308}

Answer = tuple[int, Mapping[str, str], bytes]  # status, headers, body
Resource = Answer | FetchError | ScanStopped | Callable[[Request], Any]


class FakeFetcher:
    """A `Fetcher` over a mapping of canonical URL → answer; every other URL is 404.

    An answer is `(status, headers, body)`, an error to raise, or a callable that takes the request and gives either.
    3xx with `location` is followed; an `etag` or `last-modified` that the request carries gives 304.
    `requests` records what was asked, `urls` the same with every hop of a redirect, `delays` the crawl delays set.
    """

    def __init__(self, resources: Mapping[str, Resource] | None = None) -> None:
        self.resources: dict[str, Resource] = dict(resources or {})
        self.requests: list[Request] = []
        self.urls: list[str] = []
        self.delays: list[float] = []

    def fetch(self, request: Request) -> Response:
        self.requests.append(request)
        url, hops = request.url, list[str]()
        while True:
            status, headers, body = self._answer(url, request)
            location = headers.get("location")
            if status not in REDIRECTS or location is None:
                return _response(request, url, status, headers, body, tuple(hops))
            if len(hops) == MAX_REDIRECTS:
                raise FetchError("too_many_redirects")
            url = _target(location, url)
            hops.append(url)

    def fetch_all(self, requests: Sequence[Request], *, concurrency: int) -> Iterator[Response | FetchError]:
        with ThreadPoolExecutor(concurrency) as pool:
            futures = [pool.submit(self.fetch, request) for request in requests]
            for future in futures:
                try:
                    yield future.result()
                except FetchError as error:
                    yield error

    def set_crawl_delay(self, seconds: float) -> None:
        self.delays.append(seconds)

    def _answer(self, url: str, request: Request) -> tuple[int, dict[str, str], bytes]:
        self.urls.append(url)
        resource: Any = self.resources.get(url, (404, {}, b""))
        if callable(resource):
            resource = resource(request)
        if isinstance(resource, Exception):
            raise resource
        status, headers, body = resource
        lower = {name.lower(): value for name, value in headers.items()}
        if status == 200 and _is_known(lower, request):
            return 304, lower, b""
        if status == 304 and request.etag is request.last_modified is None:
            raise FetchError("bad_response")
        return status, lower, body


class FakeTaskQueue:
    """A `TaskQueue` that keeps what it is given. `away = True` is a broker that cannot be reached."""

    def __init__(self) -> None:
        self.away = False
        self.messages: list[tuple[QueueName, ScanMessage]] = []

    def publish(self, queue: QueueName, messages: Sequence[ScanMessage]) -> bool:
        if self.away:
            return False
        self.messages += [(queue, message) for message in messages]
        return True

    def depth(self, queue: QueueName) -> int | None:
        return None if self.away else sum(1 for name, _ in self.messages if name == queue)

    def look(self) -> Mapping[QueueName, Waiting] | None:
        return None if self.away else {name: self._waiting(name) for name in QUEUES}

    def _waiting(self, queue: QueueName) -> Waiting:
        limits = [message.until for name, message in self.messages if name == queue]
        return Waiting(len(limits), limits[0] if limits else EMPTY)


def _target(location: str, base: str) -> str:
    try:
        return canonical(location, base=base, allow_special=True).partition("#")[0]
    except InvalidUrl as error:
        raise FetchError("bad_redirect") from error


def _is_known(headers: Mapping[str, str], request: Request) -> bool:
    """RFC 9110 13.2.2: a validator of the entity tag goes before one of the date."""
    if request.etag is not None:
        return headers.get("etag") == request.etag
    return request.last_modified is not None and headers.get("last-modified") == request.last_modified


def _response(
    request: Request, url: str, status: int, headers: Mapping[str, str], body: bytes, hops: tuple[str, ...]
) -> Response:
    return Response(
        requested_url=request.url,
        url=url,
        status=status,
        headers=headers,
        body=BytesBody(body[: request.max_bytes]),
        wire_bytes=len(body),
        redirects=hops,
        truncated=len(body) > request.max_bytes or status == 206,
    )
