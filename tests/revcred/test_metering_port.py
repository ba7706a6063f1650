"""The port between core and metering: things, numbers and names of tables pass it, and no SQL."""

import inspect
from datetime import UTC, datetime
from typing import get_args, get_type_hints

import pytest
from django.db import connection

from metering.port import Metering
from revcred import hooks, metering_port
from revcred.metering_port import MeteringPort, TableOfRows, connect_metering, table_of_rows
from tests import factories

QUESTIONS = [name for name in vars(MeteringPort) if not name.startswith("_")]


@pytest.mark.parametrize(
    "name",
    ["", "Rows", "a b", "a; DROP TABLE revcred_user", "(SELECT 1) x", "a" * 64, '"a"', "é", "a\n"],
)
def test_a_table_is_named_by_a_plain_name(name):
    with pytest.raises(ValueError, match="is not the name of a table"):
        TableOfRows(name)


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_text_passes_the_port_by_itself(question):
    """A text alone could be SQL. Inside of the port's types, each text says what it is."""
    hints = get_type_hints(getattr(MeteringPort, question))
    types = {part for hint in hints.values() for part in (hint, *get_args(hint))}

    assert str not in types


@pytest.mark.parametrize("question", QUESTIONS)
def test_both_sides_ask_alike(question):
    def kinds(side):
        parameters = inspect.signature(getattr(side, question)).parameters.values()
        return [(each.name, each.kind) for each in parameters]

    assert kinds(Metering) == kinds(MeteringPort)


@pytest.mark.django_db
def test_a_table_of_rows_is_there_for_the_question_alone():
    with table_of_rows("some_rows", "SELECT 1 AS number") as table, connection.cursor() as cursor:
        cursor.execute(f"SELECT number FROM {table.name}")
        assert cursor.fetchall() == [(1,)]

    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('some_rows')")
        assert cursor.fetchone() == (None,)


@pytest.fixture
def unmetered():
    metering = metering_port.connected_metering()
    connect_metering(None)
    yield
    connect_metering(metering)


@pytest.mark.django_db
def test_without_metering_nothing_waits_is_used_or_moves(unmetered):
    credential = factories.a_credential()

    tried = hooks.try_out(
        lambda: hooks.announce_change("It moved", by=None, credential=credential),
        keep=lambda _, __: True,
    )

    assert (tried.consequences, tried.progress_urls) == (metering_port.Consequences(), ())
    assert hooks.recent_calls_of(credential=credential).calls == 0
    assert hooks.count_waiting_for("SELECT 1").transactions == 0
    assert hooks.row_numbers_with_usage("SELECT 1", most=1) == []


DAYS = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 10)]


def movement(first):
    charged = metering_port.ChargedTo(customer="Acme")
    return metering_port.CallMovement(
        before=charged, after=charged, calls=1, first=first, last=DAYS[8]
    )


@pytest.mark.parametrize(
    ("found", "since"),
    [
        ({}, None),
        ({"since": DAYS[0]}, None),
        # Calls that waited in quarantine are older than the change reaches back.
        ({"since": DAYS[5], "movements": (movement(DAYS[3]), movement(DAYS[2]))}, DAYS[2]),
        ({"since": DAYS[0], "movements": (movement(DAYS[3]),)}, DAYS[3]),
        ({"since": DAYS[0], "movements": (movement(DAYS[3]),), "is_complete": False}, DAYS[0]),
        ({"since": None, "movements": (), "is_complete": False}, None),
    ],
)
def test_bills_change_from_the_first_call_that_moves_or_may_move(found, since):
    assert metering_port.Consequences(**found).changes_bills_since == since
