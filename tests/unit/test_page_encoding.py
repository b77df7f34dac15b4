"""What a page is written in: as it says, or else as pages in its language usually are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.scanning import page

WESTERN, CZECH, RUSSIAN, GREEK = "Größe – café", "Příliš žluťoučký kůň", "Контакты", "Επικοινωνία"
JAPANESE, CHINESE, TAIWANESE, KOREAN = "会社概要", "联系我们", "關於我們", "회사 소개"

# label → (Python codec, a text in it)
LABELS = {
    "utf-8": ("utf-8", RUSSIAN), "utf8": ("utf-8", JAPANESE), "unicode-1-1-utf-8": ("utf-8", GREEK),
    "iso-8859-1": ("cp1252", WESTERN), "latin1": ("cp1252", WESTERN), "us-ascii": ("cp1252", WESTERN),
    "x-cp1252": ("cp1252", WESTERN), "windows-1250": ("cp1250", CZECH), "x-cp1250": ("cp1250", CZECH),
    "iso-8859-2": ("iso8859-2", CZECH), "windows-1251": ("cp1251", RUSSIAN), "KOI8-R": ("koi8-r", RUSSIAN),
    "koi8-ru": ("koi8-u", RUSSIAN), "ibm866": ("cp866", RUSSIAN), "x-mac-cyrillic": ("mac-cyrillic", RUSSIAN),
    "iso-8859-5": ("iso8859-5", RUSSIAN), "iso-8859-7": ("iso8859-7", GREEK), "windows-1253": ("cp1253", GREEK),
    "iso-8859-9": ("cp1254", "şirket"), "iso-8859-8-i": ("iso8859-8", "צור קשר"), "logical": ("iso8859-8", "צור קשר"),
    "windows-1255": ("cp1255", "צור קשר"), "windows-1256": ("cp1256", "اتصل بنا"), "tis-620": ("cp874", "ติดต่อ"),
    "macintosh": ("mac-roman", "Größe"), "x-mac-roman": ("mac-roman", "Größe"), "shift_jis": ("cp932", JAPANESE),
    "x-sjis": ("cp932", JAPANESE), "euc-jp": ("euc_jp", JAPANESE), "x-euc-jp": ("euc_jp", JAPANESE),
    "iso-2022-jp": ("iso2022_jp", JAPANESE), "gb2312": ("gb18030", CHINESE), "x-gbk": ("gb18030", CHINESE),
    "big5": ("big5hkscs", TAIWANESE), "cn-big5": ("big5hkscs", TAIWANESE), "euc-kr": ("cp949", KOREAN),
    "windows-949": ("cp949", KOREAN), "ks_c_5601-1987": ("cp949", KOREAN),
}  # fmt: skip


def title(body: bytes, content_type: str = "text/html", *, url: str = "https://example.com/") -> str | None:
    return page.read(body, url=url, headers={"content-type": content_type}).title


@pytest.mark.parametrize(("label", "written"), LABELS.items())
def test_every_way_to_declare_an_encoding(label, written):
    codec, text = written
    body = f"<title>{text}</title>".encode(codec)
    name = label.encode()
    assert title(body, f"text/html; charset={label}") == text
    assert title(body, f'text/html;charset="{label.upper()}"; x=y') == text
    assert title(b'<meta charset="' + name + b'">' + body) == text
    assert title(b"<meta content='text/html; charset=" + name + b"' http-equiv=Content-Type>" + body) == text


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16-le", "utf-16-be"])
def test_the_byte_order_mark_outranks_all(mark):
    text = f"<meta charset=koi8-r><title>{RUSSIAN}</title>"
    body = text.encode(mark) if mark == "utf-8-sig" else ("\ufeff" + text).encode(mark)
    assert title(body, "text/html; charset=windows-1252") == RUSSIAN


def test_the_header_outranks_the_page():
    assert (
        title(f"<meta charset=koi8-r><title>{RUSSIAN}</title>".encode("cp1251"), "text/html; charset=cp1251") == RUSSIAN
    )


def test_a_header_of_two_byte_text_is_believed_where_the_bytes_bear_it_out():
    assert title(f"<title>{RUSSIAN}</title>".encode("utf-16-le"), "text/html; charset=utf-16") == RUSSIAN
    assert title(f"<title>{RUSSIAN}</title>".encode("utf-16-be"), "text/html; charset=utf-16be") == RUSSIAN
    assert title(f"<title>{RUSSIAN}</title>".encode(), "text/html; charset=utf-16") == RUSSIAN


@pytest.mark.parametrize("label", ["utf-16", "utf-16le", "ucs-2", "hex", "idna", "none", "x" * 40, "utf-7"])
def test_a_declaration_that_cannot_be_true_is_passed_over(label):
    assert title(f"<meta charset={label}><title>{RUSSIAN}</title>".encode()) == RUSSIAN


def test_a_user_defined_encoding_is_windows_1252():
    assert title(b"<meta charset=x-user-defined><title>caf\xe9</title>") == "café"


def test_a_declaration_in_a_comment_is_none():
    assert title(b"<!-- <meta charset=koi8-r> --><title>caf\xe9</title>") == "café"


@pytest.mark.parametrize("text", ["Información para niños", "São Paulo – Comunicação", "Crème brûlée", "Ålesund Øst"])
def test_what_declares_nothing_is_windows_1252(text):
    assert title(f"<title>{text}</title>".encode("cp1252")) == text


@pytest.mark.parametrize(
    ("language", "ending", "codec", "text"),
    [
        ("ru", "ru", "cp1251", RUSSIAN), ("ru", "su", "koi8-r", RUSSIAN), ("cs", "cz", "cp1250", CZECH),
        ("pl", "pl", "iso8859-2", "Łódź żółty"), ("el", "gr", "iso8859-7", GREEK), ("tr", "tr", "cp1254", "şirket"),
        ("he", "il", "cp1255", "צור קשר"), ("ja", "jp", "cp932", JAPANESE), ("ja-JP", "jp", "euc_jp", JAPANESE),
        ("ko", "kr", "cp949", KOREAN), ("zh-CN", "cn", "gb18030", CHINESE), ("zh-TW", "tw", "big5", TAIWANESE),
    ],
)  # fmt: skip
def test_a_language_has_its_usual_encoding(language, ending, codec, text):
    body = f"<title>{text}</title>".encode(codec)
    assert title(f"<html lang='{language}'>".encode() + body) == text
    assert title(body, url=f"https://www.example.{ending}/") == text


def test_a_few_broken_bytes_are_windows_1252_not_another_script():
    assert title(b"<title>\xc0\xaf x</title>") == "\xc0\xaf x"
    assert title(b"<title>ok " + "é".encode() * 30 + b"\xff</title>") == "ok " + "é" * 30 + "\ufffd"


def test_characters_written_in_two_halves():
    assert title("<title>\ud83d\ude00 ok</title>".encode("utf-8", "surrogatepass")) == "😀 ok"
    assert title("<title>half \ud83d</title>".encode("utf-8", "surrogatepass")) == "half \ufffd"


@given(text=st.text(st.characters(codec="cp1252", exclude_categories=["Cc", "Z"], exclude_characters="<&"), min_size=1))
@settings(deadline=None, max_examples=100)
def test_what_is_declared_is_read_back(text):
    assert title(b"<meta charset=windows-1252><title>" + text.encode("cp1252") + b"</title>") == text
