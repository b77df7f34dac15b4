"""One scan of one site: robots.txt, the sitemap tree, some pages; a stream of events for whoever stores them.

    for event in scan.run(site, options, fetcher=fetcher, inventory=inventory, agent="ScraperSky/1.0"):
        ...

Between two events the scan fetches; while an event is being worked on, it does not: the consumer may hold a
transaction open while it draws `SitemapRead.entries`. Closing the generator closes every body.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Final

from app.errors import Postponed, ScanFailed
from app.scanning import discovery, page, urls
from app.scanning.asking import Asker
from app.scanning.discovery import FEEDS, FREQUENT, RARE, Settled, authority, bare_host
from app.scanning.encoding import Check
from app.scanning.frontier import Frontier
from app.scanning.reading import FOUND, Reader
from app.scanning.robots import Robots
from app.scanning.tree import Tree
from app.scanning.values import (
    Event,
    Fetcher,
    Home,
    Interrupted,
    Inventory,
    Limits,
    Page,
    PageRead,
    Resume,
    ScanFinished,
    ScanOptions,
    ScanOutcome,
    ScanStats,
    Site,
    SitemapRead,
)
from app.scanning.visiting import Visitor, unread

CANDIDATES_PER_PAGE: Final = 50  # sitemap URLs, and links, looked at for each page that may be read


def run(
    site: Site,
    options: ScanOptions,
    *,
    fetcher: Fetcher,
    inventory: Inventory,
    agent: str,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    resume: Resume = Resume(),  # noqa: B008 - a frozen value
    check: Check | None = None,
) -> Generator[Event]:
    """Scan a site. `agent` is the product token that robots.txt is asked about.

    `check` is called while documents are read, which may take minutes without an event; it may raise to end them.

    :raises ScanFailed: the host is unreachable, or robots.txt or every sitemap it names failed
    :raises Postponed, Aborted: as the fetcher; before `Postponed`, once robots.txt is read, `Interrupted` is yielded
    """
    stats = replace(resume.stats)
    asker = Asker(fetcher, stats, concurrency=options.per_host_concurrency)
    settled = discovery.settle(site, asker, limits, respect=options.respect_robots)
    fetcher.set_crawl_delay(max(settled.rules.crawl_delay(agent) or 0.0, options.crawl_delay or 0.0))
    yield settled.event(agent)
    tree = Tree(
        Frontier(site, settled.scheme, options, missed=resume.missed),
        Reader(options, limits, stats, check=check),
        asker,
        inventory,
        options=options,
        limits=limits,
        resume=resume,
        stats=stats,
    )
    scan = _Scan(
        site,
        options,
        settled=settled,
        agent=agent,
        tree=tree,
        visitor=Visitor(asker, limits, country=options.country),
        inventory=inventory,
        asker=asker,
        fetcher=fetcher,
        limits=limits,
        resume=resume,
        stats=stats,
    )
    yield from scan.events()


class _Scan:
    """The order of the steps, and the verdict."""

    def __init__(
        self,
        site: Site,
        options: ScanOptions,
        *,
        settled: Settled,
        agent: str,
        tree: Tree,
        visitor: Visitor,
        inventory: Inventory,
        asker: Asker,
        fetcher: Fetcher,
        limits: Limits,
        resume: Resume,
        stats: ScanStats,
    ) -> None:
        self._site = site
        self._options = options
        self._settled = settled
        self._agent = agent
        self._tree = tree
        self._visitor = visitor
        self._inventory = inventory
        self._asker = asker
        self._fetcher = fetcher
        self._limits = limits
        self._stats = stats
        self._named = settled.rules.sitemaps
        self._home_url = urls.home_url(site, settled.scheme)
        self._home: Page | None = None
        self._known_home = resume.home  # as this or an earlier attempt saw it
        self._moved: Robots | None = None  # the rules of the host that the home page has moved to
        self._pages_done = set(resume.pages_done)

    def events(self) -> Iterator[Event]:
        try:
            yield from self._tree.follow(self._named, "robots")
            yield from self._well_known()
            yield from self._home_page()
            yield from self._feeds()
            yield from self._tree.retry()
            outcome = self._outcome()
            yield from self._more_pages()
        except Postponed:
            yield Interrupted(
                missed=frozenset(self._tree.missed),
                pending=self._tree.pending(),
                home=self._known_home,
                stats=self._stats,
            )
            raise
        yield ScanFinished(outcome=outcome, stats=self._stats)

    def _allowed(self, found: Iterable[str]) -> list[str]:
        if not self._options.respect_robots:
            return list(found)
        return [url for url in found if self._rules(url).allowed(url, self._agent)]

    def _rules(self, url: str) -> Robots:
        """Those of the site, but on the host that its home page has moved to that host's own (RFC 9309, 2.3)."""
        own, home, at = self._settled.rules, self._known_home, authority(url)
        if home is None or at != authority(home.final_url) or at in (self._site.authority, authority(own.url)):
            return own
        if self._moved is None:
            # no delay before robots.txt: else each attempt at a host that asks for a long one would end with it
            self._fetcher.set_crawl_delay(0.0)
            self._moved = discovery.rules_of(home.final_url, self._asker, self._limits)
            delays = (own.crawl_delay(self._agent), self._moved.crawl_delay(self._agent), self._options.crawl_delay)
            self._fetcher.set_crawl_delay(max(delay or 0.0 for delay in delays))
        return self._moved

    # Sitemaps

    def _well_known(self) -> Iterator[SitemapRead]:
        """The usual names, where robots.txt leads to nothing (or `thorough`).

        robots.txt speaks for the whole host: of a site that is one path on it, the path is asked all the same.
        """
        thorough = self._options.thorough
        for guesses in self._guesses():
            yield from self._tree.follow(self._allowed(guesses), "well_known")
            if self._tree.is_found and not thorough:
                return

    def _guesses(self) -> Iterator[list[str]]:
        site, scheme = self._site, self._settled.scheme
        read = [url for url in self._named if self._tree.has_read(url)]
        if read and not self._options.thorough:
            if not any(urls.same_site(url, site) for url in read) and site.path != "/":
                yield next(discovery.guesses(site, scheme, FREQUENT))
            return
        yield from discovery.guesses(site, scheme, FREQUENT)
        if not self._tree.may_recover:  # a host in trouble is not asked for what it hardly has
            yield from discovery.guesses(site, scheme, RARE)

    def _feeds(self) -> Iterator[SitemapRead]:
        """Feeds name the latest pages only: taken where the site has nothing else, and nothing may yet recover."""
        if self._tree.is_found or self._tree.may_recover:
            return
        if self._home is not None:
            self._tree.missed.add(self._home_url)  # what it names is pending now: a later attempt need not ask it
            yield from self._tree.follow(self._allowed(self._vouched(self._home, self._home.feeds)), "home_page")
        for guesses in discovery.guesses(self._site, self._settled.scheme, FEEDS):
            if not self._tree.is_found:
                yield from self._tree.follow(self._allowed(guesses), "well_known")

    # Pages

    def _home_page(self) -> Iterator[Event]:
        """The home page, for its metadata and for the sitemaps it names."""
        is_wanted = self._options.max_pages > 0 and self._home_url not in self._pages_done
        is_needed = not self._tree.is_found and self._home_url not in self._tree.missed
        if not is_wanted and not is_needed:
            return
        if not self._allowed([self._home_url]):
            home = unread(self._home_url, "disallowed", "robots.txt disallows it")
        else:
            [home] = self._visitor.visit([self._home_url])
            self._home = home
            self._known_home = self._kept(home)
        if is_wanted:
            self._pages_done.add(self._home_url)
            yield self._page_read(home, is_home=True)
        yield from self._tree.follow(self._allowed(self._vouched(home, home.sitemap_links)), "home_page")

    def _vouched(self, home: Page, links: Iterable[str]) -> list[str]:
        """Links to files of the site itself: another host's are followed only if robots.txt or an index names them."""
        own = {bare_host(home_url) for home_url in (self._home_url, home.final_url)}
        return [url for url in links if bare_host(url) in own]

    def _kept(self, home: Page) -> Home:
        """As it is stored when the scan is interrupted: with no more links than are looked at."""
        kept = Home(url=home.url, final_url=home.final_url, canonical=home.canonical)
        return replace(kept, links=page.choose(kept, home.links, (), CANDIDATES_PER_PAGE * self._options.max_pages))

    def _more_pages(self) -> Iterator[PageRead]:
        left = self._options.max_pages - len(self._pages_done)
        if left <= 0:
            return
        listed = self._allowed(self._inventory.page_candidates(CANDIDATES_PER_PAGE * self._options.max_pages))
        home = self._known_home
        if self._site.path != "/" or home is None:
            listed = [url for url in listed if urls.same_site(url, self._site)]
        links = self._allowed(home.links if home else ())
        chosen = page.choose(home, links, listed, self._options.max_pages + len(self._pages_done))
        new = [url for url in chosen if url not in self._pages_done][:left]
        with closing(self._visitor.visit(new)) as pages:
            for found in pages:
                yield self._page_read(found, is_home=False)

    def _page_read(self, found: Page, *, is_home: bool) -> PageRead:
        self._stats.pages += found.http_status is not None and 200 <= found.http_status < 300
        return PageRead(page=found, is_home=is_home, stats=self._stats)

    # The verdict

    def _outcome(self) -> ScanOutcome:
        """:raises ScanFailed: every sitemap that robots.txt names failed, or every guess did"""
        tree = self._tree
        if tree.is_found:
            if tree.has_failed or tree.is_cut_off:
                return "incomplete"
            found = {status for status in tree.statuses.values() if status in FOUND}
            return "unchanged" if found == {"unchanged"} and not tree.is_shrunk else "sitemaps_found"
        if tree.is_cut_off:
            return "incomplete"  # there was no room to look into any
        if tree.has_failed:
            failure = ScanFailed("sitemaps_failed")
            failure.retryable = tree.may_recover
            raise failure
        if self._options.respect_robots and self._settled.rules.disallows_all(self._agent):
            return "disallowed"
        has_home = self._home is not None and (self._home.http_status or 500) < 500
        if tree.doubtful and not tree.is_answered and not has_home:
            raise ScanFailed(next(iter(tree.doubtful.values())))
        return "no_sitemap"
