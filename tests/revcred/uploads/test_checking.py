import json
from datetime import timedelta

import pytest
from django.utils import timezone

from revcred.actions import credentials
from revcred.models import Credential, Customer, Upload
from revcred.uploads import actions, columns
from revcred.uploads.columns import ListKind
from revcred.uploads.mapping import may_be_fixed, parse_fixed_values
from revcred.uploads.worker import process_waiting_uploads
from tests import factories
from tests.revcred.uploads.conftest import rows

pytestmark = pytest.mark.django_db(transaction=True)

KEY_OF_REVOKED = (
    "A revoked credential had this key. To use it again, allow keys of revoked credentials."
)
HEADER = "customer,name,key,secret,subscription,holders,environment,tags,expires_at,assigned_from"


def counts(upload):
    assert upload.state == Upload.State.READY, upload.error
    return {action: count for action, count in upload.preview["counts"].items() if count}


def problems(upload):
    return [
        (each.row, each.column, each.hint, each.message)
        for each in actions.list_row_problems(upload=upload)
    ]


@pytest.fixture
def acme():
    return factories.a_customer("Acme")


@pytest.fixture
def maps(acme):
    return factories.a_subscription(acme, external_key="maps")


def test_a_new_key_would_create(uploaded, acme, maps):
    upload = uploaded(rows("customer,name,key,subscription", "acme,Orders,the-key-of-orders,maps"))

    assert counts(upload) == {"create": 1}
    assert upload.preview["examples"]["create"] == [
        {
            "row": 2,
            "title": "Orders",
            "from": None,
            "values": [
                ["customer", None, "acme"],
                ["name", None, "Orders"],
                ["key", None, "…ders"],
                ["subscription", None, ["maps"]],
            ],
        }
    ]
    assert not Credential.objects.exists()


def test_the_same_again_is_unchanged(uploaded, applied, acme, maps):
    text = rows(HEADER, "acme,Orders,the-key-of-orders,the-secret,maps,,production,a|b,2030-01-01,")
    applied(text)

    assert counts(uploaded(text)) == {"unchanged": 1}


def test_a_known_key_would_update_what_is_said_otherwise(uploaded, acme):
    factories.a_credential(acme, "the-key-of-orders", "old secret", name="Orders", tags=["a"])

    upload = uploaded(rows(HEADER, "acme,Bills,the-key-of-orders,new secret,,,,b,,"))

    assert counts(upload) == {"update": 1}
    assert upload.preview["examples"]["update"][0]["values"] == [
        ["name", "Orders", "Bills"],
        ["secret", True, True],
        ["tags", ["a"], ["b"]],
    ]


def test_another_subscription_is_a_move(uploaded, acme, maps):
    factories.a_subscription(acme, external_key="routes")
    factories.a_credential(acme, "the-key-of-orders", name="Orders", subscriptions=[maps])

    upload = uploaded(
        rows("customer,name,key,subscription", "acme,Orders,the-key-of-orders,routes")
    )

    assert counts(upload) == {"move": 1}
    assert upload.preview["examples"]["move"][0]["values"] == [
        ["subscription", ["maps"], ["routes"]]
    ]


def test_one_more_subscription_is_an_update(uploaded, acme, maps):
    factories.a_subscription(acme, external_key="routes")
    factories.a_credential(acme, "the-key-of-orders", name="Orders", subscriptions=[maps])

    upload = uploaded(
        rows("customer,name,key,subscription", "acme,Orders,the-key-of-orders,routes|maps")
    )

    assert counts(upload) == {"update": 1}


def test_every_refusal_names_row_column_hint_and_reason(uploaded, acme, maps):
    other = factories.a_customer("Other")
    factories.a_subscription(other, external_key="of-other")
    factories.a_credential(other, "the-key-of-another", name="Theirs")
    revoked = factories.a_credential(acme, "the-key-that-is-over", name="Over")
    credentials.revoke_credential(credential=revoked, reason="leaked", by=None)
    factories.a_credential(acme, "the-key-of-bills", name="Bills")

    upload = uploaded(
        rows(
            "customer,name,key,secret,subscription,holders,gateway,expires_at",
            "nobody,A,key-number-01,,,,,",
            "acme,B,key-number-02,,nothing,,,",
            "acme,C,key-number-03,,of-other,,,",
            "acme,D,key-number-04,,,ada@example.com,,",
            "acme,E,key-number-05,,,,nowhere,",
            "acme,F,the-key-of-another,,,,,",
            "acme,Over,the-key-that-is-over,,,,,",
            "acme,Bills,key-number-06,,,,,",
            "acme,G,key-number-07,,,,,31.12.2027",
            "acme,,key-number-08,,,,,",
        )
    )

    assert counts(upload) == {"rejected": 10}
    assert problems(upload) == [
        (2, "customer", "nobody", "No customer has this external key."),
        (3, "subscription", "nothing", "No subscription has this external key."),
        (4, "subscription", "of-other", "The subscription belongs to another customer."),
        (5, "holders", "ada@example.com", "No subscriber has this address."),
        (6, "gateway", "nowhere", "No gateway has this name."),
        (7, "key", "…ther", "This key belongs to another customer."),
        (8, "key", "…over", KEY_OF_REVOKED),
        (9, "name", "Bills", "This customer has another credential with this name."),
        (
            10,
            "expires_at",
            "31.12.2027",
            "Write a day as year-month-day, such as 2027-12-31.",
        ),
        (11, "name", "", "A value is required."),
    ]


def test_the_same_twice_in_a_file_names_both_rows(uploaded, acme):
    upload = uploaded(
        rows(
            "customer,name,key",
            "acme,A,the-same-key-twice",
            "acme,B,the-same-key-twice",
            "acme,C,key-number-01",
            "acme,C,key-number-02",
        )
    )

    assert problems(upload) == [
        (2, "key", "…wice", "The same key is also in row 3."),
        (3, "key", "…wice", "The same key is also in row 2."),
        (4, "name", "C", "This customer has the same name in row 5."),
        (5, "name", "C", "This customer has the same name in row 4."),
    ]
    assert upload.preview["reasons"] == [
        ["key", "The same key is also in another row.", 2],
        ["name", "This customer has the same name in another row.", 2],
    ]


def test_what_is_named_and_not_there_is_created_if_chosen(uploaded):
    factories.a_product("Maps")

    upload = uploaded(
        rows("customer,name,key,subscription,holders", "acme,A,key-number-01,maps,ada@example.com"),
        customers="create",
        subscribers="create",
        subscriptions="create",
        product="maps",
    )

    assert counts(upload) == {"create": 1}
    assert upload.preview["also_creates"] == {"customers": 1, "subscribers": 1, "subscriptions": 1}
    assert not Customer.objects.exists()


def test_a_subscription_named_for_two_customers_can_be_neithers(uploaded):
    factories.a_product("Maps")

    upload = uploaded(
        rows("customer,name,key,subscription", "a,A,key-number-01,maps", "b,B,key-number-02,maps"),
        customers="create",
        subscriptions="create",
        product="maps",
    )

    assert counts(upload) == {"rejected": 2}


def test_a_row_without_a_key_is_told_by_its_name(uploaded, acme):
    factories.a_credential(acme, name="Orders")

    upload = uploaded(rows("customer,name,tags", "acme,Orders,a", "acme,Bills,b"))

    assert counts(upload) == {"update": 1, "create": 1}


def test_a_preview_tells_what_waits_in_quarantine(uploaded, acme):
    factories.settled(
        factories.a_call("the-key-of-orders", ago=timedelta(hours=2)),
        factories.a_call("the-key-of-orders"),
        factories.a_call("some-other-key-of-theirs"),
    )

    claim = uploaded(rows("customer,name,key", "acme,Orders,the-key-of-orders")).preview["claim"]

    assert claim["transactions"] == 2
    assert claim["customers"] == [["acme", 2]]
    assert claim["since"] < (timezone.now() - timedelta(hours=1)).isoformat()


def test_columns_that_cannot_be_told_are_asked_for_and_remembered(uploaded, acme):
    text = rows("firm,label of it,what", "acme,Orders,the-key-of-orders")
    upload = uploaded(text)
    assert upload.state == Upload.State.UNMAPPED

    with pytest.raises(actions.ColumnsMissing, match="customer"):
        actions.recheck_upload(upload=upload, by=None, mapping={1: "name"})
    actions.recheck_upload(upload=upload, by=None, mapping={0: "customer", 1: "name", 2: "key"})
    process_waiting_uploads()
    upload.refresh_from_db()

    assert counts(upload) == {"create": 1}
    assert counts(uploaded(text)) == {"create": 1}


def test_keys_are_not_in_what_a_page_may_show(uploaded, acme):
    upload = uploaded(
        rows("customer,name,key,secret,odd", "acme,A,key-number-01,hushhushhush,odd-and-secret")
    )

    assert upload.sample == [["acme", "A", "…r-01", "", "…cret"]]


def test_a_file_that_is_none_fails_with_a_word(uploaded):
    upload = uploaded("")

    assert upload.state == Upload.State.FAILED
    assert upload.error


def test_other_kinds_are_checked_the_same_way(uploaded, acme):
    factories.a_product("Maps")
    factories.a_subscriber(acme, email="ada@example.com")

    customers = uploaded(
        rows("external_key,name", "acme,Acme Ltd.", "new,New"), kind=ListKind.CUSTOMERS
    )
    subscribers = uploaded(
        rows("email,name,customer,role", "ADA@example.com,Ada,acme,owner", "b@example.com,,acme,"),
        kind=ListKind.SUBSCRIBERS,
    )
    subscriptions = uploaded(
        rows(
            "external_key,customer,product,active_from,active_until",
            "acme-maps,acme,maps,2026-01-01,",
            "acme-odd,acme,nothing,2026-01-01,2025-01-01",
        ),
        kind=ListKind.SUBSCRIPTIONS,
    )

    assert counts(customers) == {"update": 1, "create": 1}
    assert counts(subscribers) == {"update": 1, "create": 1}
    assert subscribers.preview["examples"]["update"][0]["values"] == [
        ["name", "", "Ada"],
        ["role", "member", "owner"],
    ]
    assert counts(subscriptions) == {"create": 1, "rejected": 1}
    assert problems(subscriptions) == [
        (3, "product", "nothing", "No product has this external key."),
        (3, "active_until", "2025-01-01 00:00:00+00:00", "The end has to be after the start."),
    ]


@pytest.mark.parametrize("kind", [*ListKind])
def test_what_every_row_has_is_as_if_it_stood_in_each(uploaded, acme, maps, kind):
    examples = {each.name: each.example for each in columns.columns_of(kind)}
    shared = {each.name for each in columns.columns_of(kind) if may_be_fixed(each)}
    own = {name: cell for name, cell in examples.items() if name not in shared}
    given = parse_fixed_values(kind, {name: examples[name] for name in shared})

    in_each = uploaded(json.dumps([examples]), kind=kind, name="list.json")
    for_each = uploaded(json.dumps([own]), kind=kind, name="list.json", fixed_values=given)

    for upload in (in_each, for_each):
        del upload.preview["moves"]["at"]  # the moment of counting
    assert for_each.preview == in_each.preview
