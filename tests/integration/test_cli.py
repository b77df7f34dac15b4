"""manage.py as a person calls it: words, exit status, and nothing else on stdout than results."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import ROOT, until
from tests.site_server import SiteServer, serving

SITES = {
    ("good.example", "/robots.txt"): b"User-agent: *\nSitemap: /sitemap.xml\n",
    ("good.example", "/sitemap.xml"): b"""<?xml version="1.0"?>
        <urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
          <url><loc>https://good.example/a?x=1&amp;y=2</loc><lastmod>2026-05</lastmod><priority>0.5</priority></url>
          <url><loc>https://good.example/b</loc></url>
        </urlset>""",
    ("good.example", "/"): b"<!doctype html><title>Good [bold]things[/bold]</title>",
    ("none.example", "/"): b"<!doctype html><title>Nothing listed</title>",
}


def answer(host: str, path: str):
    body = SITES.get((host, path))
    kind = "text/html" if path == "/" else "text/plain"
    return None if body is None else (200, {"Content-Type": kind}, body)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteServer]:
    hosts = sorted({host for host, _ in SITES})
    with serving(answer, tmp_path_factory.mktemp("sites"), hosts) as server:
        yield server


def environment(directory: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPERSKY_")}
    return {**kept, "SCRAPERSKY_DATA_DIR": str(directory / "var"), **more}


def manage(directory: Path, *words: str, said: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run manage.py from a directory without a .env."""
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *words],
        cwd=directory,
        env=environment(directory, **more),
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def scan(tmp_path: Path, sites: SiteServer, *words: str) -> subprocess.CompletedProcess[str]:
    return manage(tmp_path, "scan", *words, **sites.environment)


# Saying no


@pytest.mark.parametrize("command", ["up", "worker", "migrate", "scan example.com", "doctor"])
def test_a_bad_setting_is_one_line_that_names_it(tmp_path, command):
    told = manage(tmp_path, *command.split(), SCRAPERSKY_PORT="99999")
    assert told.returncode == 1
    said = told.stderr + told.stdout
    assert "SCRAPERSKY_PORT" in said
    assert "Traceback" not in said


def test_an_error_is_one_line_on_stderr(tmp_path):
    told = manage(tmp_path, "up", SCRAPERSKY_PORT="99999")
    assert told.stdout == ""
    assert told.stderr.startswith("error: SCRAPERSKY_PORT: ")
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["no-such-command"], ["scan"], ["scan", "not a domain"], ["watch", "17"], ["submit", "no-such-file.csv"]]
)
def test_wrong_usage_is_2(tmp_path, words):
    told = manage(tmp_path, *words)
    assert told.returncode == 2
    assert "Error: " in told.stderr
    assert told.stdout == ""


@pytest.mark.parametrize("variable", ["SCRAPERSKY_PORT", "SCRAPERSKY_FLOWER_PORT"])
def test_a_taken_port_is_told_before_anything_starts(tmp_path, variable):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = {"SCRAPERSKY_PORT": "0", "SCRAPERSKY_FLOWER_PORT": "0", variable: port}
        told = manage(tmp_path, "up", **ports)
    assert told.returncode == 1
    assert told.stderr == (
        f"error: cannot listen on 127.0.0.1:{port}: address already in use; set {variable} to another port\n"
    )
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("command", ["worker", "dispatcher", "api", "flower"])
def test_a_part_alone_says_when_there_is_nothing_to_work_with(tmp_path, command):
    told = manage(tmp_path, command)
    assert told.returncode == 1
    assert "manage.py up" in told.stderr
    assert told.stderr.count("\n") == 1


def test_submit_says_when_there_is_no_api(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        told = manage(tmp_path, "submit", "-", "--url", url, said="example.com\n", SCRAPERSKY_ADMIN_PASSWORD="x" * 12)
    assert told.returncode == 1
    assert told.stderr.startswith(f"error: no answer from {url}")
    assert told.stdout == ""


# scan


def test_scan_shows_a_table(tmp_path, sites):
    told = scan(tmp_path, sites, "good.example", "none.example")
    assert told.returncode == 0, told.stderr
    assert "Good [bold]things[/bold]" in told.stdout
    assert "no_sitemap" in told.stdout
    assert "good.example: sitemaps_found" in told.stderr


def test_scan_as_json_is_everything(tmp_path, sites):
    told = scan(tmp_path, sites, "--json", "good.example", "none.example")
    assert told.returncode == 0, told.stderr
    good, none = json.loads(told.stdout)
    assert (good["domain"], good["outcome"], good["stats"]["urls"]) == ("good.example", "sitemaps_found", 2)
    assert good["urls"][0] == {
        "url": "https://good.example/a?x=1&y=2",
        "lastmod": "2026-05",
        "changefreq": None,
        "priority": 0.5,
        "sitemap_url": "https://good.example/sitemap.xml",
    }
    assert [file["discovered_by"] for file in good["sitemaps"]] == ["robots"]
    assert good["pages"][0]["title"] == "Good [bold]things[/bold]"
    assert (none["outcome"], none["urls"]) == ("no_sitemap", [])


def test_scan_as_csv_and_as_json_lines_is_a_url_a_line(tmp_path, sites):
    told = scan(tmp_path, sites, "--csv", "good.example")
    rows = list(csv.DictReader(io.StringIO(told.stdout)))
    assert [row["url"] for row in rows] == ["https://good.example/a?x=1&y=2", "https://good.example/b"]
    assert rows[0]["lastmod"] == "2026-05"
    told = scan(tmp_path, sites, "--jsonl", "good.example")
    assert [json.loads(line)["url"] for line in told.stdout.splitlines()] == [row["url"] for row in rows]


def test_a_failed_domain_is_told_and_the_others_are_scanned(tmp_path, sites):
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        port = refusing.getsockname()[1]
        only = sites.environment["SCRAPERSKY_CONNECT_TO"].replace("*:", "good.example:")
        rules = f"{only},*:443:127.0.0.1:{port},*:80:127.0.0.1:{port}"
        told = manage(
            tmp_path,
            *("scan", "--json", "gone.example", "good.example"),
            **{**sites.environment, "SCRAPERSKY_CONNECT_TO": rules},
        )
    assert told.returncode == 1
    gone, good = json.loads(told.stdout)
    assert (gone["status"], gone["error"]["code"]) == ("failed", "connect_refused")
    assert good["outcome"] == "sitemaps_found"


def test_ctrl_c_ends_a_scan_at_once(tmp_path):
    came = threading.Event()

    def silent(_host: str, _path: str) -> None:
        came.set()
        threading.Event().wait(20)

    with serving(silent, tmp_path, ["slow.example"]) as server:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "scan", "slow.example"],
            cwd=tmp_path,
            env=environment(tmp_path, **server.environment),
            stderr=subprocess.PIPE,
            text=True,
        )
        until(came.is_set, seconds=30, what="the scan asks")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_a_reader_that_leaves_is_no_error(tmp_path, sites):
    command = f"{sys.executable} {ROOT / 'manage.py'} scan --json good.example | true; exit ${{PIPESTATUS[0]}}"
    told = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env=environment(tmp_path, **sites.environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in told.stderr
    assert "BrokenPipe" not in told.stderr


# doctor


def test_doctor_names_what_is_wrong_and_how_to_mend_it(tmp_path):
    told = manage(tmp_path, "doctor", SCRAPERSKY_PORT="0", SCRAPERSKY_FLOWER_PORT="0")
    assert told.returncode == 1
    lines = told.stdout.splitlines()
    ill = [line for line in lines if line.startswith("ill")]
    assert len(ill) == 1, told.stdout
    assert "migrations" in ill[0]
    assert lines[lines.index(ill[0]) + 1].strip() == "mend it: manage.py migrate"
    assert "2 URLs, as there should be" in told.stdout

    told = manage(tmp_path, "migrate", SCRAPERSKY_ADMIN_PASSWORD="")
    assert told.returncode == 0, told.stderr
    assert (tmp_path / "var" / "secrets.json").stat().st_mode & 0o777 == 0o600
    told = manage(tmp_path, "doctor", SCRAPERSKY_PORT="0", SCRAPERSKY_FLOWER_PORT="0")
    assert told.returncode == 0, told.stdout
    assert told.stdout.splitlines()[-1] == "all is well"


def test_doctor_on_servers_that_are_away(tmp_path):
    away = "postgresql://nobody:pw@127.0.0.1:1/none"
    told = manage(
        tmp_path,
        "doctor",
        SCRAPERSKY_DATABASE_URL=away,
        SCRAPERSKY_SYSTEM_DATABASE_URL=away,
        SCRAPERSKY_REDIS_URL="redis://127.0.0.1:1/0",
        SCRAPERSKY_PORT="0",
        SCRAPERSKY_FLOWER_PORT="0",
    )
    assert told.returncode == 1
    assert {line.split(":")[0] for line in told.stdout.splitlines() if line.startswith("ill")} == {
        "ill   broker",
        "ill   database roles",
    }
    assert told.stdout.count("mend it: ") == 2
