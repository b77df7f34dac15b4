"""Who is behind a page and how to reach them: email addresses, phone numbers, contact forms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat, PhoneNumberMatcher

from app.scanning.html import Document, Element, clean

MAX_EMAILS: Final = 100
MAX_PHONES: Final = 50
MAX_CANDIDATES: Final = 500  # looked at closely, found in the text or linked
PHONE_TEXT: Final = 40_000  # characters of digit-bearing text that are matched

# -- email addresses ----------------------------------------------------------------------------------------

_LOCAL: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-][A-Za-z0-9.!#$%&'*+/=?^_`{|}~\-]{0,63}"
# what stands before is a blank or a sign of punctuation; a scheme or a path before it makes it part of a URL
_NEAR_AT: Final = re.compile(
    r"(?<![^\s<>()\[\],;:\"'|/«»„“”＜＞（）：])(?P<local>[^\s@<>()\[\],;:\"\\/«»„“”|＜＞（）：]{1,64})@"
    r"(?P<host>(?:[^\W_](?:[\w\-]{0,61}[^\W_])?\.){1,8}[^\W\d_][\w\-]{1,23})(?![\w@]|:[\w~/])"
)
_IN_URL: Final = re.compile(r"(?:://|/@?)[^\s/]*$")
_WORD_AT: Final = r"(?:\s?[\[({<]\s*(?:at|ät|arroba|arobase|chiocciola|chez|@)\s*[\])}>]\s*)"
_WORD_DOT: Final = r"(?:\s*[\[({<]\s*(?:dot|punkt|point|punto|ponto|\.)\s*[\])}>]\s*|\.)"
_HIDDEN_AT: Final = re.compile(
    rf"(?<![\w.+\-])(?P<local>[\w+\-]{{1,40}}(?:{_WORD_DOT}[\w+\-]{{1,40}}){{0,3}}){_WORD_AT}"
    rf"(?P<host>[^\W_][\w\-]{{0,61}}(?:{_WORD_DOT}[^\W_][\w\-]{{0,61}}){{1,4}})",
    re.IGNORECASE,
)
# in capitals both words are meant: "jane AT example DOT com"
_LOUD_AT: Final = re.compile(
    r"(?<![\w.+\-])(?P<local>[\w+\-]{1,40}(?:(?:\.| DOT )[\w+\-]{1,40}){0,3}) AT "
    r"(?P<host>[^\W_][\w\-]{0,61}(?: DOT [^\W_][\w\-]{0,61}){1,4})(?![\w.\-])"
)
_AT_WORD: Final = re.compile(_WORD_AT, re.IGNORECASE)
_DOT: Final = re.compile(_WORD_DOT, re.IGNORECASE)
_DOT_WORD: Final = re.compile(r"[\[({<]")
# endings of file names that look like an address: logo@2x.png, jquery@3.7.min.js
_FILE_ENDINGS: Final = re.compile(
    r"png|jpe?g|gif|svg|webp|avif|ico|bmp|tiff?|css|m?js|ts|json|xml|html?|php|pdf|zip|gz|mp[34]|webm|woff2?|ttf|eot|map|min"
)
_RETINA: Final = re.compile(r"\dx\.")
# run into the next word: in "info@example.comTel" nobody knows where the address ends
_RUN_ON: Final = re.compile(r"\.[A-Za-z\-]*[a-z][A-Z][A-Za-z\-]*$")
# the examples in forms and templates; other addresses under these hosts are reported: a page names them
_PLACEHOLDER: Final = re.compile(
    r"(?:you|your|yours|name|user|username|email|e-?mail|mail|me|someone|somebody|first\.?last|firstname\.lastname"
    r"|your[._-]?(?:name|e-?mail|address)|ihre?[._-]?(?:name|e-?mail)|votre[._-]?(?:nom|e-?mail)|tu[._-]?(?:nombre|correo))"
    r"@(?:(?:example|domain|your-?domain|yoursite|mysite|mydomain|company|yourcompany|website|site|email|mail)\.(?:com|net|org)"
    r"|[\w.-]+\.(?:example|invalid))",
    re.IGNORECASE,
)


def emails(document: Document, text: str, hrefs: Iterable[str], declared: Iterable[str] = ()) -> list[str]:
    """Addresses in `mailto:` links, in the text, and declared in JSON-LD; checked without asking the DNS."""
    found: dict[str, str] = {}
    for count, candidate in enumerate(_email_candidates(document, text, hrefs, declared)):
        if count >= MAX_CANDIDATES or len(found) >= MAX_EMAILS:
            break
        address = email(candidate)
        if address:
            found.setdefault(address.lower(), address)
    return list(found.values())


def email(text: str) -> str | None:
    """The address in its normal form, or None if this is none.

    >>> email("Jane@Example.COM"), email("logo@2x.png"), email("nobody")
    ('Jane@example.com', None, None)
    >>> email("your-name@example.com") is None
    True
    """
    text = text.strip().strip(".'`")
    host = text.rpartition("@")[2].lower()
    if len(text) > 254 or _FILE_ENDINGS.fullmatch(host.rpartition(".")[2]) or _RETINA.match(host):
        return None
    if _RUN_ON.search(text) or _PLACEHOLDER.fullmatch(text):
        return None
    try:
        # `test_environment` lets hosts under .test through, on which trial sites live
        checked = validate_email(text, check_deliverability=False, test_environment=True)
    except (EmailNotValidError, UnicodeError, ValueError):
        return None
    return clean(checked.normalized, 254)


def _email_candidates(document: Document, text: str, hrefs: Iterable[str], declared: Iterable[str]) -> Iterator[str]:
    for href in hrefs:
        if href[:7].lower() == "mailto:":
            yield from _mailto(href[7:])
    for entry in declared:
        yield entry[7:] if entry[:7].lower() == "mailto:" else entry
    if "email-protection#" in document.markup or "data-cfemail" in document.markup:
        for code in document.root.xpath(_HIDDEN_BY_CLOUDFLARE):
            yield _cloudflare(code.rpartition("#")[2])
    if "@" in text:
        yield from _written(text)
    if " AT " in text:
        for found in _LOUD_AT.finditer(text):
            yield f"{found['local']}@{found['host']}".replace(" DOT ", ".")
    if _AT_WORD.search(text):  # the full expression would try every word
        yield from _hidden(text)


def _written(text: str) -> Iterator[str]:
    for found in _NEAR_AT.finditer(text):
        if not _IN_URL.search(text, max(0, found.start() - 200), found.start()):
            yield found[0]


def _hidden(text: str) -> Iterator[str]:
    for found in _HIDDEN_AT.finditer(text):
        if _is_meant_as_address(text, found):
            yield f"{_DOT.sub('.', found['local'])}@{_DOT.sub('.', found['host'])}"


_ROLE: Final = re.compile(
    r"info|contact|kontakt|contacto|contato|contatti|office|e?mail|post|hello|hallo|hola|ciao|sales|support|service|team"
    r"|admin|webmaster|press|presse|privacy|legal|datenschutz|jobs|.*[\d._+\-].*",
    re.IGNORECASE,
)
_MAIL_WORD: Final = re.compile(r"mail|courriel|correo|contact|kontakt|contatt|:\s*$", re.IGNORECASE)


def _is_meant_as_address(text: str, found: re.Match[str]) -> bool:
    """`jane(at)example.com` is an address; `meet us (at) example.com` may be a sentence, unless more speaks for one."""
    local, written = found["local"], found[0]
    if not any(map(str.isalpha, local)):
        return False
    if " " not in written or _DOT_WORD.search(found["host"]) or _ROLE.fullmatch(local):
        return True
    return _MAIL_WORD.search(text, max(0, found.start() - 20), found.start()) is not None


def _mailto(rest: str) -> Iterator[str]:
    """The addresses of a `mailto:` link (RFC 6068), also where a client's form was written: `Name <address>; …`."""
    path, _, query = rest.partition("?")
    named = [path, *(value for key, _, value in map(_pair, query.split("&")[:20]) if key == "to")]
    for entry in re.split("[,;]", unquote(",".join(named)[:8_192])):
        yield entry.rpartition("<")[2].partition(">")[0]


def _pair(text: str) -> tuple[str, str, str]:
    key, sign, value = text.removeprefix("amp;").partition("=")
    return key.lower(), sign, value


_HIDDEN_BY_CLOUDFLARE: Final = "//*[@data-cfemail]/@data-cfemail | //a[contains(@href, '/email-protection#')]/@href"


def _cloudflare(code: str) -> str:
    """Undo Cloudflare's address hiding: hexadecimal, the first byte XORed over the others."""
    try:
        key, *rest = bytes.fromhex(code[:512])
    except ValueError:
        return ""
    return bytes(byte ^ key for byte in rest).decode("utf-8", "replace")


# -- phone numbers ------------------------------------------------------------------------------------------

# country codes that are used as if they were generic: they tell nothing about where a site is at home
_GENERIC_CCTLDS: Final = re.compile(r"a[cgim]|bz|c[cdox]|fm|g[dgl]|i[mo]|l[aiy]|m[esu]|nu|s[cht]|t[ov]|v[cu]|ws")
_LANG_REGION: Final = re.compile(r"^[A-Za-z]{2,3}(?:[-_][A-Za-z]{4})?[-_]([A-Za-z]{2})(?![A-Za-z0-9])")
_PHONE_WORD: Final = re.compile(
    r"(?<![^\W\d_])(?:t[eé]l|phone|tfno|fono|fon\b|call|mobil|mob\b|handy|fax|cel\b|cell|whats|hotline|тел|моб|電話|电话"
    r"|ring|(?:an)?ruf|numer|kontakt|contact|gsm|kom\b|free|フリー|傳真|传真|전화|τηλ|טל|هاتف|☎|📞)",
    re.IGNORECASE,
)
# numbers of other kinds say so: tax and register numbers, accounts, articles, orders
_ID_WORD: Final = re.compile(
    r"(?<![^\W\d_])(?:p\.?\s?iva|iva|vat|ust(?:-?id)?|uid|btw|tva|moms|steuer|tax|ein|hrb|hra|fn|siret|siren|ape|nip|regon"
    r"|krs|инн|кпп|огрн|cnpj|cpf|cif|nif|rut|kvk|iban|bic|konto|account|acct|compte|blz|sort code|isbn|issn|ean|gtin"
    r"|upc|sku|art(?:ikel)?|item|model|order|bestell\w*|auftrag\w*|rechnung\w*|invoice|kunden\w*|customer|ref|id|serial|s/n|zip|cap"
    r"|plz|cep|c\.?f|reg(?:istration)?|company|charity|orgnr|org|ico|dic|y-tunnus|abn|acn|pan|gst(?:in)?)"
    r"[\s.:#-]*(?:(?:nr|no|n°|num(?:ber|mer|ero)?|code|id)\b[\s.:#-]*)?$",
    re.IGNORECASE,
)
_NORTH_AMERICAN: Final = re.compile(r"(?:1[-. ])?\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}")
_DIGITS: Final = re.compile(r"\d(?:[\s().\-/–]{0,3}\d){6}")


def region(*, country: str | None, language: str | None, host: str, stated: Iterable[str] = ()) -> str | None:
    """The ISO code of the country whose national phone numbers a page most likely prints.

    >>> region(country=None, language="de-AT", host="example.com")
    'AT'
    >>> region(country=None, language="en-US", host="www.example.de"), region(country=None, language="en", host="a.io")
    ('DE', None)
    """
    ending = host.rpartition(".")[2].lower()
    spoken = _LANG_REGION.match(language or "")
    # a country's own ending says more than a language tag: many a template's "en-US" was never changed
    hints = [country, *stated, None if _GENERIC_CCTLDS.fullmatch(ending) else "GB" if ending == "uk" else ending]
    hints.append(spoken[1] if spoken else None)
    for hint in hints:
        if hint and hint.upper() in phonenumbers.SUPPORTED_REGIONS:
            return hint.upper()
    return None


def phones(text: str, hrefs: Iterable[str], home: str | None, declared: Iterable[str] = ()) -> list[str]:
    """Numbers in `tel:` links, declared ones, and those in the text; E.164 where that can be known.

    Without a `home` region only numbers that begin with + are taken from the text.
    """
    found: dict[str, None] = {}
    links = (unquote(href[4:]) for href in hrefs if href[:4].lower() == "tel:")
    for count, stated in enumerate((*links, *declared)):
        if count >= MAX_CANDIDATES or len(found) >= MAX_PHONES:
            break
        number = _stated_phone(stated, home)
        if number:
            found.setdefault(number)
    for number in _phones_in(text, home):
        if len(found) >= MAX_PHONES:
            break
        found.setdefault(number)
    return list(found)


def _stated_phone(text: str, home: str | None) -> str | None:
    """A number that is said to be one; its digits as they stand where no country is known."""
    text = (clean(text, 60) or "").partition(";")[0]
    if text.startswith("00"):
        text = "+" + text[2:]
    parsed = _parse(text, home)
    if parsed:
        return _e164(parsed)
    digits = re.sub(r"\D", "", text)
    return digits if home is None and 5 <= len(digits) <= 15 and not text.startswith("+") else None


def _parse(text: str, home: str | None) -> PhoneNumber | None:
    try:
        number = phonenumbers.parse(text, home)
    except NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None


def _e164(number: PhoneNumber) -> str:
    return str(phonenumbers.format_number(number, PhoneNumberFormat.E164))


def _phones_in(text: str, home: str | None) -> Iterator[str]:
    for piece in _pieces_with_digits(text):
        if home is None and "+" not in piece and "＋" not in piece:
            continue
        for match in PhoneNumberMatcher(piece, home, max_tries=20 + len(piece) // 20):
            if _is_meant_as_phone(piece, match.start, match.raw_string, match.number.country_code):
                number = _without_alternative(match.raw_string, home) or match.number
                yield _e164(number)


_ALTERNATIVE: Final = re.compile(r"\s/\s?-?\d{1,4}$")


def _without_alternative(raw: str, home: str | None) -> PhoneNumber | None:
    """`030 901820 / 21` is two numbers of one connection, not one number of more digits."""
    return _parse(_ALTERNATIVE.sub("", raw), home) if _ALTERNATIVE.search(raw) else None


def _pieces_with_digits(text: str) -> Iterator[str]:
    """The surroundings of runs of at least seven digits: the matcher is slow, and most text has none."""
    start, end, left = 0, 0, PHONE_TEXT
    for found in _DIGITS.finditer(text):
        if found.start() - 30 > end:
            if end > start:
                yield text[start:end]
            start = found.start() - 30
        reach = min(found.end() + 40, len(text))
        left -= reach - max(start, end)
        if left < 0:
            break
        end = reach
    if end > start:
        yield text[max(start, 0) : end]


def _is_meant_as_phone(piece: str, start: int, raw: str, country_code: int | None) -> bool:
    """Keep order numbers, dates and prices out: a national number shows by its form or by a word before it."""
    if raw.startswith(("+", "＋")):
        return True
    # what stands before the number before this one belongs to that
    before = re.split(r"\d{3,}", piece[max(0, start - 25) : start])[-1]
    if _ID_WORD.search(before):
        return False
    if _PHONE_WORD.search(before) or (country_code == 1 and _NORTH_AMERICAN.fullmatch(raw)):
        return True
    return raw[0] in "0(" and any(mark in raw for mark in " -/()")


# -- contact forms ------------------------------------------------------------------------------------------

_FORM_MARKS: Final = re.compile(
    r"wpcf7|wpforms|gform|ninja-forms|contact|kontakt|contatt|contato|anfrage|enquiry|inquiry|hs-form|yhteydenotto"
    r"|nous-ecrire|get-in-touch|iletisim",
    re.IGNORECASE,
)
_OTHER_FORMS: Final = re.compile(
    r"comment|kommentar|review|rating|bewertung|search|login|newsletter|subscri|abonn|mc4wp|mailchimp|checkout|cart"
    r"|order|register|sign-?up|guestbook|gaestebuch|reply|respond",
    re.IGNORECASE,
)
_MESSAGE: Final = re.compile(
    r"message|nachricht|mensaje|mensagem|messaggio|bericht|wiadomosc|zprava|besked|meddelande|melding|viesti|mesaj"
    r"|anfrage|inquiry|enquiry|subject|betreff|betrifft|sujet|asunto|assunto|oggetto|onderwerp|temat|сообщени",
    re.IGNORECASE,
)
_EMAIL_FIELD: Final = re.compile(r"e-?mail|correo|courriel", re.IGNORECASE)
_PHONE_FIELD: Final = re.compile(r"phone|(?<![a-z])tel(?![a-z])|telefon|mobile|handy|whatsapp", re.IGNORECASE)


def has_contact_form(document: Document) -> bool:
    """Tell whether a form asks for a message; logins, searches, newsletters and comments do not count."""
    for count, form in enumerate(document.root.iter("form")):
        if count >= 50:
            break
        if _is_contact_form(form):
            return True
    return False


def _is_contact_form(form: Element) -> bool:
    marks = " ".join((form.get("id") or "", form.get("class") or "", form.get("name") or "", form.get("action") or ""))[
        :1_000
    ]
    fields = list(_fields(form))
    if any(kind in {"password", "search"} for kind, _ in fields):
        return False
    is_named, is_other = _FORM_MARKS.search(marks) is not None, _OTHER_FORMS.search(marks) is not None
    if is_other and not is_named:
        return False
    asks_email = any(kind == "email" or _EMAIL_FIELD.search(name) for kind, name in fields)
    asks_phone = any(kind == "tel" or _PHONE_FIELD.search(name) for kind, name in fields)
    has_text = any(kind == "textarea" for kind, _ in fields)
    # an address and a name alone are what a newsletter asks for; a text alone may be anything
    if has_text or any(_MESSAGE.search(name) for _, name in fields):
        return asks_email or asks_phone or (is_named and has_text)
    return asks_email and (asks_phone or (is_named and not is_other))


def _fields(form: Element) -> Iterator[tuple[str, str]]:
    """Each field a person fills in: (type, its name and labels)."""
    for count, field in enumerate(form.iter("input", "textarea", "select")):
        if count >= 200:
            return
        kind = "textarea" if field.tag == "textarea" else (field.get("type") or "text").strip().lower()
        if kind not in {"hidden", "submit", "button", "image", "reset"}:
            yield kind, " ".join((field.get("name") or "", field.get("id") or "", field.get("placeholder") or ""))[:500]
