"""Writes what can be read off the code into the documents: `.venv/bin/python docs/tables.py`.

Each table stands between two marks, `<!-- table: NAME -->` and `<!-- end -->`; what is between them is replaced.
tests/guards/test_docs.py fails while a document differs from what this would write.
"""

# ruff: noqa: INP001 - a script, in no package
from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))  # run as a script

from marshmallow.validate import Range  # noqa: E402

from app.access import BUILT_IN_ROLES, FEATURES  # noqa: E402
from app.api.inputs import option_fields  # noqa: E402
from app.errors import SCAN_FAILURES  # noqa: E402
from app.settings import POOLS, SYSTEM_POOL, Settings  # noqa: E402

DOCUMENTS = ("access.md", "api.md", "configuration.md", "job-lifecycle.md")
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_GROUP = re.compile(r"^    # (?P<title>[A-Z].*)$|^    (?P<field>[a-z_]+): ", re.MULTILINE)


def filled(text: str) -> str:
    """The document with its tables as they should be.

    :raises KeyError: it has a mark for a table that is not made here
    """
    return _TABLE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", text)


def settings() -> str:
    parts = []
    for title, names in _groups():
        rows = [(f"`SCRAPERSKY_{name.upper()}`", _default(name), _description(name)) for name in names]
        parts.append(f"### {title}\n\n{_table(('variable', 'default', 'meaning'), rows)}")
    return "\n".join(parts)


def pools() -> str:
    rows = [(environment, part, "app", str(size), str(more)) for (environment, part), (size, more) in POOLS.items()]
    rows.append(("any", "any", "system", *map(str, SYSTEM_POOL)))
    return _table(("environment", "part", "role", "kept", "beyond that under load"), rows)


def features() -> str:
    return _table(("feature", "what it covers"), [(f"`{name}`", what) for name, what in FEATURES.items()])


def roles() -> str:
    names = list(BUILT_IN_ROLES)
    permissions = dict.fromkeys(permission for role in names for permission in BUILT_IN_ROLES[role])
    rows = [
        (f"`{permission}`", *("yes" if permission in BUILT_IN_ROLES[role] else "" for role in names))
        for permission in permissions
    ]
    return _table(("permission", *(f"`{name}`" for name in names)), rows)


def options() -> str:
    rows = []
    for name, field in option_fields(strict=True).items():
        default = field.metadata.get("default")
        rows.append((f"`{name}`", "unset" if default is None else f"`{json.dumps(default)}`", _described(field)))
    return _table(("option", "default", "meaning"), rows)


def failures() -> str:
    rows = [
        (f"`{code}`", "yes" if failure.retryable else "no", failure.text) for code, failure in SCAN_FAILURES.items()
    ]
    return _table(("code", "tried again", "text"), rows)


TABLES = {
    "failures": failures,
    "features": features,
    "options": options,
    "pools": pools,
    "roles": roles,
    "settings": settings,
}


def _described(field: Any) -> str:
    limits = [f"{rule.min:,} to {rule.max:,}" for rule in field.validators if isinstance(rule, Range)]
    return "; ".join([field.metadata["description"], *limits])


def _groups() -> list[tuple[str, list[str]]]:
    """Fields under the comments that head them in app/settings.py."""
    groups: list[tuple[str, list[str]]] = []
    for found in _GROUP.finditer(inspect.getsource(Settings)):
        if found["title"]:
            groups.append((found["title"], []))
        elif found["field"] in Settings.model_fields:
            groups[-1][1].append(found["field"])
    return groups


def _default(name: str) -> str:
    value: Any = Settings.model_fields[name].default
    if value is None or value == ():
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _description(name: str) -> str:
    return (Settings.model_fields[name].description or "").replace("|", r"\|")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    for name in DOCUMENTS:
        document = DOCS / name
        document.write_text(filled(document.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
