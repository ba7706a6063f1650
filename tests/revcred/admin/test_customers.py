from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from metering.models import Claim
from revcred.models import (
    AuditEvent,
    Customer,
    Membership,
    Product,
    Source,
    Subscriber,
    Subscription,
    User,
)
from tests.confirming import post
from tests.factories import (
    a_credential,
    a_customer,
    a_product,
    a_subscriber,
    a_subscription,
)

pytestmark = pytest.mark.django_db(transaction=True)


def memberships(*rows: tuple[int, str], existing: list[Membership] = ()) -> dict[str, str]:
    """An inline's form fields: subscribers' numbers and roles."""
    said = {
        "memberships-TOTAL_FORMS": len(existing) + len(rows),
        "memberships-INITIAL_FORMS": len(existing),
    }
    for index, each in enumerate(existing):
        said |= {f"memberships-{index}-id": each.pk, f"memberships-{index}-role": each.role}
    for index, (subscriber, role) in enumerate(rows, start=len(existing)):
        said[f"memberships-{index}-subscriber"] = subscriber
        said[f"memberships-{index}-role"] = role
    return said


def test_a_customer_is_kept_with_its_members(admin_client):
    subscriber = a_subscriber()
    said = {"name": "Acme", "external_key": "acme", "metadata": "{}"}

    address = reverse("admin:revcred_customer_add")
    post(admin_client, address, said | memberships((subscriber.pk, "owner")))

    customer = Customer.objects.get()
    assert customer.memberships.get().role == "owner"
    event = AuditEvent.objects.about(customer).get()
    assert event.verb == "created"
    assert event.actor == "admin@example.com"

    existing = list(customer.memberships.all())
    existing[0].role = "viewer"
    said["name"] = "Acme Maps"
    post(
        admin_client,
        reverse("admin:revcred_customer_change", args=[customer.pk]),
        said | memberships(existing=existing),
    )

    assert customer.memberships.get().role == "viewer"
    event = AuditEvent.objects.about(customer).first()
    assert event.details["changed"] == {"name": ["Acme", "Acme Maps"]}
    (row,) = event.details["rows"]
    assert (row["old"]["role"], row["new"]["role"]) == ("owner", "viewer")


def test_notes_on_a_customer_are_on_record_and_subscribers_see_none(admin_client, client):
    customer = a_customer("Acme")
    owner = a_subscriber(customer, Membership.Role.OWNER, email="ada@example.com")
    said = {"name": "Acme", "external_key": "acme", "metadata": "{}", "notes": "Pays late."}
    address = reverse("admin:revcred_customer_change", args=[customer.pk])

    post(admin_client, address, said | memberships(existing=list(customer.memberships.all())))

    assert "Pays late." in admin_client.get(address).content.decode()
    event = AuditEvent.objects.about(customer).first()
    assert event.details["changed"] == {"notes": ["", "Pays late."]}
    client.force_login(owner.user)
    for page in ("home", "credentials", "subscriptions", "team"):
        shown = client.get(reverse(f"storefront:{page}"))
        assert (shown.status_code, "Pays late." in shown.content.decode()) == (200, False)


def test_members_beyond_a_page_are_not_all_on_it(admin_client, monkeypatch):
    monkeypatch.setattr("revcred.admin.customers.MAX_INLINE_MEMBERSHIPS", 1)
    customer = a_customer()
    a_subscriber(customer)
    a_subscriber(customer)

    page = admin_client.get(reverse("admin:revcred_customer_change", args=[customer.pk]))

    assert page.context["inline_admin_formsets"] == []
    members = admin_client.get(
        reverse("admin:revcred_membership_changelist"), {"customer": customer.pk}
    )
    assert members.context["cl"].result_count == 2


def test_a_page_with_members_asks_nothing_per_member(admin_client, django_assert_num_queries):
    customer = a_customer()
    url = reverse("admin:revcred_customer_change", args=[customer.pk])
    a_subscriber(customer)
    admin_client.get(url)
    # With its hub, which asks the same for each customer.
    with django_assert_num_queries(23):
        admin_client.get(url)
    a_subscriber(customer)
    a_subscriber(customer)

    with django_assert_num_queries(23):
        admin_client.get(url)


def test_what_something_hangs_on_is_not_deleted(admin_client):
    customer = a_customer()
    a_credential(customer)
    a_subscription(customer)
    url = reverse("admin:revcred_customer_delete", args=[customer.pk])

    page = admin_client.get(url).content.decode()

    assert "1 credential" in page
    assert "1 subscription" in page
    assert admin_client.post(url, {"post": "yes"}).status_code == 200
    assert Customer.objects.filter(pk=customer.pk).exists()


def test_what_nothing_hangs_on_is_deleted_and_on_record(admin_client):
    customer = a_customer("Acme")

    admin_client.post(reverse("admin:revcred_customer_delete", args=[customer.pk]), {"post": "yes"})

    assert not Customer.objects.exists()
    event = AuditEvent.objects.get()
    assert (event.verb, event.target) == ("deleted", "Acme")


def test_a_subscriber_is_invited(admin_client, sent_mail):
    subscriber = Subscriber.objects.create(email="Ann@example.com")
    url = reverse("admin:revcred_subscriber_invite", args=[subscriber.pk])

    response = admin_client.post(url, follow=True)

    assert "An invitation was sent to Ann@example.com." in response.content.decode()
    assert sent_mail()[0].to == ["ann@example.com"]
    subscriber.refresh_from_db()
    assert subscriber.user is None  # until it is accepted
    assert subscriber.invited_at


def test_a_subscription_starts_and_changes_by_its_acts(admin_client):
    customer, product = a_customer(), a_product()
    said = {
        "customer": customer.pk,
        "product": product.pk,
        "external_key": "sub-1",
        "active_from": "2026-01-01T00:00",
    }

    admin_client.post(reverse("admin:revcred_subscription_add"), said)

    subscription = Subscription.objects.get()
    assert Claim.objects.get().subscription == subscription
    url = reverse("admin:revcred_subscription_change", args=[subscription.pk])
    post(admin_client, url, said | {"active_from": "2025-12-01T00:00"})
    assert Claim.objects.first().since.isoformat() == "2025-12-01T00:00:00+00:00"
    verbs = AuditEvent.objects.about(subscription).values_list("verb", flat=True)
    assert list(verbs) == ["changed", "created"]


def test_a_subscription_that_is_saved_unchanged_claims_nothing(admin_client):
    started = timezone.now() - timedelta(days=1)  # with microseconds, which no input shows
    subscription = a_subscription(active_from=started)
    said = {
        "product": subscription.product_id,
        "external_key": subscription.external_key,
        "name": subscription.name,
        "active_from": f"{started:%Y-%m-%dT%H:%M:%S}",
    }

    response = admin_client.post(
        reverse("admin:revcred_subscription_change", args=[subscription.pk]), said
    )

    assert response.status_code == 302
    subscription.refresh_from_db()
    assert subscription.active_from == started
    assert not Claim.objects.exists()


def test_a_subscription_ends_after_it_starts(admin_client):
    subscription = a_subscription()
    said = {
        "product": subscription.product_id,
        "external_key": subscription.external_key,
        "active_from": "2026-01-02T00:00",
        "active_until": "2026-01-01T00:00",
    }

    response = admin_client.post(
        reverse("admin:revcred_subscription_change", args=[subscription.pk]), said
    )

    assert response.context["adminform"].form.errors == {
        "active_until": ["The end has to be after the start."]
    }


def test_the_sources_of_a_product_claim_what_fits_now(admin_client):
    source = Source.objects.create(name="Tiles", external_key="tiles")
    said = {
        "name": "Maps",
        "external_key": "maps",
        "sources": [source.pk],
        "credential_issuing": Product.CredentialIssuing.PROVIDER,
    }

    admin_client.post(reverse("admin:revcred_product_add"), said)

    product = Product.objects.get()
    assert list(product.sources.all()) == [source]
    assert {each.product for each in Claim.objects.all()} == {product}


def test_a_picker_offers_one_customers_subscriptions(admin_client):
    customer = a_customer()
    own = a_subscription(customer, name="Own")
    a_subscription(name="Other")
    which = {"app_label": "revcred", "model_name": "assignment", "field_name": "subscription"}

    found = admin_client.get(
        reverse("admin:autocomplete"), {**which, "term": "", "of_customer": customer.pk}
    ).json()

    label = f"Own · {own.product} · {customer}"
    assert found["results"] == [{"id": str(own.pk), "text": label}]


def test_a_user_is_added_without_a_password_and_sent_a_link(admin_client, sent_mail):
    admin_client.post(
        reverse("admin:revcred_user_add"),
        {"email": "Bob@Example.com", "name": "Bob", "is_staff": "on"},
    )

    bob = User.objects.get(name="Bob")
    assert (bob.email, bob.is_staff) == ("bob@example.com", True)
    assert not bob.has_usable_password()
    assert [*AuditEvent.objects.about(bob).values_list("verb", flat=True)] == [
        "created",
        "made_staff",
    ]
    assert [each.to for each in sent_mail()] == [["bob@example.com"]]
