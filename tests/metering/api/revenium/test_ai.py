"""Whose a model's call is, by whatever its client names."""

from datetime import timedelta

import pytest
from django.utils import timezone

from metering import provisioning
from metering.models import Quarantined, Transaction
from metering.quarantine import reattribution
from revcred.hooks import announce_change
from revcred.models import AuditEvent, Credential, Customer, Product, Subscriber, Subscription
from tests import factories
from tests.metering.api.revenium.logs import logs, record

pytestmark = pytest.mark.django_db

PATH = "/meter/v2/ai/completions"


@pytest.fixture(autouse=True)
def _nobody_made_before():
    provisioning.forget_provisioned()


@pytest.fixture
def maps(subscription):
    subscription.product.name = "API Gold"
    subscription.product.save()
    return subscription


@pytest.fixture
def used(revenium, settled):
    """What became of a call that names these."""

    def used(path=PATH, **fields):
        answer = revenium(path, {"transactionId": "t", "inputTokenCount": 5} | fields)
        assert answer.status_code == 201, answer.content
        return settled()["t"]

    return used


def test_by_organization_and_product(used, maps):
    row = used(organizationName="acme", productName="API Gold")

    assert (row.subscription, row.credential, row.matched_by) == (maps, None, "name")
    assert row.names == {"customer": "acme", "product": "API Gold"}


def test_by_the_name_of_a_credential(used, maps, credential):
    row = used(subscriber={"credential": {"name": credential.name}})

    assert (row.subscription, row.credential) == (maps, credential)


def test_by_its_alias(used, maps, credential):
    assert used(credentialAlias=credential.name).credential == credential


def test_by_a_subscriber(used, maps):
    factories.a_subscriber(maps.customer, email="ada@acme.test")

    assert used(subscriber={"email": "Ada@acme.test"}).subscription == maps


def test_by_a_subscription(used, maps):
    row = used(subscriptionId="sub-key-1", organizationName="Whoever")

    assert (row.subscription, row.matched_by) == (maps, "subscription")


@pytest.mark.parametrize("path", ["images", "audio", "video"])
def test_by_a_subscriber_as_pictures_and_sounds_have_it(used, maps, path):
    factories.a_subscriber(maps.customer, email="ada@acme.test")

    row = used(
        f"/meter/v2/ai/{path}",
        subscriberEmail="ada@acme.test",
        subscriberId="ext-1",
        organizationName="Acme",
    )

    assert row.subscription == maps


UNKNOWN = {
    "unknown_customer": {"organizationName": "Umbrella", "productName": "API Gold"},
    "unknown_product": {"organizationName": "Acme", "productName": "Moon"},
    "unknown_subscriber": {"organizationName": "Acme", "subscriber": {"email": "no@one.test"}},
    "unknown_credential": {"organizationName": "Acme", "credentialAlias": "Nobody's"},
}


@pytest.mark.parametrize(("reason", "fields"), UNKNOWN.items(), ids=UNKNOWN)
def test_what_is_unknown_is_named(used, maps, reason, fields):
    assert used(**fields).reason == reason
    assert Customer.objects.count() == 1


def test_strictly_a_key_is_not_enough(used, credential, settings):
    settings.STRICT_NAMES = True

    row = used(
        organizationName="Umbrella", subscriber={"credential": {"value": "ak_live_demo_9c2e"}}
    )

    assert row.reason == "unknown_customer"


NEW = {
    "organizationName": "Umbrella",
    "productName": "Moon",
    "subscriber": {
        "email": "eve@umbrella.test",
        "credential": {"name": "Backend", "value": "a-key-of-umbrella"},
    },
}


def test_who_is_unknown_is_made_where_the_installation_says_so(used, settings):
    settings.AUTO_PROVISION = True

    row = used(**NEW)

    assert (row.customer.name, row.product.name) == ("Umbrella", "Moon")
    assert (row.credential.name, row.matched_by) == ("Backend", "key")
    (holder,) = row.credential.holders.all()
    assert holder.email == "eve@umbrella.test"
    made = AuditEvent.objects.values_list("verb", "target")
    assert {
        ("created", "Umbrella"),
        ("created", "Moon"),
        ("created", "eve@umbrella.test"),
        ("created", "Umbrella/Moon"),
        ("issued", "Backend"),
    } <= set(made)


def test_it_is_made_once(revenium, settled, settings):
    settings.AUTO_PROVISION = True

    for n in range(3):
        provisioning.forget_provisioned()
        revenium(PATH, {"transactionId": f"t-{n}"} | NEW)

    assert {row.credential.name for row in settled().values()} == {"Backend"}
    assert [model.objects.count() for model in (Customer, Product, Subscriber, Credential)] == [
        1,
        1,
        1,
        1,
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/meter/v2/tool/events",
            {
                "toolId": "search",
                "organizationName": "Umbrella",
                "productName": "Moon",
                "subscriberCredential": "k" * 300,
            },
        ),
        (
            "/meter/v2/otlp/v1/logs",
            {
                "resourceLogs": [
                    {
                        "resource": {
                            "attributes": [
                                {"key": "organization.name", "value": {"stringValue": "Umbrella"}},
                                {"key": "product.name", "value": {"stringValue": "Moon"}},
                                {"key": "credential", "value": {"stringValue": "k" * 300}},
                            ]
                        },
                        "scopeLogs": [
                            {
                                "logRecords": [
                                    {
                                        "attributes": [
                                            {"key": "input_tokens", "value": {"intValue": "5"}}
                                        ]
                                    }
                                ]
                            }
                        ],
                    }
                ]
            },
        ),
    ],
)
def test_tools_and_logs_make_who_is_unknown_as_well(revenium, settled, settings, path, body):
    settings.AUTO_PROVISION = True

    assert revenium(path, body).status_code in {200, 201}

    (row,) = settled().values()
    assert (row.customer.name, row.product.name, row.matched_by) == ("Umbrella", "Moon", "key")


def test_nobody_is_made_unless_the_installation_says_so(used):
    assert used(**NEW).reason == "unknown_key"
    assert not Customer.objects.exists()


def test_a_known_key_makes_nobody(used, credential, settings):
    settings.AUTO_PROVISION = True

    row = used(
        organizationName="Umbrella", subscriber={"credential": {"value": "ak_live_demo_9c2e"}}
    )

    assert row.credential == credential
    assert Customer.objects.count() == 1


def test_prompts_are_not_kept(used, credential):
    row = used(
        subscriber={"credential": {"value": "ak_live_demo_9c2e"}},
        systemPrompt="a secret",
        inputMessages="a secret",
        outputResponse="a secret",
        model="m",
    )

    assert row.metadata == {"model": "m"}
    assert Transaction.objects.count() == 1
    assert not Quarantined.objects.exists()


# --- A subscription, or the label of a plan -------------------------------------------------------

BY_KEY = {"subscriber": {"credential": {"value": "ak_live_demo_9c2e"}}}


def of_logs(said):
    pairs = {"transaction.id": "t", "subscription.id": said.get("subscriptionId")}
    if "subscriber" in said:
        pairs["credential"] = "ak_live_demo_9c2e"
    if "organizationName" in said:
        pairs["organization.name"] = said["organizationName"]
    return logs(record({name: value for name, value in pairs.items() if value}))


@pytest.fixture(params=["completions", "images", "audio", "video", "logs"])
def said(request, revenium, settled):
    """What became of a call that says this, at each of the doors of AI."""

    def said(name="t", **fields):
        if request.param == "logs":
            body = of_logs(fields)
            body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["attributes"][0] = {
                "key": "transaction.id",
                "value": {"stringValue": name},
            }
            answer = revenium("/meter/v2/otlp/v1/logs", body)
        else:
            answer = revenium(f"/meter/v2/ai/{request.param}", {"transactionId": name} | fields)
        assert answer.status_code in {200, 201}, answer.content
        return settled()[name]

    said.name = "subscription.id" if request.param == "logs" else "subscriptionId"
    return said


def test_a_plan_s_name_is_a_label(said, credential, subscription):
    row = said(subscriptionId="pro-plan-Q1", **BY_KEY)

    assert (row.credential, row.subscription) == (credential, subscription)
    assert (row.subscription_named, row.metadata) == ("", {said.name: "pro-plan-Q1"})


def test_a_subscription_that_the_key_does_not_feed_is_a_mismatch(said, credential):
    factories.a_subscription(factories.a_customer("Umbrella"), external_key="umbrella")

    row = said(subscriptionId="umbrella", **BY_KEY)

    assert (row.reason, row.subscription_named) == ("subscription_mismatch", "umbrella")


def test_a_subscription_that_has_ended_is_a_mismatch_too(said, credential, subscription):
    factories.a_subscription(
        subscription.customer, external_key="ended", active_until=timezone.now() - timedelta(days=9)
    )

    assert said(subscriptionId="ended", **BY_KEY).reason == "subscription_mismatch"


def test_a_former_name_of_a_subscription_is_one_of_ours(said, credential, subscription):
    for name in ("umbrella", "sub-key-1"):
        if name == "umbrella":
            factories.a_subscription(factories.a_customer("Umbrella"), external_key=name)
        Subscription.objects.filter(external_key=name).update(external_key=f"new-{name}")

    assert said("a", subscriptionId="sub-key-1", **BY_KEY).subscription == subscription
    assert said("b", subscriptionId="umbrella", **BY_KEY).reason == "subscription_mismatch"


def test_a_subscription_that_the_key_feeds_decides(said, credential, subscription):
    row = said(subscriptionId="sub-key-1", **BY_KEY)

    assert (row.subscription, row.subscription_named) == (subscription, "sub-key-1")
    assert not (row.metadata or {}).get(said.name)


def test_a_subscription_of_later_changes_nothing_for_calls_of_before(said, credential, settled):
    before = said("before", subscriptionId="pro-plan-Q1", **BY_KEY)
    factories.a_subscription(factories.a_customer("Umbrella"), external_key="pro-plan-Q1")

    after = said("after", subscriptionId="pro-plan-Q1", **BY_KEY)

    assert settled()["before"].subscription == before.subscription
    assert after.reason == "subscription_mismatch"


def test_with_nothing_else_it_waits_for_a_subscription_of_that_name(said, settled):
    assert said(subscriptionId="of-later").reason == "no_subscription"

    later = factories.a_subscription(factories.a_customer("Umbrella"), external_key="of-later")
    announce_change("it was entered", by=None, subscription=later)
    reattribution.work_through_claims()

    assert settled()["t"].subscription.external_key == "of-later"


def test_names_lead_to_a_subscription_beside_a_label(said, subscription):
    row = said(subscriptionId="pro-plan-Q1", organizationName="Acme")

    assert (row.subscription, row.matched_by) == (subscription, "name")


def test_strictly_a_label_is_a_mismatch(said, credential, settings):
    settings.STRICT_NAMES = True

    assert said(subscriptionId="pro-plan-Q1", **BY_KEY).reason == "subscription_mismatch"
