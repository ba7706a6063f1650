"""The migrations since the last release go back and forth on data, and lose nothing of before."""

import time
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from revcred.actions import credentials, subscriptions
from revcred.models import AuditEvent, Upload
from tests import factories
from tests.revcred.admin import matrix

pytestmark = pytest.mark.django_db(transaction=True)

LAST_RELEASE = [("metering", "0009_claims_of_uploads"), ("revcred", "0010_upload_for_all")]
COLUMNS = """
SELECT c.relname, array_agg(a.attname::text ORDER BY a.attname)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND c.relnamespace = 'public'::regnamespace AND c.relname ~ '^(revcred|metering|auth|account)_'
GROUP BY c.relname
"""
# What is counted or made anew: limits of requests, and the rights of models and roles.
OTHERWISE = {"revcred_cache", "auth_permission", "auth_group_permissions"}


def migrate_back():
    for app, name in LAST_RELEASE:
        call_command("migrate", app, name, verbosity=0)


def columns():
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS)
        return dict(cursor.fetchall())


def rows(known):
    """All rows of these columns, as text."""
    found = {}
    with connection.cursor() as cursor:
        for table, names in known.items():
            listed = ", ".join(f'"{name}"' for name in names)
            cursor.execute(f"SELECT ROW({listed})::text FROM {table} ORDER BY 1")
            found[table] = [row for (row,) in cursor]
    return found


@pytest.fixture
def world(settings, tmp_path):
    settings.UPLOADS_DIR = tmp_path / "uploads"
    return matrix.World()


def names_twice(world):
    """What the release before could not have: a name in two periods, and that of a revoked one."""
    now = timezone.now()
    ended = factories.a_subscription(world.customer, product=world.product)
    ended.external_key, ended.active_until = "twice", now - timedelta(days=2)
    subscriptions.change_subscription(subscription=ended, by=None)
    again = factories.a_subscription(world.customer, product=world.product)
    again.external_key, again.active_from = "twice", now - timedelta(days=1)
    subscriptions.change_subscription(subscription=again, by=None)
    revoked = factories.a_credential(world.customer, key="a-key-of-a-revoked-one", name="Twice")
    credentials.revoke_credential(credential=revoked, by=None, reason="Lost")
    factories.a_credential(world.customer, key="a-key-of-another-one", name="Twice")


def test_nothing_is_lost_on_the_way(world):
    names_twice(world)
    Upload.objects.filter(state="ready").update(state="cancelled")  # those are checked again
    now = columns()
    before = rows(now)
    began = time.process_time()

    migrate_back()
    then = {table: sorted({*names} & {*now[table]}) for table, names in columns().items()}
    in_between = rows(then)
    call_command("migrate", verbosity=0)
    after = rows(then)

    took = time.process_time() - began
    assert columns() == now
    assert len(then) > 20
    assert sum(map(len, in_between.values())) > 200
    whole = {table for table in then if then[table] == now[table]}
    changed = {table for table in whole - OTHERWISE if before[table] != after[table]}
    assert changed == set()
    assert {table for table in then if len(before[table]) != len(after[table])} <= OTHERWISE
    different = {table for table in then if in_between[table] != after[table]} - OTHERWISE
    assert different == {"auth_group", "revcred_credential", "revcred_subscription"}  # see above
    assert AuditEvent.objects.first_broken() is None
    assert took < 15
