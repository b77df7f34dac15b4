"""What kind of page a URL leads to, told by the words of its path in the languages sites are written in.

Asked for every URL of a sitemap, so it is one look-up per path segment and no regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Final
from urllib.parse import unquote

_WORDS: Final = {
    "contact": """contact contacts contact-us contactus contact-me get-in-touch kontakt kontakte kontaktieren
        kontaktformular kontakty kontakti contactez-nous contacter nous-contacter contacto contactos contactenos
        contactanos contato contactar
        contatti contattaci contattami kapcsolat iletisim yhteystiedot yhteys ota-yhteytta
        kontakta-oss kontakt-oss kontaktai kontaktid kontakto lien-he neem-contact-op contact-opnemen epikoinonia
        контакты контакт контакти связь επικοινωνια お問い合わせ contact-form inquiry otoiawase toiawase lianxi
        lianxiwomen contactus 联系我们 聯絡我們 문의 اتصل-بنا צור-קשר find-us reach-us enquiry""",
    "about": """about about-us aboutus about-me company our-company who-we-are our-story our-team team unternehmen
        ueber-uns uber-uns über-uns ueber-mich über-mich wir-ueber-uns wer-wir-sind a-propos apropos à-propos
        qui-sommes-nous notre-histoire entreprise sobre sobre-nosotros quienes-somos quiénes-somos sobre-mi nosotros
        sobre-nos quem-somos empresa chi-siamo chi-sono azienda over-ons over-mij wie-zijn-wij o-nas o-firmie o-mnie
        o-nama o-kompanii om-oss om-os om-mig tietoa-meista meista yritys rolunk magunkrol despre despre-noi hakkimizda
        kurumsal za-nas о-нас о-компании о-себе про-нас gioi-thieu about-company gaiyou 关于我们 關於我們 会社概要
        회사소개 σχετικα-με-εμας""",
    "legal": """imprint impressum legal legal-notice legalnotice legal-information mentions-legales
        mentions-légales informations-legales aviso-legal avisos-legales nota-legal note-legali colofon terms
        terms-of-use terms-of-service terms-and-conditions terms-conditions tos conditions agb nutzungsbedingungen
        cgu cgv conditions-generales conditions-generales-de-vente terminos terminos-y-condiciones condiciones
        condiciones-de-uso termos termos-de-uso termini termini-e-condizioni condizioni algemene-voorwaarden
        voorwaarden regulamin obchodni-podminky tiracie-podmienky disclaimer offenlegung anbieterkennzeichnung
        tokushoho rechtliches rechtliche-hinweise yasal-uyari juridische-informatie warunki aszf""",
    "privacy": """privacy privacy-policy privacypolicy privacy-notice privacy-statement datenschutz
        datenschutzerklaerung datenschutzerklärung datenschutzhinweise confidentialite politique-de-confidentialite
        privacidad politica-de-privacidad privacidade politica-de-privacidade informativa-privacy privacybeleid
        privacyverklaring polityka-prywatnosci ochrana-osobnich-udaju integritetspolicy personvern privatlivspolitik
        tietosuoja tietosuojaseloste adatvedelem gizlilik gizlilik-politikasi cookies cookie-policy cookie-richtlinie
        politica-de-cookies gdpr dsgvo confidentialitate politica-de-confidentialitate""",
    "product": """product products produkt produkte produit produits producto productos produto produtos prodotto
        prodotti producten produkty item items artikel-detail p dp sku tovar товар shop-item productdetails
        product-page urun termek tuote tuotteet""",
    "category": """category categories cat kategorie kategorien categorie catégorie categoria categorias categorías
        kategoria kategori kategorier collection collections product-category produkt-kategorie
        categorie-produit categoria-producto department departments sortiment catalog catalogue katalog
        catalogo каталог kategoriya section sections topic topics rubrik rubrique c""",
    "tag": "tag tags etikett etiqueta etiquetas etiquette label labels schlagwort mot-cle tagged",
    "author": "author authors autor autoren auteur auteurs autori autores profile profiles user users people member",
    "post": """blog blogs post posts article articles artikel article-detail news nachrichten aktuelles neuigkeiten
        actualites actualités actualite noticias noticia notizie notizia novosti
        nieuws nyheter nyhed nyheder aktualnosci
        wiadomosci story stories press presse press-release press-releases pressemitteilungen magazin magazine
        journal новости статьи blogg uutiset haber haberler hirek beitrag beitraege wpis archives""",
    "faq": "faq faqs help hilfe support aide ayuda ajuda aiuto pomoc haufige-fragen haeufige-fragen "
    "foire-aux-questions",
    "careers": """careers career jobs job karriere stellenangebote stellen emploi emplois recrutement empleo trabaja
        vagas carriere carriera lavora-con-noi vacatures werken-bij kariera praca join-us vacancies""",
    "event": "event events veranstaltung veranstaltungen termine evenement evenements eventos evento eventi kalender",
    "docs": "docs documentation doc wiki manual guide guides handbook tutorial tutorials reference api dokumentation",
    "search": "search suche recherche buscar busca cerca zoeken szukaj hledat sok",
    "account": "login signin sign-in register signup sign-up account my-account mein-konto konto mon-compte wp-login",
    "cart": "cart basket checkout warenkorb kasse panier carrito carrinho carrello winkelwagen koszyk kosik",
}
# A word may stand anywhere in the path for these: /blog/2024/hello is a post, /en/contact/thanks no contact page
_SECTIONS: Final = frozenset({"product", "category", "tag", "author", "post", "docs", "event", "careers", "faq"})
# alone these name the list of all products, followed by something one of them
_LISTS: Final = frozenset(
    {"products", "produkte", "produits", "productos", "produtos", "prodotti", "producten", "produkty", "items"}
)
_BY_WORD: Final = {word: kind for kind, words in _WORDS.items() for word in words.split()}
_SECTION_WORDS: Final = {word: kind for word, kind in _BY_WORD.items() if kind in _SECTIONS}
_HOME: Final = frozenset({"", "index", "home", "default", "startseite", "accueil", "inicio"})
_LANGUAGE: Final = re.compile(r"[a-z]{2}(?:[-_][a-z]{2})?")
_PAGE_SUFFIXES: Final = frozenset({"html", "htm", "php", "php5", "asp", "aspx", "jsp", "shtml", "xhtml", "cfm", "do"})

_BY_SCHEMA: Final = {
    "ContactPage": "contact",
    "AboutPage": "about",
    "Product": "product",
    "ProductGroup": "product",
    "ItemPage": "product",
    "Article": "post",
    "NewsArticle": "post",
    "BlogPosting": "post",
    "TechArticle": "docs",
    "CollectionPage": "category",
    "FAQPage": "faq",
    "JobPosting": "careers",
    "Event": "event",
    "ProfilePage": "author",
    "SearchResultsPage": "search",
    "CheckoutPage": "cart",
}
_BY_OPEN_GRAPH: Final = {"product": "product", "og:product": "product", "product.item": "product", "article": "post"}


def of_url(url: str) -> str | None:
    """The kind of page, or None if the path does not tell.

    >>> of_url("https://example.com/en/contact-us.html"), of_url("https://example.com/impressum/")
    ('contact', 'legal')
    >>> of_url("https://example.com/shop/product/blue-chair"), of_url("https://example.com/2024/05/hello-world")
    ('product', 'post')
    >>> of_url("https://example.com/"), of_url("https://example.com/blue-chair")
    ('home', None)
    """
    segments = _segments(url)
    if not segments or (len(segments) == 1 and segments[0] in _HOME):
        return "home"
    last = segments[-1]
    kind = _BY_WORD.get(last)
    if kind is not None:
        return "category" if last in _LISTS else kind
    for segment in segments[-2::-1]:
        kind = _SECTION_WORDS.get(segment)
        if kind is not None:
            return kind
    if _is_dated(segments):
        return "post"
    return "home" if len(segments) == 1 and _is_language(last) else None


def of_content(types: Iterable[str], open_graph_type: str | None) -> str | None:
    """The kind of page its own JSON-LD or Open Graph type names."""
    for name in types:
        if name in _BY_SCHEMA:
            return _BY_SCHEMA[name]
    return _BY_OPEN_GRAPH.get(open_graph_type or "")


def _segments(url: str) -> list[str]:
    path = url.partition("://")[2].partition("#")[0].partition("?")[0].partition("/")[2]
    if "%" in path:
        path = unquote(path)
    segments = [segment for segment in path.lower().replace("_", "-").split("/") if segment]
    if segments:
        stem, dot, suffix = segments[-1].rpartition(".")
        if dot and suffix in _PAGE_SUFFIXES:
            segments[-1] = stem
        if segments[-1] in {"index", "default"} and len(segments) > 1:
            segments.pop()
    return segments


def _is_dated(segments: list[str]) -> bool:
    """`/2024/05/title`: how blogs and newspapers file what they publish."""
    for year, month in pairwise(segments):
        if len(year) == 4 and year.isdecimal() and year[:2] in {"19", "20"} and month.isdecimal() and len(month) <= 2:
            return len(segments) > 2 and not segments[-1].isdecimal()
    return False


def _is_language(segment: str) -> bool:
    return len(segment) in {2, 5} and _LANGUAGE.fullmatch(segment) is not None
