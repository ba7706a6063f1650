"""Each field of each form that changes something: asked first with figures, and undone.

A field that is new on a page fails here until it has another value below, and until it is asked
first and undone, or listed with the reason why not.
"""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.forms import model_to_dict
from django.urls import reverse
from django.utils import timezone

from metering.quarantine import reattribution
from revcred.actions import undoing
from revcred.models import (
    AuditEvent,
    Gateway,
    Membership,
    Product,
    Source,
    Subscription,
    User,
)
from revcred.models.audit import to_audit_json
from tests import factories
from tests.confirming import asked, confirm
from tests.revcred.admin_toolkit.test_confirmation import MOMENT, fields_of

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "key-of-every-field"


class World:
    """One of each thing that has a form, with calls, and others that it can be changed to."""

    def __init__(self):
        self.customer = factories.a_customer("Acme")
        self.source = Source.objects.create(name="Maps", external_key="maps")
        self.source.path_rules.create(text="/maps/")
        self.other_source = Source.objects.create(name="Tiles", external_key="tiles")
        self.product = factories.a_product("Atlas")
        self.product.sources.add(self.source)
        self.other_product = factories.a_product()
        self.subscription = factories.a_subscription(self.customer, product=self.product)
        self.subscriber = factories.a_subscriber(self.customer, email="ada@example.com")
        self.other_subscriber = factories.a_subscriber(self.customer, email="bo@example.com")
        self.membership = self.subscriber.memberships.get()
        self.credential = factories.a_credential(
            self.customer, KEY, subscriptions=[self.subscription], holders=[self.subscriber]
        )
        self.gateway = factories.a_gateway("Edge")
        self.login = factories.a_user("staff@example.com", is_staff=True)
        self.group = Group.objects.create(name="Night shift")
        calls = [factories.a_call(KEY, ago=timedelta(days=ago), path="/maps/1") for ago in (1, 2)]
        factories.settled(*calls, gateway=self.gateway)
        reattribution.work_through_claims()


def moment(**ago):
    return (timezone.now() - timedelta(**ago)).strftime(MOMENT)


# Another value of each field, as it is typed: by the thing's name in the world, then the field's.
OTHER = {
    "customer": {
        "name": lambda _: "Changed",
        "external_key": lambda _: "changed",
        "email_domains": lambda _: "example.com, example.org",
        "tags": lambda _: "gold",
        "suspended_at": lambda _: moment(hours=1),
        "metadata": lambda _: '{"id": 7, "name": "x"}',
        "memberships-0-role": lambda _: "owner",
    },
    "source": {
        "name": lambda _: "Changed",
        "external_key": lambda _: "changed",
        "path_rules-0-text": lambda _: "/changed/",
        "path_rules-0-match": lambda _: "contains",
    },
    "product": {
        "name": lambda _: "Changed",
        "version": lambda _: "2",
        "external_key": lambda _: "changed",
        "sources": lambda it: [it.other_source.pk],
        "also_without_source": lambda _: "on",
        "without_sources": None,  # asked where the last source goes: it is kept nowhere
    },
    "subscription": {
        "product": lambda it: it.other_product.pk,
        "external_key": lambda _: "changed",
        "name": lambda _: "Changed",
        "active_from": lambda _: moment(days=1, hours=12),
        "active_until": lambda _: moment(days=1, hours=12),
        "quota": lambda _: 7,
    },
    "credential": {
        "name": lambda _: "Changed",
        "holders": lambda it: [it.other_subscriber.pk],
        "environment": lambda _: "staging",
        "tags": lambda _: "gold",
        "expires_at": lambda _: moment(days=1, hours=12),
    },
    "subscriber": {
        "email": lambda _: "changed@example.com",
        "name": lambda _: "Changed",
        "external_key": lambda _: "changed",
        "memberships-0-role": lambda _: "owner",
    },
    "membership": {"customer": None, "subscriber": None, "role": lambda _: "owner"},
    "gateway": {
        "name": lambda _: "Changed",
        "kind": lambda _: "kong",
        "suspended_at": lambda _: moment(hours=1),
        "accepted_days": lambda _: 40,
        "ids_from_callers": lambda _: "True",
        "event_subject": lambda _: "subscription",
        "event_elements": lambda _: "tokens",
        "counted_records": lambda _: "http.access",
        "kept_attributes": lambda _: "region",
        "check_mode": lambda _: "enforce",
        "key_place": lambda _: "bearer",
        "key_name": lambda _: "X-Caller",
        "check_refuses_over_quota": lambda _: "on",
        "check_fails_open": lambda _: "on",
        "signs_claims": lambda _: "on",
    },
    "login": {
        "email": lambda _: "changed@example.com",
        "name": lambda _: "Changed",
        "is_active": lambda _: "",
        "is_staff": lambda _: "",
        "is_superuser": lambda _: "on",
        "groups": lambda it: [it.group.pk],
        "user_permissions": lambda _: [Permission.objects.get(codename="view_upload").pk],
    },
}
CASES = [
    (thing, field) for thing, fields in OTHER.items() for field, other in fields.items() if other
]

# Fields that are saved without a question where no counted call moves, and why.
AT_ONCE = {
    **dict.fromkeys(
        [
            *(("customer", each) for each in ("name", "external_key")),
            *(("product", each) for each in ("name", "version", "external_key")),
            *(("subscriber", each) for each in ("name", "external_key")),
            *(("source", "name"), ("credential", "name"), ("subscription", "name")),
            *(("gateway", "name"), ("login", "name")),
        ],
        "A name. Calls that give it are judged again: if any moves, that is asked.",
    ),
    **dict.fromkeys(
        [
            *(("customer", each) for each in ("email_domains", "tags", "metadata")),
            *(("credential", each) for each in ("environment", "tags")),
            *(("gateway", "kind"), ("gateway", "kept_attributes")),
        ],
        "A note: nothing is counted, refused or revealed by it.",
    ),
    (
        "subscription",
        "quota",
    ): "Shown to the customer. Only gateways that are set to it refuse more.",
    ("subscriber", "email"): "It waits for its confirmation from the new address.",
    ("login", "email"): "It waits for its confirmation from the new address.",
}
# Fields that no click puts back, and why.
NOT_UNDONE = {
    ("subscriber", "email"): "Only the new address counted: ask for the old one, and confirm it.",
    ("login", "email"): "Only the new address counted: ask for the old one, and confirm it.",
}


# Nobody touches an equal: who made somebody a superuser cannot take it back.
REFUSED_BY_RANK = {("login", "is_superuser")}


@pytest.fixture
def it():
    return World()


def address_of(thing, page="change"):
    return reverse(f"admin:{thing._meta.label_lower.replace('.', '_')}_{page}", args=[thing.pk])


def posted(client, it, name, field):
    """Change one field on the page of the thing, and leave the others as the form holds them."""
    address = address_of(getattr(it, name))
    typed = fields_of(client, address)
    if name == "gateway":
        typed["ids_from_callers"] = "False"
    typed[field] = OTHER[name][field](it)
    if typed[field] == "":
        del typed[field]
    return client.post(address, typed)


def values(it):
    """All that the forms of the world's things hold."""
    found = {}
    for name in OTHER:
        thing = type(getattr(it, name))._base_manager.get(pk=getattr(it, name).pk)
        found[name] = to_audit_json(model_to_dict(thing))
    rules = list(it.source.path_rules.values("match", "text"))
    roles = list(Membership.objects.order_by("pk").values_list("role", flat=True))
    return found | {"rules": rules, "roles": roles}


def test_every_field_of_every_form_has_another_value_here(admin_client, it):
    for name, fields in OTHER.items():
        form = admin_client.get(address_of(getattr(it, name))).context["adminform"].form
        rows = {each for each in fields if "-0-" in each}
        assert {*form.fields} == {*fields} - rows, name


def test_every_form_that_changes_something_is_here(it):
    from django.contrib import admin
    from django.test import RequestFactory

    request = RequestFactory().get("/")
    request.user = factories.a_user(is_staff=True, is_superuser=True)
    forms = {
        model for model, page in admin.site._registry.items() if page.has_change_permission(request)
    }
    things = {type(getattr(it, name)) for name in OTHER}
    assert forms - things == {Group}  # of which a test of the rights' own tells


@pytest.mark.parametrize(("name", "field"), CASES)
def test_a_field_is_asked_first_or_listed(admin_client, it, name, field):
    response = posted(admin_client, it, name, field)

    if (name, field) in AT_ONCE:
        assert response.status_code == 302, response.context["adminform"].form.errors
        return
    assert asked(response), "neither asked first nor listed"
    said = " ".join(map(str, response.context["question"].effects))
    assert response.context["found"].moves_calls or any(map(str.isdigit, said))
    assert confirm(admin_client, response).status_code == 302


@pytest.mark.parametrize(("name", "field"), CASES)
def test_a_field_comes_back_by_one_click(admin_client, it, name, field):
    before = values(it)
    response = posted(admin_client, it, name, field)
    if asked(response):
        response = confirm(admin_client, response)
    assert response.status_code == 302
    reattribution.work_through_claims()
    events = list(AuditEvent.objects.about(getattr(it, name)))
    if (name, field) in NOT_UNDONE:
        assert all(map(undoing.undo_obstacle, events))
        return
    assert values(it) != before

    undo = reverse("admin:revcred_auditevent_undo", args=[events[0].pk])
    if (name, field) in REFUSED_BY_RANK:
        assert admin_client.post(undo).status_code == 403
        return
    history = admin_client.get(address_of(getattr(it, name), "history"))
    assert undo in history.text
    assert "instead of" in admin_client.get(undo).text
    response = admin_client.post(undo)
    if asked(response):
        response = confirm(admin_client, response)

    assert response.status_code == 302, response.context["form"].errors
    assert values(it) == before


@pytest.mark.parametrize(
    ("name", "field"),
    [each for each in CASES if each not in NOT_UNDONE and each not in REFUSED_BY_RANK],
)
def test_what_was_changed_again_is_not_put_back(admin_client, it, name, field):
    thing = getattr(it, name)
    response = posted(admin_client, it, name, field)
    if asked(response):
        confirm(admin_client, response)
    event = AuditEvent.objects.about(thing).first()
    again(it, thing, field)
    between = values(it)

    response = admin_client.post(reverse("admin:revcred_auditevent_undo", args=[event.pk]))

    assert "has been changed meanwhile" in str(response.context["form"].errors)
    assert values(it) == between


def again(it, thing, field):
    """Give the field a third value, behind everybody's back."""
    rows, _, row_field = field.partition("-0-")
    if row_field:
        row = getattr(thing, rows).first()
        setattr(row, row_field, {"role": "viewer", "match": "ends_with"}.get(row_field, "/third/"))
        row.save()
        return
    thing.refresh_from_db()
    value = getattr(thing, field)
    if hasattr(value, "set"):
        value.clear()
        return
    third = {bool: lambda: not value, list: lambda: ["third"], dict: lambda: {"third": 3}}
    now = timezone.now() + timedelta(days=3)
    if field in ("suspended_at", "active_from", "active_until", "expires_at"):
        setattr(thing, field, now if field != "active_from" else factories.LONG_AGO)
        if field == "active_from":
            thing.active_from += timedelta(days=1)
    elif field == "product":
        thing.product = factories.a_product()
    elif field in ("role", "kind", "event_subject"):
        setattr(thing, field, {"role": "viewer", "kind": "tyk", "event_subject": "key"}[field])
    elif isinstance(value, int) and not isinstance(value, bool):
        setattr(thing, field, 11)
    else:
        setattr(thing, field, third.get(type(value), lambda: "third")())
    if isinstance(thing, Gateway | Product | Subscription | User):
        type(thing)._base_manager.filter(pk=thing.pk).update(**{field: getattr(thing, field)})
    else:
        thing.save()


@pytest.mark.parametrize("field", ["name", "is_active", "is_superuser"])
def test_undoing_takes_the_rank_that_the_change_took(client, it, field):
    boss = factories.a_user("boss@example.com", is_staff=True, is_superuser=True)
    client.force_login(boss)
    confirm(client, response) if asked(response := posted(client, it, "login", field)) else None
    event = AuditEvent.objects.about(it.login).first()
    before = values(it)
    manager = factories.a_user("manager@example.com", is_staff=True)
    rights = ("change_user", "view_user", "view_auditevent")
    manager.user_permissions.set(Permission.objects.filter(codename__in=rights))
    colleague = manager if field == "is_superuser" else it.login
    if field != "is_superuser":  # an equal
        colleague.user_permissions.set(Permission.objects.filter(codename="change_user"))
    client.force_login(manager)

    response = client.post(reverse("admin:revcred_auditevent_undo", args=[event.pk]))

    assert response.status_code == 403
    assert values(it)["login"]["is_superuser"] == before["login"]["is_superuser"]
    assert values(it)["login"]["is_active"] == before["login"]["is_active"]
    assert values(it)["login"]["name"] == before["login"]["name"]
