import re

import pytest
from django.conf import settings
from django.urls import reverse

from revcred.admin_toolkit.installation import SETTINGS_BY_TOPIC, describe_installation
from tests.factories import a_user

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:settings")


def test_the_page_shows_settings_versions_and_sizes_to_superusers(admin_client, client):
    page = admin_client.get(PAGE).content.decode()

    for name in (name for names in SETTINGS_BY_TOPIC.values() for name in names):
        assert f"<code>{name}</code>" in page
    assert "metering_transaction" in page
    assert re.search(r"<dt>PostgreSQL</dt>\s*<dd>\s*\d+", page)
    client.force_login(a_user(is_staff=True))
    assert client.get(PAGE).status_code == 403


def test_no_key_or_password_is_among_what_is_shown(admin_client):
    page = admin_client.get(PAGE).content.decode()

    secrets = [settings.SECRET_KEY, settings.FINGERPRINT_KEY, *settings.FERNET_KEYS]
    secrets += [settings.DATABASES["default"]["PASSWORD"], settings.EMAIL_HOST_PASSWORD]
    assert not [secret for secret in secrets if secret and secret in page]


def test_a_table_with_partitions_is_measured_as_one():
    found = describe_installation()

    tables = {table.name: table for table in found["tables"]}
    ledger = tables["metering_transaction"]
    assert ledger.partitions > 1
    assert ledger.size >= sum(
        day.size for day in found["days"] if day.name.startswith("metering_transaction")
    )
    assert not {day.name for day in found["days"]} & tables.keys()
    assert found["versions"]["Migrations to apply"] == "none"
