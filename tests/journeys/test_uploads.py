"""A list on its way through the real processes, whichever of them is killed when."""

import random
import time

import psycopg
import pytest

from tests.journeys.conftest import KEY

KILLS = 7  # of each phase, if it lasts that long
ROWS = 12_000
CALLS = 6_000  # of a list of usage
STRUCK = ("uploads", "web", "database")

RECEIVE = """
from io import BytesIO
from revcred.uploads import actions
from revcred.uploads.columns import ListKind
from tests import factories
from revcred.models import Customer
Customer.objects.get_or_create(external_key="{name}", defaults=dict(name="{name}"))
rows = "".join(
    f"{name},Number {{each}},key-of-{name}-{{each:08}},secret-{{each:08}}\\n"
    for each in range({rows})
)
file = BytesIO(("customer,name,key,secret\\n" + rows).encode())
print(actions.receive_upload(kind=ListKind.CREDENTIALS, file=file, name="list.csv", by=None).pk)
"""
RECEIVE_USAGE = """
from datetime import timedelta
from io import BytesIO
from django.utils import timezone
from revcred.models import Gateway
from revcred.uploads import actions
from revcred.uploads.columns import ListKind
gateway, yesterday = Gateway.objects.earliest("pk").name, timezone.now() - timedelta(days=1)
rows = "".join(
    f"counted-{{each}},{{yesterday.isoformat()}},{{gateway}},{key},2\\n"
    for each in range({rows})
)
file = BytesIO(("transaction_id,occurred_at,gateway,key,calls\\n" + rows).encode())
print(actions.receive_upload(kind=ListKind.USAGE, file=file, name="calls.csv", by=None).pk)
"""
APPLY = """
from revcred.models import Upload
from revcred.uploads import actions
from tests import factories
upload = Upload.objects.get(pk={number})
actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)
"""
UNDO = """
from revcred.models import Upload
from revcred.uploads import actions
from tests import factories
actions.undo_upload(upload=Upload.objects.get(pk={number}), by=factories.an_admin())
"""
# Rows that are half: a credential without its key, or a key without what is sealed of it.
COUNTED = """
SELECT
    count(*),
    count(DISTINCT k.fingerprint),
    count(v.external_key_id) FILTER (WHERE v.value IS NOT NULL AND v.secret IS NOT NULL),
    (SELECT count(*) FROM revcred_uploadchange u WHERE u.upload_id = %s)
FROM revcred_credential c
JOIN revcred_customer o ON o.id = c.customer_id AND o.external_key = %s
LEFT JOIN revcred_externalkey k ON k.credential_id = c.id
LEFT JOIN revcred_sealedvalue v ON v.external_key_id = k.id
"""
# Rows of the ledger that count, the calls that they and the hours have, and what is not there yet.
CALLS_OF_LIST = """
WITH ours AS (SELECT * FROM metering_transaction WHERE transaction_id LIKE 'counted-%%')
SELECT
    (SELECT count(DISTINCT transaction_id) FROM ours WHERE sign = 1),
    (SELECT coalesce(sum(sign * (elements ->> 'calls')::numeric), 0)::int FROM ours),
    (
        SELECT coalesce(sum(quantity), 0)::int FROM metering_usage
        WHERE hour IN (SELECT DISTINCT date_trunc('hour', occurred_at) FROM ours)
    ),
    (SELECT count(*) FROM metering_quarantined WHERE transaction_id LIKE 'counted-%%')
"""
WAITING = "SELECT count(*) FROM metering_delivery"


def shell(stack, script):
    return stack.manage("shell", "--no-imports", "--command", script)


def ask(stack, question, *arguments):
    """Asked again while PostgreSQL is starting."""
    while True:
        try:
            with psycopg.connect(
                stack.environment["MIGRATION_DATABASE_URL"], autocommit=True
            ) as database:
                return database.execute(question, arguments).fetchone()
        except psycopg.OperationalError:
            time.sleep(0.1)


def state_of(stack, number):
    return ask(stack, "SELECT state, done, error FROM revcred_upload WHERE id = %s", number)


def strike(stack, name):
    stack.kill(name)
    stack.start(name)


def through(stack, number, until, *, dice, kills, struck=STRUCK):
    """Kill one of the processes after another until the upload has come that far."""
    began = time.monotonic()
    strikes = 0
    while (now := state_of(stack, number))[0] != until:
        assert now[0] != "failed", now
        assert time.monotonic() - began < 240, (now, strikes)
        if strikes < kills:
            time.sleep(dice.uniform(0.05, 1.5))
            strike(stack, dice.choice(struck))
            strikes += 1
        else:
            time.sleep(0.2)
    return strikes


def test_whatever_is_killed_no_row_is_lost_doubled_or_half(stack):
    dice, name = random.Random(1), "killed"
    number = int(shell(stack, RECEIVE.format(name=name, rows=ROWS)))

    struck = through(stack, number, "ready", dice=dice, kills=KILLS)
    shell(stack, APPLY.format(number=number))
    struck += through(stack, number, "applied", dice=dice, kills=KILLS)

    assert struck > 1
    assert ask(stack, COUNTED, number, name) == (ROWS, ROWS, ROWS, ROWS)
    outcome = ask(stack, "SELECT outcome ->> 'create' FROM revcred_upload WHERE id = %s", number)
    assert outcome == (str(ROWS),)
    claims = ask(stack, "SELECT count(*) FROM metering_claim WHERE upload_id = %s", number)
    assert claims == (1,)

    shell(stack, UNDO.format(number=number))
    struck += through(stack, number, "undone", dice=dice, kills=KILLS)

    assert struck > 2
    assert ask(stack, COUNTED, number, name) == (0, 0, 0, ROWS)


@pytest.mark.long
def test_whatever_is_killed_each_call_of_a_list_counts_once(stack):
    dice = random.Random(2)
    number = int(shell(stack, RECEIVE_USAGE.format(rows=CALLS, key=KEY)))

    struck = through(stack, number, "ready", dice=dice, kills=KILLS)
    shell(stack, APPLY.format(number=number))
    struck += through(stack, number, "applied", dice=dice, kills=KILLS, struck=(*STRUCK, "worker"))
    until_none_waits(stack)

    assert struck > 1
    assert ask(stack, CALLS_OF_LIST) == (CALLS, 2 * CALLS, 2 * CALLS, 0)

    shell(stack, UNDO.format(number=number))
    struck += through(stack, number, "undone", dice=dice, kills=KILLS, struck=(*STRUCK, "worker"))

    assert struck > 2
    assert ask(stack, CALLS_OF_LIST) == (CALLS, 0, 0, 0)


def until_none_waits(stack):
    began = time.monotonic()
    while ask(stack, WAITING) != (0,):
        assert time.monotonic() - began < 120, "not attributed"
        time.sleep(0.2)


def test_settling_does_not_wait_for_a_list(stack):
    number = int(shell(stack, RECEIVE.format(name="beside", rows=ROWS)))

    assert state_of(stack, number)[0] == "checking"
    assert stack.seconds_until_attributed(stack.post()[0]) < 5
