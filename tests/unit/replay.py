"""The cases handed to the project (`../shared/cases`), for tests that replay them. Absent: the tests skip."""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
needs_cases = pytest.mark.skipif(
    not (CASES / "replay.json").exists(), reason="the replay cases (../shared/cases) are not here"
)


@lru_cache
def _load(name: str) -> list[dict[str, Any]]:
    path = CASES / name
    return json.loads(path.read_text()) if path.exists() else []


def replay_cases(*kinds: str) -> list[Any]:
    """Cases of these kinds as pytest parameters, named."""
    return [pytest.param(case, id=case["name"]) for case in _load("replay.json") if case["kind"] in kinds]


def adversarial_cases(*areas: str) -> list[Any]:
    """Hostile inputs of these areas as pytest parameters, named."""
    return [pytest.param(case, id=case["id"]) for case in _load("adversarial.json") if case["area"] in areas]


def sites() -> list[Any]:
    """Mirrored real sites as pytest parameters, named."""
    return [pytest.param(site, id=site["host"]) for site in _load("sites-manifest.json")]


def base_of(site: dict[str, Any]) -> str:
    """The URL to submit: a project's folder on a shared host is the project's site."""
    base, prefix = site["expected"]["base"], site["prefix"]
    return base if not prefix or base.endswith(f"/{prefix}/") else f"{base}{prefix}/"


def body_of(resource: dict[str, Any]) -> bytes:
    if "body_b64" in resource:
        return base64.b64decode(resource["body_b64"])
    return resource["body"].encode()


def generated(case: dict[str, Any]) -> bytes:
    """Run a hostile case's little generator."""
    namespace: dict[str, Any] = {}
    exec(case["input"]["gen"], namespace)
    return namespace["body"]()
