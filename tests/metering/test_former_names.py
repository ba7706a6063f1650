"""A renamed object is still found by its former name."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection
from django.db.transaction import atomic
from django.utils import timezone

from metering.models import Quarantined, Transaction
from metering.quarantine import reattribution
from revcred.actions import names, subscriptions, undoing
from revcred.models import (
    AuditEvent,
    AuditVerb,
    Credential,
    Customer,
    FormerName,
    Product,
    Source,
    Subscriber,
    Subscription,
)
from tests import factories

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
KEY = "the-key-of-the-names"


@pytest.fixture
def maps():
    """A subscription called maps, with a credential assigned to it."""
    subscription = factories.a_subscription(external_key="maps")
    factories.a_credential(subscription.customer, KEY, subscriptions=[subscription])
    return subscription


def renamed(subscription, name):
    subscription.external_key = name
    subscriptions.change_subscription(subscription=subscription, by=None)
    reattribution.work_through_claims()


def charged(call):
    factories.settled(call)
    return charged_now(call)


def charged_now(call):
    standing = Transaction.objects.standing().filter(transaction_id=call.transaction_id)
    found = standing.select_related("subscription").first()
    if found:
        return found.subscription.external_key
    return Quarantined.objects.get(transaction_id=call.transaction_id).reason


def naming(name, key=None, **fields):
    return factories.a_call(key, subscription_named=name, **fields)


@pytest.mark.parametrize("key", [None, KEY])
def test_a_renamed_subscription_is_known_by_both_names(maps, key):
    renamed(maps, "atlas")

    assert charged(naming("maps", key)) == "atlas"
    assert charged(naming("atlas", key)) == "atlas"
    assert charged(naming("maps", key, ago=3 * DAY)) == "atlas"


@pytest.mark.parametrize("key", [None, KEY])
def test_a_current_name_wins_and_what_was_counted_follows(maps, key):
    renamed(maps, "atlas")
    before, lately = naming("maps", key, ago=3 * DAY), naming("maps", key)
    assert (charged(before), charged(lately)) == ("atlas", "atlas")

    taker = Subscription(
        customer=factories.a_customer(),
        product=factories.a_product(),
        external_key="maps",
        active_from=timezone.now() - DAY,
    )
    subscriptions.start_subscription(subscription=taker, by=None)
    reattribution.work_through_claims()

    # From its beginning on the name is the other's; what was before stays.
    assert charged_now(before) == "atlas"
    assert charged_now(lately) == ("subscription_mismatch" if key else "maps")
    former = maps.former_names().get()
    assert (former.name, former.taken_by_id) == ("maps", taker.pk)


def test_after_another_took_it_the_old_name_means_nobody_s_even_when_that_one_ends(maps):
    renamed(maps, "atlas")
    taker = factories.a_subscription(external_key="maps", active_from=timezone.now())
    Subscription.objects.filter(pk=taker.pk).update(active_until=timezone.now() + DAY)

    assert charged(naming("maps", occurred_at=timezone.now() + timedelta(minutes=1))) == "maps"
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() + interval '2 days'")
        (later,) = cursor.fetchone()
    assert charged(naming("maps", occurred_at=later)) == "no_subscription"


def test_a_name_that_is_forgotten_goes_back_to_whoever_had_it(maps):
    renamed(maps, "atlas")
    other = factories.a_subscription(active_from=timezone.now() - DAY)
    name = other.external_key
    renamed(other, "maps")
    renamed(other, name)
    call = naming("maps", occurred_at=timezone.now() + timedelta(seconds=5))
    assert charged(call) == name

    subscriptions.forget_former_name(subscription=other, name="maps", by=None)
    reattribution.work_through_claims()

    assert charged_now(call) == "atlas"
    assert not other.former_names().filter(name="maps").exists()


def test_whoever_is_deleted_has_no_names_and_has_taken_none(maps):
    renamed(maps, "atlas")
    taker = factories.a_subscription(external_key="maps")
    assert maps.former_names().get().counts_until is not None

    taker.delete()

    former = maps.former_names().get()
    assert (former.counts_until, former.taken_by_id) == (None, None)
    maps.assignments.all().delete()
    maps.delete()
    assert not FormerName.objects.exists()


def test_going_back_to_a_name_is_no_former_name(maps):
    renamed(maps, "atlas")
    renamed(maps, "maps")

    assert [each.name for each in maps.former_names()] == ["atlas"]


# --- Every way to rename --------------------------------------------------------------------------


def by_update(row, field, name):
    type(row)._base_manager.filter(pk=row.pk).update(**{field: name})


def by_save(row, field, name):
    setattr(row, field, name)
    row.save()


def by_sql(row, field, name):
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {row._meta.db_table} SET {field} = %s WHERE id = %s", [name, row.pk]
        )


def by_bulk(row, field, name):
    setattr(row, field, name)
    type(row)._base_manager.bulk_update([row], [field])


THINGS = {
    Subscription: factories.a_subscription,
    Source: lambda: Source.objects.create(name="Tiles", external_key="Tiles"),
    Customer: lambda: factories.a_customer("Acme"),
    Product: lambda: factories.a_product("Maps"),
    Subscriber: factories.a_subscriber,
    Credential: factories.a_credential,
}
FIELDS = [(model, field) for model in THINGS for field in FormerName.KINDS[model._meta.model_name]]


@pytest.mark.parametrize("way", [by_update, by_save, by_sql, by_bulk])
@pytest.mark.parametrize(("model", "field"), FIELDS)
def test_no_way_to_rename_forgets_the_name_before(model, field, way):
    row = THINGS[model]()
    before = getattr(row, field) or "old@example.com"
    by_update(row, field, before)

    way(row, field, "New@Example.com")

    kind, in_any_case = FormerName.KINDS[model._meta.model_name][field]
    former = FormerName.objects.filter(kind=kind, target_id=row.pk).latest("former_since")
    assert former.name == (before.lower() if in_any_case else before)
    assert former.counts_until is None


def test_every_field_that_calls_name_somebody_by_is_among_them():
    """The kinds are those of the triggers in PostgreSQL."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgname LIKE '%\\_renamed' OR"
            " tgname LIKE '%\\_taken' OR tgname LIKE '%\\_forgotten'"
        )
        found = {name for (name,) in cursor.fetchall()}

    assert found == {
        f"{kind}_{done}"
        for kind in FormerName.Kind.values
        for done in ("renamed", "taken", "forgotten")
    }
    assert {kind for each in FormerName.KINDS.values() for kind, _ in each.values()} == {
        *FormerName.Kind
    }


# --- By the names of customers, products and others ----------------------------------------------


def by_name(**names):
    return factories.a_call(names=names)


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("customer", {"customer": "Acme", "product": "Maps"}),
        ("product", {"customer": "Acme", "product": "MAPS"}),
        ("credential", {"customer": "acme", "credential": "for maps"}),
        ("subscriber", {"subscriber": "ADA@acme.test"}),
    ],
)
def test_whoever_is_renamed_is_still_found_by_name(field, names):
    customer, product = factories.a_customer("Acme"), factories.a_product("Maps")
    subscription = factories.a_subscription(customer, product=product, external_key="acme-maps")
    credential = factories.a_credential(customer, name="For Maps", subscriptions=[subscription])
    subscriber = factories.a_subscriber(customer, email="ada@acme.test")
    assert charged(by_name(**names)) == "acme-maps"

    row = {
        "customer": customer,
        "product": product,
        "credential": credential,
        "subscriber": subscriber,
    }[field]
    for column in FormerName.KINDS[row._meta.model_name]:
        by_update(row, column, f"other-{column}@acme.test")

    assert charged(by_name(**names)) == "acme-maps"
    # Another takes the name: a current one wins.
    if field == "customer":
        factories.a_customer("Acme")
        assert charged(by_name(**names)) == "no_subscription"


def test_a_renamed_source_is_still_that_source(maps):
    source = maps.product.sources.create(name="Tiles", external_key="tiles")
    source.external_key = "pictures"
    source.save()

    assert charged(factories.a_call(KEY, source_named="tiles")) == "maps"
    Source.objects.create(name="Other", external_key="tiles")
    assert charged(factories.a_call(KEY, source_named="tiles")) == "no_subscription"
    assert charged(factories.a_call(KEY, source_named="pictures")) == "maps"


def test_undoing_a_rename_gives_the_name_back_to_whoever_lost_it(maps):
    """And with it the calls, as before the rename."""
    renamed(maps, "atlas")
    taker = factories.a_subscription(external_key="routes")
    call = naming("maps")
    assert charged(call) == "atlas"
    renamed(taker, "maps")
    assert charged_now(call) == "maps"

    event = AuditEvent.objects.about(taker).filter(verb=AuditVerb.CHANGED).latest("pk")
    undoing.undo_event(event=event, by=None)
    reattribution.work_through_claims()

    assert charged_now(call) == "atlas"
    assert charged(naming("maps")) == "atlas"


@pytest.mark.parametrize(
    ("model", "field"),
    [(model, field) for model, fields in FormerName.KINDS.items() for field in fields],
)
def test_a_name_that_is_undone_is_given_back_whatever_it_names(model, field):
    make = {
        "subscription": factories.a_subscription,
        "source": lambda: Source.objects.create(name="Tiles", external_key=f"source-{uuid4()}"),
        "customer": factories.a_customer,
        "product": factories.a_product,
        "subscriber": factories.a_subscriber,
        "credential": factories.a_credential,
    }[model]
    loser = make()
    # Names of credentials are unique within their customer only, and can be taken there.
    taker = make(loser.customer) if model == "credential" else make()
    lost, old, other = f"lost-{model}@acme.test", getattr(taker, field), f"new-{model}@acme.test"
    by_update(loser, field, lost)
    by_update(loser, field, other)
    by_update(taker, field, lost)
    by_update(taker, field, old)
    former = FormerName.objects.filter(name=lost)
    assert former.get(target_id=loser.pk).taken_by_id == taker.pk

    names.give_back_taken_name(target=taker, field=field, name=lost)

    assert not former.filter(target_id=taker.pk).exists()
    assert former.get(target_id=loser.pk).counts_until is None


# --- Free again -----------------------------------------------------------------------------------


def test_a_name_is_free_in_another_period(maps):
    noon = timezone.now() - 2 * DAY
    subscriptions.end_subscription(subscription=maps, at=noon, by=None)
    later = factories.a_subscription(external_key="maps", active_from=noon)

    factories.settled(early := naming("maps", ago=3 * DAY), late := naming("maps"))

    assert Transaction.objects.get(transaction_id=early.transaction_id).subscription == maps
    assert Transaction.objects.get(transaction_id=late.transaction_id).subscription == later
    with pytest.raises(IntegrityError), atomic():
        factories.a_subscription(external_key="maps", active_from=noon + DAY)
    maps.active_until = None
    with pytest.raises(subscriptions.SubscriptionExternalKeyInUse):
        subscriptions.change_subscription(subscription=maps, by=None)


def test_a_name_of_256_characters_is_kept_when_it_changes():
    longest = "Ä" * 256
    customer = factories.a_customer()
    credential = factories.a_credential(customer, KEY)

    for name in (longest, "Short"):
        customer.name = credential.name = name
        customer.save()
        credential.save()

    assert FormerName.objects.of_name(Customer, longest).get().target_id == customer.pk
    assert FormerName.objects.of_name(Credential, longest.lower()).get().target_id == credential.pk
