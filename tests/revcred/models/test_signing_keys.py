"""Key pairs of claims: the private key is sealed, and opens in its own row alone."""

import pytest
from django.core.management import call_command
from django.utils import timezone

from revcred.crypto import CannotUnseal
from revcred.models import SigningKey
from revcred.signing import rotate_keys
from tests.owner import owner_cursor

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_private_key_is_sealed_in_its_own_row():
    first, second = (rotate_keys(timezone.now()) for _ in range(2))
    with owner_cursor() as cursor:
        cursor.execute("SELECT convert_from(private, 'UTF8') FROM revcred_signingkey")
        stored = [text for (text,) in cursor.fetchall()]
        assert not any(key.unseal() in text for key in (first, second) for text in stored)
        cursor.execute("UPDATE revcred_signingkey SET private = (SELECT private FROM"
                       " revcred_signingkey WHERE id = %s)", [first.pk])  # fmt: skip
    second.refresh_from_db()

    with pytest.raises(CannotUnseal):
        second.unseal()


def test_it_is_sealed_again_under_a_new_encryption_key(settings):
    key = rotate_keys(timezone.now())
    private = key.unseal()
    settings.FERNET_KEYS = ["a-newer-key-of-this-test-0123456789ab", *settings.FERNET_KEYS]
    SigningKey.private.field.__dict__.pop("fernet", None)

    call_command("rotate_encryption_keys")

    settings.FERNET_KEYS = settings.FERNET_KEYS[:1]
    SigningKey.private.field.__dict__.pop("fernet", None)
    assert SigningKey.objects.get().unseal() == private
