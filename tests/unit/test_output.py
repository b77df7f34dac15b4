"""What the commands print of what strangers wrote."""

from __future__ import annotations

import csv
import io

import pytest

from app.cli.output import Rows
from app.scanning.values import Lastmod, SitemapFile, UrlEntry


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_a_csv_is_run_by_a_spreadsheet(capsys, start):
    """Security P6"""
    said = f"{start}cmd|' /C calc'!A0"
    rows = Rows(as_csv=True)
    file = SitemapFile(url=said, final_url=said, discovered_by="robots", parent=None, depth=0)
    rows.take(said, UrlEntry(said, said, lastmod=Lastmod(None, None, said), changefreq=said), file)
    rows.finish([])
    _, row = csv.reader(io.StringIO(capsys.readouterr().out, newline=""))
    assert f"'{said}".replace("\r", " ") in row
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)
