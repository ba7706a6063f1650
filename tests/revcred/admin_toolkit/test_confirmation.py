"""Nothing counted moves before it was said how much, and somebody said yes."""

from datetime import timedelta

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from metering.models import Claim, Quarantined, Transaction, Usage
from metering.quarantine import reattribution
from revcred.actions import credentials
from revcred.admin_toolkit import confirmation
from revcred.models import AuditEvent, Credential, Source, Subscription
from tests import factories
from tests.confirming import asked, confirm
from tests.metering.attribution.test_processing import DAY

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "key-of-those-who-are-asked"
MOMENT = "%Y-%m-%dT%H:%M:%S"


@pytest.fixture
def customer():
    return factories.a_customer("Acme")


@pytest.fixture
def subscription(customer):
    source = Source.objects.create(name="Maps", external_key="maps")
    product = factories.a_product()
    product.sources.add(source)
    return factories.a_subscription(customer, product=product)


@pytest.fixture
def other(customer):
    return factories.a_subscription(customer)


@pytest.fixture
def credential(customer, subscription):
    made = factories.a_credential(customer, KEY, subscriptions=[subscription])
    calls = [factories.a_call(KEY, ago=ago * DAY, path="/maps/1") for ago in (1, 2, 3, 6)]
    Source.objects.get().path_rules.create(text="/maps/")
    factories.settled(*calls)
    factories.settled(factories.a_call("a-key-that-waits", ago=DAY, path="/maps/"))
    reattribution.work_through_claims()
    assert Transaction.objects.standing().count() == 4
    return made


def ago(days):
    return (timezone.now() - days * DAY).strftime(MOMENT)


def change(model, pk):
    return reverse(f"admin:revcred_{model}_change", args=[pk])


def page(credential, name):
    return reverse(f"admin:revcred_credential_{name}", args=[credential.pk])


def fields_of(client, address):
    """What the form at this address shows, ready to be posted."""
    response = client.get(address)
    form = response.context["adminform"].form
    typed = {}
    for name, field in form.fields.items():
        value = form.get_initial_for_field(field, name)
        if hasattr(value, "strftime"):
            value = value.strftime(MOMENT)
        elif isinstance(value, list):
            value = [getattr(each, "pk", each) for each in value]
        if value not in (None, "", False):
            typed[name] = value
    for formset in response.context["inline_admin_formsets"]:
        for form in [formset.formset.management_form, *formset.formset.initial_forms]:
            typed |= {form.add_prefix(name): form[name].value() for name in form.fields}
            typed = {name: value for name, value in typed.items() if value is not None}
    return typed | {"_version": response.context["version"]}


# Each: where to post, what to type, and how many calls it moves out of those of the subscription.
ACTS = {
    "subscription's start": (
        lambda it: change("subscription", it.fed),
        lambda _: {"active_from": ago(4)},
        1,
    ),
    "subscription's end": (
        lambda it: change("subscription", it.fed),
        lambda _: {"active_until": ago(4)},
        3,
    ),
    "expiry": (lambda it: change("credential", it.pk), lambda _: {"expires_at": ago(4)}, 3),
    "product": (
        lambda it: change("subscription", it.fed),
        lambda it: {"product": it.closed},
        4,
    ),
    "sources": (lambda it: change("product", it.product), lambda it: {"sources": [it.tiles]}, 4),
    "path rules": (
        lambda it: change("source", it.maps),
        lambda _: {"path_rules-0-text": "/elsewhere/"},
        4,
    ),
    "deleting a source": (
        lambda it: reverse("admin:revcred_source_delete", args=[it.maps]),
        lambda _: {"post": "yes", "without_sources": "closed"},
        4,
    ),
    "move": (
        lambda it: page(it, "move"),
        lambda it: {"subscription": it.fed, "to": it.other, "at": ago(4)},
        3,
    ),
    "unassign": (
        lambda it: page(it, "unassign"),
        lambda it: {"subscription": it.fed, "at": ago(4)},
        3,
    ),
    "assign": (
        lambda it: page(it, "assign"),
        lambda it: {"to": it.other, "at": ago(4)},
        3,  # they are ambiguous then
    ),
    "end a key": (
        lambda it: page(it, "end-key"),
        lambda it: {"key": it.keys.get().pk, "at": ago(4)},
        3,
    ),
    "alias": (lambda it: page(it, "add-alias"), lambda _: {"key": "a-key-that-waits"}, 1),
}


@pytest.fixture
def it(credential, subscription, other):
    credential.fed, credential.other = subscription.pk, other.pk
    credential.product = subscription.product_id
    credential.maps = Source.objects.get().pk
    tiles = Source.objects.create(name="Tiles", external_key="tiles")
    credential.tiles = tiles.pk
    closed = factories.a_product()
    closed.sources.add(tiles)
    credential.closed = closed.pk
    return credential


def typed_on(client, address, typed):
    """As a browser posts it: all of the form, with what was typed."""
    known = fields_of(client, address) if address.endswith("/change/") else {}
    return known | typed


@pytest.mark.parametrize("name", ACTS)
def test_it_is_asked_first_and_then_moves_what_was_said(admin_client, it, name):
    where, typed, calls = ACTS[name]
    address, typed = where(it), typed(it)
    standing = set(Transaction.objects.standing().values_list("pk", "subscription"))
    before = Claim.objects.count(), AuditEvent.objects.count()

    response = admin_client.post(address, typed_on(admin_client, address, typed))

    assert asked(response)
    assert response.context["found"].calls == calls
    assert f"This moves {calls} call" in response.text
    assert "Acme" in response.text
    assert (Claim.objects.count(), AuditEvent.objects.count()) == before

    done = confirm(admin_client, response)
    assert done.status_code == 302
    claim = Claim.objects.open().latest("pk")
    told = [str(each) for each in get_messages(done.wsgi_request)]
    assert any(claim.get_absolute_url() in each for each in told), told
    reattribution.work_through_claims()
    now = set(Transaction.objects.standing().values_list("pk", "subscription"))
    assert len(standing ^ now) in {calls, 2 * calls}
    assert "calls moved" in admin_client.get(claim.get_absolute_url()).text


@pytest.mark.parametrize("name", [name for name in ACTS if name != "alias"])
def test_what_is_not_confirmed_is_not_done(admin_client, it, name):
    where, typed, _ = ACTS[name]
    address = where(it)
    response = admin_client.post(address, typed_on(admin_client, address, typed(it)))
    carried = dict(response.context["carried"])

    back = admin_client.post(address, carried | {"_back": "Back"})
    forged = admin_client.post(address, carried | {"_confirmed": "yes"})
    other = {**carried, "at": ago(1), "active_from": ago(1), "name": "Another"}
    changed = admin_client.post(address, other)

    assert not asked(back)
    assert back.status_code == 200 or back.url == address  # which asks once more
    assert asked(forged)
    assert not asked(changed) or changed.context["was_confirmed"]
    assert Transaction.objects.standing().filter(subscription=it.fed).count() == 4
    assert not Claim.objects.open().exists() or changed.status_code == 302


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("suspend", {}),
        ("revoke", {"reason": "lost"}),
        ("unassign", {"subscription": "fed"}),
        ("end-key", {"key": "its"}),
    ],
)
def test_grave_acts_always_say_what_they_end(admin_client, it, name, typed):
    typed = {
        key: {"fed": it.fed, "its": it.keys.get().pk}.get(value, value)
        for key, value in typed.items()
    }

    response = admin_client.post(page(it, name), typed)

    assert asked(response)
    assert "This moves no counted call" in response.text
    assert (
        "calls are charged to nobody" in response.text or "are charged to nobody" in response.text
    )
    assert "It had 4 calls in the last 7 days" in response.text
    assert confirm(admin_client, response).status_code == 302


def test_an_end_is_asked_with_the_calls_of_the_last_days(admin_client, it, subscription, other):
    for which, calls in ((subscription, "4 calls"), (other, "no calls")):
        address = change("subscription", which.pk)
        until = (timezone.now() + DAY).strftime(MOMENT)
        typed = fields_of(admin_client, address) | {"active_until": until}
        response = admin_client.post(address, typed)
        assert asked(response)
        assert f"It had {calls} in the last 7 days" in response.text


def test_a_rotation_without_overlap_says_what_the_old_key_got(admin_client, it):
    factories.settled(factories.a_call(KEY, path="/maps/1"))

    response = admin_client.post(page(it, "rotate"), {"overlap": "0"})

    assert asked(response)
    assert "The old key" in response.text
    assert "stops at once" in response.text
    assert "It had 5 calls in the last 7 days, 1 of them in the last 24 hours" in response.text
    assert confirm(admin_client, response).status_code == 302


def test_of_several_keys_each_is_said_with_its_own_calls(admin_client, it):
    credentials.rotate_credential(credential=it, overlap=DAY, key="another-key-of-it", by=None)
    factories.settled(factories.a_call("another-key-of-it", path="/maps/1"))

    response = admin_client.post(page(it, "rotate"), {"overlap": "0"})

    first, second = (effect.recent_calls for effect in response.context["question"].effects)
    assert {first.calls, second.calls} == {1, 4}


def test_a_suspended_customer_is_said_with_credentials_and_calls(admin_client, it, customer):
    address = change("customer", customer.pk)
    typed = fields_of(admin_client, address) | {"suspended_at": ago(0)}

    response = admin_client.post(address, typed)

    assert asked(response)
    text = " ".join(response.text.split())
    assert "no key or secret of Acme is revealed: 1 credential and 0 members" in text
    assert "Calls are not stopped: those to its 2 active subscriptions" in text
    assert "It had 4 calls in the last 7 days" in text
    (effect,) = response.context["question"].effects
    assert sum(calls for _, calls, _ in effect.days) == 4


def test_a_suspended_gateway_is_said_to_report_no_more(admin_client, credential):
    gateway = Transaction.objects.first().gateway
    address = change("gateway", gateway.pk)

    response = admin_client.post(
        address, fields_of(admin_client, address) | {"suspended_at": ago(0)}
    )

    assert asked(response)
    assert "of it no longer work" in " ".join(response.text.split())
    assert confirm(admin_client, response).status_code == 302


def test_a_save_that_moves_nothing_passes(admin_client, subscription, credential):
    address = change("subscription", subscription.pk)
    typed = fields_of(admin_client, address) | {"name": "Renamed"}

    assert admin_client.post(address, typed).status_code == 302
    assert Subscription.objects.get(pk=subscription.pk).name == "Renamed"


def test_figures_that_have_changed_are_shown_again(admin_client, it, monkeypatch):
    monkeypatch.setattr(confirmation, "CALLS_TOLERANCE", 1)
    typed = {"subscription": it.fed, "to": it.other, "at": ago(4)}
    response = admin_client.post(page(it, "move"), typed)
    factories.settled(factories.a_call(KEY, ago=DAY, path="/maps/1"))
    second = confirm(admin_client, response)  # one more is as good as the same
    assert second.status_code == 302

    typed = {"subscription": it.other, "to": it.fed, "at": ago(3.5)}
    reattribution.work_through_claims()
    response = admin_client.post(page(it, "move"), typed)
    factories.settled(*[factories.a_call(KEY, ago=DAY, path="/maps/1") for _ in range(3)])
    second = confirm(admin_client, response)
    assert asked(second)
    assert second.context["was_confirmed"]
    assert confirm(admin_client, second).status_code == 302


def test_a_key_is_carried_sealed_and_nowhere_in_clear(admin_client, it, client):
    key = "a-key-that-waits"

    response = admin_client.post(page(it, "add-alias"), {"key": key})

    assert key not in response.text
    carried = dict(response.context["carried"])
    assert "key" not in carried
    elsewhere = {"_sealed_key": carried["_sealed_key"]}
    client.force_login(factories.a_user(is_staff=True, is_superuser=True))
    stolen = client.post(page(it, "add-alias"), elsewhere)
    assert "This field is required" in stolen.text
    assert confirm(admin_client, response).status_code == 302
    reattribution.work_through_claims()
    assert not Quarantined.objects.exists()


def test_a_count_that_takes_too_long_is_said(admin_client, it, monkeypatch):
    monkeypatch.setattr("metering.consequences.COUNT_LIMIT_SECONDS", 0.0)
    typed = {"subscription": it.fed, "to": it.other, "at": ago(4)}

    response = admin_client.post(page(it, "move"), typed)

    assert "more than 0 calls" in response.text
    assert "could be counted in time" in " ".join(response.text.split())
    assert confirm(admin_client, response).status_code == 302


def test_who_changes_the_same_thing_is_said_to_be_busy(admin_client, it, monkeypatch):
    monkeypatch.setattr("revcred.hooks.TRIAL_LOCK_TIMEOUT_SECONDS", 1)
    holding = connection.copy()
    holding.set_autocommit(False)
    with holding.cursor() as cursor:
        cursor.execute("SELECT FROM revcred_credential WHERE id = %s FOR UPDATE", [it.pk])

    response = admin_client.post(page(it, "suspend"))

    assert confirmation.CONCURRENT_CHANGE_MESSAGE in response.context["form"].non_field_errors()
    holding.rollback()
    holding.close()


def test_the_bill_is_untouched_by_asking(admin_client, it, subscription):
    before = list(Usage.objects.values_list("subscription", "count"))
    address = change("subscription", subscription.pk)
    typed = fields_of(admin_client, address) | {"active_from": ago(2.5)}

    assert asked(admin_client.post(address, typed))
    reattribution.work_through_claims()

    assert list(Usage.objects.values_list("subscription", "count")) == before
    assert Subscription.objects.get(pk=subscription.pk).active_from == factories.LONG_AGO
    assert Credential.objects.get(pk=it.pk).assignments.count() == 1


# --- Old tabs -------------------------------------------------------------------------------------


def test_a_save_from_an_old_tab_is_refused_with_what_changed_and_by_whom(
    admin_client, subscription
):
    address = change("subscription", subscription.pk)
    first, second = fields_of(admin_client, address), fields_of(admin_client, address)
    assert admin_client.post(address, first | {"quota": 7}).status_code == 302

    response = admin_client.post(address, second | {"name": "Typed here"})

    assert response.status_code == 200
    (sentence, _) = response.context["adminform"].form.non_field_errors()
    assert sentence.startswith("“Quota” was changed by admin@example.com at ")
    assert "Typed here" in response.text
    assert Subscription.objects.get(pk=subscription.pk).quota == 7
    again = second | {"name": "Typed here", "_version": response.context["version"]}
    assert admin_client.post(address, again).status_code == 302


def test_a_row_added_meanwhile_counts_too(admin_client, it):
    address = change("source", it.maps)
    old = fields_of(admin_client, address)
    Source.objects.get(pk=it.maps).path_rules.create(text="/new/")

    response = admin_client.post(address, old | {"name": "Renamed"})

    assert "Path rules" in " ".join(response.context["adminform"].form.non_field_errors())
    assert Source.objects.get(pk=it.maps).name == "Maps"


def test_a_version_that_cannot_be_read_is_an_old_one(admin_client, subscription):
    address = change("subscription", subscription.pk)
    typed = fields_of(admin_client, address)

    for version in ("", "nonsense", "e30="):
        assert admin_client.post(address, typed | {"_version": version}).status_code == 200


@pytest.mark.parametrize("delta", [timedelta(0), timedelta(hours=1)])
def test_typed_values_survive_the_question(admin_client, it, delta):
    at = (timezone.now() - 4 * DAY + delta).strftime(MOMENT)
    typed = {"subscription": it.fed, "to": it.other, "at": at}
    response = admin_client.post(page(it, "move"), typed)
    carried = dict(response.context["carried"])

    back = admin_client.post(page(it, "move"), carried | {"_back": "Back"})

    assert f'value="{at}"' in back.text


def test_a_period_that_ends_before_it_starts_is_an_error_of_the_form(admin_client, subscription):
    address = change("subscription", subscription.pk)
    typed = fields_of(admin_client, address) | {"active_from": ago(1), "active_until": ago(2)}

    response = admin_client.post(address, typed)

    assert response.context["adminform"].form.errors == {
        "active_until": ["The end has to be after the start."]
    }
