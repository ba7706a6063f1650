"""Whatever rights staff have, no page of the administration gives them somebody else's login.

Staff with many sets of rights post to every page there is, of every row, field by field, with what
they would like to have there. They open every link that a mail to an address of theirs brings.
Afterwards each login is as it was, or at least nobody else's.
"""

import random
import re
from dataclasses import dataclass
from itertools import count

import pytest
from django.contrib import admin
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX, check_password
from django.contrib.auth.models import Group, Permission
from django.core import mail
from django.test import Client
from django.urls import reverse

from revcred import outbox
from revcred.actions.users import rank_of
from revcred.models import (
    AddressChange,
    AuditEvent,
    Customer,
    Membership,
    Subscriber,
    Upload,
    User,
    UserToken,
)
from tests import factories
from tests.confirming import post

pytestmark = pytest.mark.django_db

PASSWORD = "what the attacker would like it to be"
EVIL = "evil.example"  # where the attacker reads mail
IDENTITY = (User, Group, Subscriber, Membership, UserToken)
FIELDS = (
    "email",
    "is_active",
    "is_staff",
    "is_superuser",
    "groups",
    "user_permissions",
    "permissions",
    "password",
    "user",
    "role",
    "subscriber",
    "everything",
)
SUPERUSERS, EVERYTHING = {"superuser"}, {"everything"}
RANDOM_SETS = 6

_numbers = count(1)


def sets_of_rights():
    """Each right over people alone, all that there are, random sets, and a superuser."""
    people = (User, Group, Subscriber, Membership, Customer, UserToken, Upload)
    single = [
        {right}
        for each in people
        for right in (
            *(f"{verb}_{each._meta.model_name}" for verb in ("add", "change", "delete")),
            *(name for name, _ in each._meta.permissions),
        )
    ]
    every = sorted(set().union(*single))
    chance = random.Random(11)  # always the same
    some = [set(chance.sample(every, chance.randint(2, 8))) for _ in range(RANDOM_SETS)]
    return [*single, *some, EVERYTHING, SUPERUSERS]


@dataclass
class Login:
    """A login with what nobody but its owner and those above may change."""

    facts: dict
    groups: frozenset
    rights: frozenset
    subscriber: int | None
    open_changes: int


def logins():
    """All logins by their number, in a handful of queries."""

    def of(rows):
        found = {}
        for user, other in rows:
            found.setdefault(user, set()).add(other)
        return found

    groups = of(User.groups.through.objects.values_list("user", "group"))
    rights = of(User.user_permissions.through.objects.values_list("user", "permission"))
    subscribers = dict(Subscriber.objects.exclude(user=None).values_list("user", "pk"))
    changes = of(AddressChange.objects.open().values_list("user", "pk"))
    return {
        facts["id"]: Login(
            facts={name: value for name, value in facts.items() if name != "last_login"},
            groups=frozenset(groups.get(facts["id"], ())),
            rights=frozenset(rights.get(facts["id"], ())),
            subscriber=subscribers.get(facts["id"]),
            open_changes=len(changes.get(facts["id"], ())),
        )
        for facts in User.objects.values()
    }


@pytest.fixture
def people():
    """Somebody of each rank, subscribers with and without a login, and what they have."""
    everything = Group.objects.create(name="Everything")
    everything.permissions.set(Permission.objects.all())
    boss = factories.a_user("boss@example.com", is_staff=True, is_superuser=True)
    manager = factories.a_user("manager@example.com", is_staff=True)
    manager.groups.add(everything)
    clerk = factories.a_user("clerk@example.com", is_staff=True)
    customer = factories.a_customer("Acme")
    owner = factories.a_subscriber(customer, Membership.Role.OWNER, "owner@example.com")
    member = factories.a_subscriber(customer, email="member@example.com")
    factories.a_user("alone@example.com")
    Subscriber.objects.create(email="alone@example.com")
    Subscriber.objects.create(email="boss2@example.com")
    User.objects.create_superuser("boss2@example.com", factories.PASSWORD, name="Boss")
    newcomer = Subscriber.objects.create(email="newcomer@example.com")
    newcomer.memberships.create(customer=customer, role=Membership.Role.OWNER)
    for user in (boss, manager, clerk):
        UserToken.issue(user, name="A script", scopes=[])
    factories.a_credential(customer, holders=[owner, member])
    return [*User.objects.all()]


def attacker_with(rights):
    is_superuser = rights is SUPERUSERS
    actor = factories.a_user(f"staff@{EVIL}", is_staff=True, is_superuser=is_superuser)
    wanted = Permission.objects.all()
    if rights is not EVERYTHING:
        wanted = wanted.filter(codename__in=rights)
    actor.user_permissions.set(wanted)
    return actor


def pages():
    """Every page that can be posted to, of every row of people and of one row of the rest."""
    for model, its_admin in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield model, None, reverse(f"{name}_add")
        rows = model._default_manager.order_by("pk")
        for row in rows if model in IDENTITY else rows[:1]:
            for page in ("change", "delete", *getattr(its_admin, "action_forms", {})):
                yield model, row, reverse(f"{name}_{page}", args=[row.pk])


def said_to_begin_with(model, row):
    """What the form of a page says already, with nothing changed."""
    said = {"post": "yes", "memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    if row is not None:
        for field in model._meta.concrete_fields:
            value = getattr(row, field.attname)
            if value not in (None, "", False):
                said[field.name] = "on" if value is True else value
    else:
        said |= {"name": f"New {next(_numbers)}", "external_key": f"new-{next(_numbers)}"}
    return said


def wish(field):
    """What the attacker would like a field to say."""
    boss = User.objects.order_by("pk").first()
    everything = {
        "email": f"trap-{next(_numbers)}@{EVIL}",
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
        "groups": [*Group.objects.values_list("pk", flat=True)],
        "user_permissions": [*Permission.objects.values_list("pk", flat=True)],
        "permissions": [*Permission.objects.values_list("pk", flat=True)],
        "password": PASSWORD,
        "user": boss.pk,
        "role": "owner",
        "subscriber": Subscriber.objects.order_by("pk").values_list("pk", flat=True).last(),
    }
    if field == "everything":
        return {name: value or "" for name, value in everything.items()}
    if field == "password":
        names = ("password", "password1", "password2", "new_password1", "usable_password")
        return dict.fromkeys(names, PASSWORD)
    return {field: everything[field] or ""}


def open_all_mail():
    """Open each link in what was sent to the attacker, and say there what is most useful."""
    outbox.send_waiting_mail()
    mails, mail.outbox = mail.outbox, []
    for each in mails:
        if not each.to[0].endswith(EVIL):
            continue
        for link in re.findall(r"http://testserver(\S+)", each.body):
            browser = Client(REMOTE_ADDR=f"192.0.2.{next(_numbers) % 250}")
            page = browser.get(link, follow=True)
            said = {"password": PASSWORD, "password1": PASSWORD, "password2": PASSWORD}
            browser.post(page.request["PATH_INFO"], said)


def check(before, ranks, actor, what):
    """Compare all logins with what they were: `before` by number, `ranks` likewise."""
    after = logins()
    for number, was in before.items():
        now = after.get(number)
        if ranks[number] >= ranks[actor.pk] and number != actor.pk:
            assert now == was, (what, was.facts["email"])
        if now is None or actor.is_superuser:  # who may, with those below
            continue
        if now.facts["erased_at"] and not was.facts["erased_at"]:
            assert actor.has_perm("revcred.erase_subscriber"), (what, was.facts["email"])
            assert_nobodys(now, what)
            continue
        if number != actor.pk:
            assert now.facts["email"] == was.facts["email"], (what, was.facts["email"])
            assert not check_password(PASSWORD, now.facts["password"]), (what, now.facts["email"])
            assert now.subscriber in (was.subscriber, None), (what, now.facts["email"])
        assert rights_of(now) == rights_of(was), (what, now.facts["email"])
    if actor.is_superuser:
        return
    for number in after.keys() - before.keys():  # whoever was made has no rights
        made = after[number]
        assert (made.facts["is_superuser"], made.groups, made.rights) == (False, set(), set()), what


def assert_nobodys(login, what):
    """Nobody can sign in with it, get a mail for it, or do anything by it."""
    assert re.fullmatch(r"erased-(login-)?\d+@invalid", login.facts["email"]), what
    assert login.facts["password"].startswith(UNUSABLE_PASSWORD_PREFIX), what
    assert (login.facts["is_active"], login.subscriber, login.open_changes) == (False, None, 0), (
        what
    )
    assert rights_of(login) == (frozenset(), frozenset(), False, False), what


def rights_of(login):
    return login.groups, login.rights, login.facts["is_staff"], login.facts["is_superuser"]


def fields_of(model, url):
    """The fields to try one by one, and all at once."""
    if model not in IDENTITY or "/delete/" in url:
        return ["everything"]
    names = {each.name for each in model._meta.get_fields()} & {*FIELDS}
    return [*sorted(names), "everything"]


@pytest.mark.parametrize(
    "rights", sets_of_rights(), ids=lambda rights: "+".join(sorted(rights))[:60]
)
def test_nobody_gets_another_login_by_the_administration(people, rights):
    actor = attacker_with(rights)
    ranks = {each.pk: rank_of(user=each) for each in (*people, actor)}
    before = logins()
    browser = Client(REMOTE_ADDR="192.0.2.254")
    browser.force_login(actor)
    posted = [*pages()]
    # Additions, then changes and the rest, then deletions, or there were nothing left to change.
    posted.sort(key=lambda page: "/delete/" in page[2])

    for model, row, url in posted:
        for field in fields_of(model, url):
            answer = post(browser, url, said_to_begin_with(model, row) | wish(field))
            assert answer.status_code < 500, (url, field)
            if answer.status_code == 403:
                break  # the page is not for these rights, whatever is said
            open_all_mail()
            check(before, ranks, actor, (url, field))
    for email in User.objects.filter(email__endswith=EVIL).values_list("email", flat=True):
        Client(REMOTE_ADDR=f"198.51.100.{next(_numbers) % 250}").post(
            reverse("account_reset_password"), {"email": email}
        )
    open_all_mail()
    check(before, ranks, actor, "forgotten passwords")
    others = UserToken.objects.exclude(user=actor).exclude(name="A script")
    assert not others.exists()

    if rights is EVERYTHING:  # or else nothing was found since nothing could be done
        asked = AuditEvent.objects.filter(verb="address_asked").count()
        assert (asked > 5, AuditEvent.objects.count() > 50) == (True, True)


def test_this_finds_a_page_that_asks_no_password(people, monkeypatch):
    """The attack of old: another's address is changed to the own one, and a link confirms it."""
    monkeypatch.setattr(User, "has_usable_password", lambda _: False)

    with pytest.raises(AssertionError):
        test_nobody_gets_another_login_by_the_administration(
            people, {"change_subscriber", "change_membership"}
        )


def test_this_finds_a_page_that_asks_for_no_rank(people, monkeypatch):
    monkeypatch.setattr("revcred.actions.users.is_ranked_below", lambda **_: True)

    with pytest.raises(AssertionError):
        test_nobody_gets_another_login_by_the_administration(people, EVERYTHING)
