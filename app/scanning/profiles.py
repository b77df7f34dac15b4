"""Which social network a link is a profile of. Sharing links, single posts and a network's own pages are none."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit


@dataclass(frozen=True, slots=True)
class Network:
    name: str
    path: re.Pattern[str]  # what a profile's path looks like, without the slash at its end
    others: frozenset[str]  # first words of paths that lead elsewhere


_NAME: Final = r"@?[\w.\-%]{1,100}"
_WORD: Final = r"[\w\-]{2,60}"
# name, hosts, profile paths, first words of paths that look like profiles and are none
_NETWORKS: Final = (
    ("facebook", "facebook.com fb.com fb.me",
     rf"/(?!(?:pages|people|groups|pg)$){_NAME}|/(?:pages|people|groups|pg)/{_NAME}(?:/\d+)?",
     """sharer share dialog plugins tr hashtag events login help policies policy privacy l watch photo photos video
        videos reel story permalink media ads business gaming marketplace settings legal home search terms about
        recover profile"""),
    ("x", "twitter.com x.com", r"/@?\w{1,30}",
     """intent share home search hashtag i login logout signup account widgets privacy tos about explore settings jobs
        download compose messages notifications"""),
    ("linkedin", "linkedin.com", rf"/(?:company|in|school|showcase|pub|groups|organization)/{_NAME}(?:/[\w\-]*)?", ""),
    ("instagram", "instagram.com instagr.am", r"/[\w.]{1,40}",
     "p reel reels explore stories accounts share tv legal about direct developer web session"),
    ("youtube", "youtube.com", rf"(?:/(?:channel|c|user)/{_NAME}|/@?[\w.\-%]+)(?:/(?:videos|featured|about))?",
     """watch embed playlist shorts results redirect feed live iframe_api t v s n hashtag about howyoutubeworks premium
        gaming music account clip post creators ads static trending kids oembed player_api subscription_center"""),
    ("tiktok", "tiktok.com", r"/@[\w.]{1,40}", ""),
    ("pinterest", "pinterest.com", rf"/{_WORD}(?:/[\w\-]+)?", "pin search ideas business today settings login about"),
    ("github", "github.com", r"/[\w\-]{1,39}",
     """features about login join topics sponsors marketplace orgs settings search pricing enterprise security team
        collections trending explore apps readme site solutions resources contact events new issues pulls
        notifications codespaces customer-stories signup"""),
    ("gitlab", "gitlab.com", r"/[\w.\-]{1,60}", "users explore help dashboard search groups"),
    ("xing", "xing.com", r"/(?:profile|pages|companies|company)/[\w.\-%]{1,100}", ""),
    ("telegram", "t.me telegram.me", r"/(?:s/|joinchat/)?\+?[\w\-]{3,40}", "share iv addstickers proxy"),
    ("whatsapp", "wa.me", r"/(?:message|qr)/\w+|/\+?\d{6,15}", ""),
    ("whatsapp", "whatsapp.com api.whatsapp.com", r"/channel/\w+", ""),
    ("whatsapp", "chat.whatsapp.com", r"/(?:invite/)?\w{15,40}", ""),
    ("vk", "vk.com vk.ru", r"/(?!wall-?\d|video-?\d|photo-?\d|widget)[\w.]{2,60}",
     "share share.php js away away.php feed login search video"),
    ("ok", "ok.ru", r"/(?:group|profile)/\d{3,30}", ""),
    ("vimeo", "vimeo.com", rf"/(?!\d+$){_WORD}", "watch categories upgrade features help log_in join"),
    ("flickr", "flickr.com", r"/(?:photos|people)/[\w@\-]{2,60}", ""),
    ("tumblr", "tumblr.com", rf"/{_WORD}", "share widgets dashboard login register explore search"),
    ("reddit", "reddit.com", r"/(?:r|u|user)/[\w\-]{2,40}", ""),
    ("discord", "discord.gg", r"/[\w\-]{2,40}", ""),
    ("discord", "discord.com discordapp.com", r"/invite/[\w\-]{2,40}", ""),
    ("twitch", "twitch.tv", r"/\w{3,30}", "videos directory downloads jobs login settings"),
    ("threads", "threads.net threads.com", r"/@[\w.]{1,40}", ""),
    ("bluesky", "bsky.app", r"/profile/[\w.:\-]{3,100}", ""),
    ("medium", "medium.com", r"/@?[\w.\-]{2,60}", "tag about policy search me new-story membership"),
    ("soundcloud", "soundcloud.com", rf"/{_WORD}", "discover search upload pages player you charts"),
    ("spotify", "open.spotify.com", r"/(?:intl-\w{2}/)?(?:artist|show|user)/\w+", ""),
    ("snapchat", "snapchat.com", r"/(?:add/|@)[\w.\-]{2,40}", ""),
    ("weibo", "weibo.com", r"/(?:u/)?\w{3,40}", ""),
    ("yelp", "yelp.com", r"/biz/[\w\-%]+", ""),
    ("line", "lin.ee line.me", r"/(?:R/ti/p/|ti/p/)?[@%\w]{4,40}", ""),
    ("behance", "behance.net", rf"/{_WORD}", "gallery search joblist assets"),
    ("dribbble", "dribbble.com", rf"/{_WORD}", "shots jobs tags designers session"),
    ("patreon", "patreon.com", rf"/(?:c/)?{_WORD}", "posts login join bepatron oauth2"),
)  # fmt: skip
_BY_HOST: Final = {
    host: Network(name, re.compile(path), frozenset(others.split()))
    for name, hosts, path, others in _NETWORKS
    for host in hosts.split()
}
# m.facebook.com, de-de.facebook.com; but not developers.facebook.com
_SAME_NETWORK: Final = re.compile(r"www|m|mobile|touch|[a-z]{2}(?:-[a-z]{2})?")
_OWN_HOSTS: Final = {"tumblr.com": "tumblr", "medium.com": "medium"}  # where a profile is a host of its own
_NO_OWN_HOSTS: Final = frozenset({"help", "support", "policy", "api", "blog", "assets", "static", "media"})
_PINTEREST: Final = re.compile(r"pinterest\.(?:com|[a-z]{2}|co\.[a-z]{2}|com\.[a-z]{2})")
_FEDIVERSE_PATH: Final = re.compile(r"/@\w{1,40}(?:@[\w.\-]+)?")
_FEDIVERSE_HOST: Final = re.compile(
    r"(?:^|\.)(?:mastodon|mstdn|fosstodon|hachyderm|chaos\.social|mas\.to|social)\b|\.social$"
)
_PHONE_QUERY: Final = re.compile(r"(?:^|&)(phone=(?:\+|%2B)?\d{6,15})(?:&|$)", re.IGNORECASE)
_ID_QUERY: Final = re.compile(r"(?:^|&)(id=\d{3,30})(?:&|$)")


def social_links(links: Iterable[str], *, own: Collection[str] = ()) -> dict[str, str]:
    """The first profile on each network: network → URL, without what only tells where a visitor came from.

    `links` are canonical URLs, the surest first; `own` are those that the page marks by `rel="me"`.

    >>> social_links(["https://x.com/intent/post?text=a", "https://x.com/acme?ref_src=site"])
    {'x': 'https://x.com/acme'}
    """
    found: dict[str, str] = {}
    for link in links:
        profile = _profile(link, is_me=link in own)
        if profile:
            found.setdefault(*profile)
    return found


def network(url: str, *, is_me: bool = False) -> str | None:
    """The network a URL is a profile of, or None. `is_me` tells Mastodon servers of any name.

    >>> network("https://mobile.twitter.com/acme"), network("https://developer.twitter.com/en")
    ('x', None)
    """
    found = _profile(url, is_me=is_me)
    return found[0] if found else None


def _profile(url: str, *, is_me: bool) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    host, path = parts.netloc.removeprefix("www."), parts.path.rstrip("/")
    known = _known(host)
    if known is None:
        name = _elsewhere(host, path, is_me=is_me)
    elif kept := _by_query(known.name, parts):
        return known.name, f"{url.partition('?')[0]}?{kept}"
    else:
        name = known.name if _is_profile(known, path) else None
    return (name, url.partition("#")[0].partition("?")[0]) if name else None


def _known(host: str) -> Network | None:
    before, pinterest, _ = host.rpartition("pinterest.")
    if pinterest and _PINTEREST.fullmatch(host[len(before) :]):
        host = before + "pinterest.com"
    first, _, rest = host.partition(".")
    return _BY_HOST.get(host) or (_BY_HOST.get(rest) if _SAME_NETWORK.fullmatch(first) else None)


def _is_profile(known: Network, path: str) -> bool:
    first = path.lower().split("/", 2)[1:2]
    word = first[0].removesuffix(".php") if first else ""
    return word not in known.others and known.path.fullmatch(path) is not None


def _by_query(name: str, parts: SplitResult) -> str | None:
    """The part of a query that names a profile, where the path does not."""
    if name == "facebook" and parts.path == "/profile.php":
        found = _ID_QUERY.search(parts.query)
    elif name == "whatsapp" and parts.path.strip("/") == "send":
        found = _PHONE_QUERY.search(parts.query)
    else:
        return None
    return found[1] if found else None


def _elsewhere(host: str, path: str, *, is_me: bool) -> str | None:
    first, _, rest = host.partition(".")
    if not path and first not in _NO_OWN_HOSTS:
        return _OWN_HOSTS.get(rest)
    if _FEDIVERSE_PATH.fullmatch(path) and (is_me or _FEDIVERSE_HOST.search(host)):
        return "mastodon"
    return None
