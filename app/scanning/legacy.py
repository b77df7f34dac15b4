"""Tells which legacy encoding a text is in that declares none, by the letters it would consist of.

What a sitemap holds beside ASCII is a few words of URLs. Detectors made for prose go astray on so little: they take
French for Czech and Chinese for Korean. So every encoding still met on the web is asked what it makes of the bytes,
and the one wins whose letters are frequent in its languages, in likely case, in words of one script.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

ENOUGH: Final = 4_096  # bytes to judge by
_TOKEN = re.compile(rb"[^\x00-\x2f:-?]+")  # these bytes are no part of a character in any of the encodings below
_FOREIGN = re.compile(r"[^\x00-\x7f]")
_FREQUENT: Final = 9  # letters at the head of an alphabet that count in full

# Letters beside ASCII, the most frequent first, of the languages that an encoding is used for
_WEST = "éèêëàâáãäåæçíìîïñóòôõöøœßúùûüýÿ"
_TURKISH = "ığşçöüâîûİ"
_CENTRAL = "áâăäąçćčďéęëěíîłĺľńňóôőöŕřśšşťţúůűüýźžżß"
_CYRILLIC = "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъёіїєґўџљњћђј"
_GREEK = "αοιετσνηυρκπμλςωδγχθφβξζψάέήίόύώϊϋ"
_HEBREW = "יוהלאתרמבשנםדקעחפגכטזסןצךףץ"
_ARABIC = "ايلنمترهوبدعفقسكةحجىشصخأطضزغذثءئظؤإآپچگژ"
_THAI = "านรอกเงมยลวดทตสะปบคีั่้ิืแพหจใไขถชผโธศำุูึ็ณ์ฟญซฉภษฐฎฮ"


def detected(sample: bytes) -> str:
    """The most plausible encoding, as Python calls it; `cp1252` where nothing speaks for another.

    >>> detected("https://example.com/catégorie/été".encode("latin-1"))
    'cp1252'
    >>> detected("https://example.com/новости".encode("cp1251"))
    'cp1251'
    """
    foreign = b" ".join(token for token in _TOKEN.findall(sample) if not token.isascii())[:ENOUGH]
    return max(_JUDGES, key=lambda encoding: _JUDGES[encoding](foreign.decode(encoding, "replace")))


def _mean(scores: Iterator[float]) -> float:
    values = list(scores)
    return sum(values) / len(values) if values else 0


def _alphabetic(alphabet: str, text: str, *, among_ascii: bool) -> float:
    return _mean(_letter(found, alphabet, among_ascii=among_ascii) for found in _FOREIGN.finditer(text))


def _letter(found: re.Match[str], alphabet: str, *, among_ascii: bool) -> float:
    text, start, end = found.string, found.start(), found.end()
    char, before, after = found[0], text[max(start - 1, 0) : start], text[end : end + 1]
    small = char.lower()
    rank = alphabet.find(small)
    if rank < 0 or (char != small and before.islower()):
        return -1
    if among_ascii:  # accented letters are seldom three in a row
        return -1 if not before.isascii() and not after.isascii() else 1
    if (before + after).isascii() and (before + after).strip().isalpha():
        return -1  # a word of two scripts
    return 1 if rank < _FREQUENT else 0.7


def _ideographic(judge: Callable[[str], float], text: str) -> float:
    return _mean(judge(found[0]) for found in _FOREIGN.finditer(text))


def _is_kana(char: str) -> bool:
    return "\u3041" <= char <= "\u30ff"


def _is_ideograph(char: str) -> bool:
    return "\u4e00" <= char <= "\u9fff"


def _japanese(char: str) -> float:
    return 1 if _is_kana(char) else 0.6 if _is_ideograph(char) else -1


def _traditional(char: str) -> float:
    if not _is_ideograph(char):
        return -1
    return 0.95 if char.encode("big5")[0] <= 0xC6 else -0.5  # the half of the set that is in daily use


def _simplified(char: str) -> float:
    octets = char.encode("gb18030") if _is_ideograph(char) else b"\0\0"
    if octets[1] < 0xA1 or octets[0] < 0xB0:  # outside GB 2312
        return -1
    return 0.95 if octets[0] <= 0xD7 else -0.2  # the 3,755 ideographs in daily use


def _korean(char: str) -> float:
    return 1 if "\uac00" <= char <= "\ud7a3" and char.encode("cp949")[1] >= 0xA1 else -1


# Where two are equally plausible the first is taken
_JUDGES: Final[dict[str, Callable[[str], float]]] = {
    "cp1252": partial(_alphabetic, _WEST, among_ascii=True),
    "cp1251": partial(_alphabetic, _CYRILLIC, among_ascii=False),
    "koi8_r": partial(_alphabetic, _CYRILLIC, among_ascii=False),
    "cp1253": partial(_alphabetic, _GREEK, among_ascii=False),
    "cp1255": partial(_alphabetic, _HEBREW, among_ascii=False),
    "cp1256": partial(_alphabetic, _ARABIC, among_ascii=False),
    "cp874": partial(_alphabetic, _THAI, among_ascii=False),
    "cp1254": partial(_alphabetic, _TURKISH, among_ascii=True),
    "cp1250": partial(_alphabetic, _CENTRAL, among_ascii=True),
    "shift_jis": partial(_ideographic, _japanese),
    "euc_jp": partial(_ideographic, _japanese),
    "big5": partial(_ideographic, _traditional),
    "gb18030": partial(_ideographic, _simplified),
    "cp949": partial(_ideographic, _korean),
}
