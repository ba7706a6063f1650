import pytest
from django.core.management import CommandError, call_command

from revcred.models import AuditEvent
from tests import factories
from tests.owner import owner_cursor

pytestmark = pytest.mark.django_db


def test_a_whole_chain_is_said_to_be_whole(capsys):
    factories.a_credential()
    factories.a_credential()

    call_command("verify_audit")

    assert capsys.readouterr().out == "The chain is whole: 2 events.\n"


def test_a_broken_chain_fails_and_names_where():
    factories.a_credential()
    event = AuditEvent.objects.get()
    with owner_cursor() as cursor:
        cursor.execute("ALTER TABLE revcred_auditevent DISABLE TRIGGER auditevent_append_only")
        cursor.execute("UPDATE revcred_auditevent SET actor = 'somebody else'")

    with pytest.raises(CommandError, match=f"Event {event.pk} of .* is not as it was written"):
        call_command("verify_audit")
