"""A pytest plugin (`-p tests.stores`): PostgreSQL and Valkey, fresh, for this run alone.

Workers of pytest-xdist inherit the environment, find it named there, and start nothing.
"""

import os
from collections.abc import Generator
from contextlib import ExitStack

import pytest

from revcred.launcher import running_stores
from revcred.launcher.temporary import temporary_directory

KEYS = {
    "ENVIRONMENT": "test",
    "SECRET_KEY": "only-for-tests",
    "FERNET_KEYS": "b25seS1mb3ItdGVzdHMtb25seS1mb3ItdGVzdHMtISE=",
    "FINGERPRINT_KEY": "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    # Before pytest-django, which reads the settings in this very hook.
    os.environ.update(KEYS)
    running = ExitStack()
    early_config.add_cleanup(running.close)
    directory = running.enter_context(temporary_directory())
    os.environ.update(running.enter_context(running_stores(directory, durable=False)))
    return (yield)
