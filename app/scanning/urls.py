"""One canonicaliser for every URL the platform meets: submitted, redirected to, listed or linked.

Canonical means RFC 3986 (section 6.2.2) normal form and nothing more: lower-case scheme and host, no default
port, no dot segments, upper-case percent-encoding of just what needs it, ASCII throughout. A trailing slash,
the order of a query and its utm parameters are the site's business. So is the fragment: sites route by `#/…`,
so URLs that differ in it are two identities (a client never sends it).

Whether the address behind a host may be fetched is not decided here: that is the fetcher's guard.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple, NoReturn

import idna

from app.errors import InvalidUrl
from app.scanning.values import Site

MAX_LENGTH: Final = 2_048
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# RFC 6761, 6762, 7686, 8375, 9476, and names that resolvers and clouds treat as their own. Not `example`:
# no resolver treats it apart, and documentation and tests live on it.
SPECIAL_USE: Final = frozenset(
    {
        "localhost",
        "localdomain",
        "local",
        "internal",
        "intranet",
        "corp",
        "home",
        "lan",
        "private",
        "test",
        "invalid",
        "onion",
        "alt",
        "arpa",
    }
)

Scheme = Literal["http", "https"]

REASONS: Final = {
    "empty": "the URL is empty",
    "too_long": f"the URL is longer than {MAX_LENGTH:,} characters",
    "control_character": "the URL contains control characters",
    "whitespace": "the URL contains white space where none may be",
    "backslash": "the URL contains a backslash",
    "scheme": "only http and https URLs are taken",
    "relative": "the URL is relative and there is nothing to resolve it against",
    "malformed": "this is not a URL",
    "userinfo": "a URL with a user name or password is not taken",
    "host": "the host name is not valid",
    "single_label": "the host name needs at least two labels, as in example.com",
    "special_use": "the host name is reserved for private use",
    "ip": "the numeric host is not a plain dotted quad",
    "port": "the port is not a number between 1 and 65535",
}


class _Parts(NamedTuple):
    """A reference split as RFC 3986 (appendix B) does; None where the delimiter is missing."""

    scheme: str | None
    authority: str | None
    path: str
    query: str | None
    fragment: str | None


_SPLIT = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.\-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_SAFE = r"A-Za-z0-9\-._~!$&'()*+,;=:@\[\]"
# What is canonical already, told by one expression: nearly every URL of a sitemap. Escapes of ASCII characters
# are left to the long way round, which knows which of them must be undone.
_KEPT = "%(?:[89A-F][0-9A-F]|20)"
_CANONICAL_PATH = (
    rf"/[{_SAFE}/]*+(?:{_KEPT}[{_SAFE}/]*+)*+"
    rf"(?:\?[{_SAFE}/?]*+(?:{_KEPT}[{_SAFE}/?]*+)*+)?+(?:#[{_SAFE}/?]*+)?+"
)
_CANONICAL = re.compile(rf"(https?://([a-z0-9\-]++(?:\.[a-z0-9\-]++)++)){_CANONICAL_PATH}")
_ESCAPE = re.compile(rf"%([0-9A-Fa-f]{{2}})|([^{_SAFE}/?])")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_LABEL = re.compile(r"[a-z0-9_\-]{1,63}")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_HOST_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>.*))?", re.DOTALL)
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_IPV6_TEXT = re.compile(r"[0-9A-Fa-f:.]{2,45}")


def _refuse(reason: str) -> NoReturn:
    # the offending text is not repeated: it may be megabytes long, or hostile to whoever reads the message
    raise InvalidUrl(REASONS[reason], reason=reason)


def canonical(url: str, *, base: str | None = None, allow_special: bool = False, max_length: int = MAX_LENGTH) -> str:
    """Bring a URL into canonical form, resolving it against `base` (itself canonical) where it is relative.

    `allow_special` lets through single-label and special-use names, for callers that only record the URL.

    >>> canonical("HTTP://Example.COM:80/a/../%7Euser/caf\N{LATIN SMALL LETTER E WITH ACUTE}?q=a b")
    'http://example.com/~user/caf%C3%A9?q=a%20b'
    >>> canonical("//b.example.com/x/", base="https://example.com/sitemap.xml")
    'https://b.example.com/x/'
    >>> canonical("page?utm_source=feed#top", base="https://example.com/dir/sitemap.xml")
    'https://example.com/dir/page?utm_source=feed#top'

    :raises InvalidUrl: `reason` is a key of `REASONS`
    """
    if len(url) > max_length:
        _refuse("too_long")
    known = _CANONICAL.fullmatch(url)
    if known and "/." not in url and _is_plain_host(known[2], allow_special):
        return url
    return _rebuild(_checked(url), base, allow_special=allow_special, max_length=max_length)


def are_canonical(urls: list[str], *, allow_special: bool = False, max_length: int = MAX_LENGTH) -> bool:
    """Tell whether all of these are canonical already and of one host, as a sitemap's are: all in one look.

    False means only that they must be looked at one by one.

    >>> are_canonical(["https://example.com/a", "https://example.com/b?c=1"])
    True
    >>> are_canonical(["https://example.com/a", "https://example.com/a/../b"])
    False
    """
    first = _CANONICAL.fullmatch(urls[0]) if urls else None
    if first is None or not _is_plain_host(first[2], allow_special):
        return False
    lines = "\n".join(urls)
    if not urls[-1] or "/." in lines or lines.count("\n") != len(urls) - 1 or max(map(len, urls)) > max_length:
        return False
    return bool(_all_of(first[1]).fullmatch(lines))


@lru_cache(maxsize=256)
def _all_of(origin: str) -> re.Pattern[str]:
    """Lines of canonical URLs of one origin. The caller sees to it that no URL holds a line feed."""
    return re.compile(rf"(?:{re.escape(origin)}{_CANONICAL_PATH}(?:\n|\Z))*+")


@lru_cache(maxsize=4_096)
def _is_plain_host(host: str, allow_special: bool) -> bool:
    try:
        return _host(host, allow_special=allow_special) == host
    except InvalidUrl:
        return False


def _checked(url: str) -> str:
    if _FORBIDDEN.search(url):
        _refuse("control_character")
    if not url:
        _refuse("empty")
    if url != url.strip():
        _refuse("whitespace")
    if "\\" in url.partition("?")[0].partition("#")[0]:
        _refuse("backslash")
    return url


def _rebuild(url: str, base: str | None, *, allow_special: bool, max_length: int) -> str:
    parts = _resolve(_split(url), base)
    assert parts.scheme is not None
    assert parts.authority is not None
    host, port = _authority(parts.authority, allow_special=allow_special)
    default = DEFAULT_PORTS[parts.scheme]
    result = f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, default) else "")
    result += _without_dot_segments(_escape(parts.path)) or "/"
    if parts.query is not None:
        result += "?" + _escape(parts.query)
    if parts.fragment is not None:
        result += "#" + _escape(parts.fragment)
    if len(result) > max_length:
        _refuse("too_long")
    return result


def _split(url: str) -> _Parts:
    found = _SPLIT.fullmatch(url)
    assert found is not None  # every part is optional and the last takes the rest
    parts = _Parts(*found.groups())
    if parts.scheme is None:
        if parts.authority is None and ":" in parts.path.partition("/")[0]:
            _refuse("scheme")  # RFC 3986, 4.2: such a first segment is a mistyped scheme, not a path
        return parts
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        _refuse("scheme")
    if parts.authority is None:
        _refuse("malformed")  # http:/path and http:path: browsers and libraries disagree on the host
    return parts._replace(scheme=scheme)


def _resolve(parts: _Parts, base: str | None) -> _Parts:
    """RFC 3986, 5.2.2, but for the dot segments."""
    if parts.scheme is not None:
        return parts
    if base is None:
        _refuse("relative")
    origin = _split(base)
    if parts.authority is not None:
        return parts._replace(scheme=origin.scheme)
    path, query = parts.path, parts.query
    if not path:
        path, query = origin.path, origin.query if query is None else query
    elif not path.startswith("/"):
        path = (origin.path.rpartition("/")[0] or "") + "/" + path
    return _Parts(origin.scheme, origin.authority, path, query, parts.fragment)


def _authority(text: str, *, allow_special: bool) -> tuple[str, int | None]:
    if "@" in text or "\N{FULLWIDTH COMMERCIAL AT}" in text:
        _refuse("userinfo")
    found = _HOST_PORT.fullmatch(text)
    if found is None:
        _refuse("host")
    return _host(found["host"], allow_special=allow_special), _port(found["port"])


def _port(text: str | None) -> int | None:
    if not text:  # "example.com:" is legal and means the default
        return None
    if not _PORT.fullmatch(text) or int(text) > 65_535:
        _refuse("port")
    return int(text)


def _host(text: str, *, allow_special: bool) -> str:
    """The host in its one ASCII spelling.

    A last label that is numeric makes `getaddrinfo` read the name as an address (`127.1`, `0x7f.1`,
    `2130706433`), so such a name is taken only as a plain dotted quad, and only if it was typed as one.
    """
    if text.startswith("["):
        return _ipv6(text[1:-1])
    if not text or "%" in text:
        _refuse("host")
    ascii_host = text.lower() if text.isascii() else _to_ascii(text)
    name = ascii_host.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(map(_is_label, labels)):
        _refuse("host")
    if _NUMERIC.fullmatch(labels[-1]):
        return _ipv4(name, typed=text)
    if not allow_special:
        if labels[-1][0].isdigit():  # `127.0.0.1_`: no top-level domain is written so, and resolvers are inventive
            _refuse("ip")
        if labels[-1] in SPECIAL_USE:
            _refuse("special_use")
        if len(labels) < 2:
            _refuse("single_label")
    return name


def _is_label(label: str) -> bool:
    """Letters, digits and hyphens. A-labels must be true ones (UTS 46, 4.1): parsers disagree on others."""
    if not _LABEL.fullmatch(label):
        return False
    if not label.startswith("xn--"):
        return True
    try:
        decoded = label[4:].encode().decode("punycode")
        return not decoded.isascii() and _mapped(decoded) == decoded
    except (idna.IDNAError, UnicodeError):
        return False


def _mapped(text: str) -> str:
    return idna.uts46_remap(text, std3_rules=False, transitional=False)


def _to_ascii(text: str) -> str:
    """UTS 46 mapping, then A-labels; labels that are ASCII already are left to the caller's check."""
    try:
        mapped = _mapped(text)
        if mapped.rstrip(".").rpartition(".")[2].isdecimal():  # in whatever script: no such top-level domain exists
            _refuse("ip")
        return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in mapped.split("."))
    except (idna.IDNAError, UnicodeError):
        _refuse("host")


def _ipv4(name: str, *, typed: str) -> str:
    try:
        address = ipaddress.IPv4Address(name)
    except ValueError:
        _refuse("ip")
    if not typed.isascii() or str(address) != name:
        _refuse("ip")
    return name


def _ipv6(text: str) -> str:
    if not _IPV6_TEXT.fullmatch(text):  # also keeps zone ids out
        _refuse("host")
    try:
        return f"[{ipaddress.IPv6Address(text).compressed}]"
    except ValueError:
        _refuse("host")


def _escape(text: str) -> str:
    """Percent-encode what a path, query or fragment may not hold; decode what need not be encoded.

    `[` and `]` stay as they stand, as browsers leave them: RFC 3986 reserves them, so neither spelling may be
    turned into the other.
    """
    return _ESCAPE.sub(_escape_one, text)


def _escape_one(found: re.Match[str]) -> str:
    octet = found[1]
    if octet is not None:
        char = chr(int(octet, 16))
        return char if char in _UNRESERVED else f"%{octet.upper()}"
    return "".join(f"%{byte:02X}" for byte in found[2].encode())


def _without_dot_segments(path: str) -> str:
    """RFC 3986, 5.2.4, for a path that is empty or starts with a slash.

    >>> _without_dot_segments("/a/b/./../c/..")
    '/a/'
    """
    if "/." not in path:
        return path
    segments = path.split("/")[1:]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


# A bare name in lower case, which is nearly every line of a batch: ten times as fast as the long way round.
_BARE_NAME = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9_\-]{1,63}\.)+([a-z]{2,63})")
_OTHER_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:(?![0-9]{1,5}(?:[/?#]|$))")


def site(text: str, *, allow_special: bool = False) -> Site:
    """Read what a user submits: a domain, or a URL whose directory is then the site's base path.

    >>> site("Example.com")
    Site(host='example.com', port=None, path='/', scheme=None, scheme_named=False)
    >>> site("HTTPS://Example.com:8443/shop/page?x")
    Site(host='example.com', port=8443, path='/shop/', scheme='https', scheme_named=True)

    :raises InvalidUrl: `reason` is a key of `REASONS`
    """
    bare = _BARE_NAME.fullmatch(text)
    if bare and bare[1] not in SPECIAL_USE and "xn--" not in text:
        return Site(host=text)
    if len(text) > 2 * MAX_LENGTH:
        _refuse("too_long")
    text = text.strip(" \t\r\n")
    named = bool(_OTHER_SCHEME.match(text))
    if " " in text:
        _refuse("whitespace")
    if not text:
        _refuse("empty")
    if not named and text.startswith(("/", "?", "#")):
        _refuse("malformed")
    if named:
        return _site(_split(canonical(text, allow_special=allow_special)), named=True)
    # a default port says which scheme is meant as plainly as the scheme itself
    port = _DEFAULT_PORT.match(text)
    scheme = {None: "https", "80": "http", "443": "https"}[port and port[1]]
    parts = _split(canonical(f"{scheme}://{text}", allow_special=allow_special))
    return _site(parts, named=port is not None)


_DEFAULT_PORT = re.compile(r"[^/?#]*:(80|443)(?:[/?#]|$)")


def _site(parts: _Parts, *, named: bool) -> Site:
    assert parts.authority is not None
    found = _HOST_PORT.fullmatch(parts.authority)
    assert found is not None
    scheme: Scheme = "https" if parts.scheme == "https" else "http"
    return Site(
        host=found["host"],
        port=_port(found["port"]),
        path=parts.path.rpartition("/")[0] + "/",
        scheme=scheme if named else None,
        scheme_named=named,
    )


def home_url(of: Site, scheme: Scheme) -> str:
    """
    >>> home_url(site("example.com/shop/"), "https")
    'https://example.com/shop/'
    """
    return f"{scheme}://{of.authority}{of.path}"


def same_site(url: str, of: Site) -> bool:
    """Tell whether a canonical URL lies on the site: same host and port, at or below its path.

    >>> same_site("http://example.com/shop/a", site("example.com/shop/"))
    True
    >>> same_site("http://example.com/blog", site("example.com/shop/"))
    False
    """
    parts = _split(url)
    return parts.authority == of.authority and parts.path.startswith(of.path)
