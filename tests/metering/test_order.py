"""In whatever order things arrive and happen, what stands in the end is what should.

`python -m pytest tests/metering/test_order.py --steps 50000 --from 7` takes so many steps, drawn
from that seed.
"""

import sys
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from time import monotonic
from unittest.mock import patch

from django.db import connection
from django.db.models import Sum
from django.db.transaction import atomic, set_rollback
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from metering.attribution.cautious_mode import cautious_mode
from metering.attribution.processing import process_deliveries, process_waiting_deliveries
from metering.attribution.rules import (
    CandidateSubscription,
    MatchingKey,
    NameHolder,
    SourceCoverage,
    verdict,
)
from metering.inbox.intake import accept_calls
from metering.models import Claim, Conflict, Quarantined, QuarantineReason, Transaction, Usage
from metering.quarantine import actions, reattribution
from revcred.actions import credentials, subscriptions
from revcred.actions.credentials import NewKey
from revcred.models import FormerName, Source, Subscription
from revcred.models.periods import start_of_second
from tests import factories

STEPS, SEED = 400, 1
STEPS_OF_AN_EXAMPLE, STEPS_BETWEEN = 50, 10  # two comparisons
STEP = timedelta(hours=6)  # few moments, so that starts, ends and calls often fall on the same
FIRST, LAST = -100, 4  # moments that calls have, counted from today's midnight
REFUSALS = (
    credentials.KeyOfRevokedCredential,
    credentials.KeyInUse,
    credentials.KeyOfRevokedCredential,
    credentials.AlreadyAssigned,
    credentials.CredentialRevoked,
    credentials.NotAssigned,
    subscriptions.SubscriptionExternalKeyInUse,
    subscriptions.SubscriptionNotStarted,
)


def moment(number):
    """Return a moment in whole seconds, as calls have them."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + number * STEP


def within_its_second(at):
    number, later = at
    return moment(number) + timedelta(milliseconds=later)


# --- What ought to be ----------------------------------------------------------------------------


@dataclass
class Period:
    active_from: datetime
    active_until: datetime | None = None

    is_active_at = Subscription.is_active_at
    holds_within = Subscription.holds_within
    outlasts = Subscription.outlasts


@dataclass(eq=False)
class Owner:
    """A credential as the oracle knows it."""

    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    suspensions: list = field(default_factory=list)
    assigned: list = field(default_factory=list)  # of (subscription, period)


@dataclass
class Oracle:
    """A model of who owns what when, and of the first content of each transaction."""

    active: dict = field(default_factory=dict)  # subscription's number: period
    names: dict = field(default_factory=dict)  # subscription's number: its name now
    former: list = field(default_factory=list)  # of [name, number, until or None], the last last
    coverage: dict = field(default_factory=dict)  # subscription's number
    keys: list = field(default_factory=list)  # of (string, gateway or None, kind, owner, period)
    calls: dict = field(default_factory=dict)  # (gateway, id): call, string
    conflicts: int = 0

    def hear(self, gateway, call, string):
        first, _ = self.calls.setdefault((gateway, call.transaction_id), (call, string))
        self.conflicts += first != call

    def _verdict(self, gateway, call, string):
        return verdict(
            at=call.occurred_at,
            keyed=string is not None,
            keys=[
                self._key(where is not None, kind, owner, period)
                for text, where, kind, owner, period in self.keys
                if text == string and where in {None, gateway}
            ],
            named=call.subscription_named is not None,
            holders=self._holders(call.subscription_named),
            source=call.source_named,
        )

    def _holders(self, name):
        current = [(number, None, None) for number, each in self.names.items() if each == name]
        former = [
            (number, moment(FIRST) + place * STEP, until)
            for place, (each, number, until) in enumerate(self.former)
            if each == name
        ]
        return [
            NameHolder(
                subscription=number,
                active=self.active[number],
                coverage=self.coverage[number],
                former_since=since,
                counts_until=until,
            )
            for number, since, until in current + former
        ]

    def rename(self, number, name, now):
        """Rename it; both names find it, and a former holder of the new name loses it now."""
        self.former = [each for each in self.former if each[:2] != [name, number]]
        self.former.append([self.names[number], number, None])
        self.names[number] = name
        self.take(number, name, now)

    def take(self, number, name, now):
        taken = max(now, self.active[number].active_from)
        if self.active[number].outlasts(now):
            for each in self.former:
                if each[0] == name and each[1] != number and (each[2] is None or each[2] > taken):
                    each[2] = taken

    def outcome(self, gateway, call, string):
        """Return the subscription or the reason; which key of a credential counted is left open."""
        found = self._verdict(gateway, call, string)
        return getattr(found, "subscription", found)

    def _key(self, bound, kind, owner, period):
        candidates = [
            CandidateSubscription(
                subscription=name,
                assigned=assigned,
                active=self.active[name],
                coverage=self.coverage[name],
            )
            for name, assigned in owner.assigned
        ]
        return MatchingKey(
            kind=kind,
            period=period,
            bound=bound,
            candidates=candidates,
            revoked_at=owner.revoked_at,
            expires_at=owner.expires_at,
            suspensions=owner.suspensions,
        )

    def outcomes(self):
        return {known: self.outcome(known[0], *said) for known, said in self.calls.items()}

    def usage(self):
        """Return quantities by subscription, hour and element."""
        total = Counter()
        for (gateway, _), (call, string) in self.calls.items():
            found = self.outcome(gateway, call, string)
            if not isinstance(found, QuarantineReason):
                for element, quantity in call.elements.items():
                    total[found, call.occurred_at, element] += quantity
        return total


def cut(kept, which, at):
    """End the period then. One that would have no length is removed."""
    if at <= which.active_from:
        kept[:] = [each for each in kept if each[-1] is not which]
    else:
        which.active_until = at


def end_key(period, at):
    """End the key. It stays known, even if it never counted."""
    if period.active_until is None or period.active_until > at:
        period.active_until = max(at, period.active_from)


# --- What is -------------------------------------------------------------------------------------


def outcomes():
    standing = Transaction.objects.standing()
    rows = [((row.gateway_id, row.transaction_id), row.subscription_id) for row in standing] + [
        ((row.gateway_id, row.transaction_id), QuarantineReason(row.reason))
        for row in Quarantined.objects.all()
    ]
    assert len(rows) == len(dict(rows)), "something stands twice"
    return dict(rows)


def usage():
    rows = Usage.objects.values_list("subscription", "hour", "element")
    sums = rows.annotate(total=Sum("quantity")).filter(total__gt=0)
    return {tuple(key): total for *key, total in sums}


def differences(found, expected):
    """Return the actual and the expected state, where they differ."""
    return {
        known: (found.get(known), expected.get(known))
        for known in found | expected
        if found.get(known) != expected.get(known)
    }


# --- What happens --------------------------------------------------------------------------------

laters = st.sampled_from([0, 0, 300, 600])  # milliseconds
moments = st.tuples(st.integers(FIRST, LAST), laters).map(within_its_second)
starts = st.tuples(st.integers(FIRST, FIRST // 2), laters).map(within_its_second)
some = st.integers(0, 1 << 30)  # which one: the rest of a division by how many there are
maybe = st.booleans()
seldom = st.integers(0, 9).map(lambda number: number == 1)


class Order(RuleBasedStateMachine):
    steps = 0
    compared = 0  # outcomes

    def __init__(self):
        super().__init__()
        self.running = ExitStack()
        self.running.enter_context(atomic())
        self.running.enter_context(patch("django.utils.timezone.now", lambda: self.now))
        self.running.enter_context(
            patch.object(reattribution, "MAX_TRANSACTIONS_PER_CLAIM_STEP", 3)
        )
        cautious_mode.reset()
        self.now = moment(FIRST // 2)
        self.taken, self.oracle = 0, Oracle()
        self.gateways = [factories.a_gateway().pk for _ in range(2)]
        self.customer = factories.a_customer()
        self.admin = factories.a_user()
        self.strings = [f"string-{n}-of-the-orders" for n in range(4)]
        self.credentials, self.keys, self.sent = [], [], []
        source = Source.objects.create(name="Maps", external_key="maps")
        self.subscriptions, self.names = [], []
        for sources in ([], [], [source]):
            product = factories.a_product()
            product.sources.set(sources)
            self._subscribe(factories.a_subscription(self.customer, product=product))
        for number in range(2):
            self.issue(number, moment(FIRST), fed=number, twice=False, expires_at=None)
            self.arrive(number, many=10)

    def teardown(self):
        try:
            self.compare()
        finally:
            set_rollback(True)
            self.running.close()

    @invariant()
    def is_in_order_now_and_then(self):
        Order.steps += 1
        self.taken += 1
        if self.taken % STEPS_BETWEEN == 0:
            self.compare()

    # Arrivals

    @rule(drawn=some, many=st.integers(1, 10))
    def arrive(self, drawn, many):
        chance = Random(drawn)
        calls = [self._call(chance) for _ in range(many)]
        self._deliver(chance.choice(self.gateways), *calls)

    def _call(self, chance):
        string = chance.choice([*self.strings, *self.strings, None])
        named = chance.choice(self.names) if chance.random() < 0.2 else None
        call = factories.a_call(
            string,
            occurred_at=moment(chance.randint(FIRST, LAST)),
            subscription_named=named,
            source_named="maps" if chance.random() < 0.2 else None,
            elements={"calls": 1, "gb": 3} if chance.random() < 0.3 else {"calls": 1},
        )
        return call, string

    @precondition(lambda self: self.sent)
    @rule(which=some, more=some)
    def repeat(self, which, more):
        gateway, *said = self._one_of(self.sent, which)
        others = [each[1:] for each in self.sent if each[0] == gateway]
        self._deliver(gateway, said, self._one_of(others, more))

    @precondition(lambda self: self.sent)
    @rule(which=some, at=moments, string=some)
    def contradict(self, which, at, string):
        gateway, call, _ = self._one_of(self.sent, which)
        string = self._one_of(self.strings, string)
        fields = {"transaction_id": call.transaction_id, "occurred_at": at}
        self._deliver(gateway, (factories.a_call(string, **fields), string))

    def _deliver(self, gateway, *said):
        accept_calls(gateway, [call for call, _ in said])
        for call, string in said:
            self.oracle.hear(gateway, call, string)
            self.sent.append((gateway, call, string))

    # Processing

    @rule(most=st.integers(1, 5))
    def settle_some(self, most):
        process_deliveries(most)

    @rule(which=some)
    def claim_some(self, which):
        waiting = list(Claim.objects.open().values_list("pk", flat=True))
        if waiting:
            reattribution._judge_step(
                self._one_of(waiting, which), reattribution.MAX_TRANSACTIONS_PER_CLAIM_STEP
            )

    @rule()
    def be_careful(self):
        cautious_mode.enter()

    @rule(which=some)
    def release(self, which):
        waiting = Quarantined.objects.filter(released_at=None).order_by("pk")
        if waiting:
            one = waiting.filter(pk=self._one_of(list(waiting), which).pk)
            actions.mark_reviewed(one, by=self.admin, note="looked at")

    def compare(self):
        process_waiting_deliveries()
        while Claim.objects.open().exists():
            reattribution.work_through_claims()
        found = outcomes()
        Order.compared += len(found)
        assert differences(found, self.oracle.outcomes()) == {}
        assert differences(usage(), self.oracle.usage()) == {}
        assert Conflict.objects.count() == self.oracle.conflicts

    # Acts

    @rule(hours=st.integers(1, 3), later=laters)
    def time_passes(self, hours, later):
        if self.now < moment(0):
            self.now = start_of_second(self.now) + hours * STEP + timedelta(milliseconds=later)

    @rule(string=some, start=starts, fed=some, twice=seldom, expires_at=st.none() | moments)
    def issue(self, string, start, fed, twice, expires_at):
        fed = {self._one_of(self.subscriptions, fed + n) for n in range(1 + twice)}
        text = self._one_of(self.strings, string)
        with suppress(*REFUSALS):
            credential = credentials.issue_credential(
                customer=self.customer,
                name=f"credential {len(self.credentials)}",
                new_key=NewKey(key=text, active_from=start),
                subscriptions=fed,
                expires_at=expires_at,
                by=None,
            )
            owner = Owner(
                expires_at=expires_at,
                assigned=[(each.pk, Period(start)) for each in fed],
            )
            self.credentials.append((credential, owner))
            self._keep(credential.keys.get(), text, owner)

    @precondition(lambda self: self.credentials)
    @rule(which=some, string=some, start=moments, dated=maybe)
    def add_alias(self, which, string, start, dated):
        credential, owner = self._one_of(self.credentials, which)
        text = self._one_of(self.strings, string)
        with suppress(*REFUSALS):
            key = credentials.add_alias(
                credential=credential, alias=text, active_from=start if dated else None, by=None
            )
            self._keep(key, text, owner)

    @precondition(lambda self: self.credentials)
    @rule(which=some, string=some, overlap=st.integers(0, 8))
    def rotate(self, which, string, overlap):
        credential, owner = self._one_of(self.credentials, which)
        text = self._one_of(self.strings, string)
        ends = self.now + overlap * STEP
        with suppress(*REFUSALS):
            key = credentials.rotate_credential(
                credential=credential, overlap=overlap * STEP, key=text, by=None
            )
            for each in [each for each in self.oracle.keys if each[2:4] == ("key", owner)]:
                end_key(each[-1], ends)
            self._keep(key, text, owner)

    @precondition(lambda self: self.keys)
    @rule(which=some, at=moments)
    def end_key(self, which, at):
        key, period = self._one_of(self.keys, which)
        credentials.end_key(key=key, at=at, by=None)
        end_key(period, at)

    @precondition(lambda self: self.credentials)
    @rule(which=some)
    def suspend(self, which):
        credential, owner = self._one_of(self.credentials, which)
        with suppress(*REFUSALS):
            credentials.suspend_credential(credential=credential, by=None)
            if not any(each.is_active_at(self.now) for each in owner.suspensions):
                owner.suspensions.append(Period(self.now))

    @precondition(lambda self: self.credentials)
    @rule(which=some)
    def resume(self, which):
        credential, owner = self._one_of(self.credentials, which)
        begun = [each for each in owner.suspensions if each.is_active_at(self.now)]
        if any(each.active_from == self.now for each in begun):
            return  # in the same instant: only a clock that stands still allows it
        with suppress(*REFUSALS):
            credentials.resume_credential(credential=credential, by=None)
            for each in begun:
                each.active_until = self.now

    @precondition(lambda self: self.credentials)
    @rule(which=some, really=st.integers(0, 3))
    def revoke(self, which, really):
        credential, owner = self._one_of(self.credentials, which)
        if really:
            return  # seldom, for nothing happens to it afterwards
        with suppress(*REFUSALS):
            credentials.revoke_credential(credential=credential, reason="lost", by=None)
            owner.revoked_at = self.now

    @precondition(lambda self: self.credentials)
    @rule(which=some, at=moments, never=maybe)
    def change_expiry(self, which, at, never):
        credential, owner = self._one_of(self.credentials, which)
        credential.expires_at = owner.expires_at = None if never else at
        credentials.change_credential(credential=credential, by=None)

    @precondition(lambda self: self.credentials)
    @rule(which=some, subscription=some, at=moments)
    def assign(self, which, subscription, at):
        credential, owner = self._one_of(self.credentials, which)
        new = self._one_of(self.subscriptions, subscription)
        with suppress(*REFUSALS):
            credentials.assign_subscription(credential=credential, subscription=new, at=at, by=None)
            owner.assigned.append((new.pk, Period(at)))

    @precondition(lambda self: self.credentials)
    @rule(which=some, subscription=some, at=moments)
    def unassign(self, which, subscription, at):
        credential, owner = self._one_of(self.credentials, which)
        old = self._one_of(self.subscriptions, subscription)
        with suppress(*REFUSALS):
            credentials.unassign_subscription(
                credential=credential, subscription=old, at=at, by=None
            )
            self._end_assignment(owner, old, at)

    @precondition(lambda self: self.credentials)
    @rule(which=some, subscription=some, to=some, at=moments)
    def move(self, which, subscription, to, at):
        credential, owner = self._one_of(self.credentials, which)
        old = self._one_of(self.subscriptions, subscription)
        new = self._one_of(self.subscriptions, to)
        with suppress(*REFUSALS):
            credentials.move_credential(
                credential=credential, subscription=old, to=new, at=at, by=None
            )
            self._end_assignment(owner, old, at)
            owner.assigned.append((new.pk, Period(at)))

    @rule(start=starts)
    def subscribe(self, start):
        new = Subscription(
            customer=self.customer,
            product=factories.a_product(),
            external_key=f"subscription-{len(self.subscriptions)}-of-the-orders",
            active_from=start,
        )
        subscriptions.start_subscription(subscription=new, by=None)
        self._subscribe(new)

    @rule(which=some, start=starts, end=moments, ends=maybe)
    def change_subscription(self, which, start, end, ends):
        changed = self._one_of(self.subscriptions, which)
        if not ends or end > start:
            changed.active_from, changed.active_until = start, end if ends else None
            with suppress(*REFUSALS):
                subscriptions.change_subscription(subscription=changed, by=None)
                self.oracle.active[changed.pk] = Period(start, changed.active_until)
            changed.refresh_from_db()

    @rule(which=some, name=some, new=seldom)
    def rename(self, which, name, new):
        changed = self._one_of(self.subscriptions, which)
        name = f"{name}-of-the-orders" if new else self._one_of(self.names, name)
        if name != changed.external_key:
            changed.external_key = name
            with suppress(*REFUSALS):
                subscriptions.change_subscription(subscription=changed, by=None)
                self.names.append(name)
                self.oracle.rename(changed.pk, name, self._clock())
        changed.refresh_from_db()

    @precondition(lambda self: self.oracle.former)
    @rule(which=some)
    def forget_name(self, which):
        name, number, until = self._one_of(self.oracle.former, which)
        subscription = next(each for each in self.subscriptions if each.pk == number)
        if FormerName.objects.filter(name=name, taken_by_id=number).exists():
            return  # whoever had it before has it again: see test_names
        subscriptions.forget_former_name(subscription=subscription, name=name, by=None)
        self.oracle.former.remove([name, number, until])

    @rule(which=some, at=moments)
    def end_subscription(self, which, at):
        ended = self._one_of(self.subscriptions, which)
        with suppress(*REFUSALS):
            subscriptions.end_subscription(subscription=ended, at=at, by=None)
            period = self.oracle.active[ended.pk]
            if period.is_active_at(at):
                self.oracle.active[ended.pk] = Period(period.active_from, at)

    # What the oracle is told

    def _subscribe(self, subscription):
        self.subscriptions.append(subscription)
        number, product = subscription.pk, subscription.product
        product.refresh_from_db()
        self.names.append(subscription.external_key)
        self.oracle.active[number] = Period(subscription.active_from)
        self.oracle.names[number] = subscription.external_key
        self.oracle.coverage[number] = SourceCoverage(
            sources=[each.external_key for each in product.sources.all()],
            restricted=product.restricted,
            also_without_source=product.also_without_source,
        )
        self.oracle.take(number, subscription.external_key, self._clock())

    def _keep(self, key, text, owner):
        period = Period(key.active_from)
        self.keys.append((key, period))
        self.oracle.keys.append((text, key.gateway_id, key.kind, owner, period))

    def _end_assignment(self, owner, subscription, at):
        (period,) = [
            each for to, each in owner.assigned if to == subscription.pk and each.is_active_at(at)
        ]
        cut(owner.assigned, period, at)

    @staticmethod
    def _clock():
        """Return the moment of PostgreSQL's transaction, by which it records names."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT now()")
            return cursor.fetchone()[0]

    @staticmethod
    def _one_of(things, which):
        return None if which is None else things[which % len(things)]


def test_order_does_not_matter(db, request, capsys):
    # Without this folder among pytest's arguments, it does not know its options either.
    steps = request.config.getoption("steps", default=STEPS)
    start = request.config.getoption("from", default=SEED)
    chosen = settings(
        max_examples=max(1, steps // STEPS_OF_AN_EXAMPLE),
        stateful_step_count=STEPS_OF_AN_EXAMPLE,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate],  # to shrink takes longer than to look
    )
    began = monotonic()
    run_state_machine_as_test(seed(start)(Order), settings=chosen)
    with capsys.disabled():
        sys.stdout.write(
            f" {Order.steps:,} steps from seed {start}, {Order.compared:,} outcomes compared,"
            f" 0 differences, {monotonic() - began:.0f} s "
        )
