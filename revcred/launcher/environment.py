"""Settings of a development run: generated once, then kept."""

import base64
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

EnvironmentVariables = Mapping[str, str]


def fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


# Settings without a default: production must not run with keys that everybody knows.
GENERATED_SETTINGS: Mapping[str, Callable[[], str]] = {
    "ENVIRONMENT": lambda: "development",
    "SECRET_KEY": lambda: secrets.token_urlsafe(50),
    "FERNET_KEYS": fernet_key,
    "FINGERPRINT_KEY": lambda: secrets.token_hex(32),
}


def given_settings(project: Path) -> dict[str, str]:
    """Return what the environment and `.env` set; as in the settings, the environment wins."""
    return read_env_file(project / ".env") | {
        name: value for name, value in os.environ.items() if value
    }


def complete_settings(
    path: Path, *, others: EnvironmentVariables, addresses: EnvironmentVariables
) -> dict[str, str]:
    """Return the environment for all programs, and write what was generated to `path`.

    What `others` set wins; generated settings are kept from run to run; `addresses` are not.
    """
    kept = {
        name: value for name, value in read_env_file(path).items() if name in GENERATED_SETTINGS
    }
    made = {
        name: make()
        for name, make in GENERATED_SETTINGS.items()
        if name not in kept and name not in others
    }
    # Written although `others` may win: without them, the next run needs the same keys.
    ours = {**kept, **made, **addresses}
    write_env_file(path, ours)
    return {**ours, **others}


def read_env_file(path: Path) -> dict[str, str]:
    """Return the settings in a file of `NAME=value` lines; none if there is no file."""
    if not path.exists():
        return {}
    lines = (line.strip().removeprefix("export ") for line in path.read_text().splitlines())
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, value in pairs}


def write_env_file(path: Path, values: EnvironmentVariables) -> None:
    """Replace the file at `path`, readable by its owner alone."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    # Created with its mode, so that at no moment others can read the keys.
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())
    draft.replace(path)
