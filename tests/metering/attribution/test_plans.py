"""The plan of attribution is kept, and stays good while tables grow."""

from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection

from metering.attribution.processing import process_deliveries
from metering.attribution.statements import process_untried_statement
from metering.inbox.intake import accept_calls
from metering.models import Transaction
from revcred.fingerprints import fingerprint
from revcred.models import Assignment, Credential, ExternalKey, KeyUse, Suspension
from tests import factories
from tests.factories import LONG_AGO
from tests.owner import owner_cursor

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
CREDENTIALS, CALLED = 500, 40

# As after a VACUUM of tables that have no rows: the planner takes them for small then.
TAKE_TABLES_FOR_EMPTY = """
UPDATE pg_class SET relpages = 0, reltuples = 0
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""
ROWS_READ_WHOLE = "SELECT relname, seq_tup_read FROM pg_stat_xact_user_tables"


def rows_read_whole():
    """Return how many rows of each table were read in this transaction without an index."""
    with connection.cursor() as cursor:
        cursor.execute(ROWS_READ_WHOLE)
        return Counter(dict(cursor.fetchall()))


def process(gateway, keys):
    for key in keys:
        accept_calls(gateway, [factories.a_call(key), factories.a_call(key)])
    process_deliveries()


def grow(subscription):
    """Add credentials of the subscription, with all that attribution looks up about them."""
    customer = subscription.customer
    made = Credential.objects.bulk_create(
        Credential(customer=customer, name=f"Credential {number}") for number in range(CREDENTIALS)
    )
    keys = ExternalKey.objects.bulk_create(
        ExternalKey(
            credential=credential, fingerprint=fingerprint(a_key(number)), active_from=LONG_AGO
        )
        for number, credential in enumerate(made)
    )
    Assignment.objects.bulk_create(
        Assignment(
            credential=each, customer=customer, subscription=subscription, active_from=LONG_AGO
        )
        for each in made
    )
    Suspension.objects.bulk_create(
        Suspension(credential=each, active_from=LONG_AGO, active_until=LONG_AGO + DAY)
        for each in made
    )
    KeyUse.objects.bulk_create(KeyUse(external_key=key, last_used_at=LONG_AGO) for key in keys)


def a_key(number):
    return f"key-of-plans-{number:04}"


def test_no_table_is_read_whole_after_it_has_grown():
    gateway, subscription = factories.a_gateway(), factories.a_subscription()
    with owner_cursor() as cursor:
        cursor.execute(TAKE_TABLES_FOR_EMPTY)
    process(gateway, ["unknown"])
    grow(subscription)
    before = rows_read_whole()

    process(gateway, map(a_key, range(CALLED)))

    assert Transaction.objects.count() == 2 * CALLED
    read = rows_read_whole() - before
    assert {name: rows for name, rows in read.items() if rows >= CREDENTIALS} == {}


def nodes(node):
    yield node
    for each in node.get("Plans", ()):
        yield from nodes(each)


def test_no_batch_is_compared_row_by_row_with_another():
    """The planner believes that an empty inbox gives one call, whatever comes later."""
    with owner_cursor() as cursor:
        cursor.execute(TAKE_TABLES_FOR_EMPTY)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN (FORMAT JSON) {process_untried_statement(5_000)}", {})
        plan = cursor.fetchone()[0][0]["Plan"]

    loops = [node for node in nodes(plan) if node["Node Type"] == "Nested Loop"]
    again = {each.get("CTE Name") for loop in loops for each in nodes(loop["Plans"][1])}
    assert loops
    assert again == {None}
