"""What is sealed opens as what it was, where it was sealed, with a key of the ring. Or not."""

import pytest
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.db import connection

from revcred.crypto import CannotUnseal
from revcred.models import ExternalKey, SealedValue
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ring")]

KEY = "the-key-that-callers-send"
SECRET = "what-is-shown-and-never-used"


@pytest.fixture
def sealed():
    return sealed_value(KEY, SECRET)


def sealed_value(key=None, secret=None):
    return SealedValue.objects.get(
        external_key__credential=factories.a_credential(None, key, secret)
    )


def tokens(sealed):
    """What the database holds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT value, secret FROM revcred_sealedvalue WHERE external_key_id = %s", [sealed.pk]
        )
        return [bytes(each) if each else each for each in cursor.fetchone()]


def put(sealed, value):
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE revcred_sealedvalue SET value = %s WHERE external_key_id = %s",
            [value, sealed.pk],
        )


def opened(sealed):
    fresh = SealedValue.objects.get(pk=sealed.pk)
    return fresh.unseal("value"), fresh.unseal("secret")


# --- Ways in and out ------------------------------------------------------------------------------


def test_what_is_sealed_opens_again(sealed):
    assert opened(sealed) == (KEY, SECRET)


def test_the_database_sees_neither_key_nor_secret(sealed):
    value, secret = tokens(sealed)

    assert value.startswith(b"gAAAAA")
    assert secret.startswith(b"gAAAAA")
    assert KEY.encode() not in value
    assert SECRET.encode() not in secret


def test_the_same_text_is_never_sealed_the_same(sealed):
    before = tokens(sealed)

    sealed.save()

    assert set(before).isdisjoint(tokens(sealed))


def test_nothing_stays_null():
    sealed = sealed_value(KEY)

    assert opened(sealed) == (KEY, None)
    assert tokens(sealed)[1] is None


@pytest.mark.parametrize("text", ["", " ", "ключ ☃ 🔑", "a\0b", "gAAAAA", "x" * 10_000])
def test_any_text_opens_as_itself(sealed, text):
    sealed.seal(value=text, secret=None)
    sealed.save()

    assert opened(sealed) == (text, None)


def test_it_survives_update(sealed):
    sealed.seal(value="another", secret=None)

    SealedValue.objects.filter(pk=sealed.pk).update(value=sealed.value, secret=sealed.secret)

    assert opened(sealed) == ("another", None)


def test_it_survives_bulk_create():
    key = ExternalKey.objects.get(credential=factories.a_credential())
    key.sealed.delete()
    sealed = SealedValue(external_key=key)
    sealed.seal(value="one", secret="two")

    SealedValue.objects.bulk_create([sealed])

    assert opened(sealed) == ("one", "two")


def test_it_survives_bulk_update():
    """The package would seal the text of the SQL expression that bulk_update is made of."""
    first, second = sealed_value(), sealed_value()
    first.seal(value="one", secret=None)
    second.seal(value="two", secret="three")

    SealedValue.objects.bulk_update([first, second], ["value", "secret"])

    assert opened(first) == ("one", None)
    assert opened(second) == ("two", "three")


def test_it_survives_an_upsert(sealed):
    sealed.seal(value="one", secret="two")

    SealedValue.objects.bulk_create(
        [sealed],
        update_conflicts=True,
        unique_fields=["external_key"],
        update_fields=["value", "secret"],
    )

    assert opened(sealed) == ("one", "two")


def test_it_cannot_be_searched(sealed):
    with pytest.raises(FieldError):
        SealedValue.objects.filter(value=sealed.value).exists()


# --- The ring -------------------------------------------------------------------------------------


def test_the_newest_key_seals_and_every_key_opens(ring, sealed):
    ring("second", "first")
    later = sealed_value("sealed-with-the-second")

    assert opened(sealed) == (KEY, SECRET)
    ring("second")
    assert opened(later) == ("sealed-with-the-second", None)


def test_without_its_key_nothing_opens(ring, sealed):
    ring("second")

    with pytest.raises(CannotUnseal):
        SealedValue.objects.get(pk=sealed.pk)


def test_nothing_is_sealed_with_an_empty_ring(ring, sealed):
    ring()

    with pytest.raises(ImproperlyConfigured):
        sealed.save()


# --- Tampering ------------------------------------------------------------------------------------


def test_no_byte_of_it_may_differ(sealed):
    whole, _ = tokens(sealed)

    for place in range(len(whole)):
        put(sealed, whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CannotUnseal):
            SealedValue.objects.get(pk=sealed.pk)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda _: b"",
        lambda _: KEY.encode(),
        lambda token: token[:-1],
        lambda token: token[:-4],
        lambda token: token[4:],
        lambda token: token + b"A",
        lambda token: token + b"=",
        lambda token: token + b"\n",
        lambda token: token[:40] + b"\0" + token[40:],
        lambda token: token + token,
    ],
    ids=[
        "empty",
        "in clear",
        "shorter by a byte",
        "shorter by four",
        "without its beginning",
        "a byte more",
        "padded",
        "a line more",
        "something in between",
        "twice",
    ],
)
def test_it_is_as_long_as_it_was(sealed, tamper):
    put(sealed, tamper(tokens(sealed)[0]))

    with pytest.raises(CannotUnseal):
        SealedValue.objects.get(pk=sealed.pk)


def test_it_opens_in_no_other_row(sealed):
    other = sealed_value()
    put(other, tokens(sealed)[0])

    with pytest.raises(CannotUnseal):
        SealedValue.objects.get(pk=other.pk).unseal("value")


def test_a_secret_does_not_open_as_a_key(sealed):
    put(sealed, tokens(sealed)[1])

    with pytest.raises(CannotUnseal):
        SealedValue.objects.get(pk=sealed.pk).unseal("value")
