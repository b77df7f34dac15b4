"""The commands' outer form: every one has help with an example that exists, and help comes at once."""

from __future__ import annotations

import shlex
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.cli.command import Command
from app.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("sqlalchemy", "celery", "flask", "redis", "requests")


def loaded(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def calls(name: str) -> list[list[str]]:
    """The words after `manage.py` in a command's examples."""
    found = loaded(name)
    assert isinstance(found, Command)
    words = [shlex.split(line, comments=True) for line in found.example.splitlines()]
    return [line[line.index("manage.py") + 1 :] for line in words if "manage.py" in line]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_it_does_and_gives_an_example(name):
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0
    assert loaded(name).help
    assert "Example:" in shown.stdout
    assert calls(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_can_be_parsed(name, monkeypatch):
    monkeypatch.chdir(ROOT)  # they name files of the project
    for call in calls(name):
        words = list(takewhile(lambda word: word not in {"|", ">"}, call))
        assert words[0] == name
        loaded(name).make_context(name, words[1:])


def test_the_list_names_every_command():
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0
    listed = shown.stdout.partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in listed if line.strip()] == list(COMMANDS)


def test_help_loads_no_heavy_library():
    script = f"import sys, app.cli.main; print([m for m in {HEAVY!r} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
