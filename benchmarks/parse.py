"""How fast a sitemap is parsed, against a bare tree of it, against peers, and when damaged; and in how much memory.

Every contestant is a process of its own that parses the same file when told; they take turns, and all must find the
same URLs. What a worker needs is measured on the whole platform: idle, then at its most while it scans a large file.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from app.scanning.sitemap import parse
from benchmarks import streaming
from benchmarks.measuring import MIB, Contestant, agree, forget_peak, in_turns, ratio, ratios, resident
from benchmarks.record import OURS, Result, Table, spread
from benchmarks.runner import Bench

LIMIT = "lxml tree"
PEERS = ("Scrapy", "advertools", "ultimate-sitemap-parser")
BARS = {"parse_scrapy": PEERS[0], "parse_advertools": PEERS[1], "parse_usp": PEERS[2]}
ENTRIES, FEW = 50_000, 4_000
HEAD = "<?xml version='1.0' encoding='UTF-8'?>\n<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'{}>\n"
EXTENSIONS = " xmlns:image='http://www.google.com/schemas/sitemap-image/1.1' xmlns:xhtml='http://www.w3.org/1999/xhtml'"


def plain_entry(n: int) -> str:
    at = f"2026-{n % 12 + 1:02}-{n % 28 + 1:02}T{n % 24:02}:{n // 24 % 60:02}:{n // 1440 % 60:02}+00:00"
    return (
        f"<url><loc>https://www.example.com/catalogue/section-{n % 97}/item-{n}.html?ref=sitemap&amp;page={n}</loc>"
        f"<lastmod>{at}</lastmod><changefreq>weekly</changefreq><priority>0.{n % 10}</priority></url>\n"
    )


def rich_entry(n: int) -> str:
    url = f"https://www.example.com/catalogue/section-{n % 97}/item-{n}.html"
    images = "".join(
        f"<image:image><image:loc>https://cdn.example.com/{n}-{k}.jpg</image:loc>"
        f"<image:title>Item {n} seen from side {k}</image:title></image:image>"
        for k in range(2)
    )
    links = "".join(
        f'<xhtml:link rel="alternate" hreflang="{code}" href="{url}?hl={code}"/>' for code in ("de", "en", "fr")
    )
    return f"<url>\n<loc>{url}</loc>\n<lastmod>2026-{n % 12 + 1:02}-{n % 28 + 1:02}</lastmod>\n{links}{images}</url>\n"


Make = Callable[[int], str]  # how many entries → the document


def _document(entry: Callable[[int], str], head: str = "") -> Make:
    return lambda count: "".join([HEAD.format(head), *map(entry, range(count)), "</urlset>"])


def _one_in(count: int, old: str, new: str) -> Callable[[int], str]:
    return lambda n: plain_entry(n) if n % count else plain_entry(n).replace(old, new)


_plain = _document(plain_entry)
DOCUMENTS: dict[str, tuple[str, Make]] = {
    "plain": ("plain entries", _plain),
    "rich": ("entries with two images and three translations", _document(rich_entry, EXTENSIONS)),
}


def _accented(letter: str) -> Callable[[int], str]:
    return lambda n: plain_entry(n).replace("/item", f"/{letter}item")


# What is wrong → the damaged document, and the one that says the same soundly
DAMAGED: dict[str, tuple[Make, Make]] = {
    "a line end before the declaration": (lambda count: "\n" + _plain(count), _plain),
    "a bare & in every URL": (_document(_one_in(1, "&amp;", "&")), _plain),
    "an entity of HTML in every URL": (_document(_accented("&eacute;")), _document(_accented("é"))),
    "a control character in one entry of 1,000": (_document(_one_in(1_000, "/item", "/\x0bitem")), _plain),
    "a mismatched tag in one entry of 1,000": (_document(_one_in(1_000, "</changefreq>", "</change>")), _plain),
    "a mismatched tag in every entry": (_document(_one_in(1, "</changefreq>", "</change>")), _plain),
    "cut off in the midst": (lambda count: _plain(count)[: -len(plain_entry(0)) * 40 - 30], _plain),
}


def run(bench: Bench) -> Result:
    result, count = Result(), bench.size(ENTRIES, FEW)
    pythons = {OURS: sys.executable, LIMIT: sys.executable}
    if bench.peers is not None:
        pythons |= dict.fromkeys(PEERS, str(bench.peers))
    for name, (words, make) in DOCUMENTS.items():
        file = _written(bench, f"{name}.xml", make(count))
        runs = _compete(pythons, dict.fromkeys(pythons, file), bench.turns)
        result.tables[name] = _table(f"{count:,} {words}", runs)
        if name == "plain":
            _judge(result, runs)
    result.tables["damaged"] = _damage(bench, count)
    sizes = bench.size((5, 50, 500), (5, 20, 50))
    result.tables["memory"] = _memory_table(bench, sizes, result)
    return result


def _judge(result: Result, runs: Mapping[str, Any]) -> None:
    walls = {name: [run["wall"] for run in some] for name, some in runs.items()}
    result.bars["parse_tree"] = ratio(walls[OURS], walls[LIMIT])
    for bar, peer in BARS.items():
        if peer in walls:
            result.bars[bar] = ratio(walls[peer], walls[OURS])


def _compete(pythons: Mapping[str, str], files: Mapping[str, Path], turns: int) -> dict[str, list[dict[str, Any]]]:
    """Each over its file, which all say the same."""
    with ExitStack() as stack:
        field = {
            name: stack.enter_context(Contestant(python, "parsers.py", name.partition(",")[0], str(files[name])))
            for name, python in pythons.items()
        }
        return in_turns({name: lambda _, one=one: one.ask() for name, one in field.items()}, turns)


def _table(title: str, runs: Mapping[str, list[dict[str, Any]]]) -> Table:
    agree({name: some[0]["digest"] for name, some in runs.items()})
    walls = {name: [run["wall"] for run in some] for name, some in runs.items()}
    rows = {
        name: {
            "limit": spread(ratios(walls[name], walls[LIMIT])),
            "wall": spread(walls[name]),
            "cpu": spread([run["cpu"] for run in runs[name]]),
            "urls": runs[name][0]["urls"],
        }
        for name in sorted(runs, key=lambda name: ratio(walls[name], walls[LIMIT]))
    }
    columns = {"limit": f"time over {LIMIT}", "wall": "seconds", "cpu": "CPU seconds", "urls": "URLs"}
    return Table(title, columns, rows, "limit")


def _damage(bench: Bench, count: int) -> Table:
    """Wall time of damaged documents over that of the same said soundly, in turns."""
    rows = {}
    for n, (title, (damaged, sound)) in enumerate(DAMAGED.items()):
        names = (f"{OURS}, damaged", f"{OURS}, sound")
        files = [
            _written(bench, f"{word}-{n}.xml", make(count)) for word, make in (("damaged", damaged), ("sound", sound))
        ]
        runs = _compete(dict.fromkeys(names, sys.executable), dict(zip(names, files, strict=True)), bench.turns)
        ones, others = ([run["wall"] for run in runs[name]] for name in names)
        rows[title] = {
            "ratio": spread(ratios(ones, others)),
            "urls": runs[names[0]][0]["urls"],
        }
    return Table(
        f"a damaged plain sitemap of {count:,}", {"ratio": "time over the sound one", "urls": "URLs"}, rows, "ratio"
    )


def _memory_table(bench: Bench, sizes: tuple[int, ...], result: Result) -> Table:
    found = {mib: memory(mib) for mib in sizes}
    result.bars["parse_growth"] = found[sizes[-1]] - found[sizes[0]]
    scanned = streaming.measure(bench.platform, bench.size(50, 5))
    bench.platform.clear()
    result.bars["parse_memory"] = scanned.above_idle_mib
    rows: dict[str, Any] = {f"the parser alone, {mib} MiB": {"above": above} for mib, above in found.items()}
    rows[f"a worker that scans {scanned.sitemap_mib:.0f} MiB"] = {"above": scanned.above_idle_mib}
    return Table("memory while parsing", {"above": "MiB above idle"}, rows, "above")


def _written(bench: Bench, name: str, text: str) -> Path:
    file = bench.directory / name
    file.write_text(text, encoding="utf-8")
    return file


def memory(mib: int) -> float:
    """MiB that parsing a stream of this size takes above what the process had, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (mib,))


def _memory(mib: int) -> float:
    for _ in parse(_stream(MIB), url="https://www.example.com/sitemap.xml"):
        pass
    idle = resident(os.getpid(), "VmRSS")
    forget_peak(os.getpid())
    count = sum(1 for _ in parse(_stream(mib * MIB), url="https://www.example.com/sitemap.xml"))
    assert count > mib
    return resident(os.getpid(), "VmHWM") - idle


def _stream(size: int) -> Iterator[bytes]:
    yield HEAD.format("").encode()
    block = "".join(plain_entry(n) + "<!-- " + "x" * 100 + " -->\n" for n in range(300)).encode()
    for _ in range(size // len(block) + 1):
        yield block
    yield b"</urlset>"
