"""Claims for backends: when one is made anew, and by which key."""

from datetime import timedelta

import pytest
from django.utils import timezone
from joserfc import jwt
from joserfc.jwk import KeySet

from metering.verification.signed_claims import ClaimSigner
from revcred.signing import OVERLAP, published_keys, rotate_keys, usable_keys

pytestmark = pytest.mark.django_db

OWNER = {
    "audience": "edge",
    "credential": "cred_1",
    "subscription": "fleet",
    "customer": "acme",
    "product": "maps",
    "environment": "",
    "tags": ("eu", "beta"),
}


def read(claim, now):
    keys = KeySet.import_key_set({"keys": list(published_keys(now))})
    return jwt.decode(claim, keys, algorithms=["EdDSA"])


def test_what_is_not_known_is_left_out():
    now = timezone.now()
    signer = ClaimSigner(usable_keys(now))

    said = read(signer.sign(now=now, **OWNER | {"credential": None}), now).claims

    assert said["sub"] == "fleet"
    assert not {"credential", "environment"} & set(said)


@pytest.mark.parametrize(
    ("field", "value"),
    [(name, ("us",) if name == "tags" else "another") for name in OWNER],
)
def test_a_claim_is_given_again_only_for_the_same_owner(field, value):
    now = timezone.now()
    signer = ClaimSigner(usable_keys(now))
    claim = signer.sign(now=now, **OWNER)

    assert signer.sign(now=now + timedelta(seconds=3), **OWNER) == claim
    assert signer.sign(now=now, **OWNER | {field: value}) != claim


def test_without_a_key_there_is_no_claim():
    assert ClaimSigner().sign(now=timezone.now(), **OWNER) == ""


def test_a_key_signs_when_its_turn_has_come():
    now = timezone.now()
    (old,) = usable_keys(now)
    new = rotate_keys(now)
    signer = ClaimSigner(usable_keys(now))

    used = [
        read(signer.sign(now=at, **OWNER), now).header["kid"]
        for at in (now, now + OVERLAP - timedelta(seconds=1), now + OVERLAP)
    ]

    assert used == [old.key_id, old.key_id, new.key_id]
