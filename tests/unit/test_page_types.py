"""Kinds of pages by the words of their paths, in the languages sites are written in."""

from __future__ import annotations

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
    ],
)  # fmt: skip
def test_of_url(path, kind):
    assert of_url(f"https://example.com{path}") == kind


@pytest.mark.parametrize("text", ["", "://", "http://", "mailto:a@b", "https://example.com/%", "//"])
def test_of_url_never_raises(text):
    assert of_url(text) in {None, "home"}


@pytest.mark.parametrize(
    ("path", "markup", "kind"),
    [
        ("/p1", '<script type="application/ld+json">{"@type": "Product"}</script>', "product"),
        ("/x", '<script type="application/ld+json">{"@graph": [{"@type": "ContactPage"}]}</script>', "contact"),
        ("/x", '<meta property="og:type" content="article">', "post"),
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
