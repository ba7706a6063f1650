"""Discovered sources: names and paths that calls use and no admin has entered."""

import pytest
from django.urls import reverse

from metering.attribution.discovery import SourceDiscovery
from metering.models import DiscoveredSource
from revcred.models import AuditEvent, Source
from tests import factories

pytestmark = pytest.mark.django_db

KEY = "key-of-discovery"


@pytest.fixture(autouse=True)
def called():
    """Return sources for one attributed and one quarantined call."""
    customer = factories.a_customer()
    factories.a_credential(customer, KEY, subscriptions=[factories.a_subscription(customer)])
    maps = Source.objects.create(name="Maps", external_key="maps")
    maps.path_rules.create(text="/maps/")
    maps.path_rules.create(match="ends_with", text=".png")
    for key in (KEY, None):
        factories.settled(
            factories.a_call(key, source_named="maps"),
            factories.a_call(key, source_named="routes", path="/elsewhere/1"),
            factories.a_call(key, path="/maps/v1/1"),
            factories.a_call(key, path="/pictures/1.png"),
            factories.a_call(key, path="/orders/7/items"),
            factories.a_call(key, path="/health"),
            factories.a_call(key, path="/"),
            factories.a_call(key),
        )


def discovered():
    return set(DiscoveredSource.objects.values_list("name", "kind"))


FOUND = {("routes", "named"), ("/orders/", "path"), ("/health", "path")}


def test_calls_without_a_source_are_discovered():
    SourceDiscovery().look()

    assert discovered() == FOUND


def test_looking_again_finds_it_once():
    discovery = SourceDiscovery()
    discovery.look()
    first = DiscoveredSource.objects.get(name="routes")
    factories.settled(factories.a_call(source_named="routes"))
    discovery.look()

    again = DiscoveredSource.objects.get(name="routes")
    assert (again.first_seen_at, again.last_seen_at >= first.last_seen_at) == (
        first.first_seen_at,
        True,
    )


def test_a_discovery_that_became_a_source_is_forgotten():
    SourceDiscovery().look()
    Source.objects.create(name="Routes", external_key="routes")
    orders = Source.objects.create(name="Orders", external_key="orders")
    orders.path_rules.create(match="regex", text="^/order")
    SourceDiscovery().look()

    assert discovered() == {("/health", "path")}


def test_an_admin_enters_them_as_sources(client):
    admin = factories.a_user("admin@example.com", is_staff=True, is_superuser=True)
    client.force_login(admin)
    SourceDiscovery().look()
    url = reverse("admin:metering_discoveredsource_changelist")
    assert "routes" in client.get(url).text

    for each in DiscoveredSource.objects.all():
        page = reverse("admin:metering_discoveredsource_change", args=[each.pk])
        enter = reverse("admin:metering_discoveredsource_enter", args=[each.pk])
        assert enter in client.get(page).text
        client.post(enter, {"name": each.name.strip("/").title()})

    assert not DiscoveredSource.objects.exists()
    assert not Source.objects.get(external_key="routes").path_rules.exists()
    (rule,) = Source.objects.get(external_key="/orders/").path_rules.all()
    assert (rule.match, rule.text) == ("begins_with", "/orders/")
    assert AuditEvent.objects.filter(verb="created", actor=admin.email).count() == 3
