"""Public ids of credentials, and what stands for them among fingerprints."""

import pytest
from django.db.models import F

from revcred.models import Credential
from revcred.public_ids import (
    FingerprintOfPublicId,
    PublicIdOf,
    public_id_fingerprint,
    public_id_of,
)
from tests import factories


@pytest.mark.django_db
def test_the_database_and_python_read_a_public_id_alike():
    public_id = factories.a_credential().public_id
    found = (
        Credential.objects.annotate(as_fingerprint=FingerprintOfPublicId("public_id"))
        .annotate(back=PublicIdOf(F("as_fingerprint")))
        .values_list("as_fingerprint", "back")
    )

    assert list(found) == [(public_id_fingerprint(public_id), public_id)]
    assert public_id_of(public_id_fingerprint(public_id)) == public_id


@pytest.mark.parametrize(
    "text",
    [
        *("", "cred_", "cred_" + 31 * "a", "cred_" + 33 * "a", "cred_" + 32 * "A"),
        *("rck_" + 32 * "a", 32 * "a", " cred_" + 32 * "a", "cred_" + 32 * "a" + "\n"),
    ],
)
def test_other_texts_are_no_public_ids(text):
    assert public_id_fingerprint(text) is None
