"""Fills `docs/performance.md` from `benchmarks/results/*.json`, with a plot for each table: `manage.py bench --render`.

In the document `<!-- bench: STAGE -->` … `<!-- end -->` holds what that stage found, and `<!-- bench: bars -->` the
table of all bars; what stands between the marks is replaced, the rest is written by hand. A guard test fails while
the page or a picture is not what this makes of the results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from benchmarks import record
from benchmarks.bars import BARS
from benchmarks.record import OURS
from tests.running import ROOT

PAGE = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "images" / "performance"
_MARK = re.compile(r"(<!-- bench: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

BAR, GAP, WIDTH, VALUES, LETTER = 18, 10, 380, 90, 7  # pixels of a plot; a letter of 13 px is 7 wide at most
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.bar{fill:#8c959f}.ours{fill:#0969da}"
    ".spread{stroke:#24292f;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ours{fill:#4493f8}.spread{stroke:#e6edf3}}"
)


def render() -> list[Path]:
    """Write the page and its pictures; answers what was written."""
    results = record.kept()
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    PICTURES.mkdir(parents=True, exist_ok=True)
    made = pictures(results)
    for old in set(PICTURES.glob("*.svg")) - {PICTURES / name for name in made}:
        old.unlink()
    for name, text in made.items():
        (PICTURES / name).write_text(text, encoding="utf-8")
    return [PAGE, *(PICTURES / name for name in made)]


def filled(text: str, results: Mapping[str, Any]) -> str:
    """The document as it should be."""

    def between(mark: str) -> str:
        return bars(results) if mark == "bars" else _stage(mark, results.get(mark))

    return _MARK.sub(lambda found: f"{found[1]}\n{between(found[2])}\n{found[3]}", text)


def bars(results: Mapping[str, Any]) -> str:
    rows = []
    for name, bar in BARS.items():
        sign = "≤" if bar.at == "most" else "≥"
        limits = f"{sign} {number(bar.limit)} {bar.unit}"
        if bar.stretch is not None:
            limits += f", stretch {number(bar.stretch)}"
        result = results.get(bar.stage, {"bars": {}})
        value = result["bars"].get(name)
        if value is None:
            rows.append((bar.measure, limits, "", "not measured yet"))
        else:
            verdict = bar.verdict(value) + ("; busy machine" if _is_doubtful(result) else "")
            rows.append((bar.measure, limits, f"{number(value)} {bar.unit}", verdict))
    return table(("measure", "bar", "measured", "verdict"), rows)


def _stage(stage: str, result: Mapping[str, Any] | None) -> str:
    if result is None:
        return "Not measured yet.\n"
    parts = [_conditions(result)]
    for name, one in result["tables"].items():
        parts.append(_table(one))
        parts.append(f"![{one['title']}](images/performance/{stage}-{name}.svg)\n")
    parts += [f"{note}\n" for note in result["notes"]]
    return "\n".join(parts)


def _conditions(result: Mapping[str, Any]) -> str:
    machine, versions = result["machine"], result["versions"]
    libraries = ", ".join(f"{name} {number}" for name, number in versions.items())
    words = (
        f"{result['at'][:10]}, {result['mode']} run at {result['revision']}, {machine['processors']} processors"
        f" ({machine['model']}, {machine['memory_mib']:,} MiB), load {result['load']} when the run began; {libraries}."
    )
    if _is_doubtful(result):
        words += " **A short run, or one beside other work: it shows that the benchmark runs, and no more.**"
    return words + "\n"


def _is_doubtful(result: Mapping[str, Any]) -> bool:
    return bool(result["mode"] != "full" or result["load"] > result["machine"]["processors"])


def _table(one: Mapping[str, Any]) -> str:
    head = (one["title"], *one["columns"].values())
    rows = []
    for name, cells in one["rows"].items():
        shown = [_cell(cells.get(key, ""), with_spread=key == one["plot"]) for key in one["columns"]]
        rows.append((f"**{name}**" if name.startswith(OURS) else name, *shown))
    return table(head, rows)


def _cell(cell: Any, *, with_spread: bool) -> str:
    if isinstance(cell, str):
        return cell
    if not isinstance(cell, Mapping):
        return number(cell)
    if not with_spread or cell["runs"] == 1:
        return number(cell["median"])
    return f"{number(cell['median'])} ({number(cell['low'])} to {number(cell['high'])})"


def number(value: float) -> str:
    """
    >>> [number(value) for value in (0, 0.18308, 2, 17.8014, 132.4, 1234567.8, 1e-5)]
    ['0', '0.183', '2', '17.8', '132', '1,234,568', '1e-05']
    """
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# Pictures


def pictures(results: Mapping[str, Any]) -> dict[str, str]:
    """File name → SVG, one for each table."""
    return {
        f"{stage}-{name}.svg": plot(one) for stage, result in results.items() for name, one in result["tables"].items()
    }


def plot(one: Mapping[str, Any]) -> str:
    """A bar a row, with a line for its spread."""
    values = {name: _triple(cells.get(one["plot"], 0.0)) for name, cells in one["rows"].items()}
    most = max((high for _, _, high in values.values()), default=0.0) or 1.0
    heading = f"{one['title']}: {one['columns'][one['plot']]}".replace("`", "")
    left = LETTER * max(map(len, values), default=0) + 16
    parts = [f'<text x="0" y="14">{escape(heading)}</text>']
    for place, (name, triple) in enumerate(values.items()):
        parts += _bar(name, triple, most, left, 26 + place * (BAR + GAP))
    height = 26 + len(values) * (BAR + GAP)
    width = max(left + WIDTH + VALUES, LETTER * len(heading))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img"><title>{escape(heading)}</title><style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _bar(name: str, triple: tuple[float, float, float], most: float, left: int, top: int) -> list[str]:
    low, median, high = (WIDTH * value / most for value in triple)
    middle, kind = top + BAR / 2, "ours" if name.startswith(OURS) else "bar"
    parts = [
        f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{kind}" x="{left}" y="{top}" width="{median:.1f}" height="{BAR}"/>',
    ]
    if high > low:
        ends = f'x1="{left + low:.1f}" x2="{left + high:.1f}"'
        parts.append(f'<line class="spread" {ends} y1="{middle:.1f}" y2="{middle:.1f}"/>')
    end = left + max(median, high) + 6
    parts.append(f'<text x="{end:.1f}" y="{top + 14}">{number(triple[1])}</text>')
    return parts


def _triple(cell: Any) -> tuple[float, float, float]:
    if isinstance(cell, Mapping):
        return cell["low"], cell["median"], cell["high"]
    value = 0.0 if isinstance(cell, str) else float(cell)
    return value, value, value
