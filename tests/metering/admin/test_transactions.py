from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from metering.inbox.intake import accept_calls
from metering.models import Delivery, Transaction
from tests.factories import a_call, a_credential, a_customer, a_gateway, a_subscription, settled

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a-key-of-some-length"
LIST = reverse("admin:metering_transaction_changelist")


@pytest.fixture
def credential():
    customer = a_customer("Acme")
    return a_credential(customer, key=KEY, subscriptions=[a_subscription(customer, name="Maps")])


def ids(response) -> list[str]:
    return [each.transaction_id for each in response.context["cl"].result_list]


def test_the_latest_come_first_and_are_narrowed_by_what_they_belong_to(admin_client, credential):
    gateway = a_gateway()
    older = a_call(KEY, ago=timedelta(hours=2), transaction_id="older")
    settled(a_call(KEY, transaction_id="newer"), older, gateway=gateway)
    type(gateway).objects.update(last_seen_at=timezone.now())
    subscription = credential.assignments.get().subscription

    assert ids(admin_client.get(LIST, {"credential": credential.pk})) == ["newer", "older"]
    assert ids(admin_client.get(LIST, {"subscription": subscription.pk})) == ["newer", "older"]
    of_gateway = admin_client.get(LIST, {"gateway": gateway.pk}, follow=True)
    assert set(ids(of_gateway)) == {"newer", "older"}
    for none in ({"gateway": 999}, {"gateway": a_gateway().pk}, {"credential": "x"}):
        assert ids(admin_client.get(LIST, none, follow=True)) == []


def test_the_page_of_a_transaction_is_its_receipt(admin_client, credential):
    settled(a_call(KEY, transaction_id="one", path="/maps", elements={"tiles": 7}))
    row = Transaction.objects.get()

    page = admin_client.get(reverse("admin:metering_transaction_change", args=[row.pk]))

    text = page.content.decode()
    for said in ("attributed", "Acme", "Maps", "…ngth", "tiles", "/maps", "Attributed to Maps"):
        assert said in text
    assert KEY not in text


def test_a_receipt_is_found_by_its_id_wherever_it_is(admin_client, credential):
    settled(a_call(KEY, transaction_id="known"), a_call(transaction_id="nobody's"))
    accept_calls(a_gateway(), [a_call(KEY, transaction_id="waits")])

    def states(transaction_id: str) -> list[str]:
        response = admin_client.get(LIST, {"q": f" {transaction_id} "})
        return [str(each.state) for each in response.context["receipts"]]

    assert states("known") == ["attributed"]
    assert states("nobody's") == ["quarantined"]
    assert states("waits") == ["waiting"]
    assert states("never seen") == []


def test_a_row_that_is_not_there(admin_client):
    url = reverse("admin:metering_transaction_change", args=["0" * 32])

    assert admin_client.get(url).status_code == 302
    url = reverse("admin:metering_transaction_change", args=["nonsense"])
    assert admin_client.get(url).status_code == 302


def test_a_failed_delivery_is_tried_again_now(admin_client):
    accept_calls(a_gateway(), [a_call(KEY)])
    later = timezone.now() + timedelta(hours=1)
    Delivery.objects.update(attempts=5, next_try_at=later, last_error="DataError")
    delivery = Delivery.objects.get()

    admin_client.post(reverse("admin:metering_delivery_try-again", args=[delivery.pk]))

    delivery.refresh_from_db()
    assert delivery.next_try_at <= timezone.now()


@pytest.mark.parametrize("model", ["transaction", "usage", "intakestats", "claim", "conflict"])
def test_what_the_machine_writes_nobody_edits(admin_client, model):
    assert admin_client.get(reverse(f"admin:metering_{model}_add")).status_code == 403
