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

    assert capsys.readouterr().out.startswith("The chain is whole: 2 events.\nIts head is 2:")


def head_of_two():
    factories.a_credential()
    factories.a_credential()
    return AuditEvent.objects.head()


def test_a_head_noted_earlier_is_found_in_a_longer_chain():
    noted = head_of_two()
    factories.a_credential()

    call_command("verify_audit", anchor=str(noted))


def test_a_shortened_chain_is_whole_and_lacks_the_head():
    noted = head_of_two()
    with owner_cursor() as cursor:
        cursor.execute("ALTER TABLE revcred_auditevent DISABLE TRIGGER auditevent_append_only")
        cursor.execute(
            "DELETE FROM revcred_auditevent WHERE id = (SELECT max(id) FROM revcred_auditevent)"
        )

    call_command("verify_audit")
    with pytest.raises(CommandError, match="removed or rewritten"):
        call_command("verify_audit", anchor=str(noted))


@pytest.mark.parametrize("anchor", ["7", "0:", "x:00", "2:0000", "0:00", "9:00"])
def test_another_head_is_no_anchor(anchor):
    head_of_two()

    with pytest.raises(CommandError):
        call_command("verify_audit", anchor=anchor)


def test_a_broken_chain_fails_and_names_where():
    factories.a_credential()
    event = AuditEvent.objects.get()
    with owner_cursor() as cursor:
        cursor.execute("ALTER TABLE revcred_auditevent DISABLE TRIGGER auditevent_append_only")
        cursor.execute("UPDATE revcred_auditevent SET actor = 'somebody else'")

    with pytest.raises(CommandError, match=f"Event {event.pk} of .* is not as it was written"):
        call_command("verify_audit")
