"""Generated secrets: one set for all comers, private, never half written."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from app.errors import StackError
from app.settings import MIN_SECRET_BYTES, Settings, check_secret
from app.stack import secrets


def settings(directory: Path) -> Settings:
    return Settings(_env_file=None, data_dir=directory)


def _load(directory: Path, start: object, answers: object) -> None:
    start.wait()
    answers.put(secrets.load_or_create(settings(directory)).secret_key)


def test_they_are_made_once_and_private(tmp_path):
    made = secrets.load_or_create(settings(tmp_path / "var"))
    assert secrets.load_or_create(settings(tmp_path / "var")) == made
    assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["secrets.json"]
    assert (tmp_path / "var/secrets.json").stat().st_mode & 0o777 == 0o600


def test_they_are_strong_different_and_not_shown(tmp_path):
    made = secrets.load_or_create(settings(tmp_path))
    words = set(vars(made).values())
    assert len(words) == 8
    assert all(len(word) >= MIN_SECRET_BYTES for word in words)
    check_secret(made.secret_key)
    assert not any(word in repr(made) for word in words)


def test_processes_racing_for_the_first_time_agree(tmp_path):
    context = multiprocessing.get_context("fork")
    start, answers = context.Event(), context.Queue()
    racers = [context.Process(target=_load, args=(tmp_path / "var", start, answers)) for _ in range(6)]
    for racer in racers:
        racer.start()
    start.set()
    keys = {answers.get(timeout=20) for _ in racers}
    for racer in racers:
        racer.join(20)
    assert keys == {secrets.load_or_create(settings(tmp_path / "var")).secret_key}


def test_one_that_a_newer_release_needs_is_added_and_the_rest_stays(tmp_path):
    made = secrets.load_or_create(settings(tmp_path))
    file = tmp_path / "secrets.json"
    kept = json.loads(file.read_text())
    del kept["flower_password"]
    file.write_text(json.dumps({**kept, "from_the_future": "x"}))
    again = secrets.load_or_create(settings(tmp_path))
    assert again.secret_key == made.secret_key
    assert again.flower_password != made.flower_password
    assert json.loads(file.read_text())["from_the_future"] == "x"


@pytest.mark.parametrize("text", ['{"secret_key": ', "[]", '{"secret_key": 5}'])
def test_a_damaged_file_is_named_and_left_alone(tmp_path, text):
    (tmp_path / "secrets.json").write_text(text)
    with pytest.raises(StackError, match=r"secrets\.json is damaged"):
        secrets.load_or_create(settings(tmp_path))
    assert (tmp_path / "secrets.json").read_text() == text


def test_a_data_directory_that_cannot_be_made_is_a_stack_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StackError, match="cannot be kept"):
        secrets.load_or_create(settings(tmp_path / "file/var"))
