"""How fast a sitemap is parsed, against a bare tree of it, against peers, and when damaged; and in how much memory.

    make bench-parsing        # installs the peers into var/peers, then runs this
    python -m benchmarks.parsing --runs 7

Every contestant is a process of its own that parses the same file when told; they take turns (A B C A B C …), and all
must find the same URLs. A ratio is the median of the turns', since a machine's speed drifts between them. Writes
`benchmarks/results/parsing.json`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from app.scanning.sitemap import parse
from benchmarks.streaming import resident

HERE = Path(__file__).parent
OURS, LIMIT = "ScraperSky", "lxml tree"
PEERS = ("Scrapy", "advertools", "ultimate-sitemap-parser")
ENTRIES = 50_000
MIB = 1 << 20
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


def _document(entry: Callable[[int], str], head: str = "") -> str:
    return "".join([HEAD.format(head), *map(entry, range(ENTRIES)), "</urlset>"])


def _one_in(count: int, old: str, new: str) -> Callable[[int], str]:
    return lambda n: plain_entry(n) if n % count else plain_entry(n).replace(old, new)


def _plain() -> str:
    return _document(plain_entry)


DOCUMENTS: dict[str, Callable[[], str]] = {
    "plain": _plain,
    "with images and translations": lambda: _document(rich_entry, EXTENSIONS),
}


def _accented(letter: str) -> Callable[[int], str]:
    return lambda n: plain_entry(n).replace("/item", f"/{letter}item")


# What is wrong → the damaged document, and the one that says the same soundly
DAMAGED: dict[str, tuple[Callable[[], str], Callable[[], str]]] = {
    "a line end before the declaration": (lambda: "\n" + _plain(), _plain),
    "a bare & in every URL": (lambda: _document(_one_in(1, "&amp;", "&")), _plain),
    "an entity of HTML in every URL": (lambda: _document(_accented("&eacute;")), lambda: _document(_accented("é"))),
    "a control character in one entry of 1,000": (
        lambda: _document(_one_in(1_000, "/item", "/\x0bitem")),
        _plain,
    ),
    "a mismatched tag in one entry of 1,000": (
        lambda: _document(_one_in(1_000, "</changefreq>", "</change>")),
        _plain,
    ),
    "a mismatched tag in every entry": (lambda: _document(_one_in(1, "</changefreq>", "</change>")), _plain),
    "cut off in the midst": (lambda: _plain()[: -len(plain_entry(0)) * 40 - 30], _plain),
}


class Contestant:
    """A process that parses when told. Use as a context."""

    def __init__(self, name: str, python: str, file: Path) -> None:
        self.runs: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [python, str(HERE / "contestants.py"), name, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )
        if self._line() != "ready":
            raise SystemExit(f"{name} did not start")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def run(self, *, counts: bool) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = json.loads(self._line() or "{}")
        if counts:
            self.runs.append(answer)

    def median(self, figure: str = "wall") -> float:
        return statistics.median(run[figure] for run in self.runs)

    def ratio(self, other: Contestant) -> float:
        """Of the wall times, turn by turn."""
        return statistics.median(one["wall"] / two["wall"] for one, two in zip(self.runs, other.runs, strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


def compete(file: Path, pythons: dict[str, str], runs: int, *, is_sound: bool = True) -> dict[str, Any]:
    """Wall and CPU seconds (medians), and the spread, of each contestant over one file."""
    with ExitStack() as stack:
        field = {name: stack.enter_context(Contestant(name, python, file)) for name, python in pythons.items()}
        for turn in range(runs + 1):
            for contestant in field.values():
                contestant.run(counts=turn > 0)
        found = {name: contestant.runs[0]["urls"] for name, contestant in field.items()}
        if is_sound and len({contestant.runs[0]["digest"] for contestant in field.values()}) > 1:
            raise SystemExit(f"the contestants do not agree: {found}")
        return {
            name: {
                "seconds": contestant.median(),
                "of_limit": contestant.ratio(field[LIMIT]),
                "fastest": min(run["wall"] for run in contestant.runs),
                "slowest": max(run["wall"] for run in contestant.runs),
                "cpu_seconds": contestant.median("cpu"),
                "urls": found[name],
            }
            for name, contestant in field.items()
        }


def memory(mib: int) -> float:
    """MiB that parsing a stream of this size takes above what the process had, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (mib,))


def _memory(mib: int) -> float:
    for _ in parse(_stream(MIB), url="https://www.example.com/sitemap.xml"):
        pass
    idle = resident(os.getpid(), "VmRSS")
    Path(f"/proc/{os.getpid()}/clear_refs").write_text("5")  # the kernel forgets the peak so far
    count = sum(1 for _ in parse(_stream(mib * MIB), url="https://www.example.com/sitemap.xml"))
    assert count > mib
    return resident(os.getpid(), "VmHWM") - idle


def _stream(size: int) -> Iterator[bytes]:
    yield HEAD.format("").encode()
    block = "".join(plain_entry(n) + "<!-- " + "x" * 100 + " -->\n" for n in range(300)).encode()
    for _ in range(size // len(block) + 1):
        yield block
    yield b"</urlset>"


def table(title: str, results: dict[str, Any]) -> None:
    print(f"\n{title}\n{'':26}{'median':>10}{'fastest':>10}{'slowest':>10}{'CPU':>10}   of {LIMIT}")
    for name, one in sorted(results.items(), key=lambda item: item[1]["seconds"]):
        times = "".join(f"{one[key]:8.3f} s" for key in ("seconds", "fastest", "slowest", "cpu_seconds"))
        print(f"{name:26}{times}   {one['of_limit']:.2f} ×")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="counted runs of each, after one that is not (7)")
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="the interpreter that has the peers")
    parser.add_argument("--mib", type=int, nargs="*", default=[5, 50, 500], help="sizes for memory (5 50 500)")
    arguments = parser.parse_args()
    peers = dict.fromkeys(PEERS, str(arguments.peers)) if arguments.peers else {}
    results: dict[str, Any] = {
        "machine": {"processors": os.cpu_count(), "python": platform.python_version(), "lxml": version("lxml")}
    }
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "sitemap.xml"
        for title, make in DOCUMENTS.items():
            file.write_text(make())
            pythons = {OURS: sys.executable, LIMIT: sys.executable, **peers}
            results[title] = compete(file, pythons, arguments.runs)
            table(f"{ENTRIES:,} entries, {title}", results[title])
        print("\nDamaged, against the same document sound")
        results["damaged"] = {}
        for title, (damaged, sound) in DAMAGED.items():
            results["damaged"][title] = _damage(Path(directory), damaged(), sound(), arguments.runs)
            print(f"{title:44}{results['damaged'][title]:.2f} ×")
    print("\nMemory above idle while parsing")
    results["memory_mib"] = {mib: memory(mib) for mib in arguments.mib}
    for mib, above in results["memory_mib"].items():
        print(f"{mib:5} MiB {above:8.1f} MiB")
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "parsing.json").write_text(json.dumps(results, indent=2) + "\n")


def _damage(directory: Path, text: str, sound_text: str, runs: int) -> float:
    """Wall time of a damaged document over that of the sound one, in turns."""
    sound, damaged = directory / "sound.xml", directory / "damaged.xml"
    sound.write_text(sound_text)
    damaged.write_text(text)
    with Contestant(OURS, sys.executable, sound) as one, Contestant(OURS, sys.executable, damaged) as other:
        for turn in range(runs + 1):
            one.run(counts=turn > 0)
            other.run(counts=turn > 0)
        return other.ratio(one)


if __name__ == "__main__":
    main()
