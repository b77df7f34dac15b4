"""README's example over REST, run line after line by a shell as a reader would, against a stack of its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.running import PASSWORD, running
from tests.site_server import serving

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(r"<!-- run by tests/guards/test_readme.py -->\n```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HOSTS = ["www.postgresql.org", "example.com"]  # those it names


def answer(host: str, path: str):
    if host == "example.com":
        return None
    body = {"/robots.txt": b"Sitemap: /sitemap.xml\n", "/sitemap.xml": urlset(host)}.get(path)
    return None if body is None else (200, {"Content-Type": "text/plain"}, body)


def urlset(host: str) -> bytes:
    entries = "".join(f"<url><loc>https://{host}/page/{number}</loc></url>" for number in range(7))
    return f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>'.encode()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_example_over_rest_works_when_pasted(tmp_path: Path):
    [script] = EXAMPLE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    secrets = tmp_path / "var" / "secrets.json"
    secrets.parent.mkdir(mode=0o700)
    secrets.write_text(json.dumps({"admin_password": PASSWORD}), encoding="utf-8")  # which the stack is started with
    secrets.chmod(0o600)
    sites = serving(answer, tmp_path, HOSTS)
    with sites as server, running(tmp_path, **server.environment) as stack:
        here = script.replace("http://127.0.0.1:8000", stack.url)
        assert here != script
        command = ["bash", "-eu", "-c", here]
        shell = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert shell.returncode == 0, shell.stderr
    batch, jobs, sitemaps, urls = told(shell.stdout)
    assert (batch["status"], batch["counts"]["complete"]) == ("complete", 2)
    assert [job["domain"]["name"] for job in jobs["items"]] == HOSTS
    assert sitemaps["items"][0]["url"] == f"https://{HOSTS[0]}/sitemap.xml"
    assert len(urls["items"]) == 5
    assert urls["next_cursor"]


def told(text: str) -> list[dict]:
    """The JSON documents that stand one after the other in the output."""
    found, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found
