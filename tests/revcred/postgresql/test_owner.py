"""Two roles: the application's does what revcred does, and nothing that only its owner may do.

All tests that have a database have that role, as has every process of the journeys.
"""

import pytest
from django.core.management import call_command
from django.db import ProgrammingError, connection
from django.db.transaction import atomic

from revcred.launcher.postgresql import APPLICATION_USER, DATABASE_USER
from revcred.models import AuditEvent
from revcred.postgresql.owner import RuntimeRole, as_owner, grant_runtime_rights
from revcred.runtime import preflight
from tests import factories
from tests.owner import owner_cursor

pytestmark = pytest.mark.django_db


def ask(question, *values):
    with connection.cursor() as cursor:
        cursor.execute(question, values)
        return cursor.fetchone()


def test_tests_have_the_role_of_the_application():
    assert ask("SELECT current_user") == (APPLICATION_USER,)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE revcred_auditevent SET actor = ''",
        "DELETE FROM revcred_auditevent",
        "TRUNCATE revcred_auditevent",
        "ALTER TABLE revcred_auditevent DISABLE TRIGGER auditevent_append_only",
        "SET session_replication_role = replica",
        "TRUNCATE metering_transaction",
        "DROP TABLE metering_transaction",
        "DELETE FROM django_migrations",
        "CREATE TABLE public.mine (id int)",
        "CREATE FUNCTION public.now() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE ROLE mine SUPERUSER",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "SELECT pg_read_file('postgresql.conf')",
    ],
)
def test_the_application_may_not(statement):
    factories.a_credential()  # with an event

    with (
        pytest.raises(ProgrammingError, match=r"permission denied|must be (owner|superuser)"),
        atomic(),
    ):
        ask(statement)


@pytest.mark.django_db(transaction=True)
def test_the_owner_migrates_and_the_application_keeps_its_rights():
    with as_owner() as application:
        assert application.name == APPLICATION_USER
        assert ask("SELECT current_user") == (DATABASE_USER,)
    call_command("migrate", verbosity=0)

    assert ask("SELECT current_user") == (APPLICATION_USER,)
    factories.a_credential()
    assert AuditEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_owner_runs_no_operator_of_the_application():
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION revcred_staging.equals(a varchar, b varchar) RETURNS boolean"
            " LANGUAGE plpgsql AS $$ BEGIN RAISE 'run by the owner'; END $$"
        )
        cursor.execute(
            "CREATE OPERATOR revcred_staging.= ("
            " LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = revcred_staging.equals)"
        )
    try:
        with as_owner():
            assert ask("SELECT current_schemas(false)") == (["public"],)
            assert ask("SELECT count(*) FROM django_migrations WHERE app = 'none'") == (0,)
        call_command("migrate", verbosity=0)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION revcred_staging.equals CASCADE")

    assert "revcred_staging" in ask("SELECT current_schemas(false)")[0]


def test_a_role_that_is_missing_is_created_with_its_password():
    with owner_cursor() as cursor:
        grant_runtime_rights(RuntimeRole("revcred_other", "its password"))
        cursor.execute(
            "SELECT rolpassword, rolsuper FROM pg_authid WHERE rolname = 'revcred_other'"
        )
        password, is_superuser = cursor.fetchone()
        cursor.execute(
            "SELECT has_table_privilege('revcred_other', 'revcred_auditevent', 'INSERT'),"
            " has_table_privilege('revcred_other', 'revcred_auditevent', 'UPDATE')"
        )
        assert cursor.fetchone() == (True, False)
    assert password.startswith("SCRAM-SHA-256$")
    assert not is_superuser


def test_where_there_is_one_role_nothing_is_granted():
    with owner_cursor():
        grant_runtime_rights(RuntimeRole(DATABASE_USER, ""))


def test_tables_of_uploads_in_progress_go_to_the_application():
    with owner_cursor() as cursor:
        cursor.execute("CREATE TABLE public.revcred_uploadrow_7 (number bigint)")
        grant_runtime_rights(RuntimeRole(APPLICATION_USER, ""))

    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE revcred_staging.revcred_uploadrow_7")


def test_a_superuser_is_warned_of(caplog):
    assert preflight.find_weaknesses() == []

    with owner_cursor():
        preflight.check_at_start()

    assert "DATABASE_URL is a superuser" in caplog.text


def test_an_owner_of_tables_is_warned_of():
    with owner_cursor() as cursor:
        cursor.execute(f"GRANT UPDATE ON revcred_auditevent TO {APPLICATION_USER}")

    assert "can change the audit" in preflight.find_weaknesses()[0]
