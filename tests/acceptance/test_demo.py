"""`manage.py demo`, which is what `make demo` runs once the environment stands."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.scanning.urls import site
from tests.running import ROOT, descendants, until

pytestmark = pytest.mark.slow


def start(directory: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPERSKY_")}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "demo", *words],
        cwd=directory,
        env={**kept, "SCRAPERSKY_DATA_DIR": str(directory / "var"), "COLUMNS": "160", **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def using(directory: Path) -> list[str]:
    """Processes that still work in the directory or were told of it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                told = (entry / "environ").read_bytes()
                here = (entry / "cwd").readlink().is_relative_to(directory) or str(directory).encode() in told
            except OSError:
                continue
            if here:
                found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


def table(shown: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if "│" in line]
    return {row[0].rstrip("/"): row[1:] for row in rows}


def test_it_scans_every_sample_site_and_leaves_nothing_running(tmp_path):
    # Servers that the environment names are none of the demo's business.
    away = "postgresql://nobody:pw@127.0.0.1:1/none"
    process = start(tmp_path, SCRAPERSKY_DATABASE_URL=away, SCRAPERSKY_SYSTEM_DATABASE_URL=away)
    shown, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    with (ROOT / "examples" / "domains.csv").open() as file:
        names = [site(row["domain"]) for row in csv.DictReader(file)]
    rows = table(shown)
    assert set(rows) == {f"{name.host}{name.path}".rstrip("/") for name in names}
    assert rows["bakery.example"] == ["sitemaps_found", "3", "11", "The Corner Bakery"]
    assert rows["gazette.example"][:3] == ["sitemaps_found", "2", "26"]
    assert rows["museum.example/garden"][:3] == ["sitemaps_found", "1", "6"]
    assert rows["harbour.example"] == ["no_sitemap", "0", "0", "Harbour Master's Office"]
    assert "8 complete, 0 failed" in said
    assert using(tmp_path) == []


def test_domains_of_ones_own_that_fail_make_it_fail(tmp_path):
    """Nothing stands in for the network here; a name under `.invalid` is refused, one that nobody has fails."""
    process = start(
        tmp_path,
        "nobody-has-this-name.example",
        SCRAPERSKY_MAX_ATTEMPTS="1",
        SCRAPERSKY_DNS_TIMEOUT="2",
        SCRAPERSKY_UPKEEP_SECONDS="0.2",
    )
    shown, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert table(shown)["nobody-has-this-name.example"][0] == "failed"
    assert "0 complete, 1 failed" in said
    assert using(tmp_path) == []


@pytest.mark.parametrize("moment", ["ready at", "starting"])
def test_ctrl_c_in_the_middle_stops_everything(tmp_path, moment):
    process = start(tmp_path)
    assert process.stderr is not None
    until(lambda: moment in process.stderr.readline(), seconds=90, what=moment)
    if moment == "starting":
        until(lambda: len(descendants(process.pid)) >= 2, seconds=60, what="the first server")
    children = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert children
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert using(tmp_path) == []
