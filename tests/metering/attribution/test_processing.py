"""The SQL that judges thousands of calls agrees with the rule for one call."""

import re
from datetime import timedelta
from functools import cached_property
from random import Random
from time import sleep

import psycopg
import pytest
from django.db import IntegrityError, connection
from django.db.transaction import atomic
from django.utils import timezone
from msgspec.structs import replace
from psycopg import sql

from metering import tasks
from metering.attribution import processing
from metering.attribution.cautious_mode import cautious_mode
from metering.attribution.processing import process_deliveries, process_waiting_deliveries
from metering.attribution.rules import (
    AttributedTo,
    CandidateSubscription,
    MatchingKey,
    NameHolder,
    SourceCoverage,
    verdict,
)
from metering.attribution.rules_by_name import (
    HeldSubscription,
    NamedCredential,
    NamedThing,
    NamedWorld,
    PastName,
    owner_by_name,
)
from metering.attribution.statements import UNTRIED_DELIVERIES
from metering.bells import inbox_bell
from metering.inbox.intake import accept_calls
from metering.management.commands.verify_usage import usage_differences_between
from metering.models import (
    Conflict,
    Delivery,
    IntakeStats,
    Quarantined,
    QuarantineReason,
    Transaction,
    Usage,
)
from revcred.actions import credentials
from revcred.actions.credentials import NewKey
from revcred.fingerprints import fingerprint
from revcred.models import (
    Assignment,
    Credential,
    ExternalKey,
    FormerName,
    Gateway,
    Membership,
    PathRule,
    Source,
    Subscription,
    Suspension,
)
from revcred.models.periods import last_possible_moment
from tests import factories

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def no_differences():
    now = timezone.now()
    return usage_differences_between(now - 40 * DAY, now + 2 * DAY) == []


OUTSIDE = 0.05  # of the calls have a moment outside the window
PATHS = ["/a/1", "/a/b/1", "/a/b/1.json", "/c", "/c/", "/d", "/d/A%_1", ""]
RULES = [  # source, match, text
    (0, "equals", "/a/1"),
    (1, "equals", "/c"),
    (0, "begins_with", "/a/"),
    (1, "begins_with", "/a/b/"),
    (2, "begins_with", "/d/A%_"),
    (1, "ends_with", ".json"),
    (2, "ends_with", "1"),
    (0, "contains", "/b/"),
    (2, "contains", "%_"),
    (0, "regex", "^/[a-c](/|$)"),
    (1, "regex", "[0-9]$"),
    (2, "regex", "(?i)/D"),
]
FITS = {
    "equals": str.__eq__,
    "begins_with": str.startswith,
    "ends_with": str.endswith,
    "contains": str.__contains__,
    "regex": lambda path, text: re.search(text, path) is not None,
}


# --- A generated world, and both ways to judge it -----------------------------------------------


class World:
    """Random credentials, keys, aliases, assignments, subscriptions and sources, all dated."""

    def __init__(self, seed):
        self.random = Random(seed)
        self.now = timezone.now().replace(microsecond=0)
        self.gateways = [factories.a_gateway() for _ in range(2)]
        self.sources = [
            Source.objects.create(name=f"s{i}", external_key=f"s{i}-{seed}") for i in range(3)
        ]
        PathRule.objects.all().delete()  # which hold for all: one world after the other
        self.rules = [
            self.sources[i].path_rules.create(match=match, text=text)
            for i, match, text in self.random.sample(RULES, len(RULES) // 2)
        ]
        self.products = [factories.a_product() for _ in range(3)]
        self.products[0].sources.set(self.sources[:1])
        self.products[1].sources.set(self.sources[1:])
        self.products.append(factories.a_product(also_without_source=True))
        self.products[3].sources.set(self.sources[:1])
        self.products.append(factories.a_product(also_without_source=seed % 2))
        self.products[4].sources.set(self.sources[:1])
        self.products[4].sources.clear()
        self.customers = [factories.a_customer() for _ in range(3)]
        self._rename_by(self.customers[2], name=self.customers[0].name.upper())
        self.subscribers = [
            factories.a_subscriber(self.customers[i], email=f"person-{i}-{seed}@example.com")
            for i in (0, 1)
        ]
        Membership.objects.create(customer=self.customers[2], subscriber=self.subscribers[1])
        self.subscriptions = [self._subscription() for _ in range(8)]
        self.names = {each.external_key for each in self.subscriptions}
        for _ in range(6):
            self._rename()
        self.old_names_of_sources = [each.external_key for each in self.sources]
        self._rename_source()
        self.strings = [f"string-{seed}-{i}-of-the-world" for i in range(8)]
        self.keys = []
        self.credentials = [self._credential() for _ in range(10)]
        self._rename_by(self.customers[1], external_key=f"renamed-{seed}")
        self._rename_by(self.products[0], name=f"Renamed {seed}", external_key=f"renamed-{seed}")
        self._rename_by(self.subscribers[0], email=f"renamed-{seed}@example.com")
        self._rename_by(self.credentials[0], name=f"renamed-{seed}")
        for each in FormerName.objects.exclude(kind__in=("subscription", "source")):
            each.counts_until = self.maybe(self.moment_of_a_link, 0.5)
            each.save()

    def moment(self):
        """Return a moment on a coarse grid, so that periods often begin at the moment of a call."""
        return self.now - timedelta(hours=6 * self.random.randrange(0, 80))

    def moment_of_a_link(self):
        """Return such a moment, or a later one in the same second."""
        return self.moment() + timedelta(milliseconds=self.random.choice([0, 0, 300, 600]))

    def moment_of_a_call(self):
        return self.moment() + timedelta(milliseconds=self.random.choice([0, 0, 0, 400, 700]))

    def period(self):
        start, end = sorted((self.moment_of_a_link(), self.moment_of_a_link()))
        if start == end or self.random.random() < 0.5:
            return {"active_from": start}
        return {"active_from": start, "active_until": end}

    def maybe(self, thing, probability=0.3):
        return thing() if self.random.random() < probability else None

    @staticmethod
    def _rename_by(thing, **names):
        type(thing).objects.filter(pk=thing.pk).update(**names)
        thing.refresh_from_db()

    def _subscription(self):
        return factories.a_subscription(
            self.random.choice(self.customers),
            product=self.random.choice(self.products),
            **self.period(),
        )

    def _rename(self):
        """Give a name that is free then: a new one, one of another time, or a former one."""
        subscription = self.random.choice(self.subscriptions)
        # In an order that does not change with the run, as that of a set does.
        name = self.random.choice([*sorted(self.names), f"renamed-{len(self.names)}"])
        try:
            with atomic():
                Subscription.objects.filter(pk=subscription.pk).update(external_key=name)
        except IntegrityError:
            return  # another has it in that time
        subscription.refresh_from_db()
        self.names.add(name)
        # When another took a name is a moment like any other.
        for each in FormerName.objects.exclude(counts_until=None):
            if each.counts_until >= self.now:
                each.counts_until = self.moment_of_a_link()
                each.save()

    def _rename_source(self):
        """Give one source the name that another has given up."""
        first, second = self.random.sample(self.sources, 2)
        if self.random.random() < 0.5:
            free, first.external_key = first.external_key, f"{first.external_key}-renamed"
            first.save()
            second.external_key = free
            second.save()

    def _credential(self):
        customer = self.random.choice(self.customers)
        revoked_at = self.moment_of_a_link() if self.random.random() < 0.3 else None
        name = f"app-{self.random.randrange(4)}"  # which one of each customer has at a time
        taken = Credential.objects.filter(customer=customer, name=name, revoked_at=revoked_at)
        credential = Credential.objects.create(
            customer=customer,
            name=f"app-{self.random.random()}" if taken.exists() else name,
            expires_at=self.maybe(self.moment_of_a_link),
            revoked_at=revoked_at,
            revocation_reason="because" if revoked_at else "",
        )
        if self.random.random() < 0.3:
            Suspension.objects.create(credential=credential, **self.period())
        its = [each for each in self.subscriptions if each.customer_id == customer.pk]
        for subscription in self.random.sample(its, min(len(its), self.random.randrange(0, 4))):
            Assignment.objects.create(
                customer=customer,
                credential=credential,
                subscription=subscription,
                **self.period(),
            )
        for string in self.random.sample(self.strings, 2):
            self._key(credential, string)
        return credential

    def _key(self, credential, string):
        gateway = self.maybe(lambda: self.random.choice(self.gateways))
        period = self.period()
        taken = ExternalKey.objects.filter(
            fingerprint=fingerprint(string), gateway=gateway
        ).exclude(active_until__lte=period["active_from"])
        if period.get("active_until"):
            taken = taken.exclude(active_from__gte=period["active_until"])
        if taken.exists():
            return
        key = ExternalKey.objects.create(
            credential=credential,
            kind=self.random.choice(["key", "alias"]),
            gateway=gateway,
            fingerprint=fingerprint(string),
            **period,
        )
        self.keys.append((string, key))

    def call(self):
        string = self.maybe(lambda: self.random.choice([*self.strings, "nobody-knows-this"]), 0.85)
        named = self.maybe(lambda: self.random.choice(sorted(self.names)))
        return factories.a_call(
            string,
            occurred_at=self.moment_of_a_call(),
            subscription_named=self.random.choice([named, named, "no-such"]) if named else None,
            source_named=self.maybe(
                lambda: self.random.choice(
                    [
                        *(s.external_key for s in self.sources),
                        *self.old_names_of_sources,
                        "no-such",
                    ]
                ),
                0.5,
            ),
            path=self.maybe(lambda: self.random.choice(PATHS), 0.5),
            outside=self.random.random() < OUTSIDE,
            names=self.maybe(self._names, 0.4) or None,
        ), string

    def _names(self):
        """Names in a call: current ones in any case, external keys, former ones, unknown ones."""
        former = [(each.kind, each.name) for each in self.former_names]
        named = {
            "customer": self._spellings(self.customers, former, "customer", "customer_name"),
            "product": self._spellings(self.products, former, "product", "product_name"),
            "subscriber": self._spellings(
                self.subscribers, former, "subscriber", "subscriber_email"
            ),
            "credential": self._spellings(self.credentials, former, "credential_name"),
        }
        names = {
            kind: self.random.choice(spellings)
            for kind, spellings in named.items()
            if self.random.random() < 0.4
        }
        return names | ({"strict": True} if self.random.random() < 0.4 else {})

    @staticmethod
    def _spellings(things, former, *kinds):
        current = [str(getattr(each, "email", None) or each.name) for each in things]
        keys = [each.external_key for each in things if getattr(each, "external_key", None)]
        past = [name for kind, name in former if kind in kinds]
        return [*current, *(each.upper() for each in current), *keys, *past, *past, "nobody"]

    def judged_one_by_one(self, call, string, gateway):
        return verdict(
            at=call.occurred_at,
            outside=call.outside,
            keyed=string is not None,
            keys=[
                replace(key, bound=gateway_id == gateway.pk)
                for text, gateway_id, key in self.as_keys
                if text == string and gateway_id in {None, gateway.pk}
            ],
            named=call.subscription_named is not None,
            holders=self.holders.get(call.subscription_named, ()),
            source=self._source_named(call.source_named) or self._source_of(call.path),
            by_name=self._owner_by_name(call, string),
        )

    def _owner_by_name(self, call, string):
        if call.names is None:
            return None
        return owner_by_name(
            names={kind: name for kind, name in call.names.items() if kind != "strict"},
            first=call.occurred_at,
            last=last_possible_moment(call.occurred_at),
            alone=string is None and call.subscription_named is None,
            is_strict="strict" in call.names,
            source=self._source_named(call.source_named) or self._source_of(call.path),
            world=self.named_world,
        )

    @cached_property
    def former_names(self):
        return list(FormerName.objects.all())

    @cached_property
    def named_world(self):
        past = {}
        for each in self.former_names:
            past.setdefault(each.kind.partition("_")[0], []).append(
                PastName(
                    thing=each.target_id,
                    name=each.name,
                    since=each.former_since,
                    until=each.counts_until,
                    in_any_case="_" in each.kind,
                )
            )
        return NamedWorld(
            customers=[self._named(each, each.name) for each in self.customers],
            products=[self._named(each, each.name) for each in self.products],
            subscribers=[
                self._named(
                    each,
                    each.email,
                    customers=list(each.memberships.values_list("customer", flat=True)),
                )
                for each in self.subscribers
            ],
            credentials=[
                NamedCredential(
                    id=each.pk,
                    name=each.name,
                    customer=each.customer_id,
                    revoked_at=each.revoked_at,
                    expires_at=each.expires_at,
                    suspensions=list(each.suspensions.all()),
                )
                for each in self.credentials
            ],
            subscriptions=[
                HeldSubscription(
                    id=each.pk,
                    customer=each.customer_id,
                    product=each.product_id,
                    active=each,
                    coverage=self._coverage(each.product),
                    assigned=[(one.credential_id, one) for one in each.assignments.all()],
                )
                for each in self.subscriptions
            ],
            past_names=past,
        )

    @staticmethod
    def _named(thing, name, **more):
        return NamedThing(id=thing.pk, name=name, external_key=thing.external_key or "", **more)

    @cached_property
    def holders(self):
        found = {}
        for each in self.subscriptions:
            facts = {
                "subscription": each.pk,
                "active": each,
                "coverage": self._coverage(each.product),
                "customer": each.customer_id,
                "product": each.product_id,
            }
            found.setdefault(each.external_key, []).append(NameHolder(**facts))
            for former in each.former_names():
                found.setdefault(former.name, []).append(
                    NameHolder(
                        former_since=former.former_since, counts_until=former.counts_until, **facts
                    )
                )
        return found

    @staticmethod
    def _coverage(product):
        product.refresh_from_db()
        return SourceCoverage(
            sources=[each.pk for each in product.sources.all()],
            restricted=product.restricted,
            also_without_source=product.also_without_source,
        )

    def _source_named(self, name):
        for each in self.sources:
            if each.external_key == name:
                return each.pk
        former = [each for each in self.former_names if (each.kind, each.name) == ("source", name)]
        return former[0].target_id if former else name

    @cached_property
    def as_keys(self):
        return [(text, key.gateway_id, self._as_key(key)) for text, key in self.keys]

    def _as_key(self, key):
        credential = key.credential
        return MatchingKey(
            kind=key.kind,
            period=key,
            bound=False,
            credential=credential.pk,
            revoked_at=credential.revoked_at,
            expires_at=credential.expires_at,
            suspensions=list(credential.suspensions.all()),
            candidates=[
                CandidateSubscription(
                    subscription=each.subscription_id,
                    assigned=each,
                    active=each.subscription,
                    customer=each.subscription.customer_id,
                    product=each.subscription.product_id,
                    coverage=self._coverage(each.subscription.product),
                )
                for each in credential.assignments.all()
            ],
        )

    def _source_of(self, path):
        fitting = [rule for rule in self.rules if path and FITS[rule.match](path, rule.text)]
        order = list(PathRule.Match)
        first = min(
            fitting,
            key=lambda rule: (order.index(rule.match), -len(rule.text), rule.pk),
            default=None,
        )
        return first.source_id if first else None


def outcomes():
    rows = Transaction.objects.select_related("subscription")
    found = {row.transaction_id: AttributedTo(row.subscription_id, row.matched_by) for row in rows}
    return found | {
        row.transaction_id: QuarantineReason(row.reason) for row in Quarantined.objects.all()
    }


@pytest.mark.parametrize("seed", range(8))
def test_the_statement_agrees_with_the_rule_on_generated_cases(seed, monkeypatch):
    monkeypatch.setattr(processing, "STATEMENT_LIMIT_SECONDS", 60.0)  # for a busy machine
    world = World(seed)
    expected = {}
    for gateway in world.gateways:
        calls = [world.call() for _ in range(500)]
        accept_calls(gateway, [call for call, _ in calls])
        for call, string in calls:
            expected[call.transaction_id] = world.judged_one_by_one(call, string, gateway)

    process_waiting_deliveries()

    assert outcomes() == expected
    assert no_differences()


def test_the_generated_cases_reach_every_outcome():
    found = [
        world.judged_one_by_one(*world.call(), world.gateways[0])
        for world in map(World, range(8))
        for _ in range(500)
    ]

    reasons = {each for each in found if isinstance(each, QuarantineReason)}
    matches = {each.matched_by for each in found if isinstance(each, AttributedTo)}

    assert reasons == set(QuarantineReason) - {QuarantineReason.POISON}
    assert matches == {"key", "alias", "subscription", "name"}


# --- Counted once -------------------------------------------------------------------------------


@pytest.fixture
def credential():
    customer = factories.a_customer()
    return factories.a_credential(
        customer, key="the-key-of-the-tests", subscriptions=[factories.a_subscription(customer)]
    )


@pytest.fixture
def gateway():
    return factories.a_gateway()


def test_a_repeated_transaction_is_counted_once(credential, gateway):
    call = factories.a_call("the-key-of-the-tests")

    factories.settled(call, call, gateway=gateway)
    factories.settled(call, gateway=gateway)

    assert Usage.objects.values_list("element", "count", "quantity").get() == ("calls", 1, 1)
    tally = IntakeStats.objects.get()
    assert (tally.accepted, tally.repeated, tally.conflicting) == (3, 2, 0)
    assert (tally.attributed, tally.quarantined) == (1, 0)


def test_the_same_id_from_another_gateway_is_another_transaction(credential):
    call = factories.a_call("the-key-of-the-tests")

    factories.settled(call)
    factories.settled(call)

    assert Transaction.objects.count() == 2


def test_the_same_id_with_another_content_is_a_conflict_and_the_first_stands(credential, gateway):
    first = factories.a_call("the-key-of-the-tests", transaction_id="t", elements={"calls": 1})
    other = factories.a_call("the-key-of-the-tests", transaction_id="t", elements={"calls": 5})

    factories.settled(first, gateway=gateway)
    factories.settled(other, first, gateway=gateway)

    assert Transaction.objects.get().elements == {"calls": 1}
    conflict = Conflict.objects.get()
    assert conflict.transaction == Transaction.objects.get().pk
    assert conflict.content["elements"] == {"calls": 5}


def test_in_one_delivery_too_the_first_of_two_contents_stands(credential, gateway):
    contents = [
        factories.a_call("the-key-of-the-tests", transaction_id="t", elements={"calls": n})
        for n in (3, 4, 3)
    ]
    contents[2].occurred_at = contents[0].occurred_at

    factories.settled(*contents, gateway=gateway)

    assert Transaction.objects.get().elements == {"calls": 3}
    assert [each.content["elements"] for each in Conflict.objects.all()] == [{"calls": 4}]


def test_the_order_of_elements_is_not_content(credential, gateway):
    call = factories.a_call("the-key-of-the-tests", elements={"a": 1, "b": 2})

    factories.settled(call, gateway=gateway)
    call.elements = {"b": 2, "a": 1}
    factories.settled(call, gateway=gateway)

    assert not Conflict.objects.exists()


def test_usage_is_summed_by_hour_and_element(credential, gateway):
    moment = timezone.now().replace(minute=10) - 2 * HOUR
    for minutes, elements in ((0, {"calls": 1, "gb": 2}), (30, {"calls": 1}), (60, {"calls": 1})):
        call = factories.a_call("the-key-of-the-tests", elements=elements)
        call.occurred_at = moment + timedelta(minutes=minutes)
        factories.settled(call, gateway=gateway)

    hour = moment.replace(minute=0, second=0, microsecond=0)
    assert list(
        Usage.objects.order_by("hour", "element").values_list("hour", "element", "count")
    ) == [
        (hour, "calls", 2),
        (hour, "gb", 1),
        (hour + HOUR, "calls", 1),
    ]
    assert no_differences()


def test_a_key_remembers_when_it_was_last_used(credential, gateway):
    call = factories.a_call("the-key-of-the-tests", ago=HOUR)

    factories.settled(call, gateway=gateway)

    assert credential.keys.get().last_used_at == call.occurred_at
    assert Gateway.objects.get().last_seen_at is not None


def test_a_batch_has_no_more_transactions_than_allowed(credential, gateway):
    for _ in range(4):
        accept_calls(gateway, [factories.a_call("the-key-of-the-tests") for _ in range(3)])

    assert process_deliveries(max_transactions=5) == 2
    assert Delivery.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_second_worker_takes_what_the_first_has_not(credential, gateway):
    for _ in range(10):
        accept_calls(gateway, [factories.a_call("the-key-of-the-tests") for _ in range(2)])
    taken = UNTRIED_DELIVERIES.format(max_transactions=sql.Literal(4)).as_string()

    with psycopg.connect(connection.connection.info.dsn) as first_worker:
        first = first_worker.execute(taken).fetchall()
        assert process_deliveries(max_transactions=4) == 2

    assert len(first) == 2
    assert {delivery for (delivery,) in first} <= set(Delivery.objects.values_list("pk", flat=True))


def test_a_delivery_in_which_everything_was_rejected_is_counted(gateway):
    accept_calls(gateway, [], rejected=3)
    process_waiting_deliveries()

    assert IntakeStats.objects.values_list("accepted", "rejected").get() == (0, 3)
    assert not Delivery.objects.exists()


# --- Judged by the moment of the call -----------------------------------------------------------


def test_moving_a_credential_leaves_the_past_where_it_was(credential, gateway):
    old = Subscription.objects.get()
    new = factories.a_subscription(credential.customer)
    moved_at = timezone.now() - DAY
    credentials.move_credential(
        credential=credential, subscription=old, to=new, by=None, at=moved_at
    )

    before = factories.a_call("the-key-of-the-tests", ago=DAY + HOUR)
    after = factories.a_call("the-key-of-the-tests", ago=DAY - HOUR)
    factories.settled(after, before, gateway=gateway)

    assert Transaction.objects.get(transaction_id=before.transaction_id).subscription == old
    assert Transaction.objects.get(transaction_id=after.transaction_id).subscription == new


def test_in_a_rotation_both_keys_feed_one_credential(credential, gateway):
    credentials.rotate_credential(
        credential=credential, overlap=DAY, key="the-next-key-of-the-tests", by=None
    )

    factories.settled(
        factories.a_call("the-key-of-the-tests"),
        factories.a_call("the-next-key-of-the-tests"),
        gateway=gateway,
    )

    assert Usage.objects.values_list("credential", "count").get() == (credential.pk, 2)


def test_a_key_given_on_belongs_to_each_in_its_time(gateway):
    customer = factories.a_customer()
    subscriptions = [factories.a_subscription(customer) for _ in range(2)]
    first = factories.a_credential(customer, "handed-on-key", subscriptions=subscriptions[:1])
    noon = timezone.now() - 5 * DAY
    credentials.end_key(key=first.keys.get(), by=None, at=noon)
    credentials.issue_credential(
        customer=customer,
        name="second",
        by=None,
        new_key=NewKey(key="handed-on-key"),
        subscriptions=subscriptions[1:],
    )

    factories.settled(
        factories.a_call("handed-on-key", ago=5 * DAY + HOUR),
        factories.a_call("handed-on-key", ago=5 * DAY - HOUR),
        gateway=gateway,
    )

    rows = Transaction.objects.order_by("occurred_at")
    assert [row.subscription for row in rows] == subscriptions


def test_where_something_always_waits_one_bell_hands_over_to_the_next(monkeypatch):
    """A worker that is asked to end then has a moment to do so."""
    monkeypatch.setattr(tasks, "MAX_SECONDS_PER_BELL", -1.0)
    monkeypatch.setattr(processing, "MAX_TRANSACTIONS_IN_CAUTIOUS_MODE", 1)
    gateway = factories.a_gateway()
    for _ in range(3):
        accept_calls(gateway, [factories.a_call()])
    cautious_mode.enter()
    while inbox_bell._rung.is_set():  # by what was just taken in
        sleep(0.01)

    tasks.process_inbox()

    assert inbox_bell._rung.is_set()
    assert Delivery.objects.count() == 2
