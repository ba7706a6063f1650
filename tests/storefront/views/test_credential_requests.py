"""A credential of one's own: at once or after approval, and within limits."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from revcred.actions import credential_requests, credentials
from revcred.models import (
    AuditEvent,
    AuditVerb,
    Credential,
    CredentialRequest,
    Membership,
    OutgoingMail,
    Product,
)
from tests import confirming, factories

NEW = reverse("storefront:new_credential")
LIST = reverse("storefront:credentials")
Issuing = Product.CredentialIssuing


@pytest.fixture
def ada(customer):
    return factories.a_subscriber(customer, Membership.Role.MEMBER, "ada@example.com")


@pytest.fixture
def owner(customer):
    return factories.a_subscriber(customer, Membership.Role.OWNER, "olga@example.com")


@pytest.fixture
def admin(db):
    return factories.an_admin()


@pytest.fixture
def browser(ada, owner, admin, sign_in):
    return sign_in(ada)


def offered(customer, issuing, **limits):
    product = factories.a_product("Maps", credential_issuing=issuing, **limits)
    return factories.a_subscription(customer, product=product, name="Fleet maps")


def sent(subscription, **more):
    return {"subscription": subscription.pk, "name": "Web shop"} | more


def text_of(answer):
    return " ".join(answer.content.decode().split())


def recipients():
    return list(OutgoingMail.objects.order_by("pk").values_list("recipient", flat=True))


def test_without_a_product_that_offers_it_nothing_is_offered(browser, customer):
    subscription = offered(customer, Issuing.PROVIDER)

    assert NEW not in text_of(browser.get(LIST))
    assert "None of your subscriptions lets you" in text_of(browser.get(NEW))
    browser.post(NEW, sent(subscription, confirmed="1"))
    assert not Credential.objects.exists()


def test_it_is_told_first_and_then_issued_at_once(browser, customer, ada):
    subscription = offered(customer, Issuing.SUBSCRIBER, credential_limit=2)
    assert NEW in text_of(browser.get(LIST))

    told = text_of(browser.post(NEW, sent(subscription)))
    assert "“Web shop” is issued at once with a new key, and you hold it." in told
    assert "It is number 1 of 2 that Acme may have for Maps." in told
    assert not Credential.objects.exists()

    answer = browser.post(NEW, sent(subscription, confirmed="1"))

    credential = Credential.objects.get()
    key = credential.keys.get()
    assert answer["Location"] == f"{LIST}{credential.pk}/?new={key.pk}"
    assert list(credential.holders.all()) == [ada]
    assert credential.assignments.get().subscription == subscription
    assert recipients() == ["olga@example.com"]
    event = AuditEvent.objects.about(credential).get()
    assert (event.verb, event.actor) == (AuditVerb.ISSUED, "ada@example.com")
    # A click that comes twice leads to the same.
    assert browser.post(NEW, sent(subscription, confirmed="1"))["Location"] == answer["Location"]
    assert Credential.objects.count() == 1


def test_the_limit_counts_what_is_in_use_or_requested(browser, customer):
    subscription = offered(customer, Issuing.SUBSCRIBER, credential_limit=1)
    first = factories.a_credential(customer, subscriptions=[subscription])

    refused = text_of(browser.post(NEW, sent(subscription, confirmed="1")))
    assert "Acme may have 1 credentials for Maps" in refused
    credentials.revoke_credential(credential=first, reason="Unused.", by=None)
    assert browser.post(NEW, sent(subscription, confirmed="1")).status_code == 302


def test_an_expiry_is_asked_for_where_the_product_does(browser, customer):
    subscription = offered(customer, Issuing.SUBSCRIBER, credential_max_days=30)
    today = timezone.now().date()

    for expires in ("", today + timedelta(days=32), today - timedelta(days=1), "soon"):
        answer = browser.post(NEW, sent(subscription, confirmed="1", expires=expires))
        assert answer.status_code == 200
        assert 'id="id_expires_error"' in text_of(answer)
    assert not Credential.objects.exists()
    last = today + timedelta(days=30)
    browser.post(NEW, sent(subscription, confirmed="1", expires=last))
    ends = Credential.objects.get().expires_at
    assert timedelta(days=29, hours=23) < ends - timezone.now() <= timedelta(days=30)


def test_a_name_that_is_taken_is_said_at_the_name(browser, customer):
    subscription = offered(customer, Issuing.SUBSCRIBER)
    factories.a_credential(customer, name="Web shop")

    answer = browser.post(NEW, sent(subscription, confirmed="1"))

    assert "There is a credential of this name already." in text_of(answer)


def test_a_request_waits_is_approved_and_told(browser, customer, ada, admin, sign_in):
    subscription = offered(customer, Issuing.REQUEST)
    told = text_of(browser.post(NEW, sent(subscription, note="For the shop.")))
    assert "Your provider is asked for “Web shop”." in told

    browser.post(NEW, sent(subscription, note="For the shop.", confirmed="1"))
    browser.post(NEW, sent(subscription, note="For the shop.", confirmed="1"))

    request = CredentialRequest.objects.get()
    assert recipients() == [admin.email]
    mail = OutgoingMail.objects.get().unseal()
    assert "For the shop." in mail
    assert f"/admin/revcred/credentialrequest/{request.pk}/" in mail
    assert "Waits for your provider" in text_of(browser.get(LIST))
    assert not Credential.objects.exists()

    credential = credential_requests.approve_request(request=request, by=admin)

    assert list(credential.holders.all()) == [ada]
    assert recipients()[1:] == ["ada@example.com"]
    assert "was approved" in OutgoingMail.objects.latest("pk").unseal()
    assert "Web shop" in text_of(browser.get(LIST))
    assert "Waits for your provider" not in text_of(browser.get(LIST))
    with pytest.raises(credential_requests.AlreadyDecided):
        credential_requests.reject_request(
            request=CredentialRequest.objects.get(), reason="Late.", by=admin
        )


def test_a_request_that_comes_too_late_is_not_approved(browser, customer, admin, sign_in):
    subscription = offered(customer, Issuing.REQUEST)
    browser.post(NEW, sent(subscription, confirmed="1"))
    request = CredentialRequest.objects.get()
    subscription.active_until = timezone.now()
    subscription.save()

    with pytest.raises(credential_requests.RequestTooLate):
        credential_requests.approve_request(request=request, by=admin)

    assert not Credential.objects.exists()
    assert CredentialRequest.objects.waiting().exists()


def test_a_rejection_says_why(browser, customer, admin):
    subscription = offered(customer, Issuing.REQUEST)
    browser.post(NEW, sent(subscription, confirmed="1"))

    credential_requests.reject_request(
        request=CredentialRequest.objects.get(), reason="Use the one you have.", by=admin
    )

    assert "“Use the one you have.”" in text_of(browser.get(LIST))
    assert "Use the one you have." in OutgoingMail.objects.latest("pk").unseal()
    # The name is free again.
    assert browser.post(NEW, sent(subscription, confirmed="1")).status_code == 302


def test_it_is_withdrawn_by_who_asked_and_by_owners_and_by_nobody_else(
    browser, customer, owner, sign_in
):
    subscription = offered(customer, Issuing.REQUEST)
    browser.post(NEW, sent(subscription, confirmed="1"))
    url = reverse("storefront:withdraw", args=[CredentialRequest.objects.get().pk])
    none = reverse("storefront:withdraw", args=[999_999])
    others = (
        factories.a_subscriber(customer, Membership.Role.MEMBER),
        factories.a_subscriber(customer, Membership.Role.VIEWER),
        factories.a_subscriber(factories.a_customer(), Membership.Role.OWNER),
    )

    for somebody in others:
        client = sign_in(somebody)
        assert client.post(url).status_code == client.post(none).status_code == 404
        assert "Web shop" not in text_of(client.get(LIST))
    assert browser.get(url).status_code == 405
    assert "Web shop" in text_of(sign_in(owner).get(LIST))
    assert CredentialRequest.objects.waiting().exists()
    browser.post(url)
    assert CredentialRequest.objects.get().state == CredentialRequest.State.WITHDRAWN
    again = browser.post(url, follow=True)
    assert "has been decided already" in text_of(again)


def test_nobody_gets_one_of_another_customer_or_as_a_viewer(browser, customer, sign_in):
    own = offered(customer, Issuing.SUBSCRIBER)
    foreign = factories.a_subscription(product=own.product, name="Their secret project")
    ended = factories.a_subscription(
        customer, product=own.product, active_until=timezone.now() - timedelta(days=1)
    )
    viewer = factories.a_subscriber(customer, Membership.Role.VIEWER)

    assert "Their secret project" not in text_of(browser.get(NEW))
    for client, subscription in (
        (browser, foreign),
        (browser, ended),
        (sign_in(viewer), own),
        (sign_in(factories.an_admin()), own),
    ):
        answer = client.post(NEW, sent(subscription, confirmed="1"))
        assert answer.status_code == 200
    assert not Credential.objects.exists()


def test_what_is_not_offered_is_refused_by_the_action_itself(customer, ada):
    subscription = offered(customer, Issuing.REQUEST)
    wanted = credential_requests.WantedCredential(subscription=subscription, name="Web shop")

    with pytest.raises(credential_requests.NotOffered):
        credential_requests.issue_own_credential(wanted=wanted, by=ada.user)


def test_the_queue_is_worked_through_in_the_administration(browser, customer, admin_client):
    subscription = offered(customer, Issuing.REQUEST)
    for name in ("Web shop", "Kiosk"):
        browser.post(NEW, sent(subscription, confirmed="1", name=name))
    shop, kiosk = CredentialRequest.objects.order_by("pk")

    def url(request, verb):
        return reverse(f"admin:revcred_credentialrequest_{verb}", args=[request.pk])

    queue = text_of(admin_client.get(reverse("admin:revcred_credentialrequest_changelist")))
    assert "Web shop" in queue
    waiting = reverse("admin:revcred_credentialrequest_changelist") + "?state=rejected"
    assert "Web shop" not in text_of(admin_client.get(waiting))
    assert url(shop, "approve") in text_of(admin_client.get(url(shop, "change")))
    asked = admin_client.post(url(shop, "approve"))
    assert "is issued with a new key, which ada@example.com may reveal" in text_of(asked)
    assert not Credential.objects.exists()
    confirming.confirm(admin_client, asked)
    assert Credential.objects.get().name == "Web shop"
    confirming.post(admin_client, url(kiosk, "reject"), {"reason": "One is enough."})
    kiosk.refresh_from_db()
    assert (kiosk.state, kiosk.reason) == ("rejected", "One is enough.")
    late = confirming.post(admin_client, url(kiosk, "approve"), {})
    assert "Somebody has decided this request meanwhile." in text_of(late)
