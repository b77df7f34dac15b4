"""One parser in one process, run when told: `python parsers.py NAME FILE`, in the environment that has it.

Reads a line for each run; answers with one of JSON: seconds of wall and of CPU, the URLs found, a digest of them.
Stands alone: the peers' environment has nothing of ours, and ours nothing of theirs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

URL = "https://www.example.com/sitemap.xml"


def _scrapersky() -> Callable[[Path], Iterable[str]]:
    from app.scanning.sitemap import parse  # noqa: PLC0415

    def chunks(path: Path) -> Iterable[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(65_536):
                yield chunk

    return lambda path: [entry.url for entry in parse(chunks(path), url=URL)]


def _tree() -> Callable[[Path], Iterable[str]]:
    """The limit: all of the document as a tree, nothing taken from it within the time measured."""
    from lxml import etree  # noqa: PLC0415

    return lambda path: _Later(etree.fromstring(path.read_bytes()))


class _Later:
    def __init__(self, root: Iterable[Any]) -> None:
        self._root = root

    def __iter__(self) -> Iterator[str]:
        return (url.findtext("{*}loc") for url in self._root)


def _scrapy() -> Callable[[Path], Iterable[str]]:
    from scrapy.utils.sitemap import Sitemap  # noqa: PLC0415

    return lambda path: [entry["loc"] for entry in list(Sitemap(path.read_bytes()))]


def _advertools() -> Callable[[Path], Iterable[str]]:
    from advertools import sitemap_to_df  # noqa: PLC0415

    return lambda path: sitemap_to_df(path.absolute().as_uri())["loc"]


def _usp() -> Callable[[Path], Iterable[str]]:
    from usp.tree import sitemap_from_str  # noqa: PLC0415

    return lambda path: [page.url for page in sitemap_from_str(path.read_text(encoding="utf-8")).all_pages()]


CONTESTANTS = {
    "ScraperSky": _scrapersky,
    "lxml tree": _tree,
    "Scrapy": _scrapy,
    "advertools": _advertools,
    "ultimate-sitemap-parser": _usp,
}


def main() -> None:
    name, file = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    read = CONTESTANTS[name]()
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        found = read(Path(file))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        urls = list(found)
        digest = hashlib.sha256("\n".join(urls).encode()).hexdigest()
        print(json.dumps({"wall": wall, "cpu": cpu, "urls": len(urls), "digest": digest}), flush=True)
        del found, urls


if __name__ == "__main__":
    main()
