import pytest
from django.core.management import CommandError, call_command

from revcred.models import AuditEvent
from tests import factories

pytestmark = pytest.mark.django_db


def test_the_operator_takes_a_superusers_rights(client, capsys):
    boss = factories.a_user("boss@example.com", is_staff=True, is_superuser=True)
    client.force_login(boss)

    call_command("revoke_superuser", "Boss@example.com")

    boss.refresh_from_db()
    assert (boss.is_superuser, boss.is_staff) == (False, False)
    assert client.get("/").status_code == 302
    event = AuditEvent.objects.about(boss).get()
    assert (event.verb, event.actor) == ("rights_changed", "")


def test_of_nobody_else_it_takes_anything():
    factories.a_user("ann@example.com", is_staff=True)

    with pytest.raises(CommandError, match="No superuser signs in"):
        call_command("revoke_superuser", "ann@example.com")
