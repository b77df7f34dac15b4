"""Security A2: signing keys by id, rotated while tokens are out."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from app.cli.main import main
from app.errors import ConfigurationError
from app.settings import MAX_ACCESS_TOKEN_SECONDS, Settings
from app.stack import secrets, signing
from app.stack.signing import LEAD_SECONDS, LOOK_SECONDS, FileKeys, key_id

NOW = 1_800_000_000.0


class Clock:
    now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "var" / "signing-keys.json"
    signing.rotate(path, now=NOW - 86_400)
    return path


@pytest.fixture
def keys(file, clock):
    return FileKeys(file, clock=clock, timer=clock)


def test_a_rotation_is_taken_up_without_a_restart_and_the_old_key_goes_on_checking(file, keys, clock):
    old = keys.newest()
    *_, fresh = signing.rotate(file, now=clock.now)
    clock.now += LEAD_SECONDS
    assert keys.newest() == fresh
    assert (keys.find(old.id), keys.find(fresh.id)) == (old.secret, fresh.secret)


def test_every_process_knows_a_key_before_any_signs_with_it(file, keys, clock):
    old = keys.newest()
    *_, fresh = signing.rotate(file, now=clock.now)
    assert LOOK_SECONDS < LEAD_SECONDS
    clock.now += LEAD_SECONDS - 0.1
    assert keys.newest() == old
    assert keys.find(fresh.id) == fresh.secret


def test_a_key_that_is_not_known_is_looked_for_at_once(file, keys):
    *_, fresh = signing.rotate(file, now=NOW)
    assert keys.find(fresh.id) == fresh.secret


def test_the_old_key_is_retired_when_its_last_token_is_dead_without_another_rotation(file, keys, clock):
    old = keys.newest()
    signing.rotate(file, now=clock.now)
    clock.now += LEAD_SECONDS + MAX_ACCESS_TOKEN_SECONDS
    assert keys.find(old.id) == old.secret
    clock.now += 61.0
    assert keys.find(old.id) is None


def test_a_later_rotation_leaves_the_retired_out_of_the_file_and_keeps_the_others(file, clock):
    (first,) = signing.read(file)
    signing.rotate(file, now=clock.now)
    assert len(signing.rotate(file, now=clock.now + 10)) == 3
    clock.now += 2 * signing.OVERLAP_SECONDS
    left = signing.rotate(file, now=clock.now)
    assert len(left) == 2
    assert first not in left
    assert first.secret not in file.read_text()


def test_revoking_lets_no_other_key_count(file, keys, clock):
    old = keys.newest()
    (fresh,) = signing.rotate(file, now=clock.now, alone=True)
    clock.now += LOOK_SECONDS
    assert keys.find(old.id) is None
    assert keys.newest() == fresh


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"keys": []}',
        '{"keys": [{"id": "x", "secret": "short", "signs_from": "2026-01-01T00:00:00+00:00"}]}',
    ],
)
def test_a_damaged_file_changes_nothing_for_who_runs_and_stops_who_starts(file, keys, clock, text):
    old = keys.newest()
    file.write_text(text)
    clock.now += LOOK_SECONDS
    assert keys.newest() == old
    assert keys.find(old.id) == old.secret
    with pytest.raises(ConfigurationError):
        FileKeys(file)
    file.unlink()
    clock.now += LOOK_SECONDS
    assert keys.find(old.id) == old.secret


def test_the_file_is_private_and_a_key_does_not_show(file):
    (key,) = signing.read(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert key.secret not in repr(key)
    assert key.id == key_id(key.secret)


def test_what_signed_before_there_was_a_file_is_its_first_key(tmp_path):
    settings = Settings(_env_file=None, data_dir=tmp_path / "var")
    before = secrets.load_or_create(settings).secret_key
    found = signing.with_keys(settings)
    assert signing.of(found).newest().secret == before
    assert signing.with_keys(found) == found


def test_of_the_environment_one_signs_and_the_one_before_it_checks(tmp_path):
    new, old = "a new key of the environment, of many bytes", "an old key of the environment, of many bytes"
    settings = Settings(_env_file=None, secret_key=new, secret_key_previous=old, data_dir=tmp_path)
    found = signing.of(signing.with_keys(settings))
    assert found.newest().secret == new
    assert [found.find(key_id(word)) for word in (new, old, "another")] == [new, old, None]


def test_a_file_goes_before_the_environment(file, keys):
    """A stack hands its children the file, whatever a .env beside them says."""
    both = Settings(_env_file=None, secret_key="a key of the environment, of many bytes", signing_keys_file=file)
    assert signing.of(signing.with_keys(both)).newest() == keys.newest()


@pytest.mark.parametrize("weak", ["short", "a" * 64])
def test_a_weak_previous_key_is_refused_too(weak):
    strong = SecretStr("a new key of the environment, of many bytes")
    settings = Settings(_env_file=None, secret_key=strong, secret_key_previous=weak)
    with pytest.raises(ConfigurationError, match="weak"):
        signing.of(settings)


# ---- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no .env

    def run(*words, **environment):
        variables = {"SCRAPERSKY_DATA_DIR": str(tmp_path / "var"), **environment}
        return CliRunner().invoke(main, ["rotate-keys", *words], env=variables)

    return run


def test_rotating_adds_a_key_and_tells_its_id_and_until_when_the_old_one_counts(command, tmp_path):
    first, second = command(), command()
    assert (first.exit_code, second.exit_code) == (0, 0)
    kept = json.loads((tmp_path / "var" / "signing-keys.json").read_text())["keys"]
    assert [key["id"] for key in kept][1:] == [first.stdout.strip(), second.stdout.strip()]
    assert f"{first.stdout.strip()} checks until" in second.stderr
    assert not any(key["secret"] in first.output + second.output for key in kept)


def test_rotating_with_revoke_leaves_one(command, tmp_path):
    command()
    told = command("--revoke")
    kept = json.loads((tmp_path / "var" / "signing-keys.json").read_text())["keys"]
    assert [key["id"] for key in kept] == [told.stdout.strip()]


def test_a_key_of_the_environment_is_changed_there(command, tmp_path):
    told = command(SCRAPERSKY_SECRET_KEY="a key of the environment, of many bytes")
    assert told.exit_code == 1
    assert "SCRAPERSKY_SECRET_KEY_PREVIOUS" in told.stderr
    assert not (tmp_path / "var").exists()


def test_a_file_of_ones_own_is_made_where_it_is_named(command, tmp_path):
    named = {"SCRAPERSKY_SIGNING_KEYS_FILE": str(tmp_path / "shared" / "keys.json")}
    told = command(**named, SCRAPERSKY_SECRET_KEY="a key of the environment, of many bytes")
    assert told.exit_code == 0, told.output
    assert [key.id for key in signing.read(tmp_path / "shared" / "keys.json")] == [told.stdout.strip()]
