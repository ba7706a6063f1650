import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck, settings

from metering.api import authentication, backlog, pipeline
from metering.api.revenium import keys
from metering.api.verification import views as checks
from metering.attribution import processing
from revcred import outbox, request_id
from revcred.appearance import appearance_cache
from revcred.launcher.postgresql import APPLICATION_USER
from revcred.models import Appearance, Subscriber, User
from tests.emptying import quick_flush
from tests.stores import MIGRATED_DATABASE

# Generated cases at length, pages by the hundred and all migrations both ways, each module half a
# minute or more: `make test-long` runs them, and single tests that are marked so.
LONG_MODULES = {
    "tests/metering/api/test_canaries.py",
    "tests/metering/pairing/test_keys_in_parts.py",
    "tests/metering/test_migrating_back.py",
    "tests/metering/test_moves_of_lists.py",
    "tests/metering/test_order.py",
    "tests/metering/test_previews.py",
    "tests/revcred/admin/test_asked_first.py",
    "tests/revcred/admin/test_fields.py",
    "tests/revcred/admin/test_matrix.py",
    "tests/revcred/admin/test_takeover.py",
    "tests/revcred/uploads/test_same_as_actions.py",
}


# What waits for processes of its own, in groups that share them. Each begins with the run, on a
# worker of its own, while the others compute.
FIRST_GROUPS = (
    ("tests/journeys/",),
    ("tests/deploy/test_release.py", "tests/revcred/launcher/", "tests/revcred/runtime/"),
    ("tests/browser/",),
)


# Generated cases are the same in every run, so that none fails by chance beside somebody's change:
# HYPOTHESIS_PROFILE=random looks for new ones. A busy machine is no failure.
for name, is_random in (("same", False), ("random", True)):
    settings.register_profile(
        name,
        derandomize=not is_random,
        deadline=None,
        suppress_health_check=[*HealthCheck],
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of long modules, and have each worker begin with what waits."""
    groups: list[list[pytest.Item]] = [[] for _ in FIRST_GROUPS]
    others = []
    for item in items:
        path = item.path.relative_to(config.rootpath).as_posix()
        if path in LONG_MODULES:
            item.add_marker(pytest.mark.long)
        group = next((n for n, first in enumerate(FIRST_GROUPS) if path.startswith(first)), None)
        (others if group is None else groups[group]).append(item)
    # Workers are given equal shares of the list, one after the other, before they take from others.
    share = len(items) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = []
    for number, group in enumerate(groups):
        begin = max(0, number * share - len(items))
        items += [*others[:begin], *group]
        others = others[begin:]
    items += others


def pytest_collection_finish() -> None:
    """Spare the collector what all of the run needs: it took a tenth of the time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> None:
    """Test databases begin as copies of the one that has all migrations applied."""
    connection.settings_dict["TEST"]["TEMPLATE"] = MIGRATED_DATABASE


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Tests do what the application does with its role, which owns nothing: see tests/owner.py."""
    connection.settings_dict["OPTIONS"]["assume_role"] = APPLICATION_USER
    connection.settings_dict["OPTIONS"]["connect_timeout"] = 60  # on a busy machine
    connection.close()
    yield
    # Only the owner may drop the tests' database.
    connection.settings_dict["OPTIONS"]["assume_role"] = None
    connection.close()


@pytest.fixture(scope="session", autouse=True)
def _quick_flush() -> Iterator[None]:
    with quick_flush():
        yield


@pytest.fixture(autouse=True)
def _patient_doors(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine an answer may take longer than a gateway is made to wait."""
    marker = request.node.get_closest_marker("django_db")
    if marker is None or not marker.kwargs.get("transaction"):
        # In the one transaction of a test, attribution's limit holds for all that follows it.
        monkeypatch.setattr(processing, "STATEMENT_LIMIT_SECONDS", 60.0)
    for module in (authentication, backlog, pipeline, keys, checks):
        monkeypatch.setattr(module, "DATABASE_DEADLINE_SECONDS", 60.0)


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Any) -> None:
    """The real hasher takes half a second for each user, which is its purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _nothing_remembered_between_tests() -> Iterator[None]:
    """A token admitted in one test is not in the next one's database."""
    appearance_cache.keep(Appearance())
    yield
    authentication.forget_admissions()
    request_id.end_task()


@pytest.fixture
def sign_in(db: None) -> Callable[[User | Subscriber], Client]:
    """Return a browser in which this user or subscriber has just signed in."""

    def signed_in(somebody: User | Subscriber) -> Client:
        client = Client()
        client.force_login(somebody if isinstance(somebody, User) else somebody.user)
        return client

    return signed_in


@pytest.fixture
def sent_mail() -> Callable[[], list[Any]]:
    """Send what waits in the outbox, as a worker does, and return all mails sent so far."""

    def send() -> list[Any]:
        outbox.send_waiting_mail()
        return mail.outbox

    return send
