"""The metadata of one HTML page, and which further pages of a site are worth reading.

>>> found = read(b"<title>Acme</title><a href='mailto:info@example.com'>write</a>", url="https://example.com/")
>>> found.title, found.emails, found.favicon
('Acme', ['info@example.com'], None)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final
from urllib.parse import urlsplit

from app.scanning import contacts, html, page_types, profiles, structured, technologies
from app.scanning.html import Document, Element, clean
from app.scanning.values import Home, Limits, Page, Problem

MAX_ANCHORS: Final = 10_000  # looked at on one page
MAX_LINKS: Final = 200  # kept of them for `choose`
MAX_FEEDS: Final = 50
MAX_IMAGES: Final = 500  # looked at for a logo
MAX_OPEN_GRAPH: Final = 100
NO_HEADERS: Final[Mapping[str, str]] = {}


def read(
    body: bytes,
    *,
    url: str,
    final_url: str | None = None,
    http_status: int | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
    country: str | None = None,
    limits: Limits = Limits(),  # noqa: B008 — frozen, so sharing one is safe
    truncated: bool = False,
) -> Page:
    """Read a page. Never raises: what could not be read is told by `partial` and `problem`.

    `headers` are those of the response, names in any case; `country` is an ISO code, a hint for phone numbers.
    """
    page = Page(url=url, final_url=final_url or url, http_status=http_status)
    headers = {name.lower(): value for name, value in headers.items()}
    cut = len(body) > limits.page_bytes
    body = body[: limits.page_bytes]
    document, page.problem = _document(body, page.final_url, headers)
    page.partial = truncated or cut or (document is not None and page.problem is not None)
    if page.partial and page.problem is None:
        page.problem = Problem("truncated", "the page was not received whole")
    if document is not None:
        _Reader(document, page, headers, country, limits).fill()
    return page


def _document(body: bytes, url: str, headers: Mapping[str, str]) -> tuple[Document | None, Problem | None]:
    if not body.strip():
        return None, Problem("empty", "the answer has no content")
    content_type = headers.get("content-type")
    if not html.is_html(body, content_type):
        return None, Problem("not_html", f"the answer is no HTML page ({clean(content_type, 100) or 'no type given'})")
    document = html.parse(body, url=url, content_type=content_type)
    if document is None:
        return None, Problem("empty", "there is no markup in the page")
    return document, document.problem


class _Reader:
    """One page being read: each method fills what it is named after."""

    def __init__(
        self, document: Document, page: Page, headers: Mapping[str, str], country: str | None, limits: Limits
    ) -> None:
        self._document = document
        self._page = page
        self._headers = headers
        self._country = country
        self._limits = limits
        self._metas: dict[str, list[str]] = {}
        for name, content in document.metas():
            self._metas.setdefault(name, []).append(content)
        self._hrefs, self._rel_me = _anchors(document)
        self._facts = structured.read(document)

    def fill(self) -> None:
        document, page = self._document, self._page
        page.title = self._title()
        page.description = self._first_meta("description")
        page.language = self._language()
        page.canonical = self._first_link("canonical")
        page.favicon = self._favicon()
        page.open_graph = self._open_graph()
        page.json_ld_types = self._facts.types
        page.logo = self._logo()
        page.robots_meta = self._robots_meta()
        page.feeds = self._feeds()
        page.technologies = technologies.detect(document, self._headers)
        page.contact_form = contacts.has_contact_form(document)
        page.page_type = self._page_type()
        self._links()
        self._contacts()  # last: it takes from the tree what is no visible text

    def _clean(self, text: str | None) -> str | None:
        return clean(text, self._limits.text_length)

    def _first_meta(self, name: str) -> str | None:
        found = self._metas.get(name)
        return self._clean(found[0]) if found else None

    def _first_link(self, rel: str) -> str | None:
        for link in self._document.links(rel):
            if address := self._document.resolve(link.get("href")):
                return address
        return None

    def _title(self) -> str | None:
        for title in islice(self._document.root.iter("title"), html.MAX_NODES):
            # drawings have titles of their own
            if next(title.iterancestors("svg"), None) is None and (text := self._clean(title.text)):
                return text
        return None

    def _language(self) -> str | None:
        root = self._document.root
        stated = (
            root.get("lang")
            or root.get("xml:lang")
            or root.get("{http://www.w3.org/XML/1998/namespace}lang")
            or _http_equiv(root, "content-language")
            or self._headers.get("content-language")
            or next(iter(self._metas.get("og:locale", ())), None)
        )
        return language_tag(stated)

    def _favicon(self) -> str | None:
        for rel in ("icon", "apple-touch-icon", "apple-touch-icon-precomposed", "fluid-icon", "mask-icon"):
            if address := self._first_link(rel):
                return address
        return None

    def _open_graph(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, values in self._metas.items():
            if name.startswith(("og:", "article:", "product:", "profile:", "book:")) and len(name) <= 100:
                found[clean(name) or name] = values[0][: self._limits.text_length]
            if len(found) >= MAX_OPEN_GRAPH:
                break
        return found

    def _logo(self) -> str | None:
        stated = [*self._facts.logos, *self._metas.get("og:logo", ())]
        # a walk over the whole tree, spared where there is nothing to find
        marked = self._document.root.xpath("//*[@itemprop='logo']")[:5] if "itemprop" in self._document.markup else ()
        stated += [node.get("src") or node.get("href") or node.get("content") or "" for node in marked]
        return next(iter(self._resolved(stated)), None) or self._drawn_logo()

    def _drawn_logo(self) -> str | None:
        """A picture that is called a logo and leads to the home page: a partner's leads elsewhere."""
        for image in islice(self._document.root.iter("img"), MAX_IMAGES):
            source = image.get("src") or ""
            names = (image.get("class"), image.get("id"), image.get("alt"), source.rpartition("/")[2][:200])
            if not any(_LOGO.search(name) for name in names if name) or not self._leads_home(image):
                continue
            lazy = image.get("data-src") or image.get("data-lazy-src")
            return next(iter(self._resolved(filter(None, (source, lazy)))), None)
        return None

    def _leads_home(self, node: Element) -> bool:
        link = next(node.iterancestors("a"), None)
        address = self._document.resolve(link.get("href")) if link is not None else None
        if address is None or _host(address) != _host(self._page.final_url):
            return False
        return page_types.of_url(address) == "home"

    def _resolved(self, links: Iterable[str]) -> list[str]:
        return [address for link in links if (address := self._document.resolve(link))]

    def _robots_meta(self) -> str | None:
        stated = [*self._metas.get("robots", ()), self._headers.get("x-robots-tag", "")]
        directives = (part.strip().lower() for text in stated for part in text.split(","))
        return self._clean(", ".join(dict.fromkeys(filter(None, directives))))

    def _feeds(self) -> list[str]:
        found: dict[str, None] = {}
        for link in self._document.links("alternate"):
            kind = (link.get("type") or "").partition(";")[0].strip().lower()
            address = self._document.resolve(link.get("href")) if kind in _FEED_TYPES else None
            # comments are no pages of the site
            if address and "comments" not in address:
                found.setdefault(address)
        return list(found)[:MAX_FEEDS]

    def _page_type(self) -> str | None:
        by_url = page_types.of_url(self._page.final_url)
        if by_url == "home":
            return by_url
        kinds = self._metas.get("og:type")
        by_content = page_types.of_content(self._facts.top_types, kinds[0].lower() if kinds else None)
        # themes call every page an article, and every list a collection: the path knows better when it names a kind
        return by_url if by_content in (None, "post", "category") and by_url else by_content

    def _links(self) -> None:
        """Sitemap links, and the site's own pages: those that `choose` ranks first, then the rest."""
        document, page = self._document, self._page
        host = _host(page.final_url)
        sitemaps = {
            address: None for link in document.links("sitemap") if (address := document.resolve(link.get("href")))
        }
        named = set(_sitemap_anchors(document.root))
        useful: dict[str, None] = {}
        others: dict[str, None] = {}
        self._outward: dict[str, None] = {}
        for href in self._hrefs:
            address = document.resolve(href)
            if address is None:
                continue
            if _host(address) != host:
                self._outward.setdefault(address)
            elif href in named:
                sitemaps.setdefault(address)
            elif is_page_link(address):
                address = address.partition("#")[0]
                if address == page.final_url:
                    continue
                (useful if page_types.of_url(address) in RANKS else others).setdefault(address)
        page.sitemap_links = list(sitemaps)[:MAX_FEEDS]
        page.links = [*useful, *others][:MAX_LINKS]

    def _contacts(self) -> None:
        page, facts, document = self._page, self._facts, self._document
        own = self._resolved(self._rel_me)
        declared = self._resolved(facts.same_as or facts.authors_same_as)
        # what a site declares to be its own outranks whom it merely links to
        page.social_links = profiles.social_links([*declared, *own, *self._outward], own=set(own))
        text = html.visible_text(document)
        page.emails = contacts.emails(document, text, self._hrefs, facts.emails)
        home = contacts.region(
            country=self._country,
            language=page.language,
            host=urlsplit(page.final_url).hostname or "",
            stated=facts.countries,
        )
        page.phones = contacts.phones(text, self._hrefs, home, facts.phones)


_LOGO: Final = re.compile(r"(?<![a-z])logo(?![a-z])", re.IGNORECASE)
# as they are registered, and as they are written
_FEED_TYPES: Final = frozenset(
    {f"{kind}/{name}" for kind in ("application", "text") for name in ("rss", "atom", "rdf")}
    | {f"{kind}/{name}+xml" for kind in ("application", "text") for name in ("rss", "x-rss", "atom", "x-atom", "rdf")}
    | {"application/feed+json", "text/xml"}
)
_SITEMAP: Final = re.compile(r"site[\s_-]?map", re.IGNORECASE)
_XML_SITEMAP: Final = re.compile(r"xml[\s_-]*site[\s_-]?map|site[\s_-]?map\W*xml", re.IGNORECASE)
_MACHINE_READ: Final = re.compile(r"\.(?:xml|txt|gz|php|aspx|ashx)\Z", re.IGNORECASE)


def _sitemap_anchors(root: Element) -> Iterator[str]:
    """Targets of anchors that name a sitemap for machines: by the file's name and ending, or by the words."""
    for anchor in islice(root.iter("a", "area"), MAX_ANCHORS):
        href = (anchor.get("href") or "").strip()
        path = re.split(r"[?#]", href, maxsplit=1)[0][:4_096]
        words = " ".join(text[:200] for text in islice(anchor.itertext(), 20))
        is_called_so = _SITEMAP.search(path) or _SITEMAP.search(words)
        if (_MACHINE_READ.search(path) and is_called_so) or (path and _XML_SITEMAP.search(words)):
            yield href


def _anchors(document: Document) -> tuple[list[str], list[str]]:
    """(every target once, in the order of the page; those said to be the page's own profiles)"""
    found: dict[str, None] = {}
    own = [link.get("href") or "" for link in document.links("me")]
    for anchor in islice(document.root.iter("a", "area"), MAX_ANCHORS):
        href = anchor.get("href")
        if href and len(href) <= 4_096:
            found.setdefault(href.strip())
            if "me" in (anchor.get("rel") or "").lower().split():
                own.append(href)
    return list(found), own


def _http_equiv(root: Element, name: str) -> str | None:
    for meta in islice(root.iter("meta"), html.MAX_NODES):
        if (meta.get("http-equiv") or "").strip().lower() == name:
            return str(meta.get("content") or "") or None
    return None


_LANGUAGE: Final = re.compile(r"([A-Za-z]{2,3})(?:-([A-Za-z]{4}))?(?:-([A-Za-z]{2}|\d{3}))?((?:-[A-Za-z0-9]{1,8})*)")


def language_tag(text: str | None) -> str | None:
    """A BCP 47 tag in its usual case; a word that is no tag stays as it was written, what is none is not kept.

    >>> language_tag("EN_us"), language_tag("zh-hans-cn"), language_tag("de, en"), language_tag("english")
    ('en-US', 'zh-Hans-CN', 'de', 'english')
    >>> language_tag(" ") is language_tag("{{ lang }}") is None
    True
    """
    text = clean((text or "").partition(",")[0], 64)
    found = _LANGUAGE.fullmatch(text.replace("_", "-")) if text else None
    if found is None:
        return text if text and text.isalpha() else None
    parts = (found[1].lower(), (found[2] or "").title(), (found[3] or "").upper())
    return "-".join(filter(None, parts)) + found[4]


# -- which pages to read ------------------------------------------------------------------------------------

RANKS: Final = {"contact": 0, "about": 1, "legal": 2}
PER_RANK: Final = 2
_NO_PAGE: Final = re.compile(
    r"\.(?:pdf|jpe?g|png|gif|svg|webp|avif|ico|bmp|tiff?|css|m?js|json|xml|rss|atom|txt|csv|zip|gz|tgz|bz2|xz|7z|rar|tar"
    r"|exe|msi|dmg|deb|rpm|apk|iso|docx?|xlsx?|pptx?|odt|ods|epub|mp[34]|m4[av]|ogg|webm|mov|avi|wav|woff2?|ttf|eot)$",
    re.IGNORECASE,
)


def is_page_link(url: str) -> bool:
    """Tell whether a URL may be a page: not a file of another kind, by its name."""
    return not _NO_PAGE.search(url.partition("#")[0].partition("?")[0].partition("://")[2].partition("/")[2])


def _host(url: str) -> str:
    """Of a URL in its canonical form, with the port: nothing that would need a parser."""
    return url.partition("://")[2].partition("/")[0].partition("?")[0]


def choose(home: Home | None, links: Sequence[str], candidates: Sequence[str], limit: int) -> list[str]:
    """Pick the pages to read beside the home page: contact, about and legal pages first, then sitemap order.

    `links` are those of the home page, `candidates` the sitemap's. Only pages of the home page's host (without a
    home page: of the first candidate's) are taken, each once, never the home page.

    >>> choose(None, ["https://a.example/", "https://a.example/kontakt"], ["https://a.example/x"], 2)
    ['https://a.example/kontakt', 'https://a.example/x']
    """
    if limit <= 0:
        return []
    hosts, seen = _hosts(home, links, candidates), _home_keys(home)
    wanted: list[list[str]] = [[] for _ in RANKS]
    found: list[str] = []
    for url in (*candidates, *links):
        key = _key(url)
        if key is None or key in seen or key[0] not in hosts or not is_page_link(url):
            continue
        seen.add(key)
        kind = page_types.of_url(url)
        if kind == "home" and key[1] in {"", "/index.html", "/index.htm", "/index.php", "/home"}:
            continue
        found.append(url.partition("#")[0])
        if kind in RANKS:
            wanted[RANKS[kind]].append(found[-1])
    best = [url for group in wanted for url in sorted(group, key=_depth)[:PER_RANK]]
    # a site in twenty languages has twenty contact pages: from the third on they are pages like others
    return list(dict.fromkeys((*best, *found)))[:limit]


def _depth(url: str) -> int:
    """How far below the root: /contact is the site's own, /stores/berlin/contact a branch's."""
    return url.partition("://")[2].partition("?")[0].rstrip("/").count("/")


def _hosts(home: Home | None, links: Sequence[str], candidates: Sequence[str]) -> set[str]:
    known: Iterable[str] = (home.url, home.final_url) if home else [*candidates[:1], *links[:1]][:1]
    return {key[0] for url in known if (key := _key(url))}


def _home_keys(home: Home | None) -> set[tuple[str, str, str]]:
    known = (home.url, home.final_url, home.canonical or "") if home else ()
    return {key for url in known if (key := _key(url))}


def _key(url: str) -> tuple[str, str, str] | None:
    """Host, path and query: what tells pages apart, whatever the scheme, a trailing slash or a fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return None
    return parts.netloc.lower(), parts.path.rstrip("/"), parts.query
