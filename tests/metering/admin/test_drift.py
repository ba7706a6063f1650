from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from metering.inventories import receiving
from metering.inventories.drift import DriftKind, count_drift, list_drift
from metering.inventories.receiving import InventoryEntry
from metering.models import InventoriedKey, Quarantined
from revcred.actions import credentials
from revcred.exported_digests import export_digest, make_missing_digests
from revcred.models import ExternalKey
from tests import factories

pytestmark = pytest.mark.django_db

Kind = InventoriedKey.Kind


def inventory_of(gateway, *entries):
    """Have a gateway let in keys: texts, or entries."""
    begun = receiving.begin_inventory(gateway=gateway, read_from="haproxy")
    kept = [
        each if isinstance(each, InventoryEntry) else InventoryEntry(kind=Kind.KEY, text=each)
        for each in entries
    ]
    receiving.keep_page(gateway=gateway, inventory=begun.pk, page=0, entries=kept)
    return receiving.end_inventory(gateway=gateway, inventory=begun.pk, pages=1)


def drift_of(gateway):
    """Return the hints of each kind."""
    inventory = receiving.latest_inventory(gateway.pk)
    counts = count_drift(inventory)
    found = {
        kind: {key.hint: key for key in list_drift(inventory, kind, rows=100)} for kind in DriftKind
    }
    assert {kind: len(keys) for kind, keys in found.items()} == counts
    return found


@pytest.fixture
def gateway():
    return factories.a_gateway("Edge")


def test_both_agree(gateway):
    by_key, by_id = factories.a_credential(key="a-key-of-acme-0001"), factories.a_credential()
    alias = factories.a_credential()
    credentials.add_alias(credential=alias, alias="kong-credential-9", by=None)
    inventory_of(
        gateway,
        "a-key-of-acme-0001",
        InventoryEntry(kind=Kind.ALIAS, text=by_id.public_id),
        InventoryEntry(kind=Kind.ALIAS, text="kong-credential-9"),
    )

    assert not any(drift_of(gateway).values())
    assert by_key


def test_keys_that_work_there_and_are_not_valid_here(gateway, django_user_model):
    now = timezone.now()
    names = ("revoked", "suspended", "expired", "ended", "later")
    keys = {name: f"key-that-is-{number:04}" for number, name in enumerate(names)}
    made = {name: factories.a_credential(key=key) for name, key in keys.items()}
    credentials.revoke_credential(credential=made["revoked"], reason="Left", by=None)
    credentials.suspend_credential(credential=made["suspended"], by=None)
    made["expired"].expires_at = now - timedelta(days=1)
    made["expired"].save()
    ExternalKey.objects.filter(credential=made["ended"]).update(active_until=now)
    ExternalKey.objects.filter(credential=made["later"]).update(active_from=now + timedelta(days=1))
    # Disabled there, or known to another credential by now: both are as they should be.
    factories.a_credential(key="key-that-is-of-disabled-1")
    inventory_of(
        gateway,
        *keys.values(),
        InventoryEntry(kind=Kind.KEY, text="key-that-is-of-disabled-1", is_enabled=False),
        InventoryEntry(kind=Kind.ALIAS, text=made["revoked"].public_id),
    )

    found = drift_of(gateway)

    works_there = list_drift(
        receiving.latest_inventory(gateway.pk), DriftKind.WORKS_THERE, rows=100
    )
    states = sorted((key.credential.pk, key.state) for key in works_there)
    assert states == sorted(
        [
            (made["revoked"].pk, "revoked"),
            (made["revoked"].pk, "revoked"),
            (made["suspended"].pk, "suspended"),
            (made["expired"].pk, "expired"),
            (made["ended"].pk, "key ended"),
            (made["later"].pk, "not valid yet"),
        ]
    )
    assert set(found[DriftKind.MISSING_THERE]) == {"ed-1"}
    assert not found[DriftKind.UNKNOWN_HERE]


def test_digests_are_compared_as_well(gateway, settings):
    settings.EXPORT_KEY = "the-export-key-of-these-tests"
    valid, revoked = "a-valid-key-0001", "a-revoked-key-0002"
    factories.a_credential(key=valid)
    credentials.revoke_credential(
        credential=factories.a_credential(key=revoked, name="Old"), reason="Left", by=None
    )
    factories.a_credential(key="valid-and-missing-0003")
    make_missing_digests(list(ExternalKey.objects.values_list("pk", flat=True)))
    digests = [export_digest(key).hex() for key in (valid, revoked, "unknown-key")]
    inventory_of(gateway, *(InventoryEntry(kind=Kind.DIGEST, text=each) for each in digests))

    found = drift_of(gateway)

    (works_there,) = found[DriftKind.WORKS_THERE].values()
    assert (works_there.credential.name, works_there.state) == ("Old", "revoked")
    assert len(found[DriftKind.UNKNOWN_HERE]) == 1
    assert set(found[DriftKind.MISSING_THERE]) == {"0003"}


def test_keys_of_one_side_only(gateway):
    other = factories.a_gateway("Other")
    factories.a_credential(key="valid-here-and-missing-0007")
    credentials.issue_credential(
        customer=factories.a_customer(),
        name="For another gateway",
        by=None,
        new_key=credentials.NewKey(key="only-valid-at-other-0008", gateway=other),
    )
    inventory_of(gateway, "planted-at-the-gateway-0009", "only-valid-at-other-0008")

    found = drift_of(gateway)

    assert set(found[DriftKind.MISSING_THERE]) == {"0007"}
    # What counts at another gateway counts for nobody here.
    assert set(found[DriftKind.UNKNOWN_HERE]) == {"0009", "0008"}


def test_the_same_key_at_another_gateway(gateway):
    other, third = factories.a_gateway("Other"), factories.a_gateway("Third")
    inventory_of(other, "key-at-two-gateways-0001")
    inventory_of(third, "key-at-two-gateways-0001", "key-at-an-earlier-time-0002")
    inventory_of(third, "another-key-altogether-0003")
    inventory_of(gateway, "key-at-two-gateways-0001", "key-at-an-earlier-time-0002")

    (shared,) = drift_of(gateway)[DriftKind.SHARED].values()

    assert (shared.hint, shared.gateways) == ("0001", [other])


def page(client, gateway, query=""):
    response = client.get(reverse("admin:revcred_gateway_drift", args=[gateway.pk]) + query)
    return " ".join(response.content.decode().split())


def test_the_page_says_what_to_do_until_a_list_has_arrived(admin_client, gateway):
    text = page(admin_client, gateway)

    assert "No list of its keys has arrived yet" in text
    assert "It has sent no calls yet." in text


def test_the_page_shows_the_worst_first_and_links_what_waits(admin_client, gateway):
    revoked = factories.a_credential(key="revoked-but-working-0001", name="Fleet maps")
    credentials.revoke_credential(credential=revoked, reason="Left", by=None)
    factories.settled(factories.a_call("planted-at-gateway-0002"), gateway=gateway)
    inventory = inventory_of(
        gateway, "revoked-but-working-0001", "planted-at-gateway-0002", "never-called-0003"
    )
    inventory.ended_at = timezone.now() - timedelta(days=2)
    inventory.save()
    gateway.clock_ahead = timedelta(seconds=40)
    gateway.last_seen_at = timezone.now() - timedelta(hours=1)
    gateway.save()

    worst = page(admin_client, gateway)
    unknown = page(admin_client, gateway, "?show=unknown-here")

    assert "Not valid here, works there" in worst
    assert "Fleet maps" in worst
    assert '<span class="badge badge-bad">revoked</span>' in worst
    assert "days old" in worst
    assert "40 seconds ahead of revcred" in worst
    assert "It has sent nothing since" in worst
    assert "…0002" in unknown
    assert "1 call" in unknown
    assert unknown.count("Assign to a credential") == 2


def test_an_unknown_key_becomes_an_alias_whether_or_not_calls_wait(admin_client, gateway):
    credential = factories.a_credential(key="known-before-0001")
    inventory_of(gateway, "never-called-0003", "known-before-0001")
    (key,) = drift_of(gateway)[DriftKind.UNKNOWN_HERE].values()
    slug = f"unknown_key~{gateway.pk}~{key.fingerprint}"
    address = reverse("admin:metering_quarantined_attach", args=[slug])

    assert not Quarantined.objects.exists()
    assert "…0003" in page(admin_client, gateway)
    response = admin_client.post(address, {"credential": credential.pk, "remember": "on"})

    assert response.status_code == 302
    assert not any(drift_of(gateway).values())


def test_the_gateways_page_counts_the_differences(admin_client, gateway):
    inventory_of(gateway, "planted-at-gateway-0002")

    response = admin_client.get(reverse("admin:revcred_gateway_change", args=[gateway.pk]))

    text = " ".join(response.content.decode().split())
    assert "<strong>0</strong> Keys: not valid here, works there" in text
    assert "<strong>1</strong> Keys: there, not here" in text
    assert f'href="{reverse("metering:agent")}"' in text
