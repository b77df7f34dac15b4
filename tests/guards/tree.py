"""The project's own files: what a checkout holds, without what running it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def files() -> Iterator[Path]:
    waiting = [ROOT]
    left_behind = _left_behind()
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            if path.name in left_behind or path.name == ".git":
                continue
            if path.is_dir():
                waiting.append(path)
            elif path.suffix != ".pyc":
                yield path


def _left_behind() -> set[str]:
    """Names that .gitignore names whole."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    return {line.rstrip("/") for line in lines if line and "*" not in line}
