"""Runs `manage.py demo` in a terminal and draws what it shows: `.venv/bin/python docs/images/demo.py`.

Writes demo.svg beside this file. Nothing is retouched: the picture is the terminal after the last line.
"""

# ruff: noqa: INP001 - a script, in no package
from __future__ import annotations

import io
import os
import pty
import re
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
PICTURE = Path(__file__).with_name("demo.svg")
PROMPT = "$ make demo"
WIDTH = 104
FONTS = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)  # from elsewhere; the viewer has a fixed-width one
CURSOR = re.compile(r"\x1b\[\?25[lh]|\x1b\[0?K")


def main() -> None:
    os.environ |= {"COLUMNS": str(WIDTH), "LINES": "40", "TERM": "xterm-256color", "PYTHONUNBUFFERED": "1"}
    os.chdir(ROOT)
    chunks: list[bytes] = []

    def keep(descriptor: int) -> bytes:
        chunks.append(os.read(descriptor, 4096))
        return chunks[-1]

    status = os.waitstatus_to_exitcode(pty.spawn([sys.executable, "manage.py", "demo"], keep, lambda _: b""))
    if status:
        raise SystemExit(f"the demo ended with {status}: nothing is drawn")
    draw(screen(b"".join(chunks).decode()))


def screen(stream: str) -> str:
    r"""What stands on the terminal in the end: a line that was drawn again and again counts once.

    >>> screen("a\r\n10 %\r\x1b[2K20 %\r\nb\r\n")
    'a\n20 %\nb'
    """
    lines = CURSOR.sub("", stream).replace("\r\n", "\n").split("\n")
    return "\n".join(re.split(r"\r|\x1b\[2K", line)[-1] for line in lines).rstrip("\n")


def draw(text: str) -> None:
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text(PROMPT, style="bold"))
    console.print(Text.from_ansi(text))
    console.save_svg(str(PICTURE), title="ScraperSky", code_format=FONTS.sub("", CONSOLE_SVG_FORMAT))


if __name__ == "__main__":
    main()
