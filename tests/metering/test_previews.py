"""What an action is said to move is what it moves, and undoing it brings back what was used.

`python -m pytest tests/metering/test_previews.py --steps 20000 --from 7` tries a fifth as many
actions, in random worlds drawn from that seed.
"""

import sys
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from random import Random
from time import monotonic

from django.db.models import Sum
from django.db.transaction import atomic, set_rollback
from django.utils import timezone

from metering.models import Claim, Quarantined, QuarantineReason, Transaction, Usage
from metering.quarantine import reattribution
from revcred import hooks
from revcred.actions import credentials, subscriptions, undoing
from revcred.actions.credentials import NewKey
from revcred.models import AuditEvent, Credential, ExternalKey, Product, Source, Subscription
from tests import factories
from tests.confirming import consequences_of
from tests.metering.attribution.test_processing import no_differences

STEPS, SEED = 400, 1
ACTIONS_PER_WORLD, STEPS_PER_ACTION = 5, 5  # an action takes as long as some steps of the order
DAY = timedelta(days=1)
PATHS = ("/v1/maps/1", "/v1/tiles/1", "/v2/", "")
TEXTS = ("/v1/", "/v1/tiles/", "/v2/", "/v1/maps/")
NOT_DONE = (
    credentials.AlreadyAssigned,
    credentials.CredentialRevoked,
    credentials.KeyInUse,
    credentials.KeyOfRevokedCredential,
    credentials.NotAssigned,
    subscriptions.SubscriptionNotStarted,
)


# --- Random worlds -------------------------------------------------------------------------------


class World:
    """Two customers with credentials, subscriptions and calls, and calls of nobody, all random."""

    def __init__(self, chance):
        self.chance, self.now = chance, timezone.now()
        self.strings = [f"string-{number}-of-the-previews" for number in range(5)]
        self.gateways = [factories.a_gateway() for _ in range(2)]
        self.sources = [
            Source.objects.create(name=name, external_key=name) for name in ("maps", "tiles")
        ]
        self.sources[0].path_rules.create(text="/v1/")
        self.customers = [factories.a_customer() for _ in range(2)]
        for customer in self.customers:
            for sources in ([], self.sources[:1], chance.sample(self.sources, 2)):
                product = factories.a_product()
                product.sources.set(sources)
                factories.a_subscription(customer, product=product, active_from=self.moment())
        for number, string in enumerate(self.strings[:4]):
            self.issue(number, string)
        for _ in range(2):
            calls = [self.call() for _ in range(15)]
            factories.settled(*calls, gateway=chance.choice(self.gateways))
        self.work()

    def moment(self):
        return self.now - self.chance.randint(-1, 25) * DAY

    def issue(self, number, string):
        customer = self.customers[number % 2]
        fed = list(customer.subscriptions.all())
        with suppress(*NOT_DONE):
            credentials.issue_credential(
                customer=customer,
                name=f"credential {number}",
                by=None,
                new_key=NewKey(key=string, active_from=self.now - 30 * DAY),
                subscriptions=self.chance.sample(fed, self.chance.choice((1, 1, 2))),
            )

    def call(self):
        chance = self.chance
        named = chance.choice(list(Subscription.objects.all())).external_key
        return factories.a_call(
            chance.choice([*self.strings, None]),
            occurred_at=self.moment() + timedelta(hours=chance.randint(-2, 2)),
            subscription_named=named if chance.random() < 0.2 else None,
            source_named=chance.choice(["maps", "tiles", "unknown"])
            if chance.random() < 0.3
            else None,
            path=chance.choice(PATHS),
            elements={"calls": 1, "gb": 3} if chance.random() < 0.3 else {"calls": 1},
        )

    def work(self):
        while Claim.objects.open().exists():
            reattribution.work_through_claims()

    def one(self, rows):
        return self.chance.choice(list(rows))

    # Actions: each answers what to call, or None

    def move(self):
        credential = self.one(Credential.objects.all())
        if not credential.assignments.exists():
            return None
        fed, at = self.one(credential.assignments.all()).subscription, self.moment()
        to = self.one(credential.customer.subscriptions.all())
        return lambda: credentials.move_credential(
            credential=credential, subscription=fed, to=to, by=None, at=at
        )

    def assign(self):
        credential = self.one(Credential.objects.all())
        to = self.one(credential.customer.subscriptions.all())
        at = self.moment()
        return lambda: credentials.assign_subscription(
            credential=credential, subscription=to, by=None, at=at
        )

    def unassign(self):
        credential = self.one(Credential.objects.all())
        if not credential.assignments.exists():
            return None
        fed, at = self.one(credential.assignments.all()).subscription, self.moment()
        return lambda: credentials.unassign_subscription(
            credential=credential, subscription=fed, by=None, at=at
        )

    def end_key(self):
        key, at = self.one(ExternalKey.objects.all()), self.moment()
        return lambda: credentials.end_key(key=key, by=None, at=at)

    def add_alias(self):
        credential, gateway = self.one(Credential.objects.all()), self.one([*self.gateways, None])
        alias, at = self.one(self.strings), self.moment()
        return lambda: credentials.add_alias(
            credential=credential, alias=alias, by=None, gateway=gateway, active_from=at
        )

    def expire(self):
        credential = self.one(Credential.objects.all())
        credential.expires_at = self.one([None, self.moment()])
        return lambda: credentials.change_credential(credential=credential, by=None)

    def suspend(self):
        credential = self.one(Credential.objects.all())
        return lambda: credentials.suspend_credential(credential=credential, by=None)

    def resume(self):
        credential = self.one(Credential.objects.all())
        return lambda: credentials.resume_credential(credential=credential, by=None)

    def revoke(self):
        credential = self.one(Credential.objects.all())
        return lambda: credentials.revoke_credential(credential=credential, reason="lost", by=None)

    def dates(self):
        subscription = self.one(Subscription.objects.all())
        first, last = sorted((self.moment(), self.moment() + timedelta(hours=1)))
        subscription.active_from = first
        subscription.active_until = self.one([None, last])
        return lambda: subscriptions.change_subscription(subscription=subscription, by=None)

    def end(self):
        subscription, at = self.one(Subscription.objects.all()), self.moment()
        return lambda: subscriptions.end_subscription(subscription=subscription, by=None, at=at)

    def product(self):
        subscription = self.one(Subscription.objects.all())
        subscription.product = self.one(Product.objects.all())
        return lambda: subscriptions.change_subscription(subscription=subscription, by=None)

    def sources_of_a_product(self):
        product = self.one(Product.objects.all())
        before = list(product.sources.all())
        sources = self.chance.sample(self.sources, self.chance.randint(0, 2))
        sources = [each for each in sources if Source.objects.filter(pk=each.pk).exists()]

        def act():
            product.sources.set(sources)
            _record(product, {"changed": {"sources": [_rows(before), _rows(sources)]}})
            subscriptions.announce_sources_changed(product=product, by=None)

        return act if {*before} != {*sources} else None

    def path_rules(self):
        source, text = self.one(Source.objects.all()), self.one(TEXTS)

        def act():
            rule = source.path_rules.filter(text=text).first()
            said = {"match": "begins_with", "text": text}
            old, new = (said, None) if rule else (None, said)
            rule = rule or source.path_rules.model(source=source, **said)
            if new:
                rule.save()
            row = {"model": "revcred.pathrule", "id": rule.pk, "name": str(rule)}
            if old:
                rule.delete()
            _record(source, {"rows": [row | {"old": old, "new": new}]})
            subscriptions.announce_paths_changed(source=source, by=None)

        taken = source.path_rules.model.objects.exclude(source=source).filter(text=text)
        return None if taken.exists() else act

    def key_of_a_source(self):
        source = self.one(Source.objects.all())
        before, after = source.external_key, self.one(["unknown", "maps-2"])

        def act():
            source.external_key = after
            source.save()
            _record(source, {"changed": {"external_key": [before, after]}})
            subscriptions.announce_paths_changed(source=source, by=None)

        return None if Source.objects.filter(external_key=after).exists() else act

    def delete_source(self):
        number, opens = self.one(Source.objects.all()).pk, self.one([True, False])
        if Source.objects.count() == 1:
            return None
        return lambda: subscriptions.delete_source(
            source=Source.objects.get(pk=number), by=None, opens=opens
        )

    def calls_of_no_source(self):
        product = self.one(Product.objects.all())
        product.also_without_source = not product.also_without_source

        def act():
            product.save()
            now = product.also_without_source
            _record(product, {"changed": {"also_without_source": [not now, now]}})
            subscriptions.announce_sources_changed(product=product, by=None)

        return act

    def open_to_all(self):
        product = self.one(Product.objects.all())
        if product.sources.exists() or not product.restricted:
            return None

        def act():
            subscriptions.open_product_to_all_calls(
                product=Product.objects.get(pk=product.pk), by=None
            )

        return act

    def rename(self):
        subscription = self.one(Subscription.objects.all())
        names = [each.external_key for each in Subscription.objects.all()]
        taken = {*names} - {subscription.external_key}
        names.append("another-name")
        subscription.external_key = self.one([each for each in names if each not in taken])
        return lambda: subscriptions.change_subscription(subscription=subscription, by=None)

    ACTIONS = (
        *(move, assign, unassign, end_key, add_alias, expire, suspend, resume, revoke, dates, end),
        *(calls_of_no_source, rename, open_to_all),
        *(product, sources_of_a_product, path_rules, key_of_a_source, delete_source),
        *(move, unassign, dates, expire, path_rules, sources_of_a_product),
    )


def _rows(objects):
    return [{"id": each.pk, "name": str(each)} for each in objects]


def _record(target, details):
    """Record an edit as the admin page does when it is saved."""
    AuditEvent.objects.record(AuditEvent.Verb.CHANGED, target=target, by=None, details=details)


# --- What is -------------------------------------------------------------------------------------


def places():
    """Return the place of each call: a subscription with its credential, or a reason."""
    standing = Transaction.objects.standing()
    return {
        (row.gateway_id, row.transaction_id): (
            row.subscription_id,
            row.credential_id,
            row.occurred_at,
        )
        for row in standing
    } | {
        (row.gateway_id, row.transaction_id): (
            QuarantineReason(row.reason).label,
            None,
            row.occurred_at,
        )
        for row in Quarantined.objects.all()
    }


def moved(before, after):
    """Return movements as a preview gives them: calls, first and last moment, by places."""
    found = {}
    for call, (place, credential, at) in before.items():
        to, through, _ = after[call]
        from_reason, to_reason = isinstance(place, str), isinstance(to, str)
        if (place, credential) == (to, through) or (from_reason and to_reason):
            continue
        is_same = place == to
        key = ((place, credential if is_same else None), (to, through if is_same else None))
        found.setdefault(key, []).append(at)
    return {key: (len(at), min(at), max(at)) for key, at in found.items()}


def previewed(found):
    numbers = {str(each): each.pk for each in Credential.objects.all()}

    def key(charged):
        if charged.subscription_id is None:
            return charged.reason, None
        return charged.subscription_id, numbers.get(charged.credential)

    return {
        (key(each.before), key(each.after)): (each.calls, each.first, each.last)
        for each in found.movements
    }


def usage():
    rows = Usage.objects.values_list("subscription", "credential", "hour", "element")
    return {
        tuple(key): (count, quantity)
        for *key, count, quantity in rows.annotate(c=Sum("count"), q=Sum("quantity"))
        if count or quantity
    }


def test_what_is_said_to_move_moves_and_comes_back(db, request, capsys):
    actions = request.config.getoption("steps", default=STEPS) // STEPS_PER_ACTION
    start = request.config.getoption("from", default=SEED)
    began, done, undone, calls = monotonic(), Counter(), Counter(), 0
    for number in range(max(1, actions // ACTIONS_PER_WORLD)):
        with atomic():
            chance = Random(start * 1_000_003 + number)
            world = World(chance)
            for _ in range(ACTIONS_PER_WORLD):
                calls += act_once(world, chance, done, undone)
            assert no_differences()
            set_rollback(True)
    with capsys.disabled():
        sys.stdout.write(
            f" {done.total():,} actions from seed {start} moved {calls:,} calls as they were said"
            f" to, {undone.total():,} undone, {monotonic() - began:.0f} s "
        )
    often = {each.__name__ for each in World.ACTIONS} - {"open_to_all"}
    assert actions < STEPS or often <= {*done}
    assert calls


def act_once(world, chance, done, undone):
    """Preview an action, do it and compare; then mostly undo it and compare again."""
    chosen = chance.choice(World.ACTIONS)
    action = chosen(world)
    if action is None:
        return 0
    before, used, last = places(), usage(), AuditEvent.objects.first()
    try:
        said = consequences_of(action)
        assert places() == before
        tried = hooks.try_out(action, keep=lambda _, __: True)
    except NOT_DONE:
        return 0
    done[chosen.__name__] += 1
    world.work()
    assert said.movements == tried.consequences.movements
    assert previewed(said) == moved(before, places()), chosen.__name__
    event = AuditEvent.objects.first()
    if chosen is World.delete_source:  # what it opened besides is another event
        return said.calls
    if event == last or undoing.undo_obstacle(event) or chance.random() < 0.3:
        return said.calls
    between = places()
    back = hooks.try_out(lambda: undoing.undo_event(event=event, by=None), keep=lambda _, __: True)
    undone[chosen.__name__] += 1
    world.work()
    assert previewed(back.consequences) == moved(between, places()), f"undo of {chosen.__name__}"
    assert usage() == used, f"undo of {chosen.__name__}"
    assert all(charged(now) == charged(before[call]) for call, now in places().items())
    return said.calls + back.consequences.calls


def charged(place):
    """Return whom a call is charged to, without the reason, which only a claim judges again."""
    return None if isinstance(place[0], str) else place
