"""A pytest plugin (`-p tests.stores`): PostgreSQL and Valkey, fresh, for this run alone.

Workers of pytest-xdist inherit the environment, find it named there, and start nothing. The
database comes with all migrations applied: the first run keeps a copy of its data directory, and
the next ones begin with it until a migration or a package changes.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from revcred.launcher import running_stores
from revcred.launcher.temporary import temporary_directory

KEYS = {
    "ENVIRONMENT": "test",
    "SECRET_KEY": "only-for-tests-only-for-tests-only-for-tests",
    "FERNET_KEYS": "b25seS1mb3ItdGVzdHMtb25seS1mb3ItdGVzdHMtISE=",
    "UPLOAD_FREE_PERCENT": "0",  # whatever else is on this machine's disk
    "FINGERPRINT_KEY": "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    "PUBLIC_URL": "http://testserver",  # as Django's test client calls it
}

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".pytest_cache" / "stores"
MIGRATED_DATABASE = "revcred"  # test databases are copies of it: see tests/conftest.py
KEPT_PARTS = ("postgresql-*", "binaries-of-*")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    # Before pytest-django, which reads the settings in this very hook.
    os.environ.update(KEYS)
    running = ExitStack()
    early_config.add_cleanup(running.close)
    directory = running.enter_context(temporary_directory())
    if "DATABASE_URL" not in os.environ:
        copy_migrated_data(directory)
    os.environ.update(running.enter_context(running_stores(directory, durable=False)))
    # Tests connect as the owner, who creates their databases, and then take the application's role:
    # see tests/conftest.py.
    os.environ["DATABASE_URL"] = os.environ.get(
        "MIGRATION_DATABASE_URL", os.environ["DATABASE_URL"]
    )
    return (yield)


def copy_migrated_data(directory: Path) -> None:
    """Put the data of a stopped server there that has all migrations applied, and its binaries."""
    _copy_parts(_migrated_stores(), directory)


def _migrated_stores() -> Path:
    """Return a directory with the data of a stopped server that has all migrations applied."""
    kept = CACHE / _version()
    if kept.exists():
        return kept
    shutil.rmtree(CACHE, ignore_errors=True)
    with temporary_directory() as directory:
        with running_stores(directory, durable=False) as addresses:
            subprocess.run(
                [sys.executable, "manage.py", "migrate", "--verbosity=0"],
                cwd=ROOT,
                env={**os.environ, **addresses},
                check=True,
            )
        draft = CACHE / f"draft-{os.getpid()}"
        draft.mkdir(parents=True)
        _copy_parts(directory, draft)
    if not kept.exists():  # another run may have been quicker
        draft.rename(kept)
    return kept


def _version() -> str:
    """Return a digest of all that decides what the migrated database looks like."""
    sources = [*ROOT.glob("*/migrations/*.py"), ROOT / "requirements" / "dev.txt"]
    sources += [ROOT / "revcred/postgresql/owner.py", ROOT / "revcred/launcher/postgresql.py"]
    digest = hashlib.blake2b(sys.version.encode(), digest_size=10)
    for path in sorted(sources):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _copy_parts(source: Path, target: Path) -> None:
    """Copy data and binaries with their owner, who is not root even where root runs the tests."""
    parts = [path for pattern in KEPT_PARTS for path in source.glob(pattern)]
    subprocess.run(["cp", "-a", *parts, target], check=True)
