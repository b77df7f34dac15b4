"""What a page is written in: the HTML encoding algorithm, with a table by language where a page declares nothing."""

from __future__ import annotations

import re
from typing import Final

import charset_normalizer
from w3lib.encoding import html_body_declared_encoding, http_content_type_encoding, read_bom, to_unicode

DETECTION_SAMPLE: Final = 64 * 1024  # looked at where nothing is declared
# what hardly stands on a page, but comes of a wrong reading: controls, private use, half-width kana
_ODD: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd\uff61-\uff9f]")


def decode(body: bytes, content_type: str | None, *, url: str = "") -> str:
    r"""The HTML encoding algorithm: byte order mark, Content-Type, `<meta>`, then what the bytes look like.

    >>> decode(b'<meta charset="iso-8859-2">\xb1', None)[-1]
    'ą'
    >>> decode(b"caf\xe9", "text/html; charset=latin-1"), decode(b"caf\xe9", None)
    ('café', 'café')
    """
    encoding, mark = read_bom(body)
    if encoding and mark:
        return to_unicode(body[len(mark) :], encoding)
    declared = _by_header(body, content_type) or _by_meta(body)
    if declared and declared != "utf-8":
        return _decode_as(body, declared)
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        if paired := _paired(body):
            return paired
        sample = body[max(0, error.start - 1_024) :][:DETECTION_SAMPLE]
        return _decode_as(body, _detected(sample, _spoken(body, url)))


def _paired(body: bytes) -> str | None:
    """UTF-8 in which characters beyond the first plane are written as two halves (CESU-8), as older Java does."""
    if b"\xed" not in body:
        return None
    try:
        text = body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_CHARSET: Final = re.compile(r";\s*charset\s*=\s*[\"']?([^\s\"';,]{1,40})", re.IGNORECASE)


def _by_header(body: bytes, content_type: str | None) -> str | None:
    found = http_content_type_encoding(content_type)
    if found is None and (label := _CHARSET.search(content_type or "")):
        found = _LABELS.get(label[1].lower())
    if found and found.startswith(("utf-16", "utf-32")):
        # believed only where the bytes bear it out: such pages are rare, wrong headers are not
        wide = b"\x00" in body[:64]
        return {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(found, found) if wide else "utf-8"
    return found


_META_LABEL: Final = re.compile(rb"<meta[^>]{1,200}?charset\s*=\s*[\"']?\s*([\w:.-]{1,40})", re.IGNORECASE)


def _by_meta(body: bytes) -> str | None:
    found = html_body_declared_encoding(body)
    if found is None and (label := _META_LABEL.search(body[:1_024])):
        found = _LABELS.get(label[1].decode("ascii").lower())
    # a declaration that was read as ASCII cannot be one of these
    return "utf-8" if found and found.startswith(("utf-16", "utf-32")) else found


# labels of the encoding standard (https://encoding.spec.whatwg.org/#names-and-labels) that Python's codecs lack
_LABELS: Final = {
    **dict.fromkeys(("unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8", "x-unicode20utf8"), "utf-8"),
    **dict.fromkeys(("unicode", "ucs-2", "csunicode", "iso-10646-ucs-2", "unicodefeff", "unicodefffe"), "utf-8"),
    **{f"x-cp125{digit}": f"cp125{digit}" for digit in range(9)},
    **dict.fromkeys(("logical", "iso-8859-8-i", "iso-8859-8-e", "csiso88598i", "visual"), "iso8859-8"),
    **dict.fromkeys(("iso-8859-6-e", "iso-8859-6-i"), "iso8859-6"),
    **dict.fromkeys(("mac", "x-mac-roman"), "mac-roman"),
    **dict.fromkeys(("x-mac-cyrillic", "x-mac-ukrainian"), "mac-cyrillic"),
    **dict.fromkeys(("cn-big5", "x-x-big5"), "big5hkscs"),
    "dos-874": "cp874",
    "koi8-ru": "koi8-u",
    "windows-949": "cp949",
    "x-euc-jp": "euc_jp",
    "x-gbk": "gb18030",
    "x-user-defined": "cp1252",  # as browsers take it in <meta>
}


def _decode_as(body: bytes, encoding: str) -> str:
    try:
        return to_unicode(body, encoding)
    except (LookupError, UnicodeError, ValueError, AssertionError):
        # Python knows codecs that are not text encodings (hex, idna, …): a page may name them
        return body.decode("utf-8", "replace")


# what a page that declares nothing is written in, by its language: the table of the HTML standard
# (https://html.spec.whatwg.org/#determining-the-character-encoding)
_USUAL: Final = {
    **dict.fromkeys(("ru", "uk", "be", "bg", "mk", "sr", "kk", "ky", "tg", "tt", "mn"), ("cp1251", "koi8-u")),
    **dict.fromkeys(("cs", "hu", "sk", "hr", "sl", "bs", "ro"), ("cp1250",)),
    "pl": ("iso8859-2", "cp1250"),
    **dict.fromkeys(("et", "lt", "lv"), ("cp1257",)),
    "el": ("iso8859-7",),
    **dict.fromkeys(("tr", "az", "ku"), ("cp1254",)),
    "he": ("cp1255",),
    **dict.fromkeys(("ar", "fa", "ur"), ("cp1256",)),
    "vi": ("cp1258",),
    "th": ("cp874",),
    "ja": ("cp932", "euc_jp"),
    "ko": ("cp949",),
    "zh": ("gb18030", "big5hkscs"),
    "zh-tw": ("big5hkscs",),
}  # fmt: skip
_SPOKEN_IN: Final = {
    "ua": "uk", "by": "be", "kz": "kk", "rs": "sr", "cz": "cs", "si": "sl", "ba": "bs", "ee": "et", "gr": "el",
    "il": "he", "vn": "vi", "jp": "ja", "kr": "ko", "cn": "zh", "tw": "zh-tw", "hk": "zh-tw", "ir": "fa", "sa": "ar",
    "eg": "ar", "ae": "ar", "su": "ru",
    **{same: same for same in ("ru", "bg", "mk", "hu", "sk", "hr", "ro", "pl", "lt", "lv", "tr", "th")},
}  # fmt: skip
_LANG_ATTRIBUTE: Final = re.compile(rb"<html\s[^>]{0,300}?\blang\s*=\s*[\"']?([A-Za-z]{2}(?:[-_][A-Za-z]{2})?)\b")


def _spoken(body: bytes, url: str) -> str:
    """The language of a page, by its own word or else by its country's domain; empty if unknown."""
    stated = _LANG_ATTRIBUTE.search(body[:4_096])
    if stated:
        tag = stated[1].decode("ascii").lower().replace("_", "-")
        return tag if tag in _USUAL else tag[:2]
    host = url.partition("://")[2].partition("/")[0].partition(":")[0]
    return _SPOKEN_IN.get(host.rpartition(".")[2].lower(), "")


# of the encodings that tell themselves by whole words in another script
_OTHER_SCRIPTS: Final = ["cp1251", "koi8_r", "iso8859_7", "cp1255", "cp1256", "cp874", "cp932", "euc_jp", "gb18030",
                         "big5hkscs", "cp949"]  # fmt: skip


def _detected(sample: bytes, language: str) -> str:
    """Between what a language is usually written in; windows-1252, as browsers do, where letters are mostly ASCII."""
    if not sample.count(b"\x00") and _mostly_utf8(sample):
        return "utf-8"
    usual = [encoding for encoding in _USUAL.get(language, ()) if _suits(sample, encoding)]
    if usual:
        return max(usual, key=lambda encoding: _small_letters(sample, encoding))
    if not _has_words_beyond_ascii(sample):
        return "cp1252"
    best = charset_normalizer.from_bytes(
        _WORDS_BEYOND_ASCII.sub(b" ", sample[:8_192]), steps=4, chunk_size=512, cp_isolation=_OTHER_SCRIPTS
    ).best()
    return best.encoding if best else "cp1252"


def _suits(sample: bytes, encoding: str) -> bool:
    text = sample[:8_192].decode(encoding, "replace")
    return len(_ODD.findall(text)) * 20 <= sum(character > "\x7f" for character in text)


def _small_letters(sample: bytes, encoding: str) -> int:
    """The wrong one of two Cyrillic encodings swaps the cases of its letters."""
    return sum(character.islower() for character in sample[:8_192].decode(encoding, "replace"))


_WORDS_BEYOND_ASCII: Final = re.compile(rb"[\x00-\x7f]{3,}")
_LONG_BEYOND_ASCII: Final = re.compile(rb"[\x80-\xff]{3,}")
_ENOUGH_BEYOND_ASCII: Final = 16  # bytes: of fewer any detector makes what it likes


def _has_words_beyond_ascii(sample: bytes) -> bool:
    """Western languages put single letters beyond ASCII into words; other scripts write whole words there."""
    beyond = sum(byte > 127 for byte in sample)
    return beyond >= _ENOUGH_BEYOND_ASCII and 2 * sum(map(len, _LONG_BEYOND_ASCII.findall(sample))) > beyond


def _mostly_utf8(sample: bytes) -> bool:
    """A few broken bytes (a cut in the middle of a character) do not make a page another encoding's."""
    wrong = sample.decode("utf-8", "replace").count("\ufffd")
    return wrong * 20 < sum(byte > 127 for byte in sample[:4_096])
