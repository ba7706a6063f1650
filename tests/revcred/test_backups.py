"""A backup is restored into a new database, and the same calls sent again are counted once."""

import os
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from metering.attribution.processing import process_waiting_deliveries
from metering.inbox.intake import accept_calls
from metering.models import Transaction
from revcred import backups
from revcred.launcher.postgresql import APPLICATION_USER, DATABASE_USER
from revcred.models import Gateway, Session
from revcred.postgresql.owner import as_owner
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

NAME = f"restored_by_{os.getpid()}"


@pytest.fixture
def restored_database():
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("SET ROLE NONE")
        cursor.execute(f"CREATE DATABASE {NAME}")
    yield
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("SET ROLE NONE")
        cursor.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


def manage(*arguments, **variables):
    owner = urlsplit(os.environ["MIGRATION_DATABASE_URL"])._replace(path=f"/{NAME}").geturl()
    url = owner.replace(f"//{DATABASE_USER}@", f"//{APPLICATION_USER}@")
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DATABASE_URL": url, "MIGRATION_DATABASE_URL": owner} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_what_is_restored_counts_the_same_calls_once(restored_database, sign_in, tmp_path):
    sign_in(factories.a_user(is_staff=True))
    assert Session.objects.exists()
    customer = factories.a_customer()
    factories.a_credential(customer, "a-key", subscriptions=[factories.a_subscription(customer)])
    calls = [factories.a_call("a-key") for _ in range(3)]
    factories.settled(*calls, gateway=factories.a_gateway())
    assert backups.last_backup_at() is None
    call_command("backup", tmp_path / "backup")
    assert backups.last_backup_at()
    assert not any(
        key.encode() in path.read_bytes()
        for path in (tmp_path / "backup").iterdir()
        for key in [*settings.FERNET_KEYS, settings.FINGERPRINT_KEY]
    )

    refused = manage("restore", str(tmp_path / "backup"), FINGERPRINT_KEY="another" * 8)
    assert "lack keys that this backup needs" in refused.stderr
    refused = manage("restore", str(tmp_path / "backup"), AUDIT_KEY="another" * 8)
    assert "lack keys that this backup needs" in refused.stderr
    done = manage("restore", str(tmp_path / "backup"))
    assert done.returncode == 0, done.stderr
    again = manage("restore", str(tmp_path / "backup"))
    assert "Restore into a new, empty one" in again.stderr

    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = NAME
    try:
        accept_calls(Gateway.objects.get(), calls)
        process_waiting_deliveries()
        assert Transaction.objects.count() == 3
        assert not Session.objects.exists()
        call_command("verify_usage")
        call_command("verify_audit")
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before


def test_a_directory_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine").touch()

    with pytest.raises(CommandError, match="is not empty"):
        call_command("backup", tmp_path)


def test_the_overview_says_when_the_last_one_was_made(sign_in, tmp_path):
    superuser = factories.a_user(is_staff=True, is_superuser=True)
    assert "Last backup by manage.py backup: never" in sign_in(superuser).get("/admin/").text
    call_command("backup", tmp_path / "backup")

    page = sign_in(superuser).get("/admin/")

    assert page.status_code == 200
    assert "Backed up" in page.text
    assert "backup: never" not in page.text
    assert sign_in(superuser).get("/admin/revcred/auditevent/").status_code == 200
