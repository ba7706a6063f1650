"""No action lets a revoked credential's key count again as a side effect: it is asked for."""

from datetime import timedelta

import pytest
from django.utils import timezone

from revcred.actions import credentials
from revcred.actions.credentials import NewKey
from revcred.fingerprints import fingerprint, hint
from revcred.models import AuditEvent, ExternalKey
from tests import factories

pytestmark = pytest.mark.django_db

KEY = "the-key-of-a-revoked-one"
DAY = timedelta(days=1)


@pytest.fixture
def revoked():
    credential = factories.a_credential(name="Gone", key=KEY)
    credentials.revoke_credential(credential=credential, reason="leaked", by=None)
    return credential


@pytest.fixture
def other():
    return factories.a_credential(name="Other")


def issue(credential, **asked):
    credentials.issue_credential(
        customer=credential.customer, name="New", new_key=NewKey(key=KEY, **asked), by=None
    )


def issue_from_long_ago(credential, **asked):
    issue(credential, active_from=timezone.now() + DAY, **asked)


def rotate(credential, **asked):
    credentials.rotate_credential(credential=credential, overlap=DAY, key=KEY, by=None, **asked)


def add_alias(credential, **asked):
    credentials.add_alias(credential=credential, alias=KEY, by=None, **asked)


def add_alias_at_a_gateway(credential, **asked):
    gateway = factories.a_gateway()
    credentials.add_alias(credential=credential, alias=KEY, gateway=gateway, by=None, **asked)


def attach(credential, **asked):
    credentials.add_alias_by_fingerprint(
        credential=credential, key_fingerprint=fingerprint(KEY), hint=hint(KEY), by=None, **asked
    )


WAYS = [issue, issue_from_long_ago, rotate, add_alias, add_alias_at_a_gateway, attach]


def test_every_action_that_adds_a_key_is_among_them():
    """Whatever calls `_keep` is one of WAYS."""
    adding = {
        name
        for name in dir(credentials)
        if (code := getattr(getattr(credentials, name), "__wrapped__", None))
        and {"_insert_key", "_add_key"} & {*code.__code__.co_names}
    }

    assert adding == {
        "issue_credential",
        "rotate_credential",
        "add_alias",
        "add_alias_by_fingerprint",
    }


@pytest.mark.parametrize("has_ended", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_revoked_credential_s_key_is_refused(revoked, other, way, has_ended):
    if has_ended:
        credentials.end_key(key=revoked.keys.get(), by=None)
    before = ExternalKey.objects.count()

    with pytest.raises(credentials.KeyOfRevokedCredential) as refused:
        way(other)

    assert "“Gone”" in str(refused.value)
    assert f"{revoked.revoked_at:%Y-%m-%d}" in str(refused.value)
    assert KEY not in str(refused.value)
    assert ExternalKey.objects.count() == before


@pytest.mark.parametrize("way", WAYS)
def test_it_counts_again_where_that_is_asked_for_and_is_on_record(revoked, other, way):
    way(other, use_again=True)

    new = ExternalKey.objects.filter(fingerprint=fingerprint(KEY)).exclude(credential=revoked).get()
    assert new.active_from >= revoked.revoked_at
    assert revoked.keys.get().active_until == revoked.revoked_at
    event = AuditEvent.objects.about(new.credential).first()
    assert event.details["key_was_of"] == "Gone"
    assert AuditEvent.objects.about(revoked).first().details["used_again_for"] == str(
        new.credential
    )


def test_who_was_asked_once_is_not_asked_of_it_again(revoked, other):
    add_alias(other, use_again=True)
    key = other.keys.get(kind="alias")
    credentials.end_key(key=key, by=None)

    add_alias(factories.a_credential())

    assert ExternalKey.objects.filter(fingerprint=fingerprint(KEY)).count() == 3


def test_a_revoked_credential_s_name_is_free_again(revoked):
    credentials.issue_credential(customer=revoked.customer, name="Gone", by=None)

    with pytest.raises(credentials.CredentialNameInUse):
        credentials.issue_credential(customer=revoked.customer, name="Gone", by=None)
    live = revoked.customer.credentials.get(name="Gone", revoked_at=None)
    credentials.revoke_credential(credential=live, reason="lost", by=None)
    credentials.issue_credential(customer=revoked.customer, name="Gone", by=None)
    assert revoked.customer.credentials.filter(name="Gone").count() == 3
