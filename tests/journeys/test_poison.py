"""A hundredth of the traffic is poison of every kind: the rest does not notice."""

import os
import signal
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest

HEALTHY = 100
SOON = 30  # seconds: loose, for a machine that does much else; 5 alone
IN_THE_END = 180

EVILS = {
    "raises": "RAISE 'I am poison'",
    "exits": "PERFORM pg_terminate_backend(pg_backend_pid())",
    "loops": "LOOP END LOOP",
    "eats": "PERFORM repeat('x', 2000000000)",
    # … until the worker is killed, see below.
    "kills": "PERFORM set_config('application_name', 'killer', true), pg_sleep(60)",
}
EVIL = """
CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    CASE split_part(NEW.transaction_id, '-', 2) {cases} ELSE NULL; END CASE;
    RETURN NEW;
END $$;
CREATE TRIGGER evil BEFORE INSERT ON metering_transaction FOR EACH ROW
    WHEN (starts_with(NEW.transaction_id, 'poison-')) EXECUTE FUNCTION evil();
""".format(cases=" ".join(f"WHEN '{kind}' THEN {does};" for kind, does in EVILS.items()))

SLOWEST = """
SELECT extract(epoch FROM max(attributed_at - received_at))::float, count(*)
FROM metering_transaction WHERE transaction_id = ANY (%s)
"""
# Rows that the worker holds are at work, and wait for nothing.
WITHOUT_PAUSES = """
UPDATE metering_delivery SET next_try_at = now() WHERE id IN (
    SELECT id FROM metering_delivery WHERE next_try_at > now() FOR UPDATE SKIP LOCKED
)
"""


def url_of_owner(stack):
    return stack.environment["MIGRATION_DATABASE_URL"]


@pytest.fixture
def database(stack):
    with psycopg.connect(url_of_owner(stack), autocommit=True) as database:
        database.execute(EVIL)
        yield database
        database.execute("DROP FUNCTION evil CASCADE")


@contextmanager
def a_killer(stack):
    """While this lasts, what the poison wants killed is: the process that settles in the worker."""
    over = Event()

    def kill_on():
        with psycopg.connect(
            stack.environment["MIGRATION_DATABASE_URL"], autocommit=True
        ) as database:
            while not over.wait(0.05):
                if at_work(database):
                    kill_settling_process(stack)
                    stack.wait_until(lambda: not at_work(database))

    thread = Thread(target=kill_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def at_work(database):
    question = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'killer'"
    return database.execute(question).fetchone()[0]


def kill_settling_process(stack):
    pid = stack.children["worker"].process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)


def test_poison_delays_nobody_and_ends_named(stack, database):
    healthy, poison = [], []
    with a_killer(stack):
        for number in range(HEALTHY):
            healthy.append(stack.post()[0])
            if number % (HEALTHY // len(EVILS)) == 0:
                kind = list(EVILS)[len(poison)]
                poison.append(stack.post(transaction_id=f"poison-{kind}")[0])
        stack.wait_until(lambda: settled(database, healthy)[1] == HEALTHY, max_seconds=2 * SOON)
        seconds, _ = settled(database, healthy)

        stack.wait_until(lambda: nothing_waits(database), max_seconds=IN_THE_END)

    assert seconds < SOON
    assert named(database) == {f"poison-{kind}" for kind in EVILS}
    assert stack.manage("verify_usage") == "Usage equals the ledger: 0 differences."


def settled(database, names):
    return database.execute(SLOWEST, [names]).fetchone()


def nothing_waits(database):
    """Ask whether the inbox is empty, and end the pauses before the next attempts."""
    database.execute(WITHOUT_PAUSES)
    return not database.execute("SELECT count(*) FROM metering_delivery").fetchone()[0]


def named(database):
    rows = database.execute("SELECT transaction_id, reason FROM metering_quarantined")
    return {name for name, reason in rows if reason == "poison"}
