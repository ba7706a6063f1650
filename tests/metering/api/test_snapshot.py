import hmac
import json
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from metering.inventories import snapshot
from metering.models import GatewayToken
from metering.retention import delete_digests_of_deleted_keys
from revcred.actions import credentials
from revcred.actions.credentials import NewKey
from revcred.models import Customer, ExportedDigest, ExternalKey, SealedValue
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

EXPORT_KEY = "the-export-key-of-these-tests"
KEY, OTHER_KEY = "a-key-of-acme-0001", "a-key-of-harbour-0002"


def digest_of(key):
    return hmac.new(EXPORT_KEY.encode(), key.encode(), "sha256").hexdigest()


class Reader:
    """A gateway that reads what changed since it read last."""

    def __init__(self, client, token):
        self.client, self.token, self.cursor = client, token, ""
        self.end, self.body = {}, ""

    def ask(self, query=""):
        return self.client.get(f"/v1/keys{query}", headers={"x-api-key": self.token})

    def read(self):
        """Return the states of keys, by digest, of all pages."""
        states = {}
        while True:
            answer = self.ask(f"?since={self.cursor}" if self.cursor else "")
            assert answer.status_code == 200, answer.content
            self.body = answer.content.decode()
            *lines, self.end = map(json.loads, self.body.splitlines())
            states |= {line["digest"]: line for line in lines}
            self.cursor = self.end["cursor"]
            if not self.end["more"]:
                return states

    def states(self):
        return {digest: line["state"] for digest, line in self.read().items()}


@pytest.fixture
def reader(client, gateway, settings):
    settings.EXPORT_KEY = EXPORT_KEY
    _, token = GatewayToken.issue(gateway, name="tests", scopes=["keys:read"])
    return Reader(client, token)


def test_all_valid_keys_as_digests_and_nothing_else_of_them(reader, gateway):
    until = timezone.now() + timedelta(days=1)
    credential = factories.a_credential(key=KEY, secret="a-secret-0003", expires_at=until)
    credentials.add_alias(credential=credential, alias="an-alias-0004", by=None)
    credentials.revoke_credential(
        credential=factories.a_credential(key=OTHER_KEY), reason="Left", by=None
    )
    elsewhere = NewKey(key="only-elsewhere-0005", gateway=factories.a_gateway("other"))
    factories.a_credential(new_key=elsewhere)

    (line,) = reader.read().values()

    assert line["digest"] == digest_of(KEY)
    assert (line["credential"], line["state"]) == (credential.public_id, "active")
    assert line["until"] == until.isoformat().replace("+00:00", "Z")
    assert reader.end["complete"]
    for text in (KEY, "secret", "alias", "0001"):
        assert text not in reader.body.replace(digest_of(KEY), "").replace(line["credential"], "")


def test_what_changes_is_told_once_more(reader):
    credential = factories.a_credential(key=KEY)
    key = ExternalKey.objects.get(credential=credential)
    first = reader.states()
    again = reader.states()  # those whose digests were made just now

    changes = []
    for change in (
        lambda: credentials.suspend_credential(credential=credential, by=None),
        lambda: credentials.resume_credential(credential=credential, by=None),
        lambda: Customer.objects.update(suspended_at=timezone.now()),
        lambda: Customer.objects.update(suspended_at=None),
        lambda: credentials.end_key(key=key, by=None),
        lambda: credentials.revoke_credential(credential=credential, reason="Left", by=None),
    ):
        change()
        changes.append(reader.states().get(digest_of(KEY)))
    nothing = reader.states()

    assert first == {digest_of(KEY): "active"}
    assert again in ({}, first)
    assert changes == ["suspended", "active", "suspended", "active", "ended", "revoked"]
    # It is told again while an older transaction is open, also one of another database.
    assert nothing in ({}, {digest_of(KEY): "revoked"})
    assert not reader.end["complete"]


def test_moments_that_pass_are_changes_too(reader, monkeypatch):
    now = timezone.now()
    factories.a_credential(new_key=NewKey(key=KEY, active_from=now + timedelta(hours=1)))
    factories.a_credential(key=OTHER_KEY, expires_at=now + timedelta(hours=1))
    first = reader.states()
    reader.states()
    clock = snapshot.READ_CLOCK.replace("now()", "now() + interval '2 hours'")
    monkeypatch.setattr(snapshot, "READ_CLOCK", clock)

    assert first == {digest_of(KEY): "later", digest_of(OTHER_KEY): "active"}
    now_valid = {digest_of(KEY): "active", digest_of(OTHER_KEY): "expired"}
    assert reader.states() == now_valid
    assert reader.states() in ({}, now_valid)


def test_a_deleted_key_is_told_of_for_a_while(reader):
    credential = factories.a_credential(key=KEY)
    reader.read()
    reader.read()
    ExternalKey.objects.filter(credential=credential).delete()

    (line,) = reader.read().values()

    assert (line["digest"], line["state"], line["credential"]) == (digest_of(KEY), "ended", "")
    delete_digests_of_deleted_keys()
    assert ExportedDigest.objects.count() == 1
    ExportedDigest.objects.update(changed_at=timezone.now() - timedelta(days=32))
    delete_digests_of_deleted_keys()
    assert not ExportedDigest.objects.exists()


def test_one_text_may_be_two_keys_and_the_one_that_counts_there_is_told(reader, gateway):
    anywhere = factories.a_credential(key=KEY)
    told = [reader.read()[digest_of(KEY)]["credential"]]
    reader.read()
    here = factories.a_credential(new_key=NewKey(key=KEY, gateway=gateway))
    elsewhere = NewKey(key=KEY, gateway=factories.a_gateway("other"))
    factories.a_credential(new_key=elsewhere)
    told.append(reader.read()[digest_of(KEY)]["credential"])
    reader.read()
    here.keys.all().delete()
    told.append(reader.read()[digest_of(KEY)]["credential"])

    assert told == [each.public_id for each in (anywhere, here, anywhere)]


def test_what_another_transaction_commits_late_is_not_passed_over(reader):
    slow = factories.a_credential(key=KEY)
    reader.read()
    reader.read()
    with transaction.atomic():
        credentials.suspend_credential(credential=slow, by=None)
        # Read by this very transaction, which others do not see yet: its number is what counts.
        reader.states()

    assert reader.states() == {digest_of(KEY): "suspended"}


def test_pages(reader, monkeypatch):
    monkeypatch.setattr(snapshot, "MAX_KEYS_PER_PAGE", 2)
    keys = [f"key-of-a-page-{number:04}" for number in range(5)]
    for key in keys:
        factories.a_credential(key=key)

    assert reader.states() == {digest_of(key): "active" for key in keys}
    assert reader.end["complete"]


def test_another_export_key_or_an_older_database_begins_anew(reader, settings):
    factories.a_credential(key=KEY)
    reader.read()
    before = reader.cursor
    settings.EXPORT_KEY = "another-export-key-of-these-tests"

    (digest,) = reader.read()

    assert digest != digest_of(KEY)
    assert reader.end["complete"]
    _, key_id, transaction_number, *rest = reader.cursor.split("-")
    later = "-".join(["1", key_id, str(int(transaction_number) + 1_000_000), *rest])
    assert json.loads(reader.ask(f"?since={later}").content.splitlines()[-1])["complete"]
    assert before != reader.cursor


def test_a_damaged_key_is_left_out(reader, caplog):
    credential = factories.a_credential(key=KEY)
    SealedValue.objects.filter(external_key__credential=credential).update(value=None)
    damaged = factories.a_credential(key=OTHER_KEY)
    other = SealedValue.objects.get(external_key__credential=damaged)
    other.value = "bound to no place"
    other.save()

    assert reader.states() == {}
    assert "is damaged" in caplog.text


def test_requests_that_are_not_answered(reader, gateway, settings):
    _, poster = GatewayToken.issue(gateway, name="tests", scopes=["transactions:post"])
    _, tester = GatewayToken.issue(gateway, name="tests", scopes=["keys:read"], is_test=True)

    assert reader.ask("?since=yesterday").status_code == 400
    assert reader.ask(f"?since=1-00000000-{10**19 - 1}-0-0-0-0").status_code == 400
    for token in (poster, tester):
        assert Reader(reader.client, token).ask().status_code == 403
    settings.EXPORT_KEY = ""
    assert (reader.ask().status_code, reader.ask().json()["code"]) == (409, "no_export_key")
