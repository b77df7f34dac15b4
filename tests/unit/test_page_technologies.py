"""Rules about what a site is built with: the data file is sound, and each kind of sign works."""

from __future__ import annotations

import re

import pytest

from app.scanning import page, technologies

PARTS = re.compile(r"generator|meta|asset|inline|markup|cookie|header:[a-z0-9-]+")


def detect(markup: str, **headers: str) -> dict[str, str | None]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    found = page.read(markup.encode(), url="https://example.com/", headers={"content-type": "text/html", **names})
    return {entry["name"]: entry["version"] for entry in found.technologies}


def test_the_rules_are_sound():
    rules = technologies.rules()
    names = [rule.name for rule in rules]
    assert len(names) == len(set(names)) >= 60
    for rule in rules:
        assert rule.signs
        assert set(rule.implies) <= set(names), rule.name
        for sign in rule.signs:
            assert PARTS.fullmatch(sign.part), rule.name
            assert sign.has or sign.part.startswith("header:"), rule.name
            assert sign.version is None or sign.version.groups == 1, rule.name


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ('<meta name="generator" content="WordPress 6.9.4">', {"WordPress": "6.9.4"}),
        ('<script src="/wp-content/plugins/elementor/assets/js/frontend.min.js?ver=3.2.1"></script>',
         {"WordPress": None, "Elementor": "3.2.1"}),
        ('<meta name=generator content="TYPO3 CMS">', {"TYPO3": None}),
        ('<meta name=generator content="Hugo 0.75.1">', {"Hugo": "0.75.1"}),
        ('<link rel=stylesheet href="https://cdn.jsdelivr.net/npm/bootstrap@5.3.2/dist/css/bootstrap.min.css">',
         {"Bootstrap": "5.3.2", "jsDelivr": None}),
        ('<script src="/js/jquery-3.7.1.min.js"></script>', {"jQuery": "3.7.1"}),
        ('<script src="/_next/static/chunks/main.js"></script>', {"Next.js": None, "React": None}),
        ("<script>window._paq=[];_paq.push(['trackPageView'])</script>", {"Matomo": None}),
        ('<app-root ng-version="17.0.2"></app-root>', {"Angular": "17.0.2"}),
        ("<script src='https://cdn.shopify.com/s/x.js'></script>", {"Shopify": None}),
        ("<p>We love WordPress, jQuery and /wp-content/ folders</p><a href='https://x.com/wp-content/a'>x</a>", {}),
    ],
)  # fmt: skip
def test_signs_on_the_page(markup, expected):
    assert detect(markup) == expected


def test_signs_in_headers():
    found = detect(
        "<p>x", server="nginx/1.25.3", x_powered_by="PHP/8.2.1", cf_ray="abc", set_cookie="laravel_session=x; path=/"
    )
    assert found == {"Laravel": None, "PHP": "8.2.1", "Cloudflare": None, "nginx": "1.25.3"}


def test_entries_carry_name_category_and_version():
    found = page.read(b'<meta name=generator content="Ghost 5.82">', url="https://example.com/")
    assert found.technologies == [{"name": "Ghost", "category": "cms", "version": "5.82"}]
