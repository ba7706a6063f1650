"""Statements that are planned once, and again now and then."""

import pytest
from django.db import IntegrityError, connection
from django.db.transaction import atomic

from revcred.postgresql import deadlines
from revcred.postgresql.prepared import fetch_prepared
from tests.owner import owner_cursor

pytestmark = pytest.mark.django_db

# In a table of ours, small enough at first to be read whole.
COUNT = "SELECT count(*) FROM kept WHERE id = %s"
EXECUTIONS = "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE statement ~ %s"
READ_WHOLE = "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'kept'"


@pytest.fixture
def kept():
    """A table of one row, as the planner sees it after a VACUUM."""
    with owner_cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE kept (id int PRIMARY KEY)")
        cursor.execute("INSERT INTO kept VALUES (0)")
        cursor.execute("GRANT ALL ON kept TO PUBLIC")
        cursor.execute("UPDATE pg_class SET relpages = 1, reltuples = 1 WHERE relname = 'kept'")


def ask(question, *arguments):
    with connection.cursor() as cursor:
        cursor.execute(question, arguments)
        return cursor.fetchall()[0][0]


def test_a_statement_stays_prepared_with_other_arguments(kept):
    assert [fetch_prepared(COUNT, [number]) for number in (0, 1)] == [[(1,)], [(0,)]]
    assert ask(EXECUTIONS, "FROM kept") == 2


def test_other_statements_are_not_prepared(kept):
    for number in range(10):
        ask("SELECT count(*) FROM kept WHERE id <> %s", number)

    assert ask("SELECT count(*) FROM pg_prepared_statements WHERE statement ~ '<>'") == 0


def test_a_statement_without_rows_returns_none(kept):
    assert fetch_prepared("DELETE FROM kept WHERE id = %s", [5]) == ()


def test_errors_are_those_of_django(kept):
    with pytest.raises(IntegrityError), atomic():
        fetch_prepared("INSERT INTO kept VALUES (%s)", [0])


def test_a_plan_for_a_small_table_is_not_kept_for_long(kept, monkeypatch):
    # Other tests may have used the connection for longer than that already.
    monkeypatch.setattr(deadlines, "MAX_PLAN_AGE_SECONDS", 3_600)
    for _ in range(10):
        fetch_prepared(COUNT, [0])
    assert ask(READ_WHOLE) == 10
    ask("WITH added AS (INSERT INTO kept SELECT generate_series(1, 20000)) SELECT 1")
    whole = 20_001

    fetch_prepared(COUNT, [0])
    assert ask(READ_WHOLE) == 10 + whole

    monkeypatch.setattr(deadlines, "MAX_PLAN_AGE_SECONDS", 0)
    fetch_prepared(COUNT, [0])
    assert ask(READ_WHOLE) == 10 + whole
