"""The house's own rules, where no other tool keeps them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from celery import Celery

import celeryconfig
from app.cli.parts import Parts
from app.queueing import QUEUES, SCAN_TASK
from app.settings import Settings
from tests.guards.tree import ROOT, files
from workers import process

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = PROJECT["tool"]["importlinter"]["contracts"]
FOREIGN = {"vendor", "requirements.txt", "requirements-dev.txt"}  # written by others, or by tools
# Put together here, so that this file is no find of its own.
UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
OF_A_MACHINE = re.compile(r"(?<![\w.])/(?:root|home/\w+|Users/\w+|work)/\w+")


def texts():
    for path in files():
        if FOREIGN.isdisjoint(path.parts):
            try:
                yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # a picture


def children(package: str) -> set[str]:
    found = (ROOT / package).iterdir()
    return {f"{package}.{path.stem}" for path in found if path.suffix == ".py" or (path / "__init__.py").exists()}


def test_every_room_has_its_place_in_the_order():
    [layers] = [contract["layers"] for contract in CONTRACTS if contract["type"] == "layers"]
    named = {name for layer in layers for name in layer.split(" | ")}
    assert named - {"models", "workers"} == children("app") - {"app.__init__"}


def test_the_import_contracts_hold():
    linter = Path(sys.executable).with_name("lint-imports")
    told = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout


def test_the_task_that_is_sent_is_the_one_that_is_registered():
    celery = Celery("guard", set_as_current=False)
    process._register(celery, runtime=None)
    ours = {name for name in celery.tasks if not name.startswith("celery.")}
    assert ours == {SCAN_TASK}


def test_every_queue_is_read_by_somebody(tmp_path):
    settings = Settings(_env_file=None, data_dir=tmp_path, single_concurrency=1)
    kinds = {word.removeprefix("--queue=") for child in Parts(settings, {}).workers() for word in child.argv
             if word.startswith("--queue=")}  # fmt: skip
    assert {name for kind in kinds for name in process.READS[kind].split(",")} == set(QUEUES)
    assert celeryconfig.task_default_queue in QUEUES


def test_a_helper_lives_where_its_reader_is():
    assert not [path for path in files() if path.stem in {"utils", "util", "helpers", "misc"}]


def test_nothing_is_left_unfinished():
    assert not [name for name, text in texts() if UNFINISHED.search(text)]


def test_nothing_names_a_place_on_somebodys_machine():
    assert not {name: hits for name, text in texts() if (hits := OF_A_MACHINE.findall(text))}


@pytest.mark.parametrize("room", ["app", "workers", "models"])
def test_no_except_swallows_everything_without_a_word(room):
    """`except:` and `except BaseException:` end in a `raise`; ruff's BLE001 asks a reason for `except Exception`."""
    for path in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and _catches_all(node):
                assert any(isinstance(inner, ast.Raise) for inner in ast.walk(node)), f"{path}:{node.lineno}"


def _catches_all(node: ast.ExceptHandler) -> bool:
    return node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "BaseException")
