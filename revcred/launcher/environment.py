"""The settings a development run needs, made once and kept."""

import base64
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

Environment = Mapping[str, str]


def fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


MADE: Mapping[str, Callable[[], str]] = {
    "ENVIRONMENT": lambda: "development",
    "SECRET_KEY": lambda: secrets.token_urlsafe(50),
    "FERNET_KEYS": fernet_key,
    "FINGERPRINT_KEY": lambda: secrets.token_hex(32),
}


def given(project: Path) -> dict[str, str]:
    """What has been decided by others. The settings read `.env` too, in the same order."""
    return read(project / ".env") | {name: value for name, value in os.environ.items() if value}


def complete(path: Path, *, others: Environment, addresses: Environment) -> dict[str, str]:
    """The whole environment for the children: what others decided, and ours, which is kept."""
    kept = {name: value for name, value in read(path).items() if name in MADE}
    made = {name: make() for name, make in MADE.items() if name not in kept and name not in others}
    ours = {**kept, **made, **addresses}
    write(path, ours)
    return {**ours, **others}


def read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = (line.strip().removeprefix("export ") for line in path.read_text().splitlines())
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, value in pairs}


def write(path: Path, values: Environment) -> None:
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())
    draft.replace(path)
