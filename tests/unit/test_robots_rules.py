"""robots.txt held against what Google's open parser, RFC 9309 and other projects publish about their reading of it.

The behaviours are theirs, the files and URLs here are ours. `ids` name where a behaviour is laid down: a test of
google/robotstxt (`google:`), a section of the RFC, or a peer. Where they disagree the RFC decides, and it is said.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scanning.robots import parse
from app.scanning.rules import MAX_WILD, Line, Rules
from app.scanning.values import Limits

SITE = "https://example.com"
AGENT = "ScraperSky"
OTHER = "elsewherebot"


def is_open(text: str | bytes, path: str, agent: str = AGENT) -> bool:
    body = text.encode() if isinstance(text, str) else text
    return parse(body, url=f"{SITE}/robots.txt").allowed(SITE + path, agent)


def judged(text: str | bytes, *, opened: str, closed: str, agent: str = AGENT) -> None:
    """Each of the paths, which stand between spaces, must be judged so."""
    verdicts = {path: is_open(text, path, agent) for path in f"{opened} {closed}".split()}
    assert verdicts == dict.fromkeys(opened.split(), True) | dict.fromkeys(closed.split(), False)


def group(*lines: str, agent: str = AGENT) -> str:
    return "\n".join([f"User-agent: {agent}", *lines])


# -- the pattern and the path (RFC 9309, 2.2.2 and 2.2.3) ----------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "opened", "closed"),
    [
        pytest.param("", "/ /a", "", id="2.2.2: no rules"),
        pytest.param("Disallow:", "/ /a", "", id="google:ID_LongestMatch, an empty line closes nothing"),
        pytest.param("Disallow:\nAllow:", "/ /a", "", id="google:ID_LongestMatch, both empty"),
        pytest.param("Disallow: /", "/robots.txt", "/ /a /robots.txt.bak", id="2.2.2: robots.txt itself is open"),
        pytest.param("Disallow: /tea", "/coffee /Tea /green/tea /?drink=tea", "/tea /tea.html /teapot/blue /tea?x=1",
                     id="google:DocumentationChecks, a path is a prefix"),
        pytest.param("Disallow: /tea*", "/Tea /iced-tea", "/tea /tea.html /teapot", id="google: a last * adds nothing"),
        pytest.param("Disallow: /tea/", "/tea /tea.html /Tea/x", "/tea/ /tea/cup /tea/?x=1",
                     id="google: a slash at the end is part of the prefix"),
        pytest.param("Disallow: /*.asp", "/ /windows.ASP /asp/ /page?asp",
                     "/page.asp /dir/page.asp?x /page.aspx /page.asp/ /go?to=page.asp", id="google: * in the midst"),
        pytest.param("Disallow: /*.asp$", "/page.asp?x /page.asp/ /page.aspx /page?asp", "/page.asp /dir/page.asp",
                     id="google: $ ends the path"),
        pytest.param("Disallow: /tea*.asp", "/Tea.ASP /tea/asp", "/tea.asp /teapot/green-tea.asp?x",
                     id="google: a prefix and a *"),
        pytest.param("Disallow: *.gif$", "/a.gif?b /gif", "/a.gif /dir/b.gif", id="5.1: a pattern may start with *"),
        pytest.param("Disallow: *m", "/tea", "/mint /a/lemon", id="protego: a letter anywhere"),
        pytest.param("Disallow: *", "", "/ /a", id="protego: * alone"),
        pytest.param("Disallow: /a***b*****c$", "/abcd", "/abc /axxbxxc /abcc", id="protego: wildcards in a row"),
        pytest.param("Disallow: /a*a$", "/a /ab", "/aa /aba /a/a", id="what a wildcard's sides match cannot overlap"),
        pytest.param("Disallow: /$", "/a /?a", "/", id="google: the home page alone"),
        pytest.param("Disallow: /a$b", "/a /ab", "/a$b /a$bc /a%24b", id="google: $ elsewhere is a character"),
        pytest.param("Disallow: /a$$", "/a /a$b", "/a$", id="google: only the last $ is the end"),
        pytest.param("Disallow: /a%24\nDisallow: /b%2Ac", "/a /bxc", "/a$ /a%24 /b*c /b%2ac",
                     id="2.2.3: * and $ in their escapes are characters"),
        pytest.param("Disallow: /X", "/x/y", "/X/y", id="google:ID_AllowDisallow_Value_CaseSensitive"),
        pytest.param("Disallow: shop\nDisallow: https://example.com/shop", "/shop /a/shop", "",
                     id="google: a pattern without its slash matches no path"),
        pytest.param("Disallow: //shop/*", "/shop/a //shop", "//shop/a", id="protego: two slashes are two"),
        pytest.param("Disallow: /?\nDisallow: /;", "/ /a", "/?a /;b", id="protego: query and parameters count"),
        pytest.param("Disallow: /*s=", "/s/ /?s", "/?s=tea /x?q&s=", id="protego: a wildcard reaches into the query"),
        pytest.param("Disallow: /a b", "/a", "/a%20b", id="white space within a pattern"),
        pytest.param("Disallow: /a # not /b\nDisallow: /c#d", "/b /d", "/a /a/b /c /cd",
                     id="google:ID_SpecialCharacters, # starts a comment"),
        pytest.param("# Disallow: /", "/", "", id="google: a whole line may be one"),
    ],
)  # fmt: skip
def test_a_pattern_matches(rules, opened, closed):
    judged(group(rules), opened=opened, closed=closed)


@pytest.mark.parametrize(
    ("rules", "opened", "closed"),
    [
        pytest.param("Disallow: /a/b.html\nAllow: /a/", "/a/c", "/a/b.html", id="google:ID_LongestMatch"),
        pytest.param("Allow: /a/b.html\nDisallow: /a/", "/a/b.html", "/a/", id="google: whichever comes first"),
        pytest.param("Disallow: /a\nAllow: /a", "/a/b", "", id="google: of two as long the one that allows"),
        pytest.param("Allow: /a\nDisallow: /a", "/a/b", "", id="google: in either order"),
        pytest.param("Disallow: /a\nAllow: /a/", "/a/ /a/b", "/a /ab", id="google: one slash longer"),
        pytest.param("Allow: /tea\nDisallow: /*.html", "/tea /tea.htm", "/tea.html", id="google: wildcards are counted"),
        pytest.param("Allow: /x/tea.\nDisallow: /*.html", "/x/tea.html", "/x/y.html", id="google: and so is the rest"),
        pytest.param("Allow: /$\nDisallow: /", "/", "/a /?a", id="google: and so is $"),
        pytest.param("Allow: *a/x\nDisallow: /a", "/a/x", "/a/y", id="scrapy: a wildcard in front"),
        pytest.param("Allow: /a/*/c\nDisallow: /a/b/d", "/a/b/c /a/x/d", "/a/b/d", id="google:ID_SpecialCharacters"),
        pytest.param("Disallow: /caf\u00e9\nAllow: /caf%*", "/cafe", "/caf\u00e9", id="2.2.2: the length is of octets"),
    ],
)  # fmt: skip
def test_the_longest_pattern_decides(rules, opened, closed):
    judged(group(rules), opened=opened, closed=closed)


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("/te\u00e9/\u30c4", "/te%C3%A9/%E3%83%84"),
        ("/te%c3%a9", "/te%C3%A9"),
        ("/%7Ejoe", "/~joe"),
        ("/~joe", "/%7ejoe"),
        ("/%62%61%7A", "/baz"),  # not so in Google's parser, whose test says not to rely on it: RFC 9309, 2.2.2
        ("/a<b", "/a%3Cb"),
        ("/a%3cb", "/a<b"),
        ("/q?x=http://a.example/b?c&d", "/q?x=http://a.example/b?c&d"),
        ("/a%3Db%2Cc", "/a=b,c"),
        ("/100%", "/100%25"),
    ],
)
def test_spellings_of_one_path_are_one(written, asked):
    """google:ID_Encoding, RFC 9309 2.2.2, and the examples of the drafts of 1994 and 1996."""
    judged(group("Disallow: /", f"Allow: {written}"), opened=asked, closed="/other")


@pytest.mark.parametrize(("written", "asked"), [("/a%2fb", "/a/b"), ("/a/b", "/a%2Fb"), ("/a%3Fb", "/a?b")])
def test_an_escaped_delimiter_is_no_delimiter(written, asked):
    judged(group(f"Disallow: {written}"), opened=asked, closed=written)


def test_a_path_in_another_encoding_is_matched_by_its_octets():
    judged(b"User-agent: *\nDisallow: /caf\xe9/", opened="/caf%C3%A9/", closed="/caf%E9/")


@pytest.mark.parametrize("page", ["index.html", "index.htm", "index.html?x"])
def test_an_index_page_that_is_allowed_allows_its_directory(page):
    """google:GoogleOnly_IndexHTMLisDirectory"""
    rules = group("Disallow: /", f"Allow: /tea/{page}")
    judged(rules, opened=f"/tea/ /tea/{page}", closed="/tea /tea/x /tea/inde")


# -- lines and names (RFC 9309, 2.1 and 2.2.1) ---------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "disallow: /x",
        "DISALLOW: /x",
        "dIsAlLoW:/x",
        "  Disallow  :   /x   ",
        "\tDisallow\t:\t/x\t",
        "Disallow /x",
        "Disallow\t/x",
        "Disallow:\u00a0/x",
        "Disallow\uff1a/x",
        "\u200bDisallow: /x",
        "Dissallow: /x",
        "Dissalow: /x",
        "Disalow: /x",
        "Diasllow: /x",
        "Disallaw: /x",
        "Desallow: /x",
        "Disallowed: /x",
    ],
)
def test_a_rule_is_read_in_the_spellings_that_others_take(line):
    """google:ID_REPLineNamesCaseInsensitive, ID_LineSyntax_Line and its frequent typos; crawler-commons."""
    judged(f"User-agent: *\n{line}", opened="/y", closed="/x")


@pytest.mark.parametrize(
    "line", ["Disallow all of it, please", "Noindex: /x", "/x", ": /x", "Disallow", "Not Disallow: /x", "Dis allow: /x"]
)
def test_what_is_no_rule_is_passed_over(line):
    judged(f"User-agent: *\n{line}\nDisallow: /y", opened="/x", closed="/y")


@pytest.mark.parametrize(
    "line",
    [
        "User-agent: ScraperSky",
        "USER-AGENT: SCRAPERSKY",
        "user-agent:scrapersky",
        "User-agent ScraperSky",
        "Useragent: ScraperSky",
        "User agent: ScraperSky",
        "User_agent: ScraperSky",
        "User-agents: ScraperSky",
        "Users-agent: ScraperSky",
        "User-agent : ScraperSky",
        "User-agent: ScraperSky/1.0",
        "User-agent: ScraperSky*",
        "User-agent: ScraperSky Images",
        "User-agent: ScraperSky # ours",
        "User-agent: other, ScraperSky",
        "\u00ef\u00bb\u00bfUser-agent: ScraperSky",  # a byte order mark that was encoded twice
    ],
)
@pytest.mark.parametrize("agent", ["ScraperSky", "scrapersky", "ScraperSky/1.0", "ScraperSky/2.1 (+https://a.example)"])
def test_an_agent_is_found_by_its_product_token(line, agent):
    """google:ID_UserAgentValueCaseInsensitive, GoogleOnly_AcceptUserAgentUpToFirstSpace; RFC 9309, 2.2.1."""
    judged(f"{line}\nDisallow: /x\n\nUser-agent: *\nDisallow: /y", opened="/y", closed="/x", agent=agent)


@pytest.mark.parametrize("name", ["Scraper", "Sky", "ScraperSkyBot", "MyScraperSky", "Scraper Sky", "ScraperSky-News",
                                  "*Sky", "", "\u30c4", "/ScraperSky"])  # fmt: skip
def test_another_name_is_not_ours_though_it_is_part_of_it(name):
    judged(f"User-agent: {name}\nDisallow: /x\n\nUser-agent: *\nDisallow: /y", opened="/x", closed="/y")


@pytest.mark.parametrize("name", ["*", " * ", "* and all others", "*, otherbot", "* # everybody"])
def test_the_star_speaks_to_whom_no_group_names(name):
    """google:ID_GlobalGroups_Secondary, and a star with something behind it."""
    text = f"User-agent: {name}\nDisallow: /x\n\nUser-agent: {OTHER}\nDisallow: /y"
    judged(text, opened="/y", closed="/x")
    judged(text, opened="/x", closed="/y", agent=OTHER)


def test_without_a_star_nobody_else_is_bound():
    judged(group("Disallow: /", agent=OTHER), opened="/ /x", closed="")


def test_an_agent_that_is_named_without_rules_may_do_anything():
    """RFC 9309, 2.1: the last group may have no rules; and 5.1."""
    judged(f"User-agent: *\nDisallow: /\n\nUser-agent: {AGENT}", opened="/ /x", closed="")
    judged(f"User-agent: {AGENT}\nDisallow:\n\nUser-agent: *\nDisallow: /", opened="/ /x", closed="")


def test_rules_ahead_of_the_first_group_bind_nobody():
    """google:ID_LineSyntax_Groups; RFC 9309, 2.2.2."""
    text = "Disallow: /x\nCrawl-delay: 9\n\nUser-agent: *\nDisallow: /y"
    judged(text, opened="/x", closed="/y")
    assert parse(text.encode(), url=f"{SITE}/robots.txt").crawl_delay(AGENT) is None


def test_groups_that_name_an_agent_are_one():
    """google:ID_LineSyntax_Groups: blank lines end no group, rules end its names, groups of one name are combined."""
    text = (
        "User-agent: a\nDisallow: /1\n\nDisallow: /2\n\nUser-agent: b\n\nUser-agent: a\n# and\nDisallow: /3\n"
        "User-agent: c\nDisallow: /4\nUser-agent: B\nDisallow: /5"
    )
    judged(text, opened="/4 /5", closed="/1 /2 /3", agent="a")
    judged(text, opened="/1 /2 /4", closed="/3 /5", agent="b")
    judged(text, opened="/1 /2 /3 /5", closed="/4", agent="c")
    judged(text, opened="/1 /2 /3 /4 /5", closed="", agent="d")


def test_groups_of_the_star_are_one_and_a_star_beside_a_name_binds_both():
    text = "User-agent: a\nAllow: /1/2\n\nUser-agent: *\nUser-agent: a\nDisallow: /1\n\nUser-agent: *\nDisallow: /3"
    judged(text, opened="/1/2 /3", closed="/1", agent="a")
    judged(text, opened="/", closed="/1/2 /1 /3", agent="b")


@pytest.mark.parametrize("line", ["Sitemap: https://example.com/s.xml", "Host: example.com", "Never-heard-of: it",
                                  "Request-rate: 1/5", "no line at all"])  # fmt: skip
def test_no_other_line_ends_a_group(line):
    """google:ID_LineSyntax_Groups_OtherRules; RFC 9309, 2.2.4."""
    text = f"User-agent: {AGENT}\n{line}\nUser-agent: *\nDisallow: /x\n{line}\nDisallow: /y"
    judged(text, opened="/", closed="/x /y")
    judged(text, opened="/", closed="/x /y", agent=OTHER)


def test_a_crawl_delay_is_a_rule_and_ends_the_names():
    """As urllib.robotparser and Protego have it: else whoever is slowed down would be shut out with the next bot."""
    text = f"User-agent: *\nCrawl-delay: 10\n\nUser-agent: {OTHER}\nDisallow: /"
    judged(text, opened="/", closed="")
    judged(text, opened="", closed="/", agent=OTHER)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\r\n", "\r\r"])
def test_lines_end_as_on_any_system(end):
    """google:ID_LinesNumbersAreCountedCorrectly"""
    text = end.join(["User-agent: *", "Disallow: /x", "Allow: /x/y", "Disallow: /z"])
    judged(text, opened="/x/y", closed="/x /z")
    judged(text + end, opened="/x/y", closed="/x /z")


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_nothing_else_ends_a_line(character):
    judged(f"User-agent: *\nDisallow: /x{character}Disallow: /y", opened="/x /y", closed="")


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xef\xbb", b"\xef", b"\xc3\xaf\xc2\xbb\xc2\xbf"])
def test_a_byte_order_mark_is_passed_over_whole_or_in_part(mark):
    """google:ID_UTF8ByteOrderMarkIsSkipped"""
    judged(mark + b"User-agent: *\nDisallow: /x", opened="/y", closed="/x")


def test_the_longest_url_and_a_longer_pattern():
    """google:GoogleOnly_LineTooLong cuts patterns at 16 KiB; no URL that is asked for has an eighth of that."""
    path = "/" + "a" * 2_000
    judged(group("Disallow: " + "/" + "a" * 20_000), opened=path, closed="")
    judged(group(f"Disallow: {path}", "Disallow: " + "*a" * 9_000 + "*b"), opened="/b", closed=path)


def test_half_a_line_is_no_line():
    """RFC 9309, 2.5, and security P1: what is cut off at 500 KiB must not say something else than it did."""
    head, half = b"User-agent: *\nDisallow: /x\n# ", b"\nDisallow: /"
    cut = head + b"-" * (Limits().robots_bytes - len(head + half)) + half
    judged(cut + b"private\nDisallow: /y\n", opened="/ /y /private", closed="/x")
    judged(cut, opened="", closed="/")
    found = parse(cut, url=f"{SITE}/robots.txt", truncated=True)
    assert found.allowed(f"{SITE}/", AGENT)
    assert not found.allowed(f"{SITE}/x", AGENT)


# -- bounds --------------------------------------------------------------------------------------------------


def test_beyond_the_bound_a_wildcard_is_read_for_the_worse():
    rules = Rules(
        [Line(False, "/*" + "x" * (MAX_WILD - 2)), Line(False, "/a*b"), Line(True, "/a/*"), Line(False, "/c")]
    )
    assert [rules.allows(path) for path in ("/a", "/a/b", "/c", "/d")] == [False, False, False, True]


wild = st.text("ab*/", max_size=12).map("/{}".format)


@given(st.lists(st.tuples(st.booleans(), wild, st.booleans()), max_size=8), st.text("ab/", max_size=12))
def test_matching_agrees_with_trying_every_way(lines, path):
    """The rules against a matcher that follows the RFC's sentences and nothing else."""
    written = [Line(allows, pattern + "$" * is_anchored) for allows, pattern, is_anchored in lines]
    hits = [(len(line.pattern), line.allows) for line in written if tried(line.pattern, f"/{path}")]
    assert Rules(written).allows(f"/{path}") is (max(hits)[1] if hits else True)


def tried(pattern: str, path: str) -> bool:
    if not pattern:
        return True
    if pattern == "$":
        return not path
    if pattern[0] == "*":
        return any(tried(pattern[1:], path[start:]) for start in range(len(path) + 1))
    return path[:1] == pattern[0] and tried(pattern[1:], path[1:])
