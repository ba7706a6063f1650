import re

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from metering import tasks
from metering.models import Claim, Quarantined
from revcred.hooks import announce_change
from revcred.models import Upload
from revcred.runtime import schema_version
from revcred.tasks import work_on_uploads
from tests.owner import forget_migration, record_migration

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _asked_anew():
    schema_version.is_older_than_database.cache_clear()
    yield
    schema_version.is_older_than_database.cache_clear()


def test_a_database_of_this_code_has_nothing_unknown():
    assert schema_version.unknown_migrations() == []
    assert not schema_version.is_older_than_database()


def test_migrations_of_tomorrow_are_named(caplog):
    record_migration("revcred", "9999_b")
    record_migration("metering", "9998_a")

    assert schema_version.unknown_migrations() == ["metering.9998_a", "revcred.9999_b"]
    assert schema_version.is_older_than_database()
    assert "does not know: metering.9998_a, revcred.9999_b" in caplog.text


def test_migrations_of_libraries_are_their_own_matter():
    record_migration("account", "9999_of_allauth")

    assert not schema_version.is_older_than_database()


def test_an_app_without_its_newest_migration_is_named():
    newest = (settings.BASE_DIR / "metering/migrations/max_migration.txt").read_text().strip()
    forget_migration("metering", newest)

    assert schema_version.pending_migrations() == [f"metering.{newest}"]


def test_the_code_names_its_release_and_newest_migrations():
    version = schema_version.code_version()

    assert re.fullmatch(r"\d+\.\d+\.\d+ · metering\.\d{4}_\w+ · revcred\.\d{4}_\w+", version)
    assert len(version) <= Quarantined._meta.get_field("code_version").max_length


def test_the_database_is_asked_once_in_a_while():
    with CaptureQueriesContext(connection) as queries:
        for _ in range(5):
            schema_version.is_older_than_database()

    assert len([each for each in queries if "django_migrations" in each["sql"]]) == 1


def test_no_task_works_on_what_is_newer():
    announce_change("something changed", by=None)
    upload = Upload.objects.create(kind="credentials", file_name="a.csv", size=1, digest="0" * 64)
    record_migration("metering", "9999_of_tomorrow")

    for task in (
        tasks.process_inbox,
        tasks.pair_partial_transactions,
        tasks.work_open_claims,
        work_on_uploads,
    ):
        task()

    assert Claim.objects.open().count() == 1
    upload.refresh_from_db()
    assert upload.state == Upload.State.CHECKING
