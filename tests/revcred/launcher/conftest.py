from collections.abc import Iterator
from pathlib import Path

import pytest

from revcred.launcher.temporary import temporary_directory


@pytest.fixture(autouse=True)
def nobody_named_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite's own stores are named in the environment; these tests start others."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def directory() -> Iterator[Path]:
    """Unlike tmp_path, one that the database's user can reach when the tests run as root."""
    with temporary_directory() as fresh:
        yield fresh
