"""The migrations since the last release go back and forth on data, and lose nothing of before."""

import time
from datetime import timedelta
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from metering.models import Quarantined
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
    AND c.relnamespace::regnamespace::text IN ('public', 'revcred_staging')
    AND c.relname ~ '^(revcred|metering|auth|account)_'
GROUP BY c.relname
"""
# Names that the release before had, by those of now.
OLD_TABLES = {
    "metering_intakestats": "metering_tally",
    "metering_partialtransaction": "metering_half",
    "metering_seentransaction": "metering_remembered",
    "revcred_keyringcheck": "revcred_sealedcanary",
}
OLD_COLUMNS = {
    ("metering_idempotentpost", "content_hash"): "content",
    ("metering_idempotentpost", "key_hash"): "mark",
    ("metering_partialtransaction", "dedup_key"): "identity",
    ("metering_seentransaction", "content_hash"): "digest",
    ("metering_seentransaction", "dedup_key"): "identity",
    ("revcred_sealedvalue", "secret_fingerprint"): "secret_mark",
    ("revcred_upload", "all_or_nothing"): "whole",
    ("revcred_upload", "file_format"): "shape",
    ("revcred_upload", "fixed_values"): "for_all",
    ("revcred_uploadchange", "undo_data"): "links",
}
OLD_STAGED_COLUMNS = {"problems": "refusals", "version": "was"}
# What is counted or made anew: limits of requests, and the rights of models and roles.
OTHERWISE = {"revcred_cache", "auth_permission", "auth_group_permissions"}


def migrate_back():
    for app, name in LAST_RELEASE:
        call_command("migrate", app, name, verbosity=0)


def columns():
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS)
        return dict(cursor.fetchall())


def old_name(table, column):
    if table.startswith("revcred_uploadrow_"):
        return OLD_STAGED_COLUMNS.get(column, column)
    return OLD_COLUMNS.get((table, column), column)


def columns_of_before(now):
    """The columns of now that the release before had, too, in the present order and names."""
    then = columns()
    return {
        table: [name for name in names if old_name(table, name) in then[old]]
        for table, names in now.items()
        if (old := OLD_TABLES.get(table, table)) in then
    }


def rows(known, *, of_before=False):
    """All rows of these columns, as text."""
    found = {}
    with connection.cursor() as cursor:
        for table, names in known.items():
            listed = ", ".join(
                f'"{old_name(table, name) if of_before else name}"' for name in names
            )
            source = OLD_TABLES.get(table, table) if of_before else table
            cursor.execute(f"SELECT ROW({listed})::text FROM {source} ORDER BY 1")
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


def quarantine_by_a_clock_that_was_wrong():
    """Its id is that of a year to come, for which there is no partition."""
    ahead = Quarantined.objects.first()
    ahead.pk = UUID(int=(1 << 127) + 1)
    ahead.save(force_insert=True)


def test_nothing_is_lost_on_the_way(world):
    names_twice(world)
    quarantine_by_a_clock_that_was_wrong()
    Upload.objects.filter(state="ready").update(state="cancelled")  # those are checked again
    now = columns()
    before = rows(now)
    began = time.process_time()

    migrate_back()
    then = columns_of_before(now)
    in_between = rows(then, of_before=True)
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
    staged = {table for table in then if table.startswith("revcred_uploadrow_")}
    # Names twice; and words that stand in stored calls, previews and staged rows.
    assert {"auth_group", "revcred_credential", "revcred_subscription"} <= different
    assert {"metering_delivery", "revcred_upload"} <= different
    assert len(different - staged) == 5
    assert AuditEvent.objects.first_broken() is None
    assert took < 15
