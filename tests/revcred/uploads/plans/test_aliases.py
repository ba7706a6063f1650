"""Several keys of one credential, and one key at two gateways: by list as by hand."""

import pytest

from revcred.actions import credentials
from revcred.fingerprints import fingerprint
from revcred.models import Credential, ExternalKey, Upload
from revcred.uploads import actions
from tests import factories
from tests.revcred.uploads.conftest import rows

pytestmark = pytest.mark.django_db(transaction=True)

HEADER = "customer,name,key,aliases"
ALIAS = "6b9443ae-73f0-4db6-af00-4f1e3a415dbb"


@pytest.fixture
def acme():
    return factories.a_customer("Acme")


def counts(upload):
    assert upload.state == Upload.State.READY, upload.error
    return {action: count for action, count in upload.preview["counts"].items() if count}


def problems(upload):
    return [(each.row, each.message) for each in actions.list_row_problems(upload=upload, most=99)]


def keys_of(name):
    found = Credential.objects.get(name=name).keys.select_related("sealed").order_by("kind", "pk")
    return [(each.kind, each.hint, each.sealed.value is not None) for each in found]


def test_aliases_are_added_as_by_hand(applied, uploaded, undone, acme):
    text = rows(HEADER, f"acme,Orders,key-of-acme-orders,{ALIAS}|kong-consumer-1")

    upload = applied(text)

    assert keys_of("Orders") == [
        *(("alias", "5dbb", True), ("alias", "er-1", True), ("key", "ders", True)),
    ]
    by_hand = factories.a_credential(acme, name="By hand")
    alias = credentials.add_alias(credential=by_hand, alias="by-hand-alias-1", by=None)
    listed = ExternalKey.objects.get(fingerprint=fingerprint(ALIAS))
    assert abs(alias.active_from - listed.active_from).total_seconds() < 600
    assert counts(uploaded(text)) == {"unchanged": 1}

    undone(upload)

    assert not Credential.objects.filter(name="Orders").exists()


def test_an_alias_of_a_credential_that_exists_is_an_update_and_can_be_undone(
    applied, uploaded, undone, acme
):
    factories.a_credential(acme, "key-of-acme-orders", name="Orders")
    text = rows(HEADER, f"acme,Orders,key-of-acme-orders,{ALIAS};second-alias-1")

    assert uploaded(text).preview["examples"]["update"][0]["values"] == [
        ["aliases", None, ["…5dbb", "…as-1"]],
    ]
    upload = applied(text)
    assert len(keys_of("Orders")) == 3

    undone(upload)

    assert keys_of("Orders") == [("key", "ders", True)]


def test_an_alias_means_one_credential(uploaded, acme):
    other = factories.a_credential(acme, "key-of-another-one", name="Other")
    credentials.add_alias(credential=other, alias="alias-of-another", by=None)
    text = rows(
        HEADER,
        "acme,A,key-of-number-one,alias-of-another",
        "acme,B,key-of-number-two,key-of-number-three",
        "acme,C,key-of-number-three,",
        "acme,D,key-of-number-four,key-of-number-four",
    )

    upload = uploaded(text)

    assert counts(upload) == {"create": 2, "rejected": 2}
    assert problems(upload) == [
        (2, "One of the aliases is a key or an alias of another credential."),
        (3, "One of the aliases is also a key or an alias in another row."),
    ]


def test_a_second_key_in_a_column_of_its_own_is_an_alias(applied, acme):
    applied(
        rows("customer,name,primaryKey,secondaryKey", "acme,Orders,first-key-0001,second-key-2")
    )

    assert [kind for kind, *_ in keys_of("Orders")] == ["alias", "key"]


def test_one_key_at_two_gateways_is_two_keys(applied, uploaded, acme):
    other = factories.a_customer("Other")
    for name in ("north", "south"):
        factories.a_gateway(name)
    first = rows("customer,name,key,gateway", "acme,Live,the-key-of-both,north")
    second = rows("customer,name,key,gateway", "other,Test,the-key-of-both,south")

    applied(first)
    upload = applied(second)

    assert upload.outcome["create"] == 1, problems(upload)
    assert (acme.credentials.count(), other.credentials.count()) == (1, 1)
    assert counts(uploaded(first + second.splitlines()[1] + "\n")) == {"unchanged": 2}
