"""Which paths belong to a source, as an admin says it."""

import pytest
from django.db import IntegrityError
from django.db.utils import DataError
from django.urls import reverse
from django.utils import timezone

from metering.models import Claim, Quarantined, Transaction
from metering.quarantine import reattribution
from revcred.models import AuditEvent, PathRule, Source, sources
from tests import factories
from tests.confirming import confirm, post

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "key-of-paths"


def rules(*rows, existing=()):
    said = {
        "path_rules-TOTAL_FORMS": len(existing) + len(rows),
        "path_rules-INITIAL_FORMS": len(existing),
    }
    for index, each in enumerate(existing):
        said |= {
            f"path_rules-{index}-id": each.pk,
            f"path_rules-{index}-match": each.match,
            f"path_rules-{index}-text": each.text,
        }
    for index, (match, text) in enumerate(rows, len(existing)):
        said |= {f"path_rules-{index}-match": match, f"path_rules-{index}-text": text}
    return said


def add(client, *rows):
    said = {"name": "Maps", "external_key": "maps"} | rules(*rows)
    return client.post(reverse("admin:revcred_source_add"), said)


def test_a_source_has_paths_of_every_kind(admin_client):
    said = [
        ("equals", "/maps"),
        ("begins_with", "/maps/v1/"),
        ("ends_with", ".png"),
        ("contains", "/tiles/"),
        ("regex", r"^/v[0-9]+/maps(/|$)"),
    ]

    assert add(admin_client, *said).status_code == 302

    assert list(Source.objects.get().path_rules.values_list("match", "text")) == said
    listed = admin_client.get(reverse("admin:revcred_source_changelist")).text
    assert "equals /maps, begins with /maps/v1/, ends with .png" in listed
    assert AuditEvent.objects.filter(verb="created").count() == 1


@pytest.mark.parametrize(
    ("match", "text", "reason"),
    [
        ("regex", "(", "PostgreSQL cannot read it: invalid regular expression: parentheses"),
        ("regex", "[z-a]", "PostgreSQL cannot read it: invalid regular expression: invalid"),
        ("regex", r"(a+)/\1", "Back references"),
        ("regex", "(?=.*(?=.*(?=.*x)))y", "Looking ahead or back"),
        ("regex", "a(?!b)", "Looking ahead or back"),
        ("regex", "(?<=a)b", "Looking ahead or back"),
        ("regex", "(?<!a)b", "Looking ahead or back"),
        ("begins_with", "https://api.example.com/maps/", "Enter the path only"),
        ("ends_with", "?format=png", "Enter the path only"),
        ("sounds_like", "/maps", "Select a valid choice"),
        ("contains", "", "This field is required"),
        ("contains", "x" * 501, "at most 500 characters"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(admin_client, match, text, reason):
    response = add(admin_client, (match, text))

    assert response.status_code == 200
    assert reason in str(response.context["inline_admin_formset"].formset.errors)
    assert not Source.objects.exists()


def test_an_expression_that_takes_long_is_refused(admin_client, monkeypatch):
    """PostgreSQL finds a way out of most of them, so this one is only slow against the limit."""
    monkeypatch.setattr(sources, "MAX_EXPRESSION_MILLISECONDS", 1)
    monkeypatch.setattr(sources, "LONGEST_PATHS", ("/" + "ab" * 2_000_000,))

    response = add(admin_client, ("regex", "(a|b)*a(a|b){17}c"))

    errors = str(response.context["inline_admin_formset"].formset.errors)
    assert "It takes too long on a long path" in errors


def test_groups_that_are_not_kept_are_no_look_around(admin_client):
    assert add(admin_client, ("regex", "^/(?:maps|tiles)/v[0-9]+/")).status_code == 302


def test_a_backslash_that_stands_for_itself_refers_to_nothing(admin_client):
    assert add(admin_client, ("regex", r"^/a\\1")).status_code == 302


def test_a_path_rule_is_of_one_source(admin_client):
    other = Source.objects.create(name="Other", external_key="other")
    other.path_rules.create(text="/maps/")

    response = add(admin_client, ("begins_with", "/maps/"))

    assert "a source&#x27;s already" in response.text
    with pytest.raises(IntegrityError):
        other.path_rules.create(text="/maps/")


def test_postgresql_keeps_out_what_would_stop_all_settling():
    source = Source.objects.create(name="Maps", external_key="maps")

    with pytest.raises(DataError, match="invalid regular expression"):
        PathRule.objects.create(source=source, match="regex", text="(")


def test_what_waits_follows_the_paths_of_a_source(admin_client):
    customer = factories.a_customer()
    source = Source.objects.create(name="Tiles", external_key="tiles")
    subscription, other = (factories.a_subscription(customer) for _ in range(2))
    subscription.product.sources.add(source)
    other.product.sources.add(Source.objects.create(name="Routes", external_key="routes"))
    factories.a_credential(customer, KEY, subscriptions=[subscription, other])
    factories.settled(factories.a_call(KEY, path="/v7/tiles/1"))
    reattribution.work_through_claims()
    assert Quarantined.objects.get().reason == "no_subscription"

    page = reverse("admin:revcred_source_change", args=[source.pk])
    said = {"name": "Tiles", "external_key": "tiles"}
    response = admin_client.post(page, said | rules(("contains", "/tiles/")))
    assert Claim.objects.filter(with_sources=True).count() == 0
    assert response.context["found"].calls == 1
    confirm(admin_client, response)
    reattribution.work_through_claims()

    assert Transaction.objects.get().subscription == subscription
    claim = Claim.objects.latest("pk")
    assert (claim.with_sources, claim.expected, claim.attributed) == (True, 1, 1)
    # What is not changed announces nothing.
    admin_client.post(page, said | rules(existing=list(source.path_rules.all())))
    assert Claim.objects.latest("pk") == claim


def test_a_slow_rule_is_mended_and_switched_on_again(admin_client, monkeypatch):
    source = Source.objects.create(name="Maps", external_key="maps")
    source.path_rules.create(match="regex", text="(a|b)*a(a|b){17}c", switched_off=True)
    PathRule.objects.update(found_slow_at=timezone.now())
    page = reverse("admin:revcred_source_change", args=[source.pk])
    on = {"name": "Maps", "external_key": "maps"} | rules(existing=PathRule.objects.all())
    monkeypatch.setattr(sources, "MAX_EXPRESSION_MILLISECONDS", 1)
    monkeypatch.setattr(sources, "LONGEST_PATHS", ("/" + "ab" * 2_000_000,))

    # What is off keeps no other field of the source from being saved.
    post(admin_client, page, on | {"path_rules-0-switched_off": "on", "name": "World"})
    assert Source.objects.get().name == "World"
    assert "It takes too long on a long path" in admin_client.post(page, on).text
    assert PathRule.objects.slow().count() == 1

    monkeypatch.undo()
    post(admin_client, page, on)
    assert PathRule.objects.filter(switched_off=False, found_slow_at=None).count() == 1
    assert Claim.objects.filter(with_sources=True).count() == 1
