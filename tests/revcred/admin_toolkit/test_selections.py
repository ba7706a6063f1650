"""Selections of rows: how many there may be, and who may act on them."""

from datetime import date

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from revcred.admin.selections import SuspendManyForm
from revcred.admin_toolkit.selections import sum_of_recent_calls
from revcred.metering_port import RecentCalls
from tests.factories import a_credential, a_user

LIST = reverse("admin:revcred_credential_changelist")
SUSPEND = reverse("admin:revcred_credential_many-suspend")


@pytest.mark.django_db(transaction=True)
def test_more_rows_than_may_be_at_once_are_refused(admin_client, monkeypatch):
    monkeypatch.setattr(SuspendManyForm, "max_rows", 1)
    a_credential()
    a_credential()

    assert "More than 1 rows are selected" in (
        admin_client.get(SUSPEND, {"all": "on"}).content.decode()
    )
    answer = admin_client.post(SUSPEND, {"all": "on"})
    assert "At most 1 rows can be selected at once. Narrow the list." in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_only_actions_that_somebody_may_perform_are_offered(client, admin_client):
    a_credential()
    reader = a_user("reader@example.com", is_staff=True)
    reader.user_permissions.set(Permission.objects.filter(codename="view_credential"))
    client.force_login(reader)

    assert client.get(LIST).context["action_form"] is None
    assert client.get(SUSPEND).status_code == 403
    assert client.post(SUSPEND, {"all": "on"}).status_code == 403
    offered = admin_client.get(LIST).context["action_form"].fields["action"].choices
    slugs = [slug for slug, _ in offered]
    assert slugs == ["", "suspend", "resume", "revoke", "tag", "extend", "move"]

    reader.user_permissions.set(
        Permission.objects.filter(codename__in=["view_credential", "change_credential"])
    )
    client.force_login(type(reader).objects.get(pk=reader.pk))
    offered = client.get(LIST).context["action_form"].fields["action"].choices
    # The others make an upload, which is another right.
    assert [slug for slug, _ in offered] == ["", "suspend", "resume", "revoke"]


def test_calls_of_several_things_are_summed_by_day():
    monday, tuesday = date(2026, 11, 30), date(2026, 12, 1)
    one = RecentCalls(calls=3, last_day=1, by_day=((monday, 2), (tuesday, 1)))
    other = RecentCalls(calls=5, by_day=((monday, 5),), is_complete=False)

    total = sum_of_recent_calls([one, other])

    assert (total.calls, total.last_day, total.is_complete) == (8, 1, False)
    assert total.by_day == ((monday, 7), (tuesday, 1))
    assert sum_of_recent_calls([]) == RecentCalls()
