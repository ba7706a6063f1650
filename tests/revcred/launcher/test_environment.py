import base64
import stat
from pathlib import Path

import environ
import pytest

from revcred.launcher.environment import GENERATED_SETTINGS, complete_settings, given_settings


def test_what_is_made_is_kept_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "environment"
    first = complete_settings(path, others={}, addresses={})
    second = complete_settings(path, others={}, addresses={})
    assert first == second
    assert set(first) == set(GENERATED_SETTINGS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_keys_are_of_the_right_kind(tmp_path: Path) -> None:
    made = complete_settings(tmp_path / "environment", others={}, addresses={})
    assert len(base64.urlsafe_b64decode(made["FERNET_KEYS"])) == 32
    assert len(bytes.fromhex(made["FINGERPRINT_KEY"])) == 32


def test_what_others_decided_wins_and_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "environment"
    settings = complete_settings(path, others={"SECRET_KEY": "theirs"}, addresses={})
    assert settings["SECRET_KEY"] == "theirs"
    assert "theirs" not in path.read_text()


def test_yesterdays_addresses_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "environment"
    complete_settings(path, others={}, addresses={"REDIS_URL": "redis+socket:///tmp/old"})
    complete_settings(path, others={"REDIS_URL": "redis://elsewhere"}, addresses={})
    assert "REDIS_URL" not in path.read_text()


def test_the_environment_goes_before_dot_env(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("# why\nexport ONE='quoted'\nTWO=file\n")
    monkeypatch.setenv("TWO", "environment")
    found = given_settings(tmp_path)
    assert (found["ONE"], found["TWO"]) == ("quoted", "environment")


def test_django_environ_understands_the_address() -> None:
    database = environ.Env.db_url_config("postgres://revcred@:5432/revcred?host=/tmp/revcred-1")
    assert (database["NAME"], database["USER"], database["PORT"]) == ("revcred", "revcred", 5432)
    assert database["OPTIONS"] == {"host": "/tmp/revcred-1"}
