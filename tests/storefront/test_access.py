"""Who gets what: every page, for everybody, about own things, another's and none."""

import re
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import URLPattern, reverse

from metering.models import Quarantined, Transaction
from revcred.actions import credentials
from revcred.models import AuditEvent, Credential, ExternalKey, Membership, OutgoingMail
from storefront.urls import OWN_ACTIONS, OWN_KEY_ACTIONS, TEAM_ACTIONS, urlpatterns
from tests import factories

Role = Membership.Role

OWN, HELD_BY_OTHERS, FOREIGN, NONE = "own", "held by others", "foreign", "none"
ABOUT = (OWN, HELD_BY_OTHERS, FOREIGN, NONE)
LISTS = ("home", "credentials", "new_credential", "subscriptions", "usage", "calls", "team")
PAGES_OF_ACTIONS = {
    "reveal_key",
    "reveal_secret",
    *OWN_ACTIONS,
    *(f"{name}_key" for name in OWN_KEY_ACTIONS),
}
PAGES_OF_TEAM = {f"member_{name}" for name in TEAM_ACTIONS}
PAGES_OF_OWNERS = ("invite", "holders")
UNSAFE = ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
EVERYBODY = ("owner", "member", "viewer", "stranger", "staff")


@dataclass
class Thing:
    """A credential with a key, its subscription, a call that was counted, and one that was not.

    `membership`: that of somebody at the same customer.
    """

    credential: int
    key: int
    old_key: int
    subscription: int
    transaction: object
    uncounted: object
    membership: int

    def urls(self):
        return {
            "credential": reverse("storefront:credential", args=[self.credential]),
            **{name: reverse(f"storefront:{name}", args=[self.credential]) for name in OWN_ACTIONS},
            **{
                f"{name}_key": reverse(
                    f"storefront:{name}_key", args=[self.credential, self.old_key]
                )
                for name in OWN_KEY_ACTIONS
            },
            "arrival": reverse("storefront:arrival", args=[self.credential, self.key]),
            "reveal_key": reverse("storefront:reveal_key", args=[self.credential, self.key]),
            "reveal_secret": reverse("storefront:reveal_secret", args=[self.credential, self.key]),
            "subscription": reverse("storefront:subscription", args=[self.subscription]),
            "transaction": reverse("storefront:transaction", args=[self.transaction]),
            "uncounted": reverse("storefront:transaction", args=[self.uncounted]),
            **{
                name: reverse(f"storefront:{name}", args=[self.membership])
                for name in PAGES_OF_TEAM
            },
        }


def a_thing(customer, holders=()):
    subscription = factories.a_subscription(customer)
    key = f"a-key-to-count-{subscription.pk:08}"
    credential = factories.a_credential(
        customer, key=key, secret="a-secret", subscriptions=[subscription], holders=holders
    )
    factories.settled(factories.a_call(key), factories.a_call(key, subscription_named="no such"))
    counted = Transaction.objects.get(subscription=subscription)
    old_key = credential.keys.get()
    waiting = Quarantined.objects.get(fingerprint=old_key.fingerprint)
    its_key = credentials.rotate_credential(
        credential=credential,
        overlap=timedelta(days=1),
        secret="another-secret",
        by=None,
        by_subscriber=True,
    )
    membership = factories.a_subscriber(customer).memberships.get()
    return Thing(
        credential.pk,
        its_key.pk,
        old_key.pk,
        subscription.pk,
        counted.pk,
        waiting.pk,
        membership.pk,
    )


@pytest.fixture
def world(db):
    customer = factories.a_customer()
    people = {role.value: factories.a_subscriber(customer, role) for role in Role}
    users = {name: each.user for name, each in people.items()}
    users["stranger"] = factories.a_subscriber(factories.a_customer(), Role.OWNER).user
    users["staff"] = factories.a_user(is_staff=True, is_superuser=True)
    things = {
        OWN: a_thing(customer, holders=[people["member"], people["viewer"]]),
        HELD_BY_OTHERS: a_thing(customer),
        FOREIGN: a_thing(factories.a_customer()),
        NONE: Thing(*[999_999] * 4, uuid4(), uuid4(), 999_999),
    }
    return users, things


def expected(who, about, page):
    if page in PAGES_OF_TEAM:
        return 200 if who == "owner" and about in (OWN, HELD_BY_OTHERS) else 404
    seen = about == OWN or (who == "owner" and about == HELD_BY_OTHERS)
    if who in ("stranger", "staff") or not seen:
        return 404
    if page == "arrival":
        return 204  # nothing has arrived
    return 403 if who == "viewer" and page in PAGES_OF_ACTIONS else 200


def test_every_page_about_a_thing_for_everybody(world, sign_in):
    users, things = world
    wrong = []
    for who in EVERYBODY:
        client = sign_in(users[who])
        for about in ABOUT:
            for page, url in things[about].urls().items():
                status = client.get(url).status_code
                if status != expected(who, about, page):
                    wrong.append((who, about, page, status))

    assert wrong == []


def test_nobody_reveals_what_they_may_not(world, sign_in):
    users, things = world
    wrong = []
    for who in EVERYBODY:
        client = sign_in(users[who])
        for about in ABOUT:
            for page in ("reveal_key", "reveal_secret"):
                answer = client.post(things[about].urls()[page], {"password": factories.PASSWORD})
                if answer.status_code != expected(who, about, page):
                    wrong.append((who, about, page, answer.status_code))

    assert wrong == []


def state_of(thing):
    """All that an action could have changed."""
    return (
        list(Credential.objects.filter(pk=thing.credential).values()),
        list(ExternalKey.objects.filter(credential=thing.credential).order_by("pk").values()),
        Credential.objects.get(pk=thing.credential).suspensions.count(),
        AuditEvent.objects.about(Credential(pk=thing.credential)).count(),
        OutgoingMail.objects.count(),
    )


def test_nobody_does_with_a_credential_what_they_may_not(world, sign_in):
    users, things = world
    sent = {
        "password": factories.PASSWORD,
        "reason": "Because.",
        "overlap": "0",
        "period": "720",
    }
    wrong = []
    for who, abouts in (
        ("viewer", ABOUT),
        ("stranger", ABOUT),
        ("staff", ABOUT),
        ("member", (HELD_BY_OTHERS, FOREIGN, NONE)),
        ("owner", (FOREIGN, NONE)),
    ):
        client = sign_in(users[who])
        for about in abouts:
            thing = things[about]
            before = state_of(thing) if about != NONE else None
            for page in PAGES_OF_ACTIONS:
                form = sent | {"newest_key": thing.key}
                status = client.post(thing.urls()[page], form).status_code
                if status != expected(who, about, page):
                    wrong.append((who, about, page, status))
            if before and state_of(thing) != before:
                wrong.append((who, about, "changed"))

    assert wrong == []


def team_of(thing):
    """All that managing a team could have changed."""
    return (
        list(Membership.objects.order_by("pk").values()),
        sorted(Credential.holders.through.objects.values_list("credential", "subscriber")),
        AuditEvent.objects.count(),
        OutgoingMail.objects.count(),
    )


def test_nobody_manages_a_team_but_its_owners(world, sign_in):
    users, things = world
    sent = {
        "password": factories.PASSWORD,
        "role": "owner",
        "email": "new@example.com",
        "was": "",
        "confirmed": "yes",
    }
    wrong = []
    for who in EVERYBODY:
        client = sign_in(users[who])
        before = team_of(things)
        for about in (OWN, HELD_BY_OTHERS, FOREIGN, NONE):
            thing = things[about]
            if who == "owner" and about in (OWN, HELD_BY_OTHERS):
                continue
            customer = Credential.objects.filter(pk=thing.credential).values_list("customer")
            query = f"?customer={customer[0][0] if customer else 999_999}"
            urls = [reverse(f"storefront:{name}") + query for name in PAGES_OF_OWNERS]
            urls += [thing.urls()[name] for name in PAGES_OF_TEAM]
            urls.append(reverse("storefront:team") + query)
            for url in urls:
                statuses = {client.get(url).status_code}
                if not url.startswith(reverse("storefront:team") + "?"):
                    held = {"held": f"{thing.credential}-{thing.membership}"}
                    statuses.add(client.post(url, sent | held).status_code)
                if statuses != {404}:
                    wrong.append((who, about, url, statuses))
        if team_of(things) != before:
            wrong.append((who, "changed"))

    assert wrong == []


def test_what_is_anothers_is_as_good_as_not_there(world, sign_in):
    users, things = world
    client = sign_in(users["owner"])

    for page, url in things[FOREIGN].urls().items():
        foreign, none = client.get(url), client.get(things[NONE].urls()[page])
        assert (foreign.status_code, said(foreign)) == (none.status_code, said(none))


@pytest.mark.parametrize("about", ABOUT)
def test_the_anonymous_are_asked_to_sign_in_whatever_they_ask_for(world, about):
    _, things = world
    for url in (*things[about].urls().values(), *lists()):
        for answer in (Client().get(url), Client().post(url)):
            if answer.status_code == 405:
                continue
            assert (answer.status_code, answer["Location"]) == (
                302,
                f"{reverse('account_login')}?next={url}",
            )


def test_lists_are_for_whoever_has_signed_in(world, sign_in):
    users, _ = world
    for who in EVERYBODY:
        client = sign_in(users[who])
        assert [client.get(url).status_code for url in lists()] == [200] * len(LISTS)


def test_lists_hold_own_things_only(world, sign_in):
    users, things = world

    def listed(who, page, kind):
        found = sign_in(users[who]).get(reverse(f"storefront:{page}")).content.decode()
        return {about for about, thing in things.items() if f'href="{thing.urls()[kind]}"' in found}

    owned, held = {OWN, HELD_BY_OTHERS}, {OWN}
    rows = {"owner": owned, "member": held, "viewer": held, "stranger": set(), "staff": set()}
    assert {who: listed(who, "credentials", "credential") for who in EVERYBODY} == rows
    assert {who: listed(who, "subscriptions", "subscription") for who in EVERYBODY} == rows
    assert {who: listed(who, "calls", "transaction") for who in EVERYBODY} == rows
    assert {who: listed(who, "calls", "uncounted") for who in EVERYBODY} == rows


def test_calls_that_are_not_counted_are_told_to_their_owners_only(world, sign_in):
    users, things = world

    def told(who, page):
        found = sign_in(users[who]).get(reverse(f"storefront:{page}")).content.decode()
        link = "?show=uncounted&amp;credential={}"
        return {each for each, it in things.items() if link.format(it.credential) in found}

    owned, held = {OWN, HELD_BY_OTHERS}, {OWN}
    rows = {"owner": owned, "member": held, "viewer": held, "stranger": set(), "staff": set()}
    assert {who: told(who, "home") for who in EVERYBODY} == rows
    assert {who: told(who, "credentials") for who in EVERYBODY} == rows


def test_a_filter_for_anothers_things_finds_nothing_more(world, sign_in):
    users, things = world
    client, foreign = sign_in(users["member"]), things[FOREIGN]
    key = ExternalKey.objects.get(pk=foreign.key).fingerprint
    sent = Transaction.objects.get(pk=foreign.transaction).transaction_id

    for query in (f"credential={foreign.credential}", f"key={key}", f"id={sent}"):
        page = client.get(f"{reverse('storefront:calls')}?{query}").content.decode()
        assert foreign.urls()["transaction"] not in page
        assert foreign.urls()["uncounted"] not in page


@pytest.mark.parametrize("split", ["subscription", "credential", "element", "gateway"])
def test_usage_is_of_own_things_only(world, sign_in, split):
    users, things = world

    def total(who, **query):
        page = sign_in(users[who]).get(reverse("storefront:usage"), {"by": split} | query)
        return sum(each["figures"].total for each in page.context["charts"])

    # Each thing has one counted call.
    totals = {"owner": 2, "member": 1, "viewer": 1, "stranger": 0, "staff": 0}
    assert {who: total(who) for who in EVERYBODY} == totals
    for about, expected_total in ((OWN, 1), (HELD_BY_OTHERS, 1), (FOREIGN, 2), (NONE, 2)):
        thing = things[about]
        assert total("owner", credential=thing.credential) == expected_total
        assert total("owner", subscription=thing.subscription) == expected_total


def test_a_key_of_another_credential_is_not_found_under_ones_own(world, sign_in):
    users, things = world
    mine, anothers = things[OWN], things[FOREIGN]
    url = reverse("storefront:reveal_key", args=[mine.credential, anothers.key])

    answer = sign_in(users["member"]).post(url, {"password": factories.PASSWORD})

    assert answer.status_code == 404


def test_a_holder_who_left_the_customer_sees_nothing_of_it(world, sign_in):
    users, things = world
    Membership.objects.filter(subscriber__user=users["member"]).delete()
    client = sign_in(users["member"])

    statuses = {client.get(url).status_code for url in things[OWN].urls().values()}

    assert statuses == {404}


def test_pages_that_only_show_take_nothing(world, sign_in):
    users, things = world
    client = sign_in(users["owner"])
    shown = [
        *(things[OWN].urls()[page] for page in ("credential", "subscription", "transaction")),
        reverse("storefront:home"),
        reverse("storefront:subscriptions"),
        reverse("storefront:usage"),
    ]

    statuses = {client.generic(method, url).status_code for method in UNSAFE for url in shown}

    assert statuses == {405}


def test_a_viewer_is_told_whom_to_ask(world, sign_in):
    users, things = world

    page = sign_in(users["viewer"]).get(things[OWN].urls()["rotate"])

    assert "Viewers cannot reveal keys, nor change credentials." in page.content.decode()
    assert f"Ask {users['owner'].email} (owner)." in page.content.decode()


def test_numbers_no_database_holds_are_not_found(world, sign_in):
    users, _ = world
    huge = Thing(*[10**30] * 4, uuid4(), uuid4(), 10**30)

    statuses = {sign_in(users["owner"]).get(url).status_code for url in huge.urls().values()}

    assert statuses == {404}


def test_every_page_there_is_has_been_asked_for():
    pages = {each.name for each in urlpatterns if isinstance(each, URLPattern)}

    about_things = set(Thing(*[1] * 4, uuid4(), uuid4(), 1).urls()) - {"uncounted"}
    # Withdrawing is asked for in tests/storefront/views/test_credential_requests.py, and the
    # styleguide, which shows nothing of anybody, beside it.
    elsewhere = {"withdraw", "styleguide"}
    assert pages == about_things | set(LISTS) | set(PAGES_OF_OWNERS) | elsewhere


def said(answer):
    """But for the token of the form to sign out, which is another each time."""
    return re.sub(rb'name="csrfmiddlewaretoken" value="\w+"', b"", answer.content)


def lists():
    return [reverse(f"storefront:{each}") for each in LISTS]
