"""A site's sitemap tree being read: asking, settling what came, following what it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Final

from app.errors import Postponed
from app.scanning.asking import Asker, Outcome
from app.scanning.frontier import Ask, Frontier
from app.scanning.reading import FOUND, Opened, Reader, duplicate
from app.scanning.values import (
    Candidate,
    DiscoveredBy,
    FileStatus,
    Inventory,
    Limits,
    Request,
    Response,
    Resume,
    ScanOptions,
    ScanStats,
    SitemapRead,
    StoredFile,
)

CAPS: Final = frozenset({"max_sitemaps", "max_urls"})
# No scheme makes a difference to these: the name has no address that may be asked.
NO_WAY: Final = frozenset({"blocked_url", "blocked_address", "dns_not_found"})
GUESSED: Final[frozenset[DiscoveredBy]] = frozenset({"well_known", "home_page"})


class Tree:
    """`statuses` tells what became of each file; `missed` which URLs were asked in vain and are no files."""

    def __init__(
        self,
        frontier: Frontier,
        reader: Reader,
        asker: Asker,
        inventory: Inventory,
        *,
        options: ScanOptions,
        limits: Limits,
        resume: Resume,
        stats: ScanStats,
    ) -> None:
        self.statuses: dict[str, FileStatus] = dict(resume.done)
        self.missed: set[str] = set(resume.missed)
        self.doubtful: dict[Candidate, str] = {}  # guesses that failed → why: whether they exist is not known
        self.is_answered = bool(resume.missed)  # some guess was told to be right or wrong
        self.is_cut_off = False  # some file was read in part, and not because the caller wanted no more
        self.is_shrunk = False  # something that was there at an earlier scan is not
        self._frontier = frontier
        self._reader = reader
        self._asker = asker
        self._inventory = inventory
        self._options = options
        self._limits = limits
        self._stats = stats
        self._retryable: dict[Candidate, None] = {}
        self._hopeless: set[str] = set()
        self._stored: dict[str, StoredFile | None] = {}
        self._contents: set[bytes] = set()  # digests of what was read
        for url, status in resume.done.items():
            frontier.settle(url, found=status in FOUND)
        frontier.add(resume.pending)

    def follow(self, found: Iterable[str], by: DiscoveredBy) -> Iterator[SitemapRead]:
        """Read these files and all they lead to.

        :raises Postponed, Aborted: as the fetcher
        """
        self._frontier.add(Candidate(url=url, discovered_by=by) for url in found if url not in self.missed)
        while not self._reader.is_full and (wave := self._frontier.take(self._asker.wave_size)):
            yield from self._wave(wave)
        self.is_cut_off |= self._reader.lacks_room and bool(self._frontier.pending())

    def retry(self) -> Iterator[SitemapRead]:
        """Ask once more for what failed in a way that may pass; for failed guesses only if nothing was found."""
        again = list(self._retryable)
        if not self.is_found:
            again += self.doubtful
            self.doubtful.clear()
        self._frontier.again(again)
        yield from self.follow((), "index")

    @property
    def is_found(self) -> bool:
        return any(status in FOUND for status in self.statuses.values())

    @property
    def has_failed(self) -> bool:
        return "failed" in self.statuses.values()

    @property
    def may_recover(self) -> bool:
        """Tell whether some failure may pass; of failures of earlier attempts it is not known."""
        return any(status == "failed" and url not in self._hopeless for url, status in self.statuses.items())

    def has_read(self, url: str) -> bool:
        return self._frontier.is_read(url)

    def pending(self) -> tuple[Candidate, ...]:
        """What is left of the candidates that no stored file names."""
        return tuple(candidate for candidate in self._frontier.pending() if candidate.discovered_by == "home_page")

    def _wave(self, wave: list[Ask]) -> Iterator[SitemapRead]:
        asks: list[Ask] = []
        for ask in wave:
            if self._frontier.is_read(ask.url):
                yield from self._settle(ask, duplicate(ask))
            elif (error := self._frontier.dead(ask)) is not None:
                yield from self._settle(ask, self._reader.open(ask, error, None))
            else:
                asks.append(ask)
        try:
            with closing(self._asker.wave([self._request(ask) for ask in asks])) as outcomes:
                for outcome in outcomes:
                    ask = asks.pop(0)
                    yield from self._settle(ask, self._open(ask, outcome))
        except Postponed:
            self._frontier.put_back(asks)
            raise

    def _request(self, ask: Ask) -> Request:
        url = ask.candidate.url
        stored = self._stored[url] = self._inventory.stored_file(url)
        request = Request(url=ask.url, purpose="sitemap", max_bytes=self._limits.sitemap_bytes)
        if stored is None or self._options.force:
            return request
        return replace(request, etag=stored.etag, last_modified=stored.last_modified)

    def _open(self, ask: Ask, outcome: Outcome) -> Opened:
        self._frontier.answered(ask, outcome)
        if isinstance(outcome, Response) and self._is_known(ask, outcome):
            return duplicate(ask, outcome)
        return self._reader.open(ask, outcome, self._stored.get(ask.candidate.url))

    def _is_known(self, ask: Ask, response: Response) -> bool:
        """The same file by another way; of guesses also the same content, as from a site that answers to any name.
        A guess that was a file of its own at an earlier scan stays one.
        """
        if response.url != ask.url and self._frontier.is_read(response.url):
            return True
        if ask.candidate.discovered_by not in GUESSED or self._stored.get(ask.candidate.url) is not None:
            return False
        return bool(self._contents) and response.body.sha256 in self._contents

    def _settle(self, ask: Ask, opened: Opened) -> Iterator[SitemapRead]:
        if not opened.is_found:
            if ask.then and not (opened.file.problem and opened.file.problem.code in NO_WAY):
                self.missed.add(ask.url)
                self._frontier.put_back([ask.otherwise(opened)])
                return
            if ask.before is not None and opened.file.http_status is None:
                opened = ask.before  # an answer says more about a file than a port nobody listens on
        if self._is_miss(ask, opened):
            return
        yield from self._hand_on(ask, opened)

    def _is_miss(self, ask: Ask, opened: Opened) -> bool:
        """A guess that led nowhere is no file of the site; unless it was one at an earlier scan."""
        candidate, file = ask.candidate, opened.file
        if candidate.discovered_by not in GUESSED or self._stored.get(candidate.url) is not None:
            return False
        if file.status == "failed" and file.retryable and file.problem is not None:
            self.doubtful[candidate] = file.problem.code
            return True
        self.is_answered = True
        if opened.is_found:
            # the same document under another of the usual names is nothing to tell about
            return opened.is_duplicate
        self.missed.add(candidate.url)
        return True

    def _hand_on(self, ask: Ask, opened: Opened) -> Iterator[SitemapRead]:
        file = opened.file
        if opened.is_found:
            self._frontier.read(ask.url, file.url, file.final_url)
        if not opened.is_duplicate:
            self._count(ask.candidate, opened)
        yield SitemapRead(
            file=file,
            batches=opened.batches,
            stats=self._stats,
            done=len(self.statuses),
            known=max(self._frontier.known, len(self.statuses)),
        )
        if not opened.is_duplicate:
            self.statuses[file.url] = file.status  # drawing its entries may have shown it to be partial
            wanted = file.problem is not None and file.problem.code in CAPS
            self.is_cut_off |= file.status == "partial" and not wanted
        if file.content_hash is not None and opened.is_found:
            self._contents.add(file.content_hash)
        self._stored.pop(file.url, None)
        self._frontier.add(
            Candidate(url=child.url, discovered_by="index", parent=file.url, depth=file.depth + 1)
            for child in file.children
        )

    def _count(self, candidate: Candidate, opened: Opened) -> None:
        file = opened.file
        earlier = self.statuses.get(file.url)
        if earlier is None and candidate.discovered_by == "well_known":
            self._frontier.known += 1
        self._stats.sitemaps_failed += (file.status == "failed") - (earlier == "failed")
        self._stats.sitemaps += opened.is_found
        self._retryable.pop(candidate, None)
        if file.status == "failed" and file.retryable:
            self._retryable[candidate] = None
        elif file.status == "failed":
            self._hopeless.add(file.url)
        if file.status in ("gone", "not_a_sitemap"):
            self.is_shrunk |= self._stored.get(file.url) is not None
        self.statuses[file.url] = file.status
