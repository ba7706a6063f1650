"""Keys that sign what backends are told, and how they are exchanged."""

from datetime import timedelta

import pytest
from django.utils import timezone
from joserfc.jwk import OKPKey

from revcred.models import SigningKey
from revcred.signing import OVERLAP, private_key_of, published_keys, rotate_keys, usable_keys

pytestmark = pytest.mark.django_db


def signing_key(now):
    """Return the name of the key that signs at a moment."""
    return next(key.key_id for key in usable_keys(now) if key.signs_from <= now)


def names(now):
    return {key["kid"] for key in published_keys(now)}


def test_the_first_key_is_made_when_one_is_needed():
    now = timezone.now()
    assert published_keys(now) == []

    (first,) = usable_keys(now)

    assert [key.pk for key in usable_keys(now)] == [first.pk]
    assert published_keys(now)[0]["kid"] == first.key_id
    assert private_key_of(first).thumbprint() == first.key_id


def test_a_new_key_is_known_before_it_signs_and_the_old_one_after():
    now = timezone.now()
    old = signing_key(now)

    new = rotate_keys(now).key_id

    assert (signing_key(now), names(now)) == (old, {old, new})
    later = now + OVERLAP
    assert (signing_key(later), names(later)) == (new, {old, new})
    assert names(later + OVERLAP) == {new}


def test_keys_of_which_nothing_is_left_are_deleted():
    now = timezone.now()
    signing_key(now)
    rotate_keys(now)

    rotate_keys(now + timedelta(days=1))

    assert SigningKey.objects.count() == 2


def test_a_public_key_is_no_private_one():
    (key,) = usable_keys(timezone.now())

    assert not OKPKey.import_key(dict(published_keys(timezone.now())[0])).is_private
    assert private_key_of(key).is_private
