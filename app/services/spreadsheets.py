"""Tables for spreadsheets, which run what strangers wrote into a cell."""

from __future__ import annotations

import re

# What a spreadsheet skips before it looks, then what it takes for a formula, in full width too.
FORMULA = re.compile(r"[\s\x00-\x1f\u00ad\u200b-\u200f\u2060\ufeff]*[=+\-@＝＋－＠]|[\t\r\n]")


def safe_cell(value: object) -> str:
    """A quote in front makes text of what looks like a formula.

    >>> safe_cell("=1+1"), safe_cell(" ＝1"), safe_cell(None), safe_cell(0.5)
    ("'=1+1", "' ＝1", '', '0.5')
    """
    text = ("" if value is None else str(value)).replace("\0", "")
    text = f"'{text}" if FORMULA.match(text) else text
    return text.replace("\r", " ")  # readers take one for the end of a row, and the writer does not quote it
