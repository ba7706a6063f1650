"""A leaked FINGERPRINT_KEY is exchanged while calls come in, and every call finds its owner."""

import asyncio
from datetime import timedelta
from io import StringIO
from threading import enumerate as threads
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db.transaction import atomic
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.fingerprint_moves import (
    apply_moves,
    follow_moves,
    forget_moves,
    remember_late,
    remember_unmoved,
)
from metering.inbox.intake import accept_calls
from metering.management.commands import rotate_fingerprint_key
from metering.models import GatewayToken, Quarantined, Transaction
from metering.quarantine.reattribution import work_through_claims
from revcred import fingerprint_rotation, fingerprints
from revcred.actions import credentials
from revcred.fingerprints import fingerprint, new_fingerprint_hex, old_fingerprint_hex
from revcred.models import (
    ExternalKey,
    FingerprintMove,
    KeyringCheck,
    SealedValue,
    UnmovedFingerprint,
    Upload,
    UserToken,
)
from revcred.runtime import preflight
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

SEALED, ALIAS = "a-key-that-is-sealed", "a-key-only-seen-in-calls"
INTERVAL = 0.05


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(fingerprint_rotation, "REFRESH_SECONDS", INTERVAL)
    monkeypatch.setattr(rotate_fingerprint_key, "REFRESH_SECONDS", INTERVAL)
    monkeypatch.setattr(rotate_fingerprint_key, "MAX_WAIT_SECONDS", 4 * INTERVAL)


@pytest.fixture
def gateway():
    return factories.a_gateway("Edge")


@pytest.fixture
def credential():
    """One with a sealed key and secret, and an alias of which only the fingerprint is known."""
    customer = factories.a_customer()
    made = factories.a_credential(
        customer,
        key=SEALED,
        secret="a-secret-of-some-length",
        subscriptions=[factories.a_subscription(customer)],
    )
    credentials.add_alias_by_fingerprint(
        credential=made,
        key_fingerprint=fingerprint(ALIAS),
        hint="alls",
        by=None,
        active_from=factories.LONG_AGO,
    )
    return made


@pytest.fixture
def exchange(settings):
    """Restarts this process with a new key beside the present one: `exchange()`."""
    resolvers = []

    def restart():
        settings.OLD_FINGERPRINT_KEY = settings.FINGERPRINT_KEY
        settings.FINGERPRINT_KEY = "another key of fingerprints, long enough"
        fingerprints._keyed_hashes.cache_clear()
        fingerprints._old_keyed_hashes.cache_clear()
        resolvers.append(fingerprint_rotation.Resolver())
        fingerprints.resolve_by(resolvers[-1])
        return resolvers[-1]

    KeyringCheck.matches()
    yield restart
    fingerprints.resolve_by(None)
    for resolver in resolvers:
        resolver.stopped.set()
    for thread in threads():
        if thread.name == "fingerprints":
            thread.join()
    fingerprints._keyed_hashes.cache_clear()
    fingerprints._old_keyed_hashes.cache_clear()


def rotate():
    said = StringIO()
    call_command("rotate_fingerprint_key", stdout=said)
    return said.getvalue()


def post(gateway, *keys):
    accept_calls(gateway, [factories.a_call(key) for key in keys])


def settle():
    process_waiting_deliveries()
    work_through_claims()


def counts():
    return Transaction.objects.count(), Quarantined.objects.count()


def test_before_it_begins_everything_is_known_by_the_old_key(credential, gateway, exchange):
    exchange()

    preflight.check_configuration()
    post(gateway, SEALED, ALIAS)
    settle()

    assert counts() == (2, 0)
    assert fingerprint(SEALED).hex == old_fingerprint_hex(SEALED)


def test_the_audit_stays_verifiable(credential, exchange):
    call_command("verify_audit")
    exchange()
    rotate()

    call_command("verify_audit")


def test_calls_are_counted_before_between_and_after(credential, gateway, exchange):
    post(gateway, SEALED, ALIAS)  # still in the inbox when the key is exchanged
    resolver = exchange()
    said = rotate()

    assert "key …alls of the credential" in said
    assert "1 could not be moved" in said
    assert fingerprint(SEALED).hex == new_fingerprint_hex(SEALED)
    assert fingerprint(ALIAS).hex == old_fingerprint_hex(ALIAS)
    post(gateway, SEALED, ALIAS)
    settle()
    follow_moves()  # as the clock does, for calls that came under the old fingerprint
    settle()
    assert counts() == (4, 0)

    resolver.refresh()  # the alias has come in, which tells its new fingerprint
    said = rotate()
    assert "Done. You can remove OLD_FINGERPRINT_KEY." in said
    assert not UnmovedFingerprint.objects.exists()
    assert fingerprint(ALIAS).hex == new_fingerprint_hex(ALIAS)
    post(gateway, SEALED, ALIAS)
    settle()
    assert counts() == (6, 0)
    kept = {each.fingerprint.hex for each in ExternalKey.objects.all()}
    assert kept == {new_fingerprint_hex(SEALED), new_fingerprint_hex(ALIAS)}
    assert set(FingerprintMove.objects.values_list("is_applied", flat=True)) == {True}


def test_what_waits_in_quarantine_stays_one_group(gateway, exchange):
    post(gateway, "an-unknown-key-1111")
    settle()
    exchange()
    rotate()
    post(gateway, "an-unknown-key-1111")
    settle()
    assert len({*Quarantined.objects.values_list("fingerprint", flat=True)}) == 1

    customer = factories.a_customer()
    factories.a_credential(
        customer, key="an-unknown-key-1111", subscriptions=[factories.a_subscription(customer)]
    )
    settle()
    assert counts() == (2, 0)


def test_secrets_and_tokens_move_too(credential, gateway, exchange):
    user = factories.a_user(is_staff=True)
    _, of_user = UserToken.issue(user, name="x", scopes=[])
    _, of_gateway = GatewayToken.issue(gateway, name="x", scopes=[])
    resolver = exchange()
    said = rotate()
    assert f"token …{of_user[-4:]} of {user.email}" in said
    assert f"token …{of_gateway[-4:]} of the gateway Edge" in said

    assert UserToken.objects.valid().of(of_user).exists()
    assert GatewayToken.objects.valid().of(of_gateway).exists()
    resolver.refresh()
    rotate()

    fingerprints.resolve_by(None)  # as without the old key
    forget_moves()
    assert UserToken.objects.valid().of(of_user).exists()
    assert GatewayToken.objects.valid().of(of_gateway).exists()
    sealed = SealedValue.objects.get(external_key__hint="aled")
    expected = new_fingerprint_hex("a-secret-of-some-length", label="secret")
    assert sealed.secret_fingerprint.hex == expected


def test_a_process_that_has_not_read_of_a_move_refuses_no_token(gateway, exchange, monkeypatch):
    user = factories.a_user(is_staff=True)
    _, of_user = UserToken.issue(user, name="x", scopes=[])
    _, of_gateway = GatewayToken.issue(gateway, name="x", scopes=[])
    monkeypatch.setattr(fingerprint_rotation, "REFRESH_SECONDS", 60)
    resolver = exchange()
    with atomic():
        remember_unmoved()
        KeyringCheck.begin_new_key()
    resolver.refresh()
    for model, token, label in (
        (UserToken, of_user, "user token"),
        (GatewayToken, of_gateway, "gateway token"),
    ):
        text = token.removeprefix("hak_")
        old, new = (
            UUID(made(text, label=label)) for made in (old_fingerprint_hex, new_fingerprint_hex)
        )
        apply_moves({old: new})

        assert fingerprint(text, label=label) == old
        assert model.objects.valid().of(token).exists()


def test_a_token_of_a_process_that_was_late_is_moved_too(gateway, exchange, monkeypatch):
    monkeypatch.setattr(fingerprint_rotation, "REFRESH_SECONDS", 60)  # not beside our own
    resolver = exchange()
    _, late = GatewayToken.issue(gateway, name="x", scopes=[])
    began = timezone.now() - timedelta(minutes=1)
    KeyringCheck.begin_new_key()
    resolver.refresh()
    _, soon = GatewayToken.issue(gateway, name="x", scopes=[])
    remember_late(began)
    resolver.refresh()

    for token in (late, soon):
        assert GatewayToken.objects.of(token).exists()
    resolver.refresh()
    assert "Done." in rotate()
    for token in (late, soon):
        assert GatewayToken.objects.of(token).exists()


def test_the_same_key_cannot_be_issued_twice_meanwhile(credential, exchange):
    exchange()
    rotate()

    for key in (SEALED, ALIAS):
        with pytest.raises(credentials.KeyInUse):
            factories.a_credential(key=key)


def test_a_door_that_may_not_wait_for_the_database_knows_keys_as_well(credential, exchange):
    exchange()

    async def known():
        return fingerprint(ALIAS).hex

    assert asyncio.run(known()) == old_fingerprint_hex(ALIAS)


def test_it_says_what_has_to_be_done_first(exchange):
    with pytest.raises(CommandError, match="Set OLD_FINGERPRINT_KEY to the present key"):
        rotate()
    exchange()
    Upload.objects.create(kind="subscribers", size=1, state=Upload.State.READY)
    with pytest.raises(CommandError, match="1 uploads are open"):
        rotate()


def test_a_process_that_lacks_the_old_key_does_not_start(exchange, settings):
    exchange()
    settings.OLD_FINGERPRINT_KEY = ""

    with pytest.raises(Exception, match="set it as OLD_FINGERPRINT_KEY"):
        preflight.check_configuration()
