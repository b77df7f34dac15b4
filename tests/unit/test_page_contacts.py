"""Whom a page names: addresses, numbers, profiles, forms. What only looks like one is left alone."""

from __future__ import annotations

import pytest

from app.scanning import page
from app.scanning.contacts import network, region
from app.scanning.values import Page


def read(markup: str, *, url: str = "https://www.example.com/", **options) -> Page:
    return page.read(markup.encode(), url=url, headers={"Content-Type": "text/html; charset=utf-8"}, **options)


@pytest.mark.parametrize(
    ("markup", "emails"),
    [
        ('<a href="mailto:jane@example.com?subject=x">write</a>', ["jane@example.com"]),
        ('<a href="MAILTO:%6Aane@example.com,joe@example.org">write</a>', ["jane@example.com", "joe@example.org"]),
        ("<p>Write to jane.doe+shop@mail.example.co.uk.</p>", ["jane.doe+shop@mail.example.co.uk"]),
        ("<p>E-Mail:jane@example.com</p><p>Tel</p>", ["jane@example.com"]),
        ("<td>jane@example.com</td><td>Next</td>", ["jane@example.com"]),
        ("<p>jane@example.com, JANE@EXAMPLE.COM (jane@example.com)</p>", ["jane@example.com"]),
        ("<p>jane [at] example [dot] com</p>", ["jane@example.com"]),
        ("<p>jane(at)example.com</p>", ["jane@example.com"]),
        ("<p>jane.doe [ät] example [punkt] de</p>", ["jane.doe@example.de"]),
        ('<span data-cfemail="543e353a3114312c35392438317a373b39">[protected]</span>', ["jane@example.com"]),
        ("<p>info@müller.example</p>", ["info@müller.example"]),
        # no addresses
        ("<p>logo@2x.png banner@3x.webp jquery@3.7.1 bundle@1.2.min.js</p>", []),
        ("<p>meet us at example dot com, at home, @twitter, a@b</p>", []),
        ("<script>var a = 'jane@example.com'</script><style>/* a@example.com */</style>", []),
        ("<!-- jane@example.com --><template>joe@example.com</template>", []),
        ('<input placeholder="you@example.com"><a href="mailto:">x</a><a href="mailto:?body=hi">x</a>', []),
        ("<p>user@localhost, x@host.local</p>", []),
    ],
)
def test_emails(markup, emails):
    assert read(markup).emails == emails


@pytest.mark.parametrize(
    ("markup", "options", "phones"),
    [
        ('<a href="tel:+49-30-901820">call</a>', {}, ["+4930901820"]),
        ('<a href="tel:030%20901820">call</a>', {"country": "de"}, ["+4930901820"]),
        ('<a href="tel:030 901820">call</a>', {}, ["030901820"]),  # said to be a number, country unknown
        ("<p>+49 (0)30 901820</p>", {}, ["+4930901820"]),
        ("<p>Tel.: 030 901820</p>", {"country": "DE"}, ["+4930901820"]),
        ("<p>Tel.: 030 901820</p>", {"url": "https://example.de/"}, ["+4930901820"]),
        ("<html lang=de-AT><p>Telefon 01 4000 0</p>", {}, ["+43140000"]),
        ("<p>Call (212) 736-5000 now</p>", {"country": "US"}, ["+12127365000"]),
        ("<p>030 901820 and +49 30 901820</p>", {"country": "DE"}, ["+4930901820"]),
        ("<p>Tel 030 <b>901</b>820</p>", {"country": "DE"}, ["+4930901820"]),
        # no numbers
        ("<p>Tel.: 030 901820</p>", {}, []),
        ("<p>2026-11-22 12:30:45, ISBN 978-3-16-148410-0, order 4915112345678, 1.234.567,89 EUR</p>", {"country": "DE"}, []),
        ("<script>+49 30 901820</script><!-- +49 30 901820 -->", {}, []),
        ("<p>+99 999 999 99 99</p>", {}, []),
    ],
)  # fmt: skip
def test_phones(markup, options, phones):
    assert read(markup, **options).phones == phones


def test_the_country_hint_beats_what_the_page_suggests():
    assert region(country="CH", language="de-DE", host="example.de") == "CH"
    assert region(country="xx", language=None, host="example.co.uk") == "GB"
    assert region(country=None, language="de", host="example.com") is None


PROFILES = {
    "https://facebook.com/acme": "facebook",
    "https://de-de.facebook.com/pages/Acme/12345": "facebook",
    "https://www.facebook.com/profile.php?id=100": "facebook",
    "https://x.com/acme": "x",
    "https://uk.linkedin.com/company/acme/": "linkedin",
    "https://www.instagram.com/acme.inc/": "instagram",
    "https://www.youtube.com/@acme": "youtube",
    "https://www.youtube.com/channel/UC123/videos": "youtube",
    "https://www.tiktok.com/@acme": "tiktok",
    "https://www.pinterest.de/acme/": "pinterest",
    "https://github.com/acme": "github",
    "https://mastodon.social/@acme": "mastodon",
    "https://www.xing.com/pages/acme": "xing",
    "https://t.me/acme_news": "telegram",
    "https://wa.me/4915112345678": "whatsapp",
    "https://api.whatsapp.com/send?phone=4915112345678": "whatsapp",
    "https://vk.com/acme": "vk",
}
NO_PROFILES = [
    "https://www.facebook.com/sharer/sharer.php?u=https://example.com",
    "https://www.facebook.com/sharer.php?u=x",
    "https://www.facebook.com/",
    "https://twitter.com/intent/tweet?text=x",
    "https://twitter.com/share?url=x",
    "https://twitter.com/acme/status/123",
    "https://www.linkedin.com/shareArticle?url=x",
    "https://www.linkedin.com/sharing/share-offsite/?url=x",
    "https://www.instagram.com/p/abc/",
    "https://www.youtube.com/watch?v=abc",
    "https://www.youtube.com/embed/abc",
    "https://youtu.be/abc",
    "https://pinterest.com/pin/create/button/?url=x",
    "https://github.com/acme/repo",
    "https://t.me/share/url?url=x",
    "https://api.whatsapp.com/send?text=hello",
    "https://vk.com/share.php?url=x",
    "https://notfacebook.com/acme",
    "https://facebook.com.evil.example/acme",
]


@pytest.mark.parametrize(("url", "name"), PROFILES.items())
def test_profiles(url, name):
    assert network(url) == name


@pytest.mark.parametrize("url", NO_PROFILES)
def test_sharing_links_and_posts_are_no_profiles(url):
    assert network(url) is None


def test_the_first_profile_of_a_network_counts():
    found = read(
        '<a href="https://twitter.com/intent/tweet">share</a><a href="//twitter.com/acme#x">us</a>'
        '<a href="https://twitter.com/partner">them</a>'
    )
    assert found.social_links == {"x": "https://twitter.com/acme"}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("<form><input type=email name=email><textarea name=message></textarea></form>", True),
        ("<form><input name=name><input name=your-email><input name=subject></form>", True),
        ("<form class=wpcf7-form><input type=email></form>", True),
        ("<form><input type=email name=email><input type=tel name=phone></form>", True),
        ("<form role=search><input type=search name=q></form>", False),
        ("<form><input type=email><input type=password></form>", False),
        ("<form action=/newsletter><input type=email><input name=firstname></form>", False),
        ("<form><input type=email name=email></form>", False),
        ("<form id=commentform class=comment-form><input name=email><textarea name=comment></textarea></form>", False),
        ("<p>Contact us</p>", False),
    ],
)
def test_contact_form(form, expected):
    assert read(form).contact_form is expected
