"""Plans that many customers share: a product, and one subscription of it for each customer."""

import pytest
from django.urls import reverse

from revcred.models import Assignment, Product, Source, Subscription, Upload
from revcred.uploads import actions
from tests import factories
from tests.revcred.uploads.conftest import rows

pytestmark = pytest.mark.django_db(transaction=True)

CREATE = {"customers": "create", "subscriptions": "create", "plans": "create"}
HEADER = "customer,name,key,plan"
SHARED = rows(
    HEADER,
    "acme,Orders,key-of-acme-orders,Gold",
    "acme,Bills,key-of-acme-bills,gold|Free",
    'globex,Routes,key-of-globex-1,"Kostenlos, Test"',
    "globex,Maps,key-of-globex-2,Gold",
)


def counts(upload):
    assert upload.state == Upload.State.READY, upload.error
    return {action: count for action, count in upload.preview["counts"].items() if count}


def fed():
    """The subscriptions of each credential, with their products."""
    return {
        (each.credential.name, each.subscription.external_key, each.subscription.product.name)
        for each in Assignment.objects.select_related("credential", "subscription__product")
    }


def problems(upload):
    return [(each.row, each.message) for each in actions.list_row_problems(upload=upload, most=99)]


@pytest.fixture
def gold():
    return factories.a_product("Gold")


def test_each_customer_gets_one_subscription_of_a_plan(applied, gold):
    upload = applied(SHARED, **CREATE)

    assert upload.outcome["create"] == 4
    assert fed() == {
        ("Orders", "acme-Gold", "Gold"),
        ("Bills", "acme-Gold", "Gold"),
        ("Bills", "acme-Free", "Free"),
        ("Routes", "globex-Kostenlos-Test", "Kostenlos, Test"),
        ("Maps", "globex-Gold", "Gold"),
    }
    assert Product.objects.count() == 3


def test_the_preview_names_what_is_created_and_nothing_is_yet(uploaded, gold):
    upload = uploaded(SHARED, **CREATE)

    created = {"customers": 2, "subscribers": 0, "subscriptions": 4, "products": 2}
    assert upload.preview["also_creates"] == created
    assert upload.preview["new_subscriptions"]["first"][0] == {
        "customer": "acme",
        "plan": "Gold",
        "external_key": "acme-Gold",
        "product": "gold",
        "is_numbered": False,
    }
    assert not Subscription.objects.exists()


def test_the_same_list_again_changes_nothing(uploaded, applied, gold):
    applied(SHARED, **CREATE)

    assert counts(uploaded(SHARED)) == {"unchanged": 4}


def test_undoing_takes_back_products_and_subscriptions(applied, undone, gold):
    undone(applied(SHARED, **CREATE))

    assert [*Product.objects.all()] == [gold]
    assert not Subscription.objects.exists()


def test_without_a_decision_unknown_plans_are_rejected(uploaded):
    factories.a_customer("acme")

    upload = uploaded(rows(HEADER, "acme,Orders,key-of-acme-orders,Gold"))

    assert problems(upload) == [
        (2, "The customer has no subscription of this plan. To create it, choose so."),
        (2, "No product has this external key or name."),
    ]


def test_a_row_without_a_customer_is_told_only_that(uploaded, gold):
    upload = uploaded(rows(HEADER, ",Orders,key-of-nobody,Gold"), **CREATE)

    assert problems(upload) == [(2, "A value is required.")]


def test_a_subscription_of_the_product_that_exists_is_used(applied, gold):
    acme = factories.a_customer("acme")
    factories.a_subscription(acme, product=gold, external_key="old-name")

    applied(rows(HEADER, "acme,Orders,key-of-acme-orders,GOLD"))

    assert fed() == {("Orders", "old-name", "Gold")}


def test_a_plan_that_is_called_like_a_subscription_of_the_customer_is_it(applied):
    acme = factories.a_customer("acme")
    factories.a_subscription(acme, external_key="acme-maps", product=factories.a_product("Maps"))

    applied(rows(HEADER, "acme,Orders,key-of-acme-orders,acme-maps"))

    assert fed() == {("Orders", "acme-maps", "Maps")}


def test_two_subscriptions_of_the_product_are_no_guess(uploaded, gold):
    acme = factories.a_customer("acme")
    for name in ("one", "two"):
        factories.a_subscription(acme, product=gold, external_key=name)

    ((row, message),) = problems(uploaded(rows(HEADER, "acme,Orders,key-of-acme,Gold"), **CREATE))

    assert row == 2
    assert "several subscriptions of the product" in message


def test_an_external_key_of_another_customer_is_never_used(uploaded, applied, gold):
    other = factories.a_customer("other")
    theirs = factories.a_subscription(other, product=gold, external_key="acme-Gold")
    text = rows(HEADER, "acme,Orders,key-of-acme-orders,Gold")

    (new,) = uploaded(text, **CREATE).preview["new_subscriptions"]["first"]
    applied(text, **CREATE)

    assert (new["external_key"], new["is_numbered"]) == ("acme-Gold-2", True)
    assert fed() == {("Orders", "acme-Gold-2", "Gold")}
    assert not theirs.assignments.exists()


def test_equal_external_keys_get_numbers(applied):
    text = rows(
        HEADER,
        "a-b,One,key-of-number-one,c",
        "a,Two,key-of-number-two,b-c",
        "a,Three,key-of-number-three,b c",
    )

    applied(text, **CREATE)

    assert sorted(key for _, key, _ in fed()) == ["a-b-c", "a-b-c-2", "a-b-c-3"]


def test_the_pattern_is_the_admin_s(applied, gold):
    text = rows(HEADER, "acme,Orders,key-of-acme-orders,Gold")

    applied(text, **CREATE, plan_keys="sub_{plan}_{customer}")

    assert {key for _, key, _ in fed()} == {"sub_Gold_acme"}


def test_a_plan_is_the_product_of_a_subscription_that_the_row_names(applied, gold):
    text = rows(f"{HEADER},subscription", "acme,Orders,key-of-acme-orders,Gold,acme-main")

    applied(text, **CREATE)

    assert fed() == {("Orders", "acme-main", "Gold")}


JOINED = rows(
    HEADER,
    "acme,One,key-of-number-one,Maps",
    "acme,Two,key-of-number-two,Routes",
    'acme,Three,key-of-number-three,"Maps, Routes"',
    'acme,Four,key-of-number-four,"Free, for tests"',
)


def test_what_may_be_several_plans_is_pointed_out(uploaded, admin_client):
    upload = uploaded(JOINED, **CREATE)

    assert warnings(upload)["joined_plans"] == (1, ["Maps, Routes (1)"])
    page = admin_client.get(reverse("admin:revcred_upload_change", args=[upload.pk]))
    assert "plan_separator" in {field.name for field in page.context["choices"].asked}


def test_plans_are_separated_by_what_is_chosen(applied):
    applied(JOINED, plan_separator="comma", **CREATE)

    assert {(name, product) for name, _, product in fed()} == {
        ("One", "Maps"),
        ("Two", "Routes"),
        ("Three", "Maps"),
        ("Three", "Routes"),
        ("Four", "Free"),
        ("Four", "for tests"),
    }


def test_plans_that_differ_in_case_are_pointed_out(uploaded, gold):
    text = rows(HEADER, *(f"acme,{each},key-of-{each},{each}" for each in ("Maps", "maps", "GOLD")))

    found = warnings(uploaded(text, **CREATE))

    assert found["similar_plans"] == (2, ["Maps · maps", "maps · Maps"])


def warnings(upload):
    return {each["code"]: (each["count"], each["examples"]) for each in upload.preview["warnings"]}


def test_plans_that_count_the_same_calls_are_said_to_be_ambiguous(uploaded):
    for name, source in (("Maps", "maps"), ("Routes", "routes")):
        product = factories.a_product(name)
        product.sources.add(Source.objects.create(name=source, external_key=source))
    text = rows(
        HEADER,
        "acme,One,key-of-number-one,Maps|Routes",
        "acme,Two,key-of-number-two,Maps|Free",
        "acme,Three,key-of-number-three,Free|Gold",
        "acme,Four,key-of-number-four,",
    )

    assert warnings(uploaded(text, **CREATE)) == {
        "feeds_nothing": (1, []),
        "ambiguous": (2, ["Free + Gold (1)", "Free + maps (1)"]),
    }
