"""A check before a call, the snapshot and the drift page say the same of a key at a gateway."""

import random
from datetime import timedelta

import pytest
from django.db import connection

from metering.inventories import receiving
from metering.inventories.drift import DriftKind, count_drift, list_drift
from metering.inventories.key_states import KEY_STATES
from metering.inventories.receiving import InventoryEntry
from metering.inventories.snapshot import SnapshotCursor, read_snapshot
from metering.models import InventoriedKey
from metering.verification.asking import judge_calls_now
from metering.verification.checking import CallAhead
from revcred.exported_digests import export_digest, export_key_id
from revcred.fingerprints import fingerprint
from revcred.models import Credential, ExportedDigest, ExternalKey, Suspension
from tests import factories

pytestmark = pytest.mark.django_db

Kind = InventoriedKey.Kind
# By code of a check: the state of the key.
STATES = {
    "valid": "active",
    "suspended": "suspended",
    "customer_suspended": "suspended",
    "not_begun": "later",
    "revoked": "revoked",
    "expired": "expired",
    "unknown_key": "",
}
HOUR = timedelta(hours=1)
TEXTS = [f"a-text-of-many-meanings-{number:04}" for number in range(30)]


def database_now():
    """Return the moment of the test's transaction, which the snapshot judges by."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        return cursor.fetchone()[0]


class World:
    """Texts that are keys and aliases of credentials in every state, one after another."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.now = database_now()
        self.here, elsewhere = factories.a_gateway(), factories.a_gateway()
        self.credentials = [self.a_credential() for _ in range(12)]
        keys = [
            key
            for text in TEXTS
            for gateway in (None, self.here, elsewhere)
            if self.chance(0.5)
            for key in self.keys_of(text, gateway)
        ]
        made = ExternalKey.objects.bulk_create(keys)
        ExportedDigest.objects.bulk_create(
            ExportedDigest(external_key=key, digest=export_digest(key.text), key_id=export_key_id())
            for key in made
            if key.kind == ExternalKey.Kind.KEY
        )

    def chance(self, part):
        return self.random.random() < part

    def moment(self):
        return self.now + self.random.choice((-2, -1, 1, 2)) * HOUR

    def a_credential(self):
        suspended_at = self.moment() if self.chance(0.2) else None
        customer = factories.a_customer(suspended_at=suspended_at)
        credential = factories.a_credential(
            customer, subscriptions=[factories.a_subscription(customer)]
        )
        ends = {"expires_at": self.moment()} if self.chance(0.25) else {}
        if self.chance(0.25):
            ends |= {"revoked_at": self.moment(), "revocation_reason": "Left"}
        Credential.objects.filter(pk=credential.pk).update(**ends)
        if self.chance(0.3):
            Suspension.objects.create(
                credential=credential,
                active_from=self.now - 3 * HOUR,
                active_until=self.random.choice((None, self.moment())),
            )
        return credential

    def keys_of(self, text, gateway):
        """Return keys that follow one another, with and without pauses."""
        bounds = sorted(self.random.sample(range(-5, 6), self.random.choice((2, 3, 4))))
        last = self.random.choice((None, self.now + bounds[-1] * HOUR))
        moments = [self.now + bound * HOUR for bound in bounds[:-1]]
        for begin, end in zip(moments, [*moments[1:], last], strict=True):
            if self.chance(0.8):
                key = ExternalKey(
                    credential=self.random.choice(self.credentials),
                    kind="alias" if self.chance(0.15) else "key",
                    gateway=gateway,
                    fingerprint=fingerprint(text),
                    active_from=begin,
                    active_until=end,
                )
                key.text = text
                yield key

    def checked(self, *, may_be_alias):
        """Return the states that checks tell of, by text."""
        calls = [
            CallAhead(
                gateway=self.here.pk,
                at=self.now,
                fingerprint=fingerprint(text),
                may_be_alias=may_be_alias,
            )
            for text in TEXTS
        ]
        verdicts = judge_calls_now(calls, refuse_over_quota=False)
        return {text: STATES[verdict.code] for text, verdict in zip(TEXTS, verdicts, strict=True)}

    def inventory_of(self, kind, texts):
        entries = [InventoryEntry(kind=kind, text=text) for text in texts]
        begun = receiving.begin_inventory(gateway=self.here, read_from="csv")
        receiving.keep_page(gateway=self.here, inventory=begun.pk, page=0, entries=entries)
        return receiving.end_inventory(gateway=self.here, inventory=begun.pk, pages=1)

    def drifted(self, kind, texts):
        """Return the states that the drift page tells of, by text of the inventory."""
        inventory = self.inventory_of(kind, texts)
        assert count_drift(inventory, at=self.now) == {
            each: len(self.listed(inventory, each)) for each in DriftKind
        }
        states = dict.fromkeys(texts, "active")
        names = {receiving.fingerprint_of_entry(kind, text): text for text in texts}
        states |= {names[key.fingerprint]: "" for key in self.listed(inventory, "unknown-here")}
        words = {words: state for state, words in KEY_STATES.items()}
        for key in self.listed(inventory, "works-there"):
            states[names[key.fingerprint]] = words[key.state]
        return states

    def listed(self, inventory, kind):
        return list_drift(inventory, DriftKind(kind), rows=200, at=self.now)


@pytest.mark.parametrize("seed", range(6))
def test_checks_snapshot_and_drift_say_the_same_of_generated_keys(seed, settings):
    settings.EXPORT_KEY = "the-export-key-of-these-tests"
    world = World(seed)
    all_time = SnapshotCursor(
        key_id=export_key_id(), from_transaction=1, to_transaction=0, to_moment=0
    )

    checked = world.checked(may_be_alias=False)
    vouched = world.checked(may_be_alias=True)
    exported = {key.digest: key.state for key in read_snapshot(world.here, all_time).keys}
    listed = {key.digest for key in read_snapshot(world.here, None).keys if key.state == "active"}
    digests = {text: export_digest(text).hex() for text in TEXTS}
    drifted = world.drifted(Kind.KEY, TEXTS)
    drifted_digests = world.drifted(Kind.DIGEST, digests.values())
    missing = world.listed(world.inventory_of(Kind.KEY, []), "missing-there")

    assert len(set(checked.values())) > 3
    # What a gateway lets in as a key may be an alias here. A check refuses that to callers.
    assert as_checked(drifted) == as_checked(world.drifted(Kind.ALIAS, TEXTS)) == vouched
    told = {text: exported[digest] for text, digest in digests.items() if digest in exported}
    assert {text: drifted_digests[digests[text]] for text in told} == {
        text: drifted[text] for text in told
    }
    # The snapshot says that a key has ended where it lets nobody in.
    assert as_checked(told) == {text: checked[text] or "expired" for text in told}
    valid = {text for text, state in checked.items() if state == "active"}
    assert {text for text, digest in digests.items() if digest in listed} == valid
    fingerprints = {fingerprint(text): text for text in TEXTS}
    assert {fingerprints.get(key.fingerprint) for key in missing} - {None} == valid


def as_checked(states):
    """Return the states as a check has them: it does not say what of a key has expired."""
    return {text: "expired" if state == "ended" else state for text, state in states.items()}
