"""Which sitemap files are still to be asked for, and which never need to be: each is fetched once per scan."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from app.errors import FetchError
from app.scanning.values import Candidate, Response, ScanOptions, Site

if TYPE_CHECKING:
    from app.scanning.reading import Opened

# Nobody listens there. A slow or broken answer is not among them: the next file may do better.
UNREACHABLE: Final = frozenset({"connect_refused", "connect_timeout", "connect_failed", "tls_failed", "dns_not_found"})


@dataclass(frozen=True, slots=True)
class Ask:
    """A candidate and the URL to ask for it; `then` are further ways to it, `before` what an earlier way brought."""

    candidate: Candidate
    url: str
    then: tuple[str, ...] = ()
    before: Opened | None = None

    def otherwise(self, opened: Opened) -> Ask:
        """The next way to the same file."""
        return Ask(self.candidate, self.then[0], self.then[1:], opened)


class Frontier:
    """`scheme` is the one the site answers; `missed` are URLs an earlier attempt asked in vain."""

    def __init__(
        self, site: Site, scheme: Literal["http", "https"], options: ScanOptions, *, missed: Collection[str]
    ) -> None:
        self.known = 0  # files worth counting: guesses only once they prove true
        self._site = site
        self._scheme = scheme
        self._options = options
        self._missed = missed
        self._queue: deque[Ask] = deque()
        self._seen: set[str] = set()
        self._read: set[str] = set()
        self._alive: set[str] = set()
        self._dead: dict[str, FetchError] = {}

    def settle(self, url: str, *, found: bool) -> None:
        """A file that an earlier attempt is done with."""
        self._seen.add(_key(url))
        self.known += 1
        if found:
            self._read.add(_key(url))

    def add(self, candidates: Iterable[Candidate]) -> None:
        """Queue what is new, as far as the caps allow."""
        for candidate in candidates:
            key = _key(candidate.url)
            if key in self._seen or candidate.depth > self._options.max_depth or self.is_full:
                continue
            self._seen.add(key)
            self.known += candidate.discovered_by != "well_known"
            url, *then = self._ways(candidate)
            self._queue.append(Ask(candidate, url, tuple(then)))

    @property
    def is_full(self) -> bool:
        return self.known >= self._options.max_sitemaps

    def _ways(self, candidate: Candidate) -> list[str]:
        """A file that is named under the other scheme is tried under both: of this host https first, elsewhere as
        it was named. Nobody who named https is answered with less elsewhere.
        """
        scheme, _, rest = _key(candidate.url).partition("://")
        authority = rest.partition("/")[0]
        is_own = authority == self._site.authority
        if (
            candidate.discovered_by == "well_known"
            or ":" in authority
            or scheme == (self._scheme if is_own else "https")
        ):
            return [_key(candidate.url)]
        ways = [f"https://{rest}", f"http://{rest}"]
        ways = [way for way in (ways if is_own else reversed(ways)) if way not in self._missed]
        return ways or [_key(candidate.url)]

    def take(self, size: int) -> list[Ask]:
        """The next asks, first in first out; but only one at a time of an origin that has not answered yet,
        so that a dead one costs one failure and not a wave of them.
        """
        taken: list[Ask] = []
        later: list[Ask] = []
        untested: set[str] = set()
        while self._queue and len(taken) < size:
            ask = self._queue.popleft()
            at = origin(ask.url)
            if at in untested or any(ask.url == other.url for other in taken):
                later.append(ask)
                continue
            if at not in self._alive and at not in self._dead:
                untested.add(at)
            taken.append(ask)
        self.put_back(later)
        return taken

    def put_back(self, asks: Iterable[Ask]) -> None:
        self._queue.extendleft(reversed(list(asks)))

    def again(self, candidates: Iterable[Candidate]) -> None:
        """Ask once more for files that failed; origins that were dead may have come back."""
        self._dead.clear()
        for candidate in candidates:
            url, *then = self._ways(candidate)
            self._queue.append(Ask(candidate, url, tuple(then)))

    def answered(self, ask: Ask, outcome: Response | FetchError) -> None:
        at = origin(ask.url)
        if isinstance(outcome, Response):
            self._alive.add(at)
        elif outcome.code in UNREACHABLE and at not in self._alive:
            self._dead[at] = outcome

    def dead(self, ask: Ask) -> FetchError | None:
        """Why asking is vain."""
        return self._dead.get(origin(ask.url))

    def is_read(self, url: str) -> bool:
        """Tell whether the document at this URL was read under this or another name."""
        return _key(url) in self._read

    def read(self, *names: str) -> None:
        self._read.update(map(_key, names))

    def pending(self) -> tuple[Candidate, ...]:
        return tuple(ask.candidate for ask in self._queue)


def origin(url: str) -> str:
    """
    >>> origin("https://example.com:8443/a/b")
    'https://example.com:8443'
    """
    return "/".join(url.split("/", 3)[:3])


def _key(url: str) -> str:
    return url.partition("#")[0]  # the fragment is never sent
