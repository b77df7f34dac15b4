"""Whom a page names: addresses, numbers, profiles, forms. What only looks like one is left alone."""

from __future__ import annotations

import pytest

from app.scanning import page
from app.scanning.contacts import region
from app.scanning.profiles import network
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
        (
            '<a href="mailto:Jane%20Doe%20%3Cjane@example.com%3E;joe@example.org">x</a>',
            ["jane@example.com", "joe@example.org"],
        ),
        ('<a href="mailto:?to=jane@example.com&amp;cc=boss@example.com">x</a>', ["jane@example.com"]),
        ("<p>E-mail: jane (at) example.com</p>", ["jane@example.com"]),
        ("<p>Write to info (at) example.com</p>", ["info@example.com"]),
        ("<p>jane (at) example (dot) com</p>", ["jane@example.com"]),
        ("<p>\u200binfo@exam\u00adple.com</p>", ["info@example.com"]),
        ("<p>sales@shop.example</p>", ["sales@shop.example"]),
        ("<p>Reach jane DOT doe AT example DOT co DOT uk now</p>", ["jane.doe@example.co.uk"]),
        ("<p>&#106;ane&#64;example&#46;com</p>", ["jane@example.com"]),
        (
            '<p><b style="unicode-bidi:bidi-override;direction:rtl">moc.elpmaxe@enaj</b> or call</p>',
            ["jane@example.com"],
        ),
        (
            "<p>contact[arobase]example.com, info (chiocciola) example.com</p>",
            ["contact@example.com", "info@example.com"],
        ),
        # no addresses
        ("<p>LOOK AT example.com, MEET AT NOON DOT</p>", []),
        ("<p>Meet us (at) example.com, 12 (at) 3.example.com, be {at} home.now</p>", []),
        ("<p>git clone git@example.com:team/tool.git</p>", []),
        ("<p>https://example.com/@jane.doe https://jane:secret@example.com/x //example.com/@a.b</p>", []),
        ("<p>info@example.comTel</p>", []),
        ("<p>your@email.com, you@example.com, name@domain.com, your-name@company.example</p>", []),
        ('<a href="mailto:jane@example.com%0d%0aBcc:joe@example.org">x</a>', []),
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
        ("<p>Tel. 030 901820 / 21, Fax 030 901820-99</p>", {"country": "DE"}, ["+4930901820", "+493090182099"]),
        ("<p>+49 (0) 30 / 90 18 20</p>", {}, ["+4930901820"]),
        ("<p>+1 212 736 5000 ext. 12</p>", {}, ["+12127365000"]),
        ('<a href="tel:0049-30-901820;ext=5">call</a><a href="tel://+4930901820">call</a>', {}, ["+4930901820"]),
        ("<p>電話 03-1234-5678 〒100-0001</p>", {"country": "JP"}, ["+81312345678"]),
        ("<p>Tél : 01.42.34.56.78 - Fax : 01 42 34 56 79</p>", {"country": "FR"}, ["+33142345678", "+33142345679"]),
        ("<p>tel. 22 123 45 67, kom. 501 234 567</p>", {"country": "PL"}, ["+48221234567", "+48501234567"]),
        ("<p>Тел.: 8 (495) 123-45-67, ИНН 7701234567</p>", {"country": "RU"}, ["+74951234567"]),
        ("<p>TEL 03-1234-5678 FAX: 03-1234-5679 フリーダイヤル 0120-123-456</p>", {"country": "JP"},
         ["+81312345678", "+81312345679", "+81120123456"]),
        ("<p>212-736-5000 or 1-800-275-2273</p>", {"country": "US"}, ["+12127365000", "+18002752273"]),
        ("<p>Tel. 06 6988 3462 cell. 338 1234567 P.IVA 01234567890</p>", {"country": "IT"},
         ["+390669883462", "+393381234567"]),
        # no numbers
        ("<p>Bestellnr. 030-901820, Art.-Nr.: 030/901820, VAT no. 030 901820, account 030 901820</p>", {"country": "DE"}, []),
        ("<p>The string 30901820 of a miscellaneous berufung 30901820</p>", {"country": "DE"}, []),
        ("<p>Tel.: 030 901820</p>", {}, []),
        ("<p>2026-11-22 12:30:45, ISBN 978-3-16-148410-0, order 4915112345678, 1.234.567,89 EUR</p>", {"country": "DE"}, []),
        ("<script>+49 30 901820</script><!-- +49 30 901820 -->", {}, []),
        ("<p>+99 999 999 99 99</p>", {}, []),
        ("<p>IBAN DE89 3704 0044 0532 0130 00, USt-IdNr. DE123456789, HRB 12345</p>", {"country": "DE"}, []),
        ("<p>01.02.2024 - 05.03.2024, 2024-2026, 10117 Berlin</p>", {"country": "DE"}, []),
        ("<p>SIREN 552 100 554, Siret 552 100 554 00013, GPS 48.8566140, 2.3522219</p>", {"country": "FR"}, []),
        ("<p>Company No 01234567, VAT GB 123 4567 89</p>", {"country": "GB"}, []),
        ("<p>192.168.100.200, $ 100-200-3000</p>", {"country": "US"}, []),
        ('<a href="tel:110">x</a><a href="tel:*31#">x</a><a href="tel:">x</a>', {"country": "DE"}, []),
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
    "https://www.facebook.com/share-of-berlin": "facebook",
    "https://discord.gg/abc12": "discord",
    "https://discord.com/invite/abc12": "discord",
    "https://chat.whatsapp.com/AbCdEfGhIjKlMnOpQrStUv": "whatsapp",
    "https://www.threads.com/@acme": "threads",
    "https://bsky.app/profile/acme.example": "bluesky",
    "https://www.twitch.tv/acme": "twitch",
    "https://open.spotify.com/intl-de/artist/4abc": "spotify",
    "https://soundcloud.com/acme": "soundcloud",
    "https://vimeo.com/acme": "vimeo",
    "https://acme.medium.com/": "medium",
    "https://acme.tumblr.com": "tumblr",
    "https://www.reddit.com/r/acme/": "reddit",
    "https://www.snapchat.com/add/acme": "snapchat",
    "https://ok.ru/group/5123456": "ok",
    "https://www.behance.net/acme": "behance",
    "https://www.patreon.com/acme": "patreon",
    "https://in.linkedin.com/in/jane-doe": "linkedin",
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
    "https://developers.facebook.com/docs",
    "https://www.facebook.com/groups",
    "https://docs.github.com/en",
    "https://github.com/pricing",
    "https://help.x.com/en",
    "https://discord.com/developers",
    "https://medium.com/m/signin",
    "https://help.medium.com/",
    "https://www.youtube.com/premium",
    "https://open.spotify.com/track/4abc",
    "https://www.threads.net/intent/post?text=x",
    "https://bsky.app/intent/compose?text=x",
    "https://www.tumblr.com/widgets/share/tool",
    "https://vimeo.com/12345",
    "https://vk.com/wall-1_2",
    "https://www.reddit.com/submit?url=x",
    "https://connect.ok.ru/offer?url=x",
    "https://social-plugins.line.me/lineit/share?url=x",
    "https://www.tiktok.com/@acme/video/1",
    "https://toots.example/@acme",
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


def test_what_a_site_declares_to_be_its_own_comes_first():
    found = read(
        '<a href="https://x.com/partner">them</a><a rel="me noopener" href="https://toots.example/@acme">us</a>'
        '<a href="https://toots.example/@other">them</a>'
        '<script type="application/ld+json">{"@type": "Organization", "sameAs": "https://x.com/acme"}</script>'
    )
    assert found.social_links == {"x": "https://x.com/acme", "mastodon": "https://toots.example/@acme"}


def test_profiles_lose_what_tells_where_a_visitor_came_from():
    found = read(
        '<a href="https://www.instagram.com/acme/?igshid=x">i</a><a href="https://api.whatsapp.com/send?text=a&phone=4930901820">w</a>'
        '<a href="https://www.facebook.com/profile.php?ref=x&id=1000123">f</a>'
    )
    assert found.social_links == {
        "instagram": "https://www.instagram.com/acme/",
        "whatsapp": "https://api.whatsapp.com/send?phone=4930901820",
        "facebook": "https://www.facebook.com/profile.php?id=1000123",
    }


def test_whom_a_page_tells_about_is_not_who_runs_the_site():
    found = read(
        """<script type="application/ld+json">{"@type": "Article", "author": {"@type": "Person", "sameAs": "https://x.com/jane"},
        "about": {"@type": "Organization", "logo": "/theirs.png", "sameAs": "https://www.instagram.com/them"},
        "publisher": {"@type": "Organization", "logo": {"@type": "ImageObject", "url": "/ours.png"}}}</script>"""
    )
    assert (found.social_links, found.logo) == ({}, "https://www.example.com/ours.png")


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
        ("<form><input type=email name=email><input name=firstname></form>", False),
        ("<form><textarea name=q></textarea></form>", False),
        ("<form class=kontaktformular><input name=name><textarea name=text></textarea></form>", True),
        ("<form><input name=telefon><textarea name=nachricht></textarea></form>", True),
        ("<form id=review_form><input type=email><textarea name=review></textarea></form>", False),
        ("<form action=/contact#newsletter><input type=email name=contact[email]></form>", False),
        ("<form action=/register><input type=email><input name=phone></form>", False),
    ],
)
def test_contact_form(form, expected):
    assert read(form).contact_form is expected
