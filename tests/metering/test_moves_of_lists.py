"""The calls that a list is predicted to move are those that it moves; undoing it likewise.

`python -m pytest tests/metering/test_moves_of_lists.py --steps 20000 --from 7` tries fifty times as
many lists, in random worlds drawn from that seed.
"""

import sys
from collections import Counter
from datetime import timedelta
from io import BytesIO
from random import Random

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from metering.models import Claim, Transaction
from metering.quarantine import reattribution
from revcred import hooks
from revcred.models import (
    AuditEvent,
    Customer,
    FormerName,
    Product,
    Source,
    Subscription,
    Upload,
)
from revcred.uploads import actions, trial
from revcred.uploads.columns import ListKind
from revcred.uploads.worker import process_waiting_uploads
from tests import factories
from tests.confirming import consequences_of
from tests.metering.attribution.test_processing import no_differences
from tests.metering.test_previews import PATHS, SEED, STEPS, World, places

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
LISTS_PER_WORLD, STEPS_PER_LIST = 4, 12


@pytest.fixture(autouse=True)
def _place(settings, tmp_path):
    settings.UPLOADS_DIR = tmp_path / "uploads"


# --- Random lists ---------------------------------------------------------------------------------


class Lists:
    """Random lists of rows about things of a world, and about things that it does not have."""

    def __init__(self, world):
        self.world, self.chance = world, world.chance
        self.number = 0

    def one(self):
        kind = self.chance.choice(
            [ListKind.CREDENTIALS] * 4
            + [ListKind.SUBSCRIPTIONS] * 4
            + [ListKind.PRODUCTS, ListKind.SOURCES] * 2
            + [kind for kind in ListKind if kind is not ListKind.USAGE]
        )
        rows = [getattr(self, kind.value)() for _ in range(self.chance.randint(1, 4))]
        names = sorted({name for row in rows for name in row})
        lines = [",".join(names), *(",".join(row.get(name, "") for name in names) for row in rows)]
        return kind, "\n".join([*lines, ""])

    def new(self, word):
        self.number += 1
        return f"{word}-of-a-list-{self.number}"

    def moment(self):
        return self.world.moment().isoformat()

    def maybe(self, share, text):
        return text() if self.chance.random() < share else ""

    def customer(self):
        return self.chance.choice(list(Customer.objects.all()))

    def credentials(self):
        customer = self.customer()
        fed = [each.external_key for each in customer.subscriptions.all()]
        some = self.chance.sample(fed, min(len(fed), self.chance.choice((1, 1, 2))))
        known = list(customer.credentials.filter(revoked_at=None))
        credential = self.chance.choice([None, *known, *known])
        strings = [*self.world.strings, self.new("string")]
        return {
            "customer": customer.external_key,
            "name": credential.name if credential else self.new("credential"),
            "key": self.maybe(0.3 if credential else 0.8, lambda: self.chance.choice(strings)),
            "subscription": self.maybe(0.8, lambda: "|".join(some)),
            "gateway": self.maybe(0.1, lambda: self.chance.choice(self.world.gateways).name),
            "expires_at": self.maybe(0.2, self.moment),
            "assigned_from": self.maybe(0.5, self.moment),
            "key_active_from": self.maybe(0.1, self.moment),
        }

    def subscriptions(self):
        known = list(Subscription.objects.all())
        former = list(FormerName.objects.filter(kind="subscription"))
        subscription = self.chance.choice(known)
        names = [subscription.external_key] * 3 + [each.name for each in former] * 2
        first, last = sorted((self.world.moment(), self.world.moment() + timedelta(hours=1)))
        return {
            "external_key": self.chance.choice([*names, self.new("subscription")]),
            "customer": subscription.customer.external_key,
            "product": self.chance.choice(list(Product.objects.all())).external_key,
            "active_from": self.maybe(0.5, first.isoformat),
            "active_until": self.maybe(0.3, last.isoformat),
            "quota": self.maybe(0.2, lambda: "7"),
        }

    def customers(self):
        external_key = self.chance.choice([self.customer().external_key, self.new("customer")])
        return {"external_key": external_key, "name": self.new("Customer")}

    def subscribers(self):
        return {
            "email": f"{self.new('person')}@example.com",
            "customer": self.customer().external_key,
        }

    def products(self):
        product = self.chance.choice(list(Product.objects.all()))
        keys = [each.external_key for each in Source.objects.all()]
        return {
            "external_key": self.maybe(0.8, lambda: product.external_key) or self.new("product"),
            "name": self.chance.choice([product.name, self.new("Product")]),
            "sources": "|".join(self.chance.sample(keys, self.chance.choice((0, 1, 1, 2)))),
            "also_without_source": self.maybe(0.3, lambda: self.chance.choice(["yes", "no"])),
        }

    def sources(self):
        keys = [each.external_key for each in Source.objects.all()]
        return {
            "external_key": self.chance.choice([*keys, "unknown", self.new("source")]),
            "match": self.chance.choice(["", "equals", "contains", "ends_with", "regex"]),
            "path": self.chance.choice([*filter(None, PATHS), "/v", "tiles", "/v2/", "^/[a-z]+/?"]),
        }

    def gateways(self):
        known = self.chance.choice(self.world.gateways).name
        name = self.chance.choice([known, self.new("gateway")])
        return {"name": name, "kind": self.chance.choice(["kong", "other"])}


def rename_some(world):
    """Rename subscriptions, and send calls that use the former names."""
    for _ in range(2):
        action = world.rename()
        action()
    calls = [world.call() for _ in range(10)]
    factories.settled(*calls, gateway=world.gateways[0])
    world.work()


# --- What is said and what is ---------------------------------------------------------------------


def upload(text, kind, **choices):
    made = actions.receive_upload(
        kind=kind,
        file=BytesIO(text.encode()),
        name="list.csv",
        by=None,
        choices=actions.UploadChoices(**choices),
    )
    return worked(made)


def worked(made):
    process_waiting_uploads()
    made.refresh_from_db()
    return made


def named():
    return {each.pk: str(each) for each in Subscription.objects.all()}


def said(moves):
    found = trial.consequences_of_moves(moves)
    assert moves["more"] == 0

    def key(charged):
        if charged.subscription_id is None:
            return charged.reason, False
        return charged.subscription, bool(charged.credential)

    summed = {}
    for each in found.movements:
        summed.setdefault((key(each.before), key(each.after)), []).append(each)
    return {
        pair: (
            sum(each.calls for each in those),
            min(each.first for each in those),
            max(each.last for each in those),
        )
        for pair, those in summed.items()
    }


def test_what_a_list_is_said_to_move_moves(request, capsys):
    steps = request.config.getoption("steps", default=STEPS)
    start = request.config.getoption("from", default=SEED)
    counts = Counter()
    for number in range(max(1, steps // STEPS_PER_LIST // LISTS_PER_WORLD)):
        chance = Random(start * 1_000_003 + number)
        world = World(chance)
        rename_some(world)
        lists = Lists(world)
        for _ in range(LISTS_PER_WORLD):
            apply_once(world, lists, counts)
        assert no_differences()
        call_command("flush", interactive=False, verbosity=0)
    with capsys.disabled():
        sys.stdout.write(
            f" {counts['lists']:,} lists from seed {start} moved {counts['calls']:,} calls as they"
            f" were said to, {counts['moving']:,} of them some; {counts['undone']:,} undone,"
            f" {counts['back']:,} calls back "
        )
    assert counts["moving"]


def apply_once(world, lists, counts):
    kind, text = lists.one()
    before, names, events = places(), named(), AuditEvent.objects.count()
    rows = Claim.objects.count(), Subscription.objects.count(), FormerName.objects.count()
    made = upload(
        text, kind, keys_of_others="take_over", people_of_others="join", revoked_keys="use_again"
    )
    assert made.state == Upload.State.READY, made.error
    assert (places(), AuditEvent.objects.count() - events) == (before, 1)
    assert rows == (Claim.objects.count(), Subscription.objects.count(), FormerName.objects.count())
    moves = made.preview["moves"]
    assert moves["counted"]
    try:
        actions.apply_upload(upload=made, by=factories.an_admin(), all_or_nothing=False)
    except actions.NothingToApply:
        assert moves["calls"] == 0
        return
    made = worked(made)
    world.work()
    assert said(moves) == summed(moved_pairs(before, names, places())), text
    assert left_to_move() == (), text
    counts["lists"] += 1
    counts["calls"] += moves["calls"]
    counts["moving"] += bool(moves["calls"])
    if made.changes.exists():
        undo_once(world, made, text, counts)


def undo_once(world, made, text, counts):
    before, names = places(), named()
    actions.check_undoing(upload=made)
    worked(made)
    assert places() == before
    if made.undo_preview["left"]:
        return
    moves = made.undo_preview["moves"]
    actions.undo_upload(upload=made, by=factories.an_admin())
    worked(made)
    world.work()
    assert said(moves) == summed(moved_pairs(before, names, places())), text
    assert left_to_move() == (), text
    counts["undone"] += 1
    counts["back"] += moves["calls"]


def left_to_move():
    """Return movements by judging everything once more: none, if the list reached all."""
    since = factories.LONG_AGO
    return consequences_of(lambda: hooks.announce_change("all", by=None, since=since)).movements


def moved_pairs(before, names_before, after):
    """Yield each call that is charged elsewhere now, with the names of both places."""
    names = named() | names_before
    for call, (place, credential, at) in before.items():
        to, through, _ = after[call]
        if (place, credential) == (to, through) or (isinstance(place, str) and isinstance(to, str)):
            continue
        is_same = place == to  # so that only another credential is said
        yield (
            (
                (names.get(place, place), is_same and credential is not None),
                (names.get(to, to), is_same and through is not None),
            ),
            at,
        )


def summed(pairs):
    found = {}
    for pair, at in pairs:
        found.setdefault(pair, []).append(at)
    return {pair: (len(at), min(at), max(at)) for pair, at in found.items()}


# --- On the pages ---------------------------------------------------------------------------------


KEY = "the-key-that-a-list-moves"


@pytest.fixture
def fed():
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer, name="Maps", external_key="maps")
    factories.a_subscription(customer, name="Tiles", external_key="tiles")
    factories.a_credential(customer, KEY, name="Orders", subscriptions=[subscription])
    calls = [factories.a_call(KEY, ago=ago * DAY) for ago in (1, 2, 3)]
    factories.settled(*calls, factories.a_call("a-key-that-waits", ago=DAY))
    reattribution.work_through_claims()
    return subscription


def moving(ago=2.5):
    since = (timezone.now() - ago * DAY).isoformat()
    return f"customer,name,key,subscription,assigned_from\nacme,Orders,{KEY},tiles,{since}\n"


def test_the_page_before_apply_says_how_many_calls_from_where_to_where(admin_client, fed):
    made = upload(moving(), ListKind.CREDENTIALS)
    address = reverse("admin:revcred_upload_change", args=[made.pk])

    text = " ".join(admin_client.get(address).text.split())

    assert "This moves 2 calls" in text
    assert "Apply 1 row, which moves 2 calls" in text
    assert "It reaches back to" in text
    assert ">Maps</a>" in text
    assert ">Tiles</a>" in text


def test_after_applying_the_page_leads_to_the_correction_under_way(admin_client, fed):
    made = upload(moving(), ListKind.CREDENTIALS)
    address = reverse("admin:revcred_upload_change", args=[made.pk])
    admin_client.post(reverse("admin:revcred_upload_apply", args=[made.pk]), {"which": "good"})
    worked(made)
    claim = Claim.objects.open().get()

    text = " ".join(admin_client.get(address).text.split())
    assert "Calls are moving in the background" in text
    assert claim.get_absolute_url() in text
    reattribution.work_through_claims()

    text = " ".join(admin_client.get(address).text.split())
    assert "This upload moved 2 calls." in text
    assert Transaction.objects.standing().filter(subscription=fed).count() == 1


def test_undoing_says_what_it_moves_back(admin_client, fed):
    since = (timezone.now() - 2.5 * DAY).isoformat()
    made = upload(
        f"external_key,customer,product,active_until\nmaps,acme,{fed.product.external_key},{since}\n",
        ListKind.SUBSCRIPTIONS,
    )
    actions.apply_upload(upload=made, by=factories.an_admin(), all_or_nothing=True)
    worked(made)
    reattribution.work_through_claims()
    assert Transaction.objects.standing().filter(subscription=fed).count() == 1

    actions.check_undoing(upload=made)
    worked(made)
    text = " ".join(
        admin_client.get(reverse("admin:revcred_upload_undo", args=[made.pk])).text.split()
    )

    assert "This moves 2 calls" in text


def test_a_former_name_that_a_list_takes_is_said_with_figures(admin_client, fed):
    fed.external_key = "atlas"
    fed.save()
    factories.settled(*[factories.a_call(subscription_named="maps", ago=DAY) for _ in range(2)])
    product = fed.product.external_key
    made = upload(
        f"external_key,customer,product,name\nmaps,acme,{product},Another\n", ListKind.SUBSCRIPTIONS
    )
    address = reverse("admin:revcred_upload_change", args=[made.pk])

    text = " ".join(admin_client.get(address).text.split())

    assert "“maps” was an external key of “Maps” of Acme" in text
    assert "2 in the last 7 days" in text
    assert FormerName.objects.get().taken_by_id is None


def test_new_subscriptions_are_no_links_to_nowhere(admin_client, fed):
    factories.settled(factories.a_call(subscription_named="brand-new", ago=DAY))
    product = fed.product.external_key
    made = upload(
        f"external_key,customer,product,name\nbrand-new,acme,{product},Brand new\n",
        ListKind.SUBSCRIPTIONS,
    )
    address = reverse("admin:revcred_upload_change", args=[made.pk])

    text = " ".join(admin_client.get(address).text.split())

    assert "This moves 1 call" in text
    assert 'Brand new <span class="help">Acme, created by this list</span>' in text


@pytest.mark.parametrize("why", ["long", "busy"])
def test_what_cannot_be_counted_in_time_is_said(admin_client, fed, monkeypatch, why):
    if why == "long":
        monkeypatch.setattr(trial, "WRITE_LIMIT_SECONDS", 0.0)
    else:
        monkeypatch.setattr(trial, "MAX_TRIALS_WHILE_BUSY", 1)
        monkeypatch.setattr(hooks, "try_out", _busy)
    made = upload(moving(), ListKind.CREDENTIALS)
    address = reverse("admin:revcred_upload_change", args=[made.pk])

    assert made.state == Upload.State.READY
    assert "It is not known how many calls this moves" in admin_client.get(address).text


def _busy(*_, **__):
    raise hooks.ConcurrentChange
