import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import decrypt
from django.core.management import CommandError, call_command
from django.db import connection

from revcred.crypto import CannotUnseal
from revcred.management.commands import rotate_encryption_keys
from revcred.models import ExternalKey, OutgoingMail, SealedValue, UploadChange
from revcred.outbox import queue_mail
from revcred.runtime import preflight
from tests import factories, second_factors

pytestmark = pytest.mark.django_db

MAIL = {"membership": {"customer": "Acme"}, "by": "the operator"}


@pytest.fixture
def keys(ring):
    """Three, of which one has a secret and one is an alias without anything sealed."""
    preflight.check_configuration()
    with_secret = factories.a_credential(key="key-number-1", secret="secret-1")
    without = factories.a_credential(key="key-number-2")
    ExternalKey.objects.create(
        credential=without, fingerprint="0" * 32, active_from=factories.LONG_AGO
    )
    return [with_secret.keys.get(), without.keys.get(hint="er-2")]


def opened(keys):
    sealed = [SealedValue.objects.get(pk=each.pk) for each in keys]
    return [(each.unseal("value"), each.unseal("secret")) for each in sealed]


@pytest.mark.parametrize("at_once", [1, 2, 500])
def test_after_a_rotation_the_old_key_may_leave_the_ring(keys, ring, monkeypatch, at_once):
    monkeypatch.setattr(rotate_encryption_keys, "RESEALED_PER_TRANSACTION", at_once)
    ring("second", "first")

    call_command("rotate_encryption_keys")

    ring("second")
    preflight.check_configuration()
    assert opened(keys) == [("key-number-1", "secret-1"), ("key-number-2", None)]


def test_a_secret_that_an_upload_replaced_is_sealed_again(keys, ring):
    its_key = keys[0]
    sealed = SealedValue.objects.get(pk=its_key.pk)
    change = UploadChange.objects.create(
        upload_id=1,
        action="update",
        target_type="revcred.credential",
        target_id=its_key.credential_id,
        secret=sealed.secret,
    )
    ring("second", "first")

    call_command("rotate_encryption_keys")

    ring("second")
    assert UploadChange.objects.get(pk=change.pk).secret == sealed.secret


def test_it_may_be_run_again(keys, ring):
    ring("second", "first")
    call_command("rotate_encryption_keys")

    call_command("rotate_encryption_keys")

    assert opened(keys) == [("key-number-1", "secret-1"), ("key-number-2", None)]


def test_with_nothing_sealed_there_is_nothing_to_do(ring, capsys):
    call_command("rotate_encryption_keys")

    assert capsys.readouterr().out == "Done. You can remove the older keys from FERNET_KEYS.\n"


def test_what_does_not_open_is_named_and_keeps_no_other_from_being_sealed(keys, ring):
    damaged, whole = keys
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE revcred_sealedvalue SET value = 'garbage' WHERE external_key_id = %s",
            [damaged.pk],
        )
    ring("second", "first")

    with pytest.raises(CommandError, match=rf"external keys: {damaged.pk}\.$"):
        call_command("rotate_encryption_keys")

    ring("second")
    assert opened([whole]) == [("key-number-2", None)]
    with pytest.raises(CannotUnseal):
        opened([damaged])


def test_waiting_mails_and_second_factors_open_with_the_new_key_alone(keys, ring):
    queue_mail("emails/no_member", "ann@example.com", MAIL)
    app = second_factors.an_app(factories.a_user())
    ring("second", "first")

    call_command("rotate_encryption_keys")

    ring("second")
    totp = Authenticator.objects.get(type=Authenticator.Type.TOTP)
    assert decrypt(totp.data["secret"]) == app.secret
    assert "Acme" in OutgoingMail.objects.get(recipient="ann@example.com").body


@pytest.mark.parametrize("what", ["mails", "second factors"])
def test_a_mail_or_second_factor_that_does_not_open_is_named_and_the_old_key_stays(
    keys, ring, capsys, what
):
    user = factories.a_user()
    ring("lost")
    if what == "mails":
        queue_mail("emails/no_member", "ann@example.com", MAIL)
        named = OutgoingMail.objects.values_list("pk", flat=True).get()
    else:
        second_factors.an_app(user)
        OutgoingMail.objects.all().delete()  # it told the user of the factor
        named = user.pk
    ring("second", "first")

    with pytest.raises(CommandError, match=rf"No key of FERNET_KEYS opens .*{what}.*: {named}"):
        call_command("rotate_encryption_keys")

    assert "You can remove" not in capsys.readouterr().out
