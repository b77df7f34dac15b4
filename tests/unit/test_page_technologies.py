"""Rules about what a site is built with: the data file is sound, every sign works, and a mention is no sign."""

from __future__ import annotations

import html
import json
import re
from importlib import resources

import pytest

from app.scanning import page, technologies

PARTS = re.compile(r"generator|meta|path|asset|frame|inline|tag|comment|cookie|header:[a-z0-9-]+")
FILE = json.loads(resources.files("app.scanning").joinpath("data/technologies.json").read_text("utf-8"))
SIGNS = [(rule["name"], sign) for rule in FILE["technologies"] for sign in rule["signs"]]


def detect(markup: str, **headers: str) -> dict[str, str | None]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    found = page.read(markup.encode(), url="https://example.com/", headers={"content-type": "text/html", **names})
    return {entry["name"]: entry["version"] for entry in found.technologies}


# -- the file -----------------------------------------------------------------------------------------------


def test_the_file_tells_its_source_and_licence():
    assert FILE["schema"]["source"]
    assert FILE["schema"]["licence"]


def test_the_rules_are_sound():
    names = [rule["name"] for rule in FILE["technologies"]]
    assert len(names) == len(set(names)) >= 400
    for rule in FILE["technologies"]:
        assert set(rule) <= {"name", "category", "implies", "signs"}, rule
        assert rule["signs"], rule
        assert set(rule.get("implies", ())) <= set(names) - {rule["name"]}, rule
        assert len({(sign["in"], sign["has"]) for sign in rule["signs"]}) == len(rule["signs"]), rule


def test_the_signs_are_sound():
    for name, sign in SIGNS:
        assert set(sign) <= {"in", "has", "like", "version"}, name
        assert PARTS.fullmatch(sign["in"]), name
        assert sign["has"] == sign["has"].lower(), name
        assert sign["has"] or sign["in"].startswith("header:"), name
        assert re.compile(sign.get("version", "()")).groups >= 1, name
        for pattern in (sign.get("like", ""), sign.get("version", "")):
            assert not re.search(r"[A-Z]", re.sub(r"\\[DSWB]", "", pattern)), f"{name}: what is searched is lower case"
            # tried on a few hundred characters, so only a repetition of a repetition could take long
            assert not re.search(r"[*+}]\)(?:[*+]|\{\d*,)", pattern), name


# -- every sign is a sign -------------------------------------------------------------------------------------

# where a literal alone will not do, what stands there on real pages
WRITTEN = {
    ("Joomla", "joomla-script-options"): '<script type="application/json" class="joomla-script-options new">{}</script>',
    ("WordPress", "api.w.org/"): '<link rel="https://api.w.org/" href="https://example.com/wp-json/">',
    ("Craft CMS", "craft_csrf_token"): '<input type="hidden" name="CRAFT_CSRF_TOKEN" value="x">',
    ("Ghost", "/public/cards.min.js?v="): '<script defer src="/public/cards.min.js?v=8a1b2c"></script>',
    ("DNN", "__dnnvariable"): '<input name="__dnnVariable" type="hidden">',
    ("Sitefinity", "/resourcepackages/"): '<link rel="stylesheet" href="/ResourcePackages/Bootstrap5/assets/dist/main.css">',
    ("Grav", "/user/themes/"): '<link rel="stylesheet" href="/user/themes/quark/css/theme.css">',
    ("ProcessWire", "/site/templates/"): '<link rel="stylesheet" href="/site/templates/styles/main.css">',
    ("Magnolia", "/.resources/"): '<script src="/.resources/our-theme/webresources/js/app.js"></script>',
    ("Nextcloud", "data-requesttoken="): '<head data-requesttoken="abc">',
    ("MediaWiki", "/load.php?"): '<link rel="stylesheet" href="/w/load.php?lang=en&modules=site.styles&only=styles">',
    ("Discourse", "discourse-theme-id"): '<meta name="discourse-theme-id" content="5">',
    ("phpBB", 'id="phpbb"'): '<body id="phpbb" class="nojs">',
    ("XenForo", 'id="xf"'): '<html id="XF" lang="en-US" data-app="public">',
    ("Tilda", 'id="allrecords"'): '<div id="allrecords" class="t-records" data-tilda-page-id="1">',
    ("Notion", "/_assets/"): '<script src="https://www.notion.so/_assets/app-1.js"></script>',
    ("Micro.blog", "micro.blog/micropub"): '<link rel="micropub" href="https://micro.blog/micropub">',
    ("Gutenberg blocks", "wp-block-library-css"): "<link rel='stylesheet' id='wp-block-library-css' href='/x.css'>",
    ("Yoast SEO", "yoast-schema-graph"): '<script type="application/ld+json" class="yoast-schema-graph">{}</script>',
    ("Rank Math", "rank-math-schema"): '<script type="application/ld+json" class="rank-math-schema">{}</script>',
    ("Magento", "text/x-magento-init"): '<script type="text/x-magento-init">{}</script>',
    ("Magento", "/static/version"): '<script src="/static/version1700000000/frontend/a/b/require.js"></script>',
    ("Shopware", "/themes/frontend/"): '<link rel="stylesheet" href="/themes/Frontend/Responsive/frontend/x.css">',
    ("SAP Commerce Cloud", "/_ui/responsive/"): '<script src="/_ui/responsive/common/js/jquery.js"></script>',
    ("Spree", "/spree/"): '<script src="/assets/spree/frontend/all.js"></script>',
    ("Gatsby", "___gatsby"): '<div id="___gatsby"></div>',
    ("Docusaurus", "__docusaurus"): '<div id="__docusaurus"></div>',
    ("pkgdown", "pkgdown.js"): '<script src="pkgdown.js"></script>',
    ("Next.js", "__next_data__"): '<script id="__NEXT_DATA__" type="application/json">{}</script>',
    ("Nuxt", "__nuxt"): '<div id="__nuxt"></div>',
    ("Svelte", "svelte-"): '<main class="wide svelte-1tky8bj">',
    ("React", "react-dom"): '<script src="https://unpkg.com/react-dom@18/umd/react-dom.production.min.js"></script>',
    ("Vue.js", "vue.global"): '<script src="/vendor/vue.global.prod.js"></script>',
    ("AngularJS", "/angular.js"): '<script src="https://ajax.googleapis.com/ajax/libs/angularjs/1.8.2/angular.js"></script>',
    ("Ember.js", "ember"): '<div id="ember123" class="ember-view"></div>',
    ("Alpine.js", "alpinejs"): '<script src="https://cdn.jsdelivr.net/npm/alpinejs@3.13.0/dist/cdn.min.js"></script>',
    ("Alpine.js", " x-data="): '<div class="menu" x-data="{ open: false }">',
    ("Stimulus", " data-controller="): '<div data-controller="menu" data-action="click->menu#toggle">',
    ("Inertia", " data-page="): '<div id="app" data-page="{&quot;component&quot;:&quot;Home&quot;}"></div>',
    ("Symfony", "sf-toolbar"): '<div id="sfwdt1" class="sf-toolbar sf-display-none">',
    ("Yii", "/assets/"): '<script src="/assets/9f2c1ab4/yii.js"></script>',
    ("Django", "csrfmiddlewaretoken"): '<input type="hidden" name="csrfmiddlewaretoken" value="x">',
    ("Wagtail", "/media/images/"): '<img src="/media/images/team.width-800.jpg">',
    ("ASP.NET", "__viewstate"): '<input type="hidden" name="__VIEWSTATE" id="__VIEWSTATE" value="">',
    ("JavaServer Faces", "javax.faces.viewstate"): '<input type="hidden" name="javax.faces.ViewState" value="1">',
    ("jQuery", "jquery"): '<script src="/js/jquery.min.js"></script>',
    ("MathJax", "mathjax"): '<script src="https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"></script>',
    ("Chart.js", "chart.js"): '<script src="https://cdn.jsdelivr.net/npm/chart.js@4.4.0/dist/chart.umd.js"></script>',
    ("Plotly", "plotly-"): '<script src="/js/plotly-2.27.0.min.js"></script>',
    ("Fancybox", "fancybox"): '<link rel="stylesheet" href="/css/jquery.fancybox.min.css">',
    ("Lodash", "lodash"): '<script src="/js/lodash.min.js"></script>',
    ("Modernizr", "modernizr"): '<script src="/js/modernizr-2.8.3.min.js"></script>',
    ("RequireJS", " data-main="): '<script data-main="js/main" src="js/r.js"></script>',
    ("Prototype", "prototype.js"): '<script src="/js/prototype.js"></script>',
    ("Mermaid", "mermaid"): '<script src="https://cdn.jsdelivr.net/npm/mermaid@10/dist/mermaid.min.js"></script>',
    ("Workbox", "workbox-"): '<script src="https://storage.googleapis.com/workbox-cdn/releases/6/workbox-sw.js"></script>',
    ("Google Analytics", "googletagmanager.com/gtag/js"): '<script src="https://www.googletagmanager.com/gtag/js?id=G-AB12"></script>',
    ("Bugsnag", "bugsnag.com/"): '<script src="https://sessions.bugsnag.com/v7/bugsnag.min.js"></script>',
    ("Meta Pixel", "connect.facebook.net/"): '<script>t.src="https://connect.facebook.net/de_DE/fbevents.js"</script>'
    '<script src="https://connect.facebook.net/en_US/fbevents.js"></script>',
    ("Mailchimp", ".list-manage.com/subscribe"): '<form action="https://acme.us1.list-manage.com/subscribe/post?u=1">',
    ("CleverReach", "cleverreach.com/f/"): '<form action="https://eu2.cleverreach.com/f/1-2/wcs/">',
    ("rapidmail", "emailsys"): '<form action="https://t1a2.emailsys1a.net/1/2/subscribe/form.html">',
    ("Kit", "convertkit.com/"): '<script src="https://acme.convertkit.com/x.js"></script>',
    ("AWeber", "aweber.com/scripts/addlead.pl"): '<form action="https://www.aweber.com/scripts/addlead.pl">',
    ("Disqus", ".disqus.com/"): '<script>s.src = "https://acme.disqus.com/embed.js";</script>'
    '<script src="//acme.disqus.com/count.js"></script>',
    ("Calendly", "calendly-inline-widget"): '<div class="calendly-inline-widget" data-url="x">',
    ("Cal.com", "cal.com/"): '<iframe src="https://cal.com/acme/intro"></iframe>',
    ("Doctolib", "doctolib."): '<iframe src="https://www.doctolib.de/iframe/acme"></iframe>',
    ("Contact Form 7", "wpcf7"): '<form action="/#f1" class="wpcf7-form init">',
    ("Formspree", "formspree.io/"): '<form action="https://formspree.io/f/abc" method="POST">',
    ("Netlify Forms", "netlify"): '<form name="contact" netlify>',
    ("Friendly Captcha", "friendly-challenge"): '<script src="https://unpkg.com/friendly-challenge@0.9.12/widget.min.js"></script>',
    ("tarteaucitron", "tarteaucitron"): '<script src="/tarteaucitron/tarteaucitron.min.js"></script>',
    ("Klaro", "klaro.js"): '<script src="https://cdn.kiprotect.com/klaro/v0.7/klaro.js"></script>',
    ("PayPal", "paypal.com/cgi-bin/webscr"): '<form action="https://www.paypal.com/cgi-bin/webscr" method="post">',
    ("Adyen", ".adyen.com/"): '<script src="https://checkoutshopper-live.adyen.com/checkoutshopper/sdk/5/adyen.js"></script>',
    ("Amazon Pay", "payments-amazon.com/"): '<script src="https://static-fe.payments-amazon.com/checkout.js"></script>',
    ("Leaflet", "leaflet.js"): '<script src="https://unpkg.com/leaflet@1.9.4/dist/leaflet.js"></script>',
    ("OpenLayers", "openlayers"): '<script src="/js/OpenLayers/ol-debug.js"></script>',
    ("MapLibre", "maplibre-gl"): '<script src="https://unpkg.com/maplibre-gl@4.1.0/dist/maplibre-gl.js"></script>',
    ("Facebook SDK", "connect.facebook.net/"): '<script>js.src = "https://connect.facebook.net/en_US/sdk.js"</script>'
    '<script src="https://connect.facebook.net/de_DE/sdk.js#xfbml=1"></script>',
    ("Algolia", "algoliasearch"): '<script src="https://cdn.jsdelivr.net/npm/algoliasearch@4/dist/algoliasearch.umd.js"></script>',
    ("Algolia", "docsearch"): '<link rel="stylesheet" href="https://cdn.jsdelivr.net/npm/@docsearch/css/docsearch.css">',
}  # fmt: skip


def written(name: str, sign: dict[str, str]) -> tuple[str, dict[str, str]]:
    """A page, and headers, on which a sign stands as its technology writes it."""
    part, has = sign["in"], sign["has"]
    if known := WRITTEN.get((name, has)):
        return known, {}
    if part.startswith("header:"):
        return "<p>x", {part.removeprefix("header:"): has or "1"}
    if part == "cookie":
        return "<p>x", {"set-cookie": f"a=b; path=/, {has}1; Path=/; HttpOnly"}
    address = has + "1" if has.startswith("/") else f"https://{'a' * has.startswith('.')}{has}1"
    meta, _, content = has.partition("=")
    return {
        "generator": f'<meta name="generator" content="{has}">',
        "meta": f'<meta name="{meta}" content="{html.escape(content or "x")}">',
        "path": f'<script src="https://www.example.com/{has.lstrip("/")}1"></script>',
        "asset": f'<script src="{address}"></script>',
        "frame": f'<iframe src="{address}"></iframe>',
        "inline": f"<script>(function(){{ {has}",
        "tag": f'<div{has}"x">' if has.startswith(" ") else f"{has}>",
        "comment": f"<p>x<!-- {has} -->",
    }[part], {}


@pytest.mark.parametrize("rule", FILE["technologies"], ids=lambda rule: rule["name"])
def test_every_sign_tells_its_technology(rule):
    for sign in rule["signs"]:
        markup, headers = written(rule["name"], sign)
        assert rule["name"] in detect(markup, **headers), sign


def test_what_is_written_for_a_sign_belongs_to_one():
    assert set(WRITTEN) <= {(name, sign["has"]) for name, sign in SIGNS}


# -- a mention is none ---------------------------------------------------------------------------------------

MENTIONS = {
    "text": "<p>{0}</p>", "code": "<pre>&lt;div{0}&gt; &lt;script src=&quot;https://{0}&quot;&gt;</pre>",
    "link": '<a href="https://other.example/{0}">{0}</a>', "picture": '<img alt="{0}" src="/a.png">',
    "description": '<meta name="description" content="We love {0}"><meta name="keywords" content="{0}">',
    "canonical": '<link rel="canonical" href="https://example.com/{0}"><link rel="alternate" href="/{0}">',
    "data": '<script type="application/json">{{"about": "{0}"}}</script>', "textarea": "<textarea><div {0}></textarea>",
    "field": '<input value="{0}">', "title": "<title>{0}</title>",
}  # fmt: skip


@pytest.mark.parametrize("place", MENTIONS)
def test_a_page_that_mentions_every_sign_shows_none(place):
    markup = "\n".join(MENTIONS[place].format(html.escape(sign["has"])) for _, sign in SIGNS)
    assert detect(markup) == {}


def test_what_is_commented_out_is_not_in_use():
    live = [
        written(name, sign)[0] for name, sign in SIGNS if sign["in"] in {"asset", "path", "frame", "tag", "generator"}
    ]
    kept = detect("<!-- " + "\n".join(markup for markup in live if "-->" not in markup) + " -->")
    assert kept == {}


@pytest.mark.parametrize(
    "markup",
    [
        # pictures and links of others' sites
        '<img src="https://partner.example/wp-content/uploads/logo.png"><iframe src="https://blog.example/wp-includes/x"></iframe>',
        '<img src="https://cdn.shopify.com/s/files/logo.png"><img src="/img/mailchimp.png"><img src="/img/jquery.png">',
        '<link rel="dns-prefetch" href="//fonts.googleapis.com"><link rel="preconnect" href="https://js.stripe.com/">',
        '<link rel="canonical" href="https://example.com/wp-content/">',
        # other words that hold a name
        '<meta name="generator" content="Ghostwriter 2"><meta name="generator" content="Hugonaut">',
        '<meta name="generator" content="My importer for WordPress">',
        '<script src="https://cdn.notclarity.ms/x.js"></script><script src="/js/myjquery.js"></script>',
        '<script src="/static/versions.js"></script><script src="/assets/openlayers-shop.png"></script>',
        '<form action="/search" data-note="netlify"></form><div class="my-svelte-like thing"></div>',
        # a page about code
        "<p>Tell Angular by ng-version=&quot;17&quot;, Django by csrfmiddlewaretoken</p>",
    ],
)
def test_near_misses(markup):
    assert detect(markup) == {}


@pytest.mark.parametrize(
    "headers",
    [
        {"server": "Apache-Coyote/1.1", "expected": "Apache Tomcat"},
        {"server": "mynginx/1.0"},
        {"set-cookie": "note=phpsessid=1; path=/"},
        {"x-powered-by": "hyperexpressive"},
    ],
)
def test_near_misses_in_headers(headers):
    expected = headers.pop("expected", None)
    found = detect("<p>x", **headers)
    assert list(found) in ([expected] if expected else [], [expected])


# -- versions and order --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ('<meta name="generator" content="WordPress 6.9.4">', {"WordPress": "6.9.4"}),
        ('<meta name="generator" content="WordPress.com">', {"WordPress": None, "WordPress.com": None}),
        ('<script src="/wp-content/plugins/elementor/assets/js/frontend.min.js?ver=3.2.1"></script>',
         {"WordPress": None, "Elementor": "3.2.1"}),
        ('<link rel=stylesheet href="wp-content/plugins/contact-form-7/includes/css/styles.css?ver=5.8">',
         {"WordPress": None, "Contact Form 7": "5.8"}),
        ('<meta name=generator content="WooCommerce 8.3.1"><!-- This site is optimized with the Yoast SEO plugin v21.5 -->',
         {"WordPress": None, "Yoast SEO": "21.5", "WooCommerce": "8.3.1"}),
        ('<meta name=generator content="TYPO3 CMS">', {"TYPO3": None}),
        ('<meta name=generator content="Drupal 10 (https://www.drupal.org)">', {"Drupal": "10"}),
        ('<meta name=generator content="Joomla! - Open Source Content Management">', {"Joomla": None}),
        ('<meta name=generator content="Powered by Slider Revolution 6.5.8 - responsive slider for WordPress">',
         {"Slider Revolution": "6.5.8"}),
        ('<meta name=generator content="Hugo 0.75.1">', {"Hugo": "0.75.1"}),
        ('<meta name=generator content="Antora 3.1.7">', {"Antora": "3.1.7"}),
        ('<meta name=generator content="mkdocs-1.6.1, mkdocs-material-9.7.7">', {"MkDocs": "1.6.1"}),
        ('<meta name=generator content="Docusaurus v3.1.0">', {"Docusaurus": "3.1.0", "React": None}),
        ('<meta name=generator content="MediaWiki 1.41.0-wmf.5">', {"MediaWiki": "1.41.0-wmf.5"}),
        ('<link rel=stylesheet href="https://cdn.jsdelivr.net/npm/bootstrap@5.3.2/dist/css/bootstrap.min.css">',
         {"Bootstrap": "5.3.2", "jsDelivr": None}),
        ('<script src="/js/jquery-3.7.1.min.js"></script>', {"jQuery": "3.7.1"}),
        ('<script src="/wp/jquery.min.js?ver=3.7.1"></script><script src="/jquery-migrate.min.js?ver=3.4.1"></script>',
         {"jQuery": "3.7.1", "jQuery Migrate": "3.4.1"}),
        ('<script src="/a/bootstrap.min.js"></script><script src="/popper/2.11.8/popper.js"></script>', {"Bootstrap": None}),
        ('<script src="/_next/static/chunks/main.js"></script>', {"Next.js": None, "React": None}),
        ('<div id="___gatsby"></div>', {"Gatsby": None, "React": None}),
        ("<script>window._paq=[];_paq.push(['trackPageView'])</script>", {"Matomo": None}),
        ('<app-root ng-version="17.0.2"></app-root>', {"Angular": "17.0.2"}),
        ("<script src='https://cdn.shopify.com/s/x.js'></script>", {"Shopify": None}),
        ("<style>@import url(https://fonts.googleapis.com/css2?family=Inter);</style>", {"Google Fonts": None}),
        ("<script type='text/plain' data-src='https://static.hotjar.com/c/x.js'></script>", {"Hotjar": None}),
        ("<img src='https://www.facebook.com/tr?id=1&ev=PageView'>", {"Meta Pixel": None}),
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
    assert detect("<p>x", server="Apache/2.4.57 (Debian) OpenSSL/3.0.11") == {
        "Apache": "2.4.57", "Debian": None, "OpenSSL": "3.0.11"
    }  # fmt: skip


def test_entries_carry_name_category_and_version():
    found = page.read(b'<meta name=generator content="Ghost 5.82">', url="https://example.com/")
    assert found.technologies == [{"name": "Ghost", "category": "cms", "version": "5.82"}]


def test_a_version_is_short_and_no_markup():
    [(name, version)] = detect(f'<meta name=generator content="Hugo {"9" * 5_000}">').items()
    assert (name, version) == ("Hugo", "9" * technologies.MAX_VERSION)


@pytest.mark.parametrize("around", ["<{0}", "<!--{0}", "<script>{0}", "<a {0} ", "{0}", '<script src="{0}">'])
def test_a_page_of_nothing_but_signs_is_bounded(around):
    every = "".join(around.format(sign["has"]) for _, sign in SIGNS)
    found = page.read((every * 30).encode(), url="https://example.com/")
    assert len(found.technologies) <= len(FILE["technologies"])
