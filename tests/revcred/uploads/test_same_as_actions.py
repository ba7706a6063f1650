"""Lists do what the actions do: the same rows, once by upload and once by actions.

A list writes by statements of its own. Random rows on a random world show where these and the
actions disagree. What a row means, such as which credential its key names, is repeated here; what
is allowed, and what is written, is asked of the actions.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection
from django.db.models import F, Max, Q
from django.db.transaction import atomic, set_rollback
from django.utils import timezone

from revcred.actions import credentials, subscriptions
from revcred.actions.credentials import NewKey
from revcred.fingerprints import fingerprint, hint
from revcred.models import (
    Assignment,
    AuditEvent,
    Credential,
    Customer,
    ExternalKey,
    Gateway,
    Membership,
    Product,
    SealedValue,
    Subscriber,
    Subscription,
    Suspension,
)
from revcred.uploads import staging
from revcred.uploads.columns import ListKind
from tests import factories
from tests.revcred.uploads.conftest import rows

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
ROWS_PER_LIST = 30
# Both ways take seconds, and moments of the world are days apart.
MOMENT_PRECISION = timedelta(minutes=10)

# In days from now: what a period may be. The last two never count.
KEY_PERIODS = [(-40, -20), (-40, None), (-10, None), (-10, 5), (5, None), (5, 8), (5, 5), (-9, -9)]
ASSIGNMENT_PERIODS = [(-40, -20), (-12, None), (-12, -4), (-12, 4), (4, None), (2, 9)]

COLUMNS = (
    *("customer", "name", "key", "secret", "subscription", "holders", "environment", "tags"),
    *("expires_at", "key_active_from", "assigned_from", "gateway"),
)


class Rejected(Exception):
    """An action refuses the row. `code`: the problem by which a list rejects it."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


# --- A random world and random rows ---------------------------------------------------------------


@dataclass
class World:
    """Customers, and for each row of the list some credentials that only this row is about."""

    draw: Random
    now: object = field(default_factory=timezone.now)

    def __post_init__(self):
        self.customers = [factories.a_customer(name) for name in ("acme", "other")]
        self.gateways = [factories.a_gateway(name) for name in ("north", "south")]
        self.subscriptions = {
            customer: [
                factories.a_subscription(customer, external_key=f"{customer.external_key}-{number}")
                for number in range(3)
            ]
            for customer in self.customers
        }
        self.members = {
            customer: [
                factories.a_subscriber(customer, email=f"{customer.external_key}-{n}@example.com")
                for n in range(2)
            ]
            for customer in self.customers
        }
        for customer in self.customers:
            factories.a_credential(customer, name="Taken")

    def moment(self, days):
        return None if days is None else self.now + days * DAY

    def maybe(self, chance, value, otherwise=""):
        return value if self.draw.random() < chance else otherwise

    def row(self, number):
        """Create the credentials that the row is about, and return its cells."""
        draw, text = self.draw, f"key-of-row-{number}"
        # Without its own, each row would change what the next one is about.
        Subscriber.objects.create(email=f"new-{number}@example.com")
        existing = [
            credential
            for nth in range(draw.choice((0, 1, 1, 1, 2, 3)))
            if (credential := self._credential(f"Row {number} {nth}", text))
        ]
        customer = draw.choice(existing).customer if existing else draw.choice(self.customers)
        if draw.random() < 0.15:
            customer = draw.choice(self.customers)
        names = [credential.name for credential in existing if credential.customer == customer]
        key_starts = [
            str(key.active_from.isoformat()) for one in existing for key in one.keys.all()
        ]
        other = next(one for one in self.customers if one != customer)
        cells = {
            "customer": self.maybe(0.97, customer.external_key, "nobody"),
            "name": self.maybe(
                0.8, names[-1] if names else f"Row {number} first", otherwise=f"Row {number} new"
            ),
            "key": self.maybe(0.85, text),
            "secret": self.maybe(0.3, "a-secret") if not existing else "",
            "subscription": self.maybe(0.5, self._several(self.subscriptions[customer])),
            "holders": self.maybe(0.4, self._several(self.members[customer])),
            "environment": self.maybe(0.3, draw.choice(("production", "staging"))),
            "tags": self.maybe(0.3, draw.choice(("a", "a|b"))),
            "expires_at": self.maybe(0.3, self._moment_cell(-3, 20)),
            "key_active_from": self.maybe(
                0.2, draw.choice([*key_starts, self._moment_cell(-45, -30, -15, -6, 3, 6, 9)])
            ),
            "assigned_from": self.maybe(0.4, self._moment_cell(-30, -6, -2, 3, 7)),
            "gateway": self.maybe(0.15, draw.choice(("north", "north", "south", "nowhere"))),
        }
        # By key only: by its name, the row would be about the same credential as others.
        if cells["key"] and draw.random() < 0.05:
            cells["name"] = "Taken"
        if draw.random() < 0.15:
            cells = dict.fromkeys(cells, "") | {each: cells[each] for each in COLUMNS[:3]}
        if draw.random() < 0.04:
            cells["subscription"] = draw.choice(("unknown", f"{other.external_key}-0"))
        if draw.random() < 0.12:
            cells["holders"] = draw.choice(
                (
                    f"new-{number}@example.com",
                    f"{other.external_key}-0@example.com",
                    "unknown@example.com",
                )
            )
        return cells

    def _several(self, things):
        chosen = self.draw.sample(things, self.draw.choice((1, 1, 2)))
        return "|".join(str(getattr(one, "external_key", None) or one.email) for one in chosen)

    def _moment_cell(self, *days):
        return self.moment(self.draw.choice(days)).isoformat()

    def _credential(self, name, text):
        """Create a credential with keys of that text; return None if its key would overlap."""
        draw, customer = self.draw, self.draw.choice(self.customers)
        try:
            with atomic():
                credential = Credential.objects.create(
                    customer=customer,
                    name=name,
                    environment=draw.choice(("", "production")),
                    tags=draw.choice(([], ["a"])),
                    expires_at=self.moment(draw.choice((None, None, -3, 20))),
                )
                for from_, until in draw.sample(KEY_PERIODS, draw.choice((1, 1, 2))):
                    self._key(credential, text, from_, until)
        except IntegrityError:
            return None
        for from_, until in draw.sample(ASSIGNMENT_PERIODS, draw.choice((0, 1, 2))):
            self._assignment(credential, from_, until)
        credential.holders.set(draw.sample(self.members[customer], draw.choice((0, 1, 2))))
        if draw.random() < 0.15:
            Suspension.objects.create(credential=credential, active_from=self.moment(-2))
        if draw.random() < 0.25:
            credential.revoked_at, credential.revocation_reason = self.moment(-8), "lost"
            credential.save()
        return credential

    def _key(self, credential, text, from_, until):
        key = ExternalKey.objects.create(
            credential=credential,
            kind=self.draw.choice(("key", "key", "alias")),
            gateway=self.draw.choice((None, None, None, *self.gateways)),
            fingerprint=fingerprint(text),
            hint=hint(text),
            active_from=self.moment(from_),
            active_until=self.moment(until),
        )
        sealed = SealedValue(external_key=key)
        sealed.seal(value=text, secret=None)
        sealed.save(force_insert=True)

    def _assignment(self, credential, from_, until):
        subscription = self.draw.choice(self.subscriptions[credential.customer])
        # Two periods of one subscription may overlap: then there is only the first.
        with atomic(), ignoring_overlap():
            Assignment.objects.create(
                customer=credential.customer,
                credential=credential,
                subscription=subscription,
                active_from=self.moment(from_),
                active_until=self.moment(until),
            )


@contextmanager
def ignoring_overlap():
    try:
        with atomic():
            yield
    except IntegrityError:
        pass


# --- The same by actions --------------------------------------------------------------------------

# By what an action raises: the problem by which a list rejects the row.
CODES = {
    credentials.CredentialNameInUse: "name:in_use",
    credentials.KeyInUse: "key:in_use",
    credentials.KeyOfRevokedCredential: "key:revoked",
    credentials.SubscriptionOfOtherCustomer: "subscription:of_another",
    credentials.HoldersNotMembers: "holders:of_another",
}


@dataclass(frozen=True)
class ByActions:
    """What a person who has the list and the same choices would do on the pages."""

    takes_over: bool
    uses_again: bool
    joins: bool

    def outcome(self, row):
        """Apply the row. Returns `changed` or `unchanged`, or the problem for which it is not."""
        events = AuditEvent.objects.count()
        try:
            with atomic():
                self._apply({name: value or None for name, value in row.items()})
        except Rejected as rejected:
            return rejected.code
        except tuple(CODES) as error:
            return CODES[type(error)]
        return "changed" if AuditEvent.objects.count() > events else "unchanged"

    def _apply(self, row):
        customer = named(Customer, "external_key", row["customer"], "customer:unknown")
        gateway = row["gateway"] and named(Gateway, "name", row["gateway"], "gateway:unknown")
        facts = {
            "subscriptions": each_named(row["subscription"], Subscription, "external_key"),
            "holders": each_named(row["holders"], Subscriber, "email"),
        }
        key = self._current_key(row, gateway)
        if key and gateway != key.gateway and gateway:
            raise Rejected("gateway:other")
        if key and key.credential.customer != customer:
            return self._take_over(row, key, customer, **facts)
        credential = (
            key.credential
            if key
            else customer.credentials.filter(name=row["name"], revoked_at=None).first()
        )
        if credential is None or (row["key"] and key is None):
            active_from = moment(row["key_active_from"])
            return self._issue(row, customer, gateway, active_from, **facts)
        if key and row["key_active_from"] and moment(row["key_active_from"]) != key.active_from:
            raise Rejected("key_active_from:fixed")
        return self._change(row, credential, **facts)

    def _current_key(self, row, gateway):
        """Return the key that the row names: it counts, or will count, for somebody."""
        if not row["key"]:
            return None
        found = (
            ExternalKey.objects.ever_counting()
            .not_ended_at(timezone.now())
            .filter(fingerprint=fingerprint(row["key"]), credential__revoked_at=None)
            .order_by(F("gateway").asc(nulls_first=True), "active_from")
        )
        if gateway:
            at_this = found.filter(Q(gateway=gateway) | Q(gateway=None))
            return at_this.order_by(F("gateway").asc(nulls_last=True), "active_from").first()
        found = list(found)
        if len(found) > 1 and found[0].gateway:
            raise Rejected("gateway:several")
        return found[0] if found else None

    def _take_over(self, row, key, customer, **facts):
        if not self.takes_over:
            raise Rejected("key:of_another")
        at = moment(row["assigned_from"]) or timezone.now()
        if at <= key.active_from:
            raise Rejected("assigned_from:before_key")
        credentials.end_key(key=key, at=at, by=None)
        self._issue(row, customer, key.gateway, at, **facts)

    def _issue(self, row, customer, gateway, active_from, *, subscriptions, holders):
        credential = credentials.issue_credential(
            customer=customer,
            name=row["name"],
            new_key=NewKey(
                key=row["key"],
                secret=row["secret"],
                gateway=gateway,
                active_from=active_from,
                use_again=self.uses_again,
            ),
            holders=holders,
            new_members=self._agreed(holders),
            environment=row["environment"] or "",
            tags=(row["tags"] or "").split("|") if row["tags"] else (),
            expires_at=moment(row["expires_at"]),
            by=None,
        )
        at = moment(row["assigned_from"]) or credential.keys.get().active_from
        for subscription in subscriptions:
            credentials.assign_subscription(
                credential=credential, subscription=subscription, at=at, by=None
            )

    def _change(self, row, credential, *, subscriptions, holders):
        credential.name = row["name"]
        credential.environment = row["environment"] or credential.environment
        credential.tags = row["tags"].split("|") if row["tags"] else credential.tags
        credential.expires_at = moment(row["expires_at"]) or credential.expires_at
        credentials.change_credential(
            credential=credential,
            holders=holders or None,
            new_members=self._agreed(holders),
            by=None,
        )
        if subscriptions:
            self._assign(credential, subscriptions, moment(row["assigned_from"]) or timezone.now())

    def _assign(self, credential, subscriptions, at):
        """Let it feed these subscriptions from then on, and no others."""
        for each in credential.assignments.not_ended_at(at):
            if each.subscription not in subscriptions:
                credentials.unassign_subscription(
                    credential=credential,
                    subscription=each.subscription,
                    at=max(at, each.active_from),
                    by=None,
                )
        fed = {each.subscription for each in credential.assignments.not_ended_at(at)}
        for subscription in subscriptions:
            if subscription not in fed:
                credentials.assign_subscription(
                    credential=credential, subscription=subscription, at=at, by=None
                )

    def _agreed(self, holders):
        """Return who may become a member: people of no customer, and all if that is chosen."""
        return [one for one in holders if self.joins or not one.memberships.exists()]


def named(model, column, value, code):
    found = model.objects.filter(**{column: value}).first()
    if found is None:
        raise Rejected(code)
    return found


def each_named(cell, model, column):
    code = "subscription:unknown" if model is Subscription else "holders:unknown"
    return [named(model, column, value, code) for value in (cell or "").split("|") if value]


def moment(cell):
    return cell and timezone.datetime.fromisoformat(cell)


# --- Comparing ------------------------------------------------------------------------------------


def tables(now, texts):
    """Return all rows that lists of credentials may write, as sets by table.

    Without ids; moments in steps of MOMENT_PRECISION from now, keys as their texts.
    """
    known = {fingerprint(text): text for text in texts}

    def ago(at):
        return at and round((at - now) / MOMENT_PRECISION)

    keys = ExternalKey.objects.select_related("credential__customer", "gateway", "sealed")
    assignments = Assignment.objects.select_related("credential__customer", "subscription")
    return {
        "credentials": sorted(
            str((who(one), one.environment, one.tags, ago(one.expires_at), ago(one.revoked_at)))
            for one in Credential.objects.select_related("customer")
        ),
        "keys": sorted(
            str(
                (
                    *(who(key.credential), key.kind, key.gateway and key.gateway.name),
                    *(
                        known.get(key.fingerprint, "generated"),
                        key.fingerprint in known and key.hint,
                    ),
                    *(ago(key.active_from), ago(key.active_until)),
                    key.fingerprint in known and key.sealed.unseal("value"),
                    *(key.sealed.unseal("secret"), key.sealed.secret_fingerprint),
                )
            )
            for key in keys
        ),
        "assignments": sorted(
            str(
                (
                    *(who(one.credential), one.subscription.external_key, one.customer_id),
                    *(ago(one.active_from), ago(one.active_until)),
                )
            )
            for one in assignments
        ),
        "holders": sorted(
            str((who(one), person.email))
            for one in Credential.objects.select_related("customer").prefetch_related("holders")
            for person in one.holders.all()
        ),
        "members": sorted(
            map(
                str,
                Membership.objects.values_list("customer__name", "subscriber__email", "role"),
            )
        ),
        "suspensions": sorted(
            str((who(one.credential), ago(one.active_from), ago(one.active_until)))
            for one in Suspension.objects.select_related("credential__customer")
        ),
        "customers": sorted(Customer.objects.values_list("external_key", flat=True)),
        "subscribers": sorted(Subscriber.objects.values_list("email", flat=True)),
        "subscriptions": sorted(Subscription.objects.values_list("external_key", flat=True)),
    }


def who(credential):
    return f"{credential.customer.external_key}/{credential.name}"


def planned(upload):
    """Return (action, problems) of each row, in their order."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT action, problems FROM {staging.staging_table(upload.pk)} ORDER BY number"
        )
        return cursor.fetchall()


@contextmanager
def taken_back():
    with atomic():
        yield
        set_rollback(True)


def differences(found, expected):
    return {
        name: {
            "only by upload": sorted({*found[name]} - {*expected[name]}),
            "only by actions": sorted({*expected[name]} - {*found[name]}),
        }
        for name in expected
        if found[name] != expected[name]
    }


@pytest.mark.parametrize("seed", range(6))
def test_a_list_of_credentials_does_what_the_actions_do(applied, seed):
    world = World(Random(seed))
    choices = ByActions(takes_over=seed % 2 == 1, uses_again=seed % 3 > 0, joins=seed > 2)
    asked = [world.row(number) for number in range(ROWS_PER_LIST)]
    texts = {row["key"] for row in asked}

    with taken_back():
        expected_outcomes = [choices.outcome(row) for row in asked]
        expected = tables(world.now, texts)
    with taken_back():
        upload = applied(
            rows(",".join(COLUMNS), *(",".join(row[name] for name in COLUMNS) for row in asked)),
            keys_of_others="take_over" if choices.takes_over else "reject",
            revoked_keys="use_again" if choices.uses_again else "reject",
            people_of_others="join" if choices.joins else "reject",
        )
        assert upload.error == ""
        outcomes = planned(upload)
        found = tables(world.now, texts)

    assert disagreements(asked, outcomes, expected_outcomes) == []
    assert differences(found, expected) == {}


def disagreements(asked, outcomes, expected_outcomes):
    """Return the rows that only one of both changed or rejected, or for different reasons."""
    return [
        (row, outcome, expected)
        for row, outcome, expected in zip(asked, outcomes, expected_outcomes, strict=True)
        if not same_outcome(*outcome, expected)
    ]


def same_outcome(action, problems, expected):
    """Return True if both did the same, or rejected it. An action gives the first reason only."""
    if action == "rejected":
        return expected in [
            "key:in_use" if problem == "key_active_from:in_use" else problem for problem in problems
        ]
    return expected == ("unchanged" if action == "unchanged" else "changed")


# --- Lists of subscriptions -----------------------------------------------------------------------

SUBSCRIPTION_COLUMNS = (
    *("external_key", "customer", "product", "name", "active_from", "active_until", "quota"),
)
SUBSCRIPTION_PERIODS = [(-40, -20), (-20, -9), (-15, None), (-10, 6), (5, None), (6, 9)]


def subscription_row(draw, now, number, customers, products):
    """Create subscriptions that only this row names, and return its cells."""
    name = f"subscription-of-row-{number}"
    existing = []
    for from_, until in draw.sample(SUBSCRIPTION_PERIODS, draw.choice((0, 1, 1, 2, 3))):
        with ignoring_overlap():
            existing.append(
                factories.a_subscription(
                    draw.choice(customers),
                    product=draw.choice(products),
                    external_key=name,
                    active_from=now + from_ * DAY,
                    active_until=None if until is None else now + until * DAY,
                )
            )
    starts = [one.active_from for one in existing]
    ends = [one.active_until for one in existing if one.active_until]
    moments = [*starts, *ends, *(now + days * DAY for days in (-30, -12, -5, 3, 7, 12))]

    def maybe(chance, value):
        return value if draw.random() < chance else ""

    customer = existing[0].customer if existing and draw.random() < 0.7 else draw.choice(customers)
    return {
        "external_key": name,
        "customer": maybe(0.96, customer.external_key) or "nobody",
        "product": maybe(0.96, draw.choice(products).external_key) or "nothing",
        "name": maybe(0.5, f"Row {number}"),
        "active_from": maybe(0.4, draw.choice(moments).isoformat()),
        "active_until": maybe(0.3, draw.choice(moments).isoformat()),
        "quota": maybe(0.3, "1000"),
    }


def subscription_outcome(row):
    """Apply the row by actions. Returns as `ByActions.outcome` does."""
    events = AuditEvent.objects.count()
    try:
        with atomic():
            apply_subscription_row({name: value or None for name, value in row.items()})
    except Rejected as rejected:
        return rejected.code
    except ValidationError:
        return "active_until:too_early"
    except subscriptions.SubscriptionExternalKeyInUse:
        return "external_key:in_use"
    return "changed" if AuditEvent.objects.count() > events else "unchanged"


def apply_subscription_row(row):
    now = timezone.now()
    customer = named(Customer, "external_key", row["customer"], "customer:unknown")
    product = named(Product, "external_key", row["product"], "product:unknown")
    from_, until = moment(row["active_from"]), moment(row["active_until"])
    of_name = Subscription.objects.filter(external_key=row["external_key"])
    # A row with dates means the one of that time, else the one that has the name now.
    meant = [
        one
        for one in of_name.order_by("-active_from")
        if (one.outlasts(from_) if from_ else one.customer == customer or one.outlasts(now))
        and (until is None or one.active_from < until)
    ]
    meant.sort(key=lambda one: not one.is_active_at(now))
    facts = {
        "product": product,
        "name": row["name"],
        "active_from": from_,
        "active_until": until,
        "quota": row["quota"] and int(row["quota"]),
    }
    facts = {name: value for name, value in facts.items() if value is not None}
    if not meant:
        let_go = of_name.filter(active_until__lte=now).aggregate(at=Max("active_until"))["at"]
        oldest = Gateway.objects.oldest_accepted_moment(now)
        begins = {"active_from": max(oldest, let_go) if let_go else oldest}
        new = Subscription(external_key=row["external_key"], customer=customer, **begins | facts)
        new.clean()
        return subscriptions.start_subscription(subscription=new, by=None)
    subscription = meant[0]
    if subscription.customer != customer:
        raise Rejected("customer:another")
    for name, value in facts.items():
        setattr(subscription, name, value)
    subscription.clean()
    return subscriptions.change_subscription(subscription=subscription, by=None)


def subscription_table(now):
    return sorted(
        str(
            (
                *(one.external_key, one.customer.external_key, one.product.external_key, one.name),
                *(round((one.active_from - now) / MOMENT_PRECISION), one.quota),
                one.active_until and round((one.active_until - now) / MOMENT_PRECISION),
            )
        )
        for one in Subscription.objects.select_related("customer", "product")
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_list_of_subscriptions_does_what_the_actions_do(applied, seed):
    draw, now = Random(seed), timezone.now()
    customers = [factories.a_customer(name) for name in ("acme", "other")]
    products = [factories.a_product(name) for name in ("maps", "routes")]
    asked = [
        subscription_row(draw, now, number, customers, products) for number in range(ROWS_PER_LIST)
    ]

    with taken_back():
        expected_outcomes = [subscription_outcome(row) for row in asked]
        expected = {"subscriptions": subscription_table(now)}
    with taken_back():
        lines = (",".join(row[name] for name in SUBSCRIPTION_COLUMNS) for row in asked)
        upload = applied(rows(",".join(SUBSCRIPTION_COLUMNS), *lines), kind=ListKind.SUBSCRIPTIONS)
        assert upload.error == ""
        outcomes = planned(upload)
        found = {"subscriptions": subscription_table(now)}

    assert disagreements(asked, outcomes, expected_outcomes) == []
    assert differences(found, expected) == {}


# --- What they did not do alike -------------------------------------------------------------------

KEY = "the-key-of-some-row"


@pytest.fixture
def acme():
    return factories.a_customer("Acme")


@pytest.fixture
def other():
    return factories.a_customer("Other")


def with_key(customer, from_, until=None, *, name="Old", gateway=None):
    """A credential with KEY in that period, in days from now."""
    now = timezone.now()
    credential = Credential.objects.create(customer=customer, name=name)
    key = ExternalKey.objects.create(
        credential=credential,
        gateway=gateway,
        fingerprint=fingerprint(KEY),
        active_from=now + from_ * DAY,
        active_until=None if until is None else now + until * DAY,
    )
    return credential, key


def revoke(credential):
    credentials.revoke_credential(credential=credential, reason="lost", by=None)


def in_days(days):
    return (timezone.now() + days * DAY).isoformat()


@pytest.fixture
def withdrawn(acme):
    """A credential whose key was to count from next week on, and was ended before."""
    credential, key = with_key(acme, 7)
    credentials.end_key(key=key, by=None)
    return credential


@pytest.mark.parametrize("customer", ["acme", "other"])
@pytest.mark.parametrize("from_", [None, 3])
def test_a_key_that_never_counted_is_free_for_everybody(applied, withdrawn, other, customer, from_):
    starts = "" if from_ is None else in_days(from_)

    upload = applied(rows("customer,name,key,key_active_from", f"{customer},New,{KEY},{starts}"))

    assert upload.outcome == {"create": 1, "meanwhile": 0}
    new = Credential.objects.get(name="New").keys.get()
    # As far back as calls are accepted, and not from the end of what never counted.
    assert new.active_from < timezone.now() if from_ is None else new.active_from > timezone.now()
    assert new.active_until is None
    withdrawn.refresh_from_db()
    assert not withdrawn.keys.ever_counting().exists()


def test_a_key_that_will_count_is_not_free(uploaded, acme, other):
    with_key(acme, 7)

    of_another = uploaded(rows("customer,name,key", f"other,New,{KEY}"))
    own = uploaded(rows("customer,name,key", f"acme,Old,{KEY}"))

    assert planned(of_another) == [("rejected", ["key:of_another", "assigned_from:before_key"])]
    assert planned(own) == [("unchanged", [])]


def test_a_key_that_ends_before_it_is_taken_over_ends_as_planned(applied, acme, other):
    _, key = with_key(acme, -9, 2)

    applied(
        rows("customer,name,key,assigned_from", f"other,New,{KEY},{in_days(5)}"),
        keys_of_others="take_over",
    )

    assert ExternalKey.objects.get(pk=key.pk).active_until == key.active_until
    assert Credential.objects.get(name="New").keys.get().active_from > key.active_until


@pytest.mark.parametrize("one_is_revoked", [False, True])
def test_a_key_that_a_third_one_will_have_is_not_taken_over(uploaded, acme, other, one_is_revoked):
    with_key(acme, -9, 2)
    with_key(acme, 5, name="Third")
    if one_is_revoked:
        revoke(with_key(acme, -9, name="Revoked", gateway=factories.a_gateway())[0])

    upload = uploaded(
        rows("customer,name,key", f"other,New,{KEY}"),
        keys_of_others="take_over",
        revoked_keys="use_again",
    )

    assert planned(upload) == [("rejected", ["key:in_use"])]


@pytest.mark.parametrize("by_upload", [True, False])
@pytest.mark.parametrize(("from_", "until"), [(-9, 2), (5, None), (5, 8)])
def test_a_revoked_key_that_would_end_later_is_used_again_now(
    applied, acme, from_, until, by_upload
):
    old, key = with_key(acme, from_, until)
    revoke(old)

    if by_upload:
        applied(rows("customer,name,key", f"acme,New,{KEY}"), revoked_keys="use_again")
    else:
        credentials.issue_credential(
            customer=acme, name="New", new_key=NewKey(key=KEY, use_again=True), by=None
        )

    new = Credential.objects.get(name="New").keys.get()
    assert old.revoked_at <= new.active_from <= timezone.now()
    key.refresh_from_db()
    assert key.active_until == max(old.revoked_at, key.active_from)


def test_a_revoked_key_is_used_again_at_its_gateway_only(applied, acme):
    north, south = factories.a_gateway("north"), factories.a_gateway("south")
    old, _ = with_key(acme, -9, gateway=north)
    key = ExternalKey.objects.create(
        credential=old, gateway=south, fingerprint=fingerprint(KEY), active_from=old.created_at
    )
    revoke(old)

    applied(rows("customer,name,key,gateway", f"acme,New,{KEY},north"), revoked_keys="use_again")

    key.refresh_from_db()
    assert key.active_until is None


@pytest.mark.parametrize(("days", "action"), [(-3, "create"), (-7, "rejected")])
def test_a_revoked_key_may_count_from_its_end_if_it_ended_before(uploaded, acme, days, action):
    old, _ = with_key(acme, -9, -5)
    revoke(old)

    upload = uploaded(
        rows("customer,name,key,key_active_from", f"acme,New,{KEY},{in_days(days)}"),
        revoked_keys="use_again",
    )

    assert planned(upload)[0][0] == action


@pytest.mark.parametrize("use_again", [True, False])
def test_taking_over_asks_of_a_revoked_credential_s_key_too(uploaded, acme, other, use_again):
    revoked, _ = with_key(acme, -9, name="Revoked")
    with_key(acme, -9, gateway=factories.a_gateway("north"))
    revoke(revoked)

    upload = uploaded(
        rows("customer,name,key", f"other,New,{KEY}"),
        keys_of_others="take_over",
        revoked_keys="use_again" if use_again else "reject",
    )

    assert planned(upload) == [("move", []) if use_again else ("rejected", ["key:revoked"])]


def test_two_periods_of_one_subscription_are_no_change(uploaded, acme):
    old, _ = with_key(acme, -9)
    subscription = factories.a_subscription(acme, external_key="maps")
    now = timezone.now()
    for from_, until in ((-9, 2), (4, None)):
        Assignment.objects.create(
            customer=acme,
            credential=old,
            subscription=subscription,
            active_from=now + from_ * DAY,
            active_until=None if until is None else now + until * DAY,
        )

    upload = uploaded(rows("customer,name,key,subscription", f"acme,Old,{KEY},maps"))

    assert planned(upload) == [("unchanged", [])]
