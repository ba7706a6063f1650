"""What a check says ahead is what attribution does with the same call a moment later."""

import random
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from django.utils import timezone
from msgspec.structs import replace

from metering.attribution.processing import process_waiting_deliveries
from metering.inbox.calls import public_id_fields
from metering.inbox.intake import accept_calls
from metering.models import Quarantined, Transaction
from metering.models.check_codes import CheckCode
from metering.verification.asking import judge_calls_now
from metering.verification.checking import CallAhead, start_of_next_month
from revcred.actions import credentials
from revcred.actions.credentials import NewKey
from revcred.fingerprints import fingerprint
from revcred.models import Credential, ExternalKey, Source, Subscription
from revcred.public_ids import public_id_fingerprint
from tests import factories

pytestmark = pytest.mark.django_db

# By code: the reason with which the same call is quarantined. Others are attributed.
REASONS = {
    "revoked": "key_not_valid",
    "suspended": "key_not_valid",
    "expired": "key_not_valid",
    "not_begun": "key_not_valid",
    "no_subscription": "no_subscription",
    "wrong_source": "no_subscription",
    "unknown_key": "unknown_key",
    "ambiguous": "ambiguous",
    "subscription_mismatch": "subscription_mismatch",
}
HOUR = timedelta(hours=1)
SEEDS = range(6)  # twenty cases each, by key and by public id
NOBODYS_PUBLIC_ID = "cred_" + 32 * "0"
CREDENTIALS_OF_A_CASE = 8


class World:
    """Credentials in every state, made by the actions that people use."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.numbers = count()
        self.seed = seed
        self.gateways = [factories.a_gateway(), factories.a_gateway()]
        self.sources = [
            Source.objects.create(name=name, external_key=f"{name}-{seed}")
            for name in ("maps", "routes")
        ]
        self.sources[0].path_rules.create(text=f"/maps-{seed}/")
        self.sources[1].path_rules.create(match="regex", text=f"^/v[0-9]/routes-{seed}")
        self.keys = ["nobody-has-this-key"]
        for _ in range(CREDENTIALS_OF_A_CASE):
            self.add_credential()

    def chance(self, part):
        return self.random.random() < part

    def moment(self):
        return timezone.now() + self.random.choice((-2, -1, 1, 2)) * HOUR

    def add_credential(self):
        customer = factories.a_customer()
        if self.chance(0.2):
            customer.suspended_at = self.moment()
            customer.save()
        subscriptions = [
            self.add_subscription(customer) for _ in range(self.random.choice((0, 1, 1, 2)))
        ]
        key = f"key-of-a-generated-case-{self.seed}-{next(self.numbers)}"
        gateway = self.random.choice((None, None, *self.gateways))
        active_from = factories.LONG_AGO if self.chance(0.85) else timezone.now() + HOUR
        credential = factories.a_credential(
            customer,
            new_key=NewKey(key=key, gateway=gateway, active_from=active_from),
            expires_at=self.moment() if self.chance(0.25) else None,
        )
        for subscription in subscriptions:
            at = self.moment() if self.chance(0.2) else factories.LONG_AGO
            credentials.assign_subscription(
                credential=credential, subscription=subscription, by=None, at=at
            )
        self.keys.append(key)
        if self.chance(0.15):
            self.keys.append(key + "-new")
            credentials.rotate_credential(
                credential=credential,
                overlap=self.random.choice((timedelta(), HOUR)),
                key=key + "-new",
                by=None,
            )
        if self.chance(0.2):
            credentials.suspend_credential(credential=credential, by=None)
            if self.chance(0.3):
                credentials.resume_credential(credential=credential, by=None)
        if self.chance(0.15):
            credentials.revoke_credential(credential=credential, reason="tested", by=None)

    def add_subscription(self, customer):
        product = factories.a_product(also_without_source=self.chance(0.5))
        if self.chance(0.5):
            product.sources.set(self.random.sample(self.sources, 1))
        return factories.a_subscription(
            customer,
            product=product,
            quota=self.random.choice((None, None, 0, 5)),
            active_until=self.moment() if self.chance(0.2) else None,
        )

    def some_calls(self):
        """Yield fields of a CallAhead with those of the same Call."""
        public_ids = list(Credential.objects.order_by("pk").values_list("public_id", flat=True))
        for key in (*self.keys, *public_ids[:2]):
            yield self.a_call({"fingerprint": fingerprint(key)}, factories.a_call(key))
        for public_id in (*public_ids, NOBODYS_PUBLIC_ID):
            identity = {
                "fingerprint": public_id_fingerprint(public_id),
                "public_id": public_id,
                "may_be_alias": True,
            }
            yield self.a_call(identity, factories.a_call(**public_id_fields(public_id)))

    def a_call(self, identity, call):
        names = list(Subscription.objects.values_list("external_key", flat=True)) or ["none"]
        source = self.random.choice((None, None, *self.sources))
        path = self.random.choice(
            (None, f"/maps-{self.seed}/1", f"/v1/routes-{self.seed}/x", "/other")
        )
        name = self.random.choice((None, None, None, self.random.choice(names)))
        external_key = source.external_key if source else None
        ahead = {"subscription_named": name, "source": external_key, "path": path}
        gateway = self.random.choice(self.gateways)
        call = replace(call, subscription_named=name, source_named=external_key, path=path)
        return gateway, identity | ahead, call


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_checked_is_what_becomes_of_the_call(seed):
    world = World(seed)
    # Before anything is judged: each `now` below is the same, later than all that was done.
    now = timezone.now()
    cases = list(world.some_calls())
    over_quota = world.chance(0.5)
    verdicts = judge_calls_now(
        [CallAhead(at=now, gateway=gateway.pk, **ahead) for gateway, ahead, _ in cases],
        refuse_over_quota=over_quota,
    )
    for number, (gateway, _, call) in enumerate(cases):
        accept_calls(gateway, [replace(call, transaction_id=f"{number}", occurred_at=now)])
    process_waiting_deliveries()

    charged = {row.transaction_id: row for row in Transaction.objects.all()}
    reasons = dict(Quarantined.objects.values_list("transaction_id", "reason"))
    for number, verdict in enumerate(verdicts):
        if expected := REASONS.get(verdict.code):
            assert (verdict.code, reasons.get(f"{number}")) == (verdict.code, expected)
            continue
        row = charged[f"{number}"]
        assert (verdict.credential, verdict.subscription, verdict.customer, verdict.product) == (
            *(row.credential_id, row.subscription_id, row.customer_id, row.product_id),
        )


def a_customers_credential(key="the-key-of-a-caller", **fields):
    customer = factories.a_customer()
    subscription = factories.a_subscription(customer, **fields)
    return factories.a_credential(customer, key, subscriptions=[subscription])


def judge(gateway=None, *, over_quota=True, **fields):
    gateway = gateway or factories.a_gateway()
    call = CallAhead(gateway=gateway.pk, at=timezone.now(), **fields)
    (verdict,) = judge_calls_now([call], refuse_over_quota=over_quota)
    return verdict


@pytest.mark.parametrize("kind", ["alias", "public id", "subscription"])
def test_only_keys_open_the_door(kind):
    credential = a_customers_credential(external_key="fleet")
    credentials.add_alias(credential=credential, alias="client-of-the-caller", by=None)
    sent = {"alias": "client-of-the-caller", "public id": credential.public_id}.get(kind, "fleet")

    assert judge(fingerprint=fingerprint(sent)).code == CheckCode.UNKNOWN_KEY


@pytest.mark.parametrize("kind", ["alias", "public id", "subscription"])
def test_a_gateway_may_vouch_for_the_caller(kind):
    credential = a_customers_credential(external_key="fleet")
    credentials.add_alias(credential=credential, alias="client-of-the-caller", by=None)
    fields = {
        "alias": {"fingerprint": fingerprint("client-of-the-caller"), "may_be_alias": True},
        "public id": {"public_id": credential.public_id, "may_be_alias": True},
        "subscription": {"subscription_named": "fleet"},
    }[kind]

    found = judge(**fields)

    expected = None if kind == "subscription" else credential.pk
    assert (found.code, found.credential) == (CheckCode.VALID, expected)


def test_an_alias_at_one_gateway_hides_a_key_of_another_credential_there():
    a_customers_credential("known-to-two-of-them")
    other, here = a_customers_credential("another-key-of-tests"), factories.a_gateway()
    credentials.add_alias(credential=other, alias="known-to-two-of-them", gateway=here, by=None)

    found = {
        judge(gateway, fingerprint=fingerprint("known-to-two-of-them")).code
        for gateway in (here, None)
    }

    assert found == {CheckCode.UNKNOWN_KEY, CheckCode.VALID}


def test_the_quota_counts_the_calls_of_the_calendar_month_in_utc():
    a_customers_credential(quota=2)
    asked = {"fingerprint": fingerprint("the-key-of-a-caller")}
    factories.settled(factories.a_call("the-key-of-a-caller"))
    first = judge(**asked)
    factories.settled(factories.a_call("the-key-of-a-caller"))

    assert (first.code, first.quota.used, first.quota.limit) == (CheckCode.VALID, 1, 2)
    assert first.quota.resets_at == start_of_next_month(timezone.now())
    assert judge(**asked).code == CheckCode.QUOTA_EXHAUSTED
    assert judge(over_quota=False, **asked).code == CheckCode.VALID


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (datetime(2026, 1, 31, 23, 59, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
        (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        (
            datetime(2026, 1, 31, 23, tzinfo=UTC).astimezone(timezone.get_fixed_timezone(120)),
            datetime(2026, 2, 1, tzinfo=UTC),
        ),
    ],
)
def test_quotas_begin_anew_each_month(at, expected):
    assert start_of_next_month(at) == expected


def test_a_valid_answer_says_when_it_may_change():
    credential = a_customers_credential()
    ends = timezone.now() + HOUR
    Credential.objects.filter(pk=credential.pk).update(expires_at=ends + HOUR)
    ExternalKey.objects.update(active_until=ends)

    assert judge(fingerprint=fingerprint("the-key-of-a-caller")).valid_until == ends


def test_a_check_of_many_calls_asks_as_often_as_a_check_of_one(django_assert_num_queries):
    for number in range(3):
        a_customers_credential(f"the-key-of-caller-{number}", quota=1)
    gateway = factories.a_gateway()

    for many in (1, 3):
        calls = [
            CallAhead(
                gateway=gateway.pk,
                at=timezone.now(),
                fingerprint=fingerprint(f"the-key-of-caller-{number}"),
            )
            for number in range(many)
        ]
        with django_assert_num_queries(6):
            judge_calls_now(calls, refuse_over_quota=True)
