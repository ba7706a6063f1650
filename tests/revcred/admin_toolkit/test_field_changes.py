"""Every field of every form: what it was and what it is now is on record."""

import re
from datetime import UTC, datetime
from itertools import count

import pytest
from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group
from django.urls import reverse

from metering.quarantine import reattribution
from revcred.models import Appearance, AuditEvent, Customer, Membership, Source, Subscriber
from revcred.models.audit import to_audit_json
from tests import factories
from tests.confirming import post

pytestmark = pytest.mark.django_db(transaction=True)

OURS = ("revcred", "metering", "auth")
MOMENT = "%Y-%m-%dT%H:%M:%S"

# Fields whose values nobody may read on record.
CONCEALED = {("revcred.user", "password")}
# Fields that say what to do and are no part of the thing; what they do has an event of its own.
QUESTIONS = {
    ("revcred.product", "without_sources"),
    ("revcred.appearance", "new_logo"),
    ("revcred.appearance", "without_logo"),
}
numbers = count(1)

# What has to be typed besides, so that a form can be saved.
ONLY_SO = {
    "public_url": "https://another.example.com/",
    "accent": "#5b21b6",
    "accent_dark": "#c4b5fd",
    "links": "Guide https://docs.example.com",
}
FITTING = {
    "active_until": {"active_from": "2019-01-01T00:00:00"},
    "subscribers_reveal": {"subscribers_rotate": ""},
}


def one_of(model):
    customer = factories.a_customer()
    subscription = factories.a_subscription(customer)
    made = {
        "customer": lambda: customer,
        "subscription": lambda: subscription,
        "product": lambda: subscription.product,
        "source": lambda: Source.objects.create(name="Maps", external_key=f"maps-{next(numbers)}"),
        "credential": lambda: factories.a_credential(customer, subscriptions=[subscription]),
        "subscriber": lambda: factories.a_subscriber(customer),
        "membership": lambda: factories.a_subscriber(customer) and Membership.objects.last(),
        "user": lambda: factories.a_user(is_staff=True),
        "gateway": factories.a_gateway,
        "appearance": lambda: Appearance.objects.get_or_create(pk=1)[0],
        "group": lambda: Group.objects.create(name=f"Clerks {next(numbers)}"),
    }
    return made[model._meta.model_name]()


def form_of(client, obj):
    name = f"admin:{obj._meta.app_label}_{obj._meta.model_name}_change"
    address = reverse(name, args=[obj.pk])
    response = client.get(address)
    assert response.status_code == 200
    return address, response


def as_typed(field, value):
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime(MOMENT)
    if isinstance(field, forms.ModelMultipleChoiceField):
        return [each.pk for each in value]
    if hasattr(field, "prepare_value"):
        value = field.prepare_value(value)
    return value


def typed_of(response):
    form = response.context["adminform"].form
    typed = {}
    for name, field in form.fields.items():
        value = as_typed(field, form.get_initial_for_field(field, name))
        if value not in (None, False):
            typed[name] = value
    for formset in response.context["inline_admin_formsets"]:
        for each in [formset.formset.management_form, *formset.formset.initial_forms]:
            values = {each.add_prefix(name): each[name].value() for name in each.fields}
            typed |= {name: value for name, value in values.items() if value is not None}
    return typed


def another(field, value):  # noqa: PLR0911 - one for each kind of field
    """Another value that the field takes, as it is typed."""
    if isinstance(field, forms.ModelMultipleChoiceField):
        return [other_row(field, {each.pk for each in value or ()}).pk]
    if isinstance(field, forms.ModelChoiceField):
        return other_row(field, {getattr(value, "pk", value)}).pk
    if isinstance(field, forms.BooleanField):
        return None if value else "on"
    if isinstance(field, forms.ChoiceField):
        return next(key for key, _ in field.choices if key not in ("", value))
    if isinstance(field, forms.DateTimeField):
        return "2020-01-02T03:04:05"
    if isinstance(field, forms.EmailField):
        return "another@example.com"
    if isinstance(field, forms.JSONField):
        return '{"another": 1}'
    if isinstance(field, forms.IntegerField):
        return int(value or 0) + 7
    return "another-value"


def other_row(field, known):
    rows = field.queryset.exclude(pk__in=known)
    if row := rows.first():
        return row
    model = field.queryset.model
    if model is Subscriber:
        return factories.a_subscriber()
    if model is Source:
        return one_of(Source)
    if model is Customer:
        return factories.a_customer()
    return factories.a_product() if model._meta.model_name == "product" else one_of(model)


def editable():
    found = []
    for model, model_admin in admin.site._registry.items():
        if model._meta.app_label not in OURS:
            continue
        class_ = type(model_admin)
        if "ReadOnlyModelAdmin" in {each.__name__ for each in class_.__mro__}:
            continue
        # All of it is decided by actions, and none of it typed.
        if model_admin.fields and {*model_admin.fields} <= {*model_admin.readonly_fields}:
            continue
        found.append((model, model_admin))
    return found


@pytest.mark.parametrize("model", [model for model, _ in editable()], ids=lambda m: m.__name__)
def test_every_field_that_is_changed_is_on_record_with_old_and_new(admin_client, model):
    obj = one_of(model)
    address, response = form_of(admin_client, obj)
    names = [
        name
        for name, field in response.context["adminform"].form.fields.items()
        if not field.disabled and (model._meta.label_lower, name) not in CONCEALED | QUESTIONS
    ]
    assert names
    for name in names:
        obj = one_of(model)
        address, response = form_of(admin_client, obj)
        form = response.context["adminform"].form
        field = form.fields[name]
        old = form.get_initial_for_field(field, name)
        typed = typed_of(response)
        new = ONLY_SO.get(name) or another(field, old)
        typed[name] = new
        if name in FITTING:
            typed |= FITTING[name]
        if new is None:
            del typed[name]
        last = AuditEvent.objects.first()

        saved = post(admin_client, address, typed)

        assert saved.status_code == 302, (name, saved.context["adminform"].form.errors)
        events = newer(last).about(obj)
        recorded = [
            e.details["changed"][name] for e in events if name in e.details.get("changed", {})
        ]
        if not recorded and says(newer(last), old, named(field, new)):
            continue  # by an action with words of its own
        assert recorded, f"{name} of {model.__name__}"
        before, after = recorded[-1]
        current = getattr(type(obj)._base_manager.get(pk=obj.pk), name)
        assert after == to_audit_json(current), name
        assert before != after, name
        if not isinstance(field, forms.ModelChoiceField | forms.ModelMultipleChoiceField):
            assert before == to_audit_json(old) or (before, old) == ([], ""), name
        history = reverse(f"{address_name(obj)}_history", args=[obj.pk])
        assert "→" in admin_client.get(history).text
    reattribution.work_through_claims()


def newer(last):
    return AuditEvent.objects.filter(pk__gt=last.pk if last else 0)


def named(field, value):
    """Rows that were chosen, by their names; of permissions by what they permit."""
    if not isinstance(field, forms.ModelMultipleChoiceField):
        return value
    rows = field.queryset.filter(pk__in=value)
    return [getattr(row, "codename", str(row)) for row in rows]


def says(events, old, new):
    """Whether one of them holds the old and the new value, in whatever words."""
    texts = [f"{event.verb} {event.target} {event.details}".lower() for event in events]
    return any(all(is_in(text, value) for value in (old, new)) for text in texts)


def is_in(text, value):
    if value in (True, False, None, "on"):
        # A switch: the verb itself says it, or the word.
        words = (
            ("activated", "yes", "true") if value else ("deactivated", "no", "false", "activated")
        )
        return any(word in text for word in words)
    if isinstance(value, list):
        return all(str(each).lower() in text for each in value)
    return str(value).lower() in text


def address_name(obj):
    return f"admin:{obj._meta.app_label}_{obj._meta.model_name}"


def test_rows_kept_with_a_thing_are_on_record_with_old_and_new(admin_client):
    source = Source.objects.create(name="Maps", external_key="maps")
    rule = source.path_rules.create(text="/old/")
    gone = source.path_rules.create(text="/gone/")
    address, response = form_of(admin_client, source)
    typed = typed_of(response) | {
        "path_rules-TOTAL_FORMS": 3,
        "path_rules-0-text": "/new/",
        "path_rules-1-DELETE": "on",
        "path_rules-2-text": "/added/",
        "path_rules-2-match": "contains",
    }

    assert post(admin_client, address, typed).status_code == 302

    (event,) = AuditEvent.objects.about(source)
    rows = {row["id"]: (row["old"], row["new"]) for row in event.details["rows"]}
    on = {"match": "begins_with", "switched_off": False}
    assert rows[rule.pk] == (on | {"text": "/old/"}, on | {"text": "/new/"})
    assert rows[gone.pk] == (on | {"text": "/gone/"}, None)
    (added,) = rows.keys() - {rule.pk, gone.pk}
    assert rows[added] == (None, on | {"match": "contains", "text": "/added/"})
    history = admin_client.get(reverse("admin:revcred_source_history", args=[source.pk])).text
    text = " ".join(re.sub("<[^>]*>", " ", history).split())
    assert re.search("text: /old/.* → .*text: /new/", text)


def test_what_is_deleted_leaves_its_last_values(admin_client):
    product = factories.a_product("Maps")

    address = reverse("admin:revcred_product_delete", args=[product.pk])
    assert post(admin_client, address, {"post": "yes"}).status_code == 302

    event = AuditEvent.objects.about(product).get()
    assert event.details["changed"]["name"] == ["Maps", None]


def test_what_is_new_is_on_record_with_its_values(admin_client):
    address = reverse("admin:revcred_product_add")
    typed = {
        "name": "Maps",
        "external_key": "maps",
        "published": "on",
        "credential_issuing": "provider",
    }

    assert post(admin_client, address, typed).status_code == 302

    event = AuditEvent.objects.get(target_type="revcred.product", verb="created")
    assert event.details["changed"]["name"] == [None, "Maps"]
