"""Kinds of pages by the words of their paths, in the languages sites are written in."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from app.scanning import page
from app.scanning.page_types import of_url


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "home"), ("/", "home"), ("/index.html", "home"), ("/?lang=de", "home"), ("/de/", "home"),
        ("/contact", "contact"), ("/Contact_Us.php", "contact"), ("/de/kontakt/", "contact"), ("/contacto", "contact"),
        ("/%D0%BA%D0%BE%D0%BD%D1%82%D0%B0%D0%BA%D1%82%D1%8B/", "contact"), ("/nous-contacter#form", "contact"),
        ("/about-us/", "about"), ("/%C3%BCber-uns", "about"), ("/chi-siamo", "about"), ("/quem-somos?x=1", "about"),
        ("/impressum.html", "legal"), ("/mentions-legales", "legal"), ("/terms-of-service", "legal"),
        ("/datenschutz", "privacy"),
        ("/product/blue-chair", "product"), ("/produkte", "category"), ("/collections/chairs", "category"),
        ("/tag/red", "tag"), ("/author/jane", "author"), ("/blog/hello", "post"), ("/2024/05/hello-world", "post"),
        ("/2024/05/", None), ("/docs/intro", "docs"), ("/cart", "cart"), ("/contact/thanks", None),
        ("/blue-chair", None), ("/aboutness", None), ("/%FF%FE", None), ("/contact-lenses", None),
        # each word in its language, written or percent-encoded
        ("/fr/contactez-nous", "contact"), ("/es/cont%C3%A1ctanos", "contact"), ("/pt/fale-conosco", "contact"),
        ("/it/contattaci.html", "contact"), ("/nl/contact-opnemen", "contact"), ("/pl/kontakt", "contact"),
        ("/sv/kontakta-oss", "contact"), ("/da/kontakt-os", "contact"), ("/fi/yhteystiedot", "contact"),
        ("/hu/kapcsolat/", "contact"), ("/tr/ileti%C5%9Fim", "contact"), ("/Contact+Us", "contact"),
        ("/%E3%81%8A%E5%95%8F%E3%81%84%E5%90%88%E3%82%8F%E3%81%9B/", "contact"), ("/%E8%81%94%E7%B3%BB%E6%88%91%E4%BB%AC", "contact"),
        ("/el/%CE%B5%CF%80%CE%B9%CE%BA%CE%BF%CE%B9%CE%BD%CF%89%CE%BD%CE%AF%CE%B1", "contact"), ("/ko/문의하기", "contact"),
        ("/ar/اتصل-بنا", "contact"), ("/he/צור-קשר", "contact"),
        ("/qui-sommes-nous/", "about"), ("/qui%C3%A9nes-somos", "about"), ("/over-ons", "about"), ("/om-oss", "about"),
        ("/om-os", "about"), ("/tietoa-meist%C3%A4", "about"), ("/o-spole%C4%8Dnosti", "about"), ("/hakkimizda", "about"),
        ("/r%C3%B3lunk", "about"), ("/о-компании/", "about"), ("/会社概要", "about"), ("/关于我们", "about"),
        ("/aviso-legal", "legal"), ("/colofon", "legal"), ("/obchodni-podminky", "legal"), ("/regulamin", "legal"),
        ("/mentions-l%C3%A9gales", "legal"), ("/利用規約", "legal"), ("/%C3%A1szf", "legal"),
        ("/politique-de-confidentialit%C3%A9", "privacy"), ("/privacyverklaring", "privacy"),
        ("/blog", "blog"), ("/en/news/", "blog"), ("/aktuelles/neues-haus", "post"), ("/новости/1", "post"),
        ("/faq", "faq"), ("/help/", "help"), ("/support/contact", "contact"), ("/karriere", "careers"),
        ("/jobs/baker-berlin", "careers"), ("/suche", "search"), ("/warenkorb", "cart"), ("/mein-konto", "account"),
        ("/users/login", "account"), ("/tovary/stul", "product"), ("/item/7", "product"), ("/product", "category"),
        # what may be many things is none
        ("/p/hello", None), ("/c/1", None), ("/cat/pictures", None), ("/conditions", None), ("/hr/x", None), ("/tv", None),
        ("/about/history", None), ("/press/", "press"), ("/presse/2024/neubau", "press"), ("/story", None), ("/ai/", None), ("/zh-hant/", "home"), ("/pt-br", "home"),
    ],
)  # fmt: skip
def test_of_url(path, kind):
    assert of_url(f"https://example.com{path}") == kind


def test_a_word_means_one_kind_only():
    file = json.loads(resources.files("app.scanning").joinpath("data/page_words.json").read_text("utf-8"))
    words = [(word, kind) for kind, lines in file["words"].items() for word in {*" ".join(lines).split()}]
    assert len({word for word, _ in words}) == len(words) >= 800
    assert [
        (word, of_url(f"https://example.com/{word}")) for word, kind in words if kind not in {"post", "product"}
    ] == [(word, kind) for word, kind in words if kind not in {"post", "product"}]


@pytest.mark.parametrize("text", ["", "://", "http://", "mailto:a@b", "https://example.com/%", "//"])
def test_of_url_never_raises(text):
    assert of_url(text) in {None, "home"}


@pytest.mark.parametrize(
    ("path", "markup", "kind"),
    [
        ("/p1", '<script type="application/ld+json">{"@type": "Product"}</script>', "product"),
        ("/x", '<script type="application/ld+json">{"@graph": [{"@type": "ContactPage"}]}</script>', "contact"),
        ("/x", '<meta property="og:type" content="article">', "post"),
        ("/x", '<script type="application/ld+json">[{"@type": "Product"}, {"@type": "Product"}]</script>', None),
        ("/x", '<script type="application/ld+json">{"@type": "ItemPage"}</script>', None),
        ("/blog/", '<script type="application/ld+json">{"@type": "CollectionPage"}</script>', "blog"),
        ("/x", '<script type="application/ld+json">{"@type": "JobPosting"}</script>', "careers"),
        ("/x", '<script type="application/ld+json">{"@type": "FAQPage"}</script>', "faq"),
        ("/x", '<meta property="og:type" content="website">', None),
        ("/contact", '<meta property="og:type" content="article">', "contact"),
        ("/", '<script type="application/ld+json">{"@type": "Product"}</script>', "home"),
        (
            "/x",
            '<script type="application/ld+json">{"@type": "WebPage", "author": {"@type": "Product"}}</script>',
            None,
        ),
    ],
)
def test_the_page_itself_may_tell(path, markup, kind):
    assert page.read(f"<html>{markup}".encode(), url=f"https://example.com{path}").page_type == kind
