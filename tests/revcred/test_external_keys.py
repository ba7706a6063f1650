"""One limit and one way to trim for a key, wherever it comes in."""

import pytest

from revcred.actions import credentials
from revcred.actions.credentials import NewKey
from revcred.admin_toolkit.action_pages import ConcealedField
from revcred.external_keys import MAX_KEY_CHARACTERS, KeyTooLong, trim_key
from revcred.fingerprints import fingerprint
from revcred.models import SealedValue
from revcred.uploads import columns
from revcred.uploads.columns import ListKind
from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.reading.list_reader import MAX_CELL_CHARACTERS
from tests import factories

LONGEST = "k" * MAX_KEY_CHARACTERS


@pytest.mark.django_db
@pytest.mark.parametrize("around", ["", " ", "\n", "\r\n", "\t"])
def test_an_action_trims_and_keeps_the_longest(around):
    credential = credentials.issue_credential(
        customer=factories.a_customer(),
        name="Backend",
        new_key=NewKey(key=f"{around}{LONGEST}{around}"),
        by=None,
    )

    key = credential.keys.get()
    assert key.fingerprint == fingerprint(LONGEST)
    assert SealedValue.objects.get(pk=key.pk).unseal("value") == LONGEST


def test_an_action_refuses_a_longer_one():
    with pytest.raises(KeyTooLong, match="4,096"):
        trim_key(f"{LONGEST}x")


def test_forms_and_lists_have_the_same_limit():
    form = ConcealedField()
    (key,) = [each for each in columns.columns_of(ListKind.CREDENTIALS) if each.name == "key"]

    assert form.clean(f" {LONGEST}\n") == LONGEST
    assert key.parse(f" {LONGEST}\n") == LONGEST
    assert MAX_CELL_CHARACTERS >= MAX_KEY_CHARACTERS
    with pytest.raises(InvalidCell, match="4,096"):
        key.parse(f"{LONGEST}x")
    with pytest.raises(Exception, match="4096"):
        form.clean(f"{LONGEST}x")
