import base64
import json
from urllib.parse import quote

import pytest
from django.urls import reverse

from revcred import leaks
from revcred.models import AuditEvent, Credential, OutgoingMail
from tests.confirming import confirm
from tests.factories import a_credential, a_customer, a_subscriber, a_user

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "sk+live/with-signs=0123456789=="
DESK = reverse("admin:revcred_credential_leaks")
SCAN = reverse("admin:revcred_credential_leaks-scan")
CONTAIN = reverse("admin:revcred_credential_contain-leak")

# Where keys stand in texts that leak, with what is around them.
PLACES = {
    "alone": "{key}",
    "a sentence": "I use {key}. It works, thanks!",
    "quotes": 'const KEY = "{key}";',
    "JSON": "{json}",
    "YAML": "api_key: {key}",
    "an environment": "export API_KEY={key}",
    "a header": "authorization: Bearer {key}",
    "a header in a log": "[2026-01-01] GET / {{x-api-key={key}, host=a}}",
    "an address": "GET /v1/a?api_key={quoted}&b=1 HTTP/1.1",
    "a tag": "<key>{key}</key>",
    "a list": "one,{plain},three",
    "a path": "https://example.com/{plain}/calls",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_key_is_found_wherever_it_stands(place):
    plain = "a-plain-key-of-somebody"
    a_credential(key=KEY)
    a_credential(key=plain)
    text = PLACES[place].format(
        key=KEY, quoted=quote(KEY, safe=""), json=json.dumps({"a": [KEY]}), plain=plain
    )

    (found,) = leaks.find_keys(f"before {text} after " + "x" * 10_000)

    assert found.hint == (plain if "plain" in PLACES[place] else KEY)[-4:]


def test_what_is_no_key_of_ours_or_only_a_part_of_one_is_not_found():
    a_credential(key=KEY)

    assert (
        leaks.find_keys(f"{KEY}x {KEY[:-1]} {base64.b64encode(b'nothing of ours').decode()}") == []
    )
    with pytest.raises(ValueError, match="At most"):
        leaks.find_keys("x " * leaks.MAX_SCANNED_CHARACTERS)


def test_the_desk_shows_whose_keys_were_found_and_nothing_of_the_text(admin_client):
    credential = a_credential(a_customer("Acme"), KEY, name="Checkout")
    pasted = f"password: a-secret-of-somebody-else {KEY}"

    page = admin_client.post(DESK, {"text": pasted}).content.decode()

    assert "1 key of ours found" in page
    assert "Checkout" in page
    assert "a-secret-of-somebody-else" not in page
    assert KEY not in page
    keys = admin_client.post(SCAN, {"text": pasted}).json()["keys"]
    assert keys == [credential.keys.get().pk]
    assert "Checkout" in admin_client.post(DESK, {"key": keys}).content.decode()
    assert "None of our keys" in admin_client.post(DESK, {"key": ["0"]}).content.decode()
    long = {"text": "x " * leaks.MAX_SCANNED_CHARACTERS}
    assert "At most" in admin_client.post(DESK, long).content.decode()
    assert admin_client.post(SCAN, long).status_code == 400


def test_a_leak_is_contained_in_one_action_that_asks_first(admin_client):
    customer = a_customer("Acme")
    holder = a_subscriber(customer, email="ada@example.com")
    credential = a_credential(customer, KEY, name="Checkout", holders=[holder])
    key = credential.keys.get()
    OutgoingMail.objects.all().delete()
    data = {"keys": [key.pk], "where": "a public repository", "suspend": "on"}

    response = admin_client.post(CONTAIN, data)
    assert "1 holder is told by e-mail" in response.content.decode()
    assert credential.keys.count() == 1
    confirm(admin_client, response)

    key.refresh_from_db()
    new = credential.keys.exclude(pk=key.pk).get()
    assert key.active_until == new.active_from
    assert Credential.objects.get(pk=credential.pk).suspensions.count() == 1
    mail = OutgoingMail.objects.get()
    assert mail.recipient == "ada@example.com"
    assert "a public repository" in mail.unseal()
    assert KEY not in mail.unseal()
    event = AuditEvent.objects.filter(verb="leak_contained").get()
    assert (event.details["where"], event.details["told"]) == ("a public repository", 1)


def test_looking_and_containing_take_their_rights(client):
    key = a_credential(key=KEY).keys.get()
    client.force_login(a_user(is_staff=True))

    for address in (DESK, SCAN, CONTAIN):
        assert client.post(address, {"text": KEY, "keys": [key.pk]}).status_code == 403
