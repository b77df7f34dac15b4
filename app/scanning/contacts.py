"""Who is behind a page and how to reach them: email addresses, phone numbers, profiles, contact forms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote, urlsplit

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat, PhoneNumberMatcher

from app.scanning.html import Document, Element, clean

MAX_EMAILS: Final = 100
MAX_PHONES: Final = 50
MAX_CANDIDATES: Final = 500  # looked at closely, found in the text or linked
PHONE_TEXT: Final = 40_000  # characters of digit-bearing text that are matched

# -- email addresses ----------------------------------------------------------------------------------------

_LOCAL: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-][A-Za-z0-9.!#$%&'*+/=?^_`{|}~\-]{0,63}"
_NEAR_AT: Final = re.compile(
    r"(?<![^\s<>()\[\],;:\"'|/«»„“”＜＞（）：])(?P<local>[^\s@<>()\[\],;:\"\\«»„“”|＜＞（）：]{1,64})@"
    r"(?P<host>(?:[^\W_](?:[\w\-]{0,61}[^\W_])?\.){1,8}[^\W\d_][\w\-]{1,23})(?![\w@])"
)
_WORD_AT: Final = r"(?:\s?[\[({<]\s*(?:at|ät|arroba|chez|@)\s*[\])}>]\s*)"
_WORD_DOT: Final = r"(?:\s*[\[({<]\s*(?:dot|punkt|point|punto|ponto|\.)\s*[\])}>]\s*|\.)"
_HIDDEN_AT: Final = re.compile(
    rf"(?<![\w.+\-])(?P<local>[\w+\-]{{1,40}}(?:{_WORD_DOT}[\w+\-]{{1,40}}){{0,3}}){_WORD_AT}"
    rf"(?P<host>[^\W_][\w\-]{{0,61}}(?:{_WORD_DOT}[^\W_][\w\-]{{0,61}}){{1,4}})",
    re.IGNORECASE,
)
_AT_WORD: Final = re.compile(_WORD_AT, re.IGNORECASE)
_DOT: Final = re.compile(_WORD_DOT, re.IGNORECASE)
# endings of file names that look like an address: logo@2x.png, jquery@3.7.min.js
_FILE_ENDINGS: Final = re.compile(
    r"png|jpe?g|gif|svg|webp|avif|ico|bmp|tiff?|css|m?js|ts|json|xml|html?|php|pdf|zip|gz|mp[34]|webm|woff2?|ttf|eot|map|min"
)
_RETINA: Final = re.compile(r"\dx\.")


def emails(document: Document, text: str, hrefs: Iterable[str], declared: Iterable[str] = ()) -> list[str]:
    """Addresses in `mailto:` links, in the text, and declared in JSON-LD; checked without asking the DNS."""
    found: dict[str, str] = {}
    for count, candidate in enumerate(_email_candidates(document, text, hrefs, declared)):
        if count >= MAX_CANDIDATES or len(found) >= MAX_EMAILS:
            break
        address = email(candidate)
        if address:
            found.setdefault(address.lower(), address)
    return list(found.values())


def email(text: str) -> str | None:
    """The address in its normal form, or None if this is none.

    >>> email("Jane@Example.COM"), email("logo@2x.png"), email("nobody")
    ('Jane@example.com', None, None)
    """
    text = text.strip().strip(".'`")
    host = text.rpartition("@")[2].lower()
    if len(text) > 254 or _FILE_ENDINGS.fullmatch(host.rpartition(".")[2]) or _RETINA.match(host):
        return None
    try:
        # `test_environment` lets hosts under .test through, on which trial sites live
        checked = validate_email(text, check_deliverability=False, test_environment=True)
    except (EmailNotValidError, UnicodeError, ValueError):
        return None
    return clean(checked.normalized, 254)


def _email_candidates(document: Document, text: str, hrefs: Iterable[str], declared: Iterable[str]) -> Iterator[str]:
    for href in hrefs:
        if href[:7].lower() == "mailto:":
            yield from unquote(href[7:].partition("?")[0]).split(",")
    for entry in declared:
        yield entry[7:] if entry[:7].lower() == "mailto:" else entry
    for node in document.root.xpath(
        "//*[@data-cfemail]/@data-cfemail | //a[contains(@href, '/email-protection#')]/@href"
    ):
        yield _cloudflare(node.rpartition("#")[2])
    if "@" in text:
        for found in _NEAR_AT.finditer(text):
            yield found[0]
    if not _AT_WORD.search(text):
        return  # the full expression would try every word
    for found in _HIDDEN_AT.finditer(text):
        yield f"{_DOT.sub('.', found['local'])}@{_DOT.sub('.', found['host'])}"


def _cloudflare(code: str) -> str:
    """Undo Cloudflare's address hiding: hexadecimal, the first byte XORed over the others."""
    try:
        key, *rest = bytes.fromhex(code[:512])
    except ValueError:
        return ""
    return bytes(byte ^ key for byte in rest).decode("utf-8", "replace")


# -- phone numbers ------------------------------------------------------------------------------------------

# country codes that are used as if they were generic: they tell nothing about where a site is at home
_GENERIC_CCTLDS: Final = re.compile(r"a[cgim]|bz|c[cdox]|fm|g[dgl]|i[mo]|l[aiy]|m[esu]|nu|s[cht]|t[ov]|v[cu]|ws")
_LANG_REGION: Final = re.compile(r"^[A-Za-z]{2,3}(?:[-_][A-Za-z]{4})?[-_]([A-Za-z]{2})(?![A-Za-z0-9])")
_PHONE_WORD: Final = re.compile(
    r"(?:tel|phone|fon|call|mobil|handy|fax|t[eé]l[eé]|cell|whats|hotline|тел|電話|电话|ring|ruf|numer|kontakt|contact)",
    re.IGNORECASE,
)
_DIGITS: Final = re.compile(r"\d(?:[\s().\-/–]{0,3}\d){6}")


def region(*, country: str | None, language: str | None, host: str, stated: Iterable[str] = ()) -> str | None:
    """The ISO code of the country whose national phone numbers a page most likely prints.

    >>> region(country=None, language="de-AT", host="example.com")
    'AT'
    >>> region(country=None, language="en-US", host="www.example.de"), region(country=None, language="en", host="a.io")
    ('DE', None)
    """
    ending = host.rpartition(".")[2].lower()
    spoken = _LANG_REGION.match(language or "")
    # a country's own ending says more than a language tag: many a template's "en-US" was never changed
    hints = [country, *stated, None if _GENERIC_CCTLDS.fullmatch(ending) else "GB" if ending == "uk" else ending]
    hints.append(spoken[1] if spoken else None)
    for hint in hints:
        if hint and hint.upper() in phonenumbers.SUPPORTED_REGIONS:
            return hint.upper()
    return None


def phones(text: str, hrefs: Iterable[str], home: str | None, declared: Iterable[str] = ()) -> list[str]:
    """Numbers in `tel:` links, declared ones, and those in the text; E.164 where that can be known.

    Without a `home` region only numbers that begin with + are taken from the text.
    """
    found: dict[str, None] = {}
    links = (unquote(href[4:]) for href in hrefs if href[:4].lower() == "tel:")
    for count, stated in enumerate((*links, *declared)):
        if count >= MAX_CANDIDATES or len(found) >= MAX_PHONES:
            break
        number = _stated_phone(stated, home)
        if number:
            found.setdefault(number)
    for number in _phones_in(text, home):
        if len(found) >= MAX_PHONES:
            break
        found.setdefault(number)
    return list(found)


def _stated_phone(text: str, home: str | None) -> str | None:
    """A number that is said to be one; its digits as they stand where no country is known."""
    text = (clean(text, 60) or "").partition(";")[0]
    if text.startswith("00"):
        text = "+" + text[2:]
    parsed = _parse(text, home)
    if parsed:
        return _e164(parsed)
    digits = re.sub(r"\D", "", text)
    return digits if home is None and 5 <= len(digits) <= 15 and not text.startswith("+") else None


def _parse(text: str, home: str | None) -> PhoneNumber | None:
    try:
        number = phonenumbers.parse(text, home)
    except NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None


def _e164(number: PhoneNumber) -> str:
    return str(phonenumbers.format_number(number, PhoneNumberFormat.E164))


def _phones_in(text: str, home: str | None) -> Iterator[str]:
    for piece in _pieces_with_digits(text):
        if home is None and "+" not in piece and "＋" not in piece:
            continue
        for match in PhoneNumberMatcher(piece, home, max_tries=20):
            if _is_meant_as_phone(piece, match.start, match.raw_string):
                yield _e164(match.number)


def _pieces_with_digits(text: str) -> Iterator[str]:
    """The surroundings of runs of at least seven digits: the matcher is slow, and most text has none."""
    end, left = 0, PHONE_TEXT
    for found in _DIGITS.finditer(text):
        if found.start() < end:
            continue
        start, end = max(end, found.start() - 30), found.end() + 40
        left -= end - start
        if left < 0:
            return
        yield text[start:end]


def _is_meant_as_phone(piece: str, start: int, raw: str) -> bool:
    """Keep order numbers, dates and prices out: a national number shows by its form or by a word before it."""
    if raw.startswith(("+", "＋")):
        return True
    if _PHONE_WORD.search(piece, max(0, start - 25), start):
        return True
    return raw[0] in "0(" and any(mark in raw for mark in " -/()")


# -- profiles -----------------------------------------------------------------------------------------------

# network → (hosts, what a profile's path must look like). Sharing links and single posts do not match.
_NAME: Final = r"@?[\w.\-%]{1,100}"
_NETWORKS: Final = {
    "facebook": (
        ("facebook.com", "fb.com", "fb.me"),
        rf"/(?!(?:sharer|share|dialog|plugins|tr|hashtag|events|login|help|policies|privacy|v\d|l\.php|policy)\b)(?:(?:pages|people|groups)/)?{_NAME}(?:/\d+)?",
    ),
    "x": (
        ("twitter.com", "x.com"),
        r"/(?!(?:intent|share|home|search|hashtag|i|login|widgets|privacy|tos|explore)(?:/|$))@?\w{1,30}",
    ),
    "linkedin": (("linkedin.com",), rf"/(?:company|in|school|showcase|pub|groups|organization)/{_NAME}(?:/[\w\-]*)?"),
    "instagram": (
        ("instagram.com", "instagr.am"),
        r"/(?!(?:p|reel|reels|explore|stories|accounts|share|tv|legal|about)(?:/|$))[\w.]{1,40}",
    ),
    "youtube": (
        ("youtube.com",),
        rf"/(?:(?:channel|c|user)/{_NAME}|@[\w.\-%]+|(?!(?:watch|embed|playlist|shorts|results|redirect|feed|live|iframe_api|t|v|hashtag|about|howyoutubeworks)(?:/|$)){_NAME})(?:/(?:videos|featured|about))?",
    ),
    "tiktok": (("tiktok.com",), r"/@[\w.]{1,40}"),
    "pinterest": (("pinterest.com",), r"/(?!(?:pin|search|ideas)(?:/|$))[\w\-]{1,60}(?:/[\w\-]+)?"),
    "github": (
        ("github.com",),
        r"/(?!(?:features|about|login|join|topics|sponsors|marketplace|orgs|settings|search)(?:/|$))[\w\-]{1,39}",
    ),
    "gitlab": (("gitlab.com",), r"/(?!(?:users|explore|help)(?:/|$))[\w.\-]{1,60}"),
    "xing": (("xing.com",), r"/(?:profile|pages|companies|company)/[\w.\-%]{1,100}"),
    "telegram": (("t.me", "telegram.me"), r"/(?!(?:share|iv|addstickers)(?:/|$))(?:s/|joinchat/)?\+?\w{3,40}"),
    "whatsapp": (("wa.me", "whatsapp.com"), r"/(?:(?:message|qr)/\w+|channel/\w+|\+?\d{6,15})"),
    "vk": (("vk.com", "vk.ru"), r"/(?!(?:share|js|widget)(?:/|\.|$))[\w.]{2,60}"),
    "vimeo": (("vimeo.com",), r"/(?!\d+$|(?:watch|categories|upgrade)(?:/|$))[\w\-]{2,60}"),
    "flickr": (("flickr.com",), r"/(?:photos|people)/[\w@\-]{2,60}"),
    "tumblr": (("tumblr.com",), r"/(?!(?:share|widgets|dashboard|login)(?:/|$))[\w\-]{2,60}"),
    "reddit": (("reddit.com",), r"/(?:r|u|user)/[\w\-]{2,40}"),
    "discord": (("discord.gg", "discord.com"), r"/(?:invite/)?(?!(?:api|channels|widget|login)(?:/|$))[\w\-]{2,40}"),
    "twitch": (("twitch.tv",), r"/(?!(?:videos|directory|p)(?:/|$))\w{3,30}"),
    "threads": (("threads.net", "threads.com"), r"/@[\w.]{1,40}"),
    "bluesky": (("bsky.app",), r"/profile/[\w.:\-]{3,100}"),
    "medium": (("medium.com",), r"/@?[\w.\-]{2,60}"),
    "soundcloud": (("soundcloud.com",), r"/(?!(?:discover|search|upload)(?:/|$))[\w\-]{2,60}"),
    "spotify": (("open.spotify.com",), r"/(?:artist|show|user)/\w+"),
    "snapchat": (("snapchat.com",), r"/add/[\w.\-]{2,40}"),
    "weibo": (("weibo.com",), r"/(?:u/)?\w{3,40}"),
    "yelp": (("yelp.com",), r"/biz/[\w\-%]+"),
    "line": (("lin.ee", "line.me"), r"/(?:R/ti/p/|ti/p/)?[@%\w]{4,40}"),
}
_BY_HOST: Final = {host: (name, re.compile(path + "/?")) for name, (hosts, path) in _NETWORKS.items() for host in hosts}
_REGIONAL_PINTEREST: Final = re.compile(r"pinterest\.(?:[a-z]{2}|co\.[a-z]{2}|com\.[a-z]{2})")
_FEDIVERSE_PATH: Final = re.compile(r"/@\w{1,40}(?:@[\w.\-]+)?/?")
_FEDIVERSE_HOST: Final = re.compile(
    r"(?:^|\.)(?:mastodon|mstdn|fosstodon|hachyderm|chaos\.social|mas\.to|social)\b|\.social$"
)
_PHONE_QUERY: Final = re.compile(r"(?:^|&)phone=\+?\d{6,15}(?:&|$)")


def network(url: str) -> str | None:
    """The social network a URL is a profile of; None for sharing links, single posts and all other sites.

    >>> network("https://www.facebook.com/acme"), network("https://www.facebook.com/sharer/sharer.php?u=x")
    ('facebook', None)
    >>> network("https://mobile.twitter.com/acme"), network("https://twitter.com/intent/tweet?text=x")
    ('x', None)
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    host = parts.netloc.removeprefix("www.")
    # m.facebook.com, de-de.facebook.com, uk.linkedin.com
    name, pattern = _BY_HOST.get(host) or _BY_HOST.get(host.partition(".")[2]) or (None, None)
    if pattern is None:
        return _elsewhere(host, parts.path)
    if name == "facebook" and parts.path == "/profile.php":
        return name if "id=" in parts.query else None
    if name == "whatsapp" and parts.path.strip("/") == "send":
        return name if _PHONE_QUERY.search(parts.query) else None
    return name if pattern.fullmatch(parts.path) else None


def _elsewhere(host: str, path: str) -> str | None:
    if _REGIONAL_PINTEREST.fullmatch(host.partition(".")[2] if host.count(".") > 2 else host):
        return "pinterest" if _BY_HOST["pinterest.com"][1].fullmatch(path) else None
    if _FEDIVERSE_PATH.fullmatch(path) and _FEDIVERSE_HOST.search(host):
        return "mastodon"
    return None


def social_links(links: Iterable[str]) -> dict[str, str]:
    """The first profile on each network. `links` are canonical URLs in the order of the page."""
    found: dict[str, str] = {}
    for link in links:
        name = network(link)
        if name:
            found.setdefault(name, link.partition("#")[0])
    return found


# -- contact forms ------------------------------------------------------------------------------------------

_FORM_MARKS: Final = re.compile(
    r"wpcf7|wpforms|gform|ninja-forms|contact|kontakt|anfrage|enquiry|inquiry|hs-form|contatt", re.IGNORECASE
)
_OTHER_FORMS: Final = re.compile(
    r"comment|review|search|login|newsletter|subscribe|mc4wp|mailchimp|checkout", re.IGNORECASE
)
_MESSAGE: Final = re.compile(
    r"message|nachricht|mensaje|mensagem|messaggio|bericht|wiadomosc|comment|anfrage|inquiry|enquiry|subject|betreff|betrifft|sujet|asunto|oggetto",
    re.IGNORECASE,
)
_EMAIL_FIELD: Final = re.compile(r"e-?mail|correo|courriel", re.IGNORECASE)
_PERSON: Final = re.compile(r"name|phone|tel|nom|nombre|nome|vorname|firma|company", re.IGNORECASE)


def has_contact_form(document: Document) -> bool:
    """Tell whether a form asks for a message; logins, searches, newsletters and comments do not count."""
    for count, form in enumerate(document.root.iter("form")):
        if count >= 50:
            break
        if _is_contact_form(form):
            return True
    return False


def _is_contact_form(form: Element) -> bool:
    marks = " ".join((form.get("id") or "", form.get("class") or "", form.get("name") or "", form.get("action") or ""))[
        :1_000
    ]
    fields = list(_fields(form))
    if any(kind in {"password", "search"} for kind, _ in fields):
        return False
    if _OTHER_FORMS.search(marks) and not _FORM_MARKS.search(marks):
        return False
    asks_email = any(kind == "email" or _EMAIL_FIELD.search(name) for kind, name in fields)
    asks_message = any(kind == "textarea" or _MESSAGE.search(name) for kind, name in fields)
    asks_person = any(_PERSON.search(name) for kind, name in fields if kind != "email")
    if asks_message or (asks_email and asks_person):
        return asks_email or asks_person or any(kind == "textarea" for kind, _ in fields)
    return bool(fields) and asks_email and _FORM_MARKS.search(marks) is not None


def _fields(form: Element) -> Iterator[tuple[str, str]]:
    """Each field a person fills in: (type, its name and labels)."""
    for count, field in enumerate(form.iter("input", "textarea", "select")):
        if count >= 200:
            return
        kind = "textarea" if field.tag == "textarea" else (field.get("type") or "text").strip().lower()
        if kind not in {"hidden", "submit", "button", "image", "reset"}:
            yield kind, " ".join((field.get("name") or "", field.get("id") or "", field.get("placeholder") or ""))[:500]
