"""Samples of a first call are run as they stand, and its arrival is waited for."""

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils import timezone

from revcred.actions import credentials
from revcred.models import Gateway, Membership
from storefront.first_call import UNKNOWN_ADDRESS, code_samples
from tests import factories

KEY = "a-key-for-a-first-call"
SENT_AS = {
    "header": ("X-Acme-Key", KEY, ""),
    "bearer": ("Authorization", f"Bearer {KEY}", ""),
    "basic": ("Authorization", "Basic YS1rZXktZm9yLWEtZmlyc3QtY2FsbDo=", ""),
    "query": ("Host", None, f"?X-Acme-Key={KEY}"),
}
RUNNERS = {
    "curl": ("curl", ["sh", "-c", "{code}"]),
    "Python": (sys.executable, [sys.executable, "-c", "{code}"]),
    "JavaScript": ("node", ["node", "--input-type=module", "-e", "{code}"]),
}


@pytest.fixture
def api():
    """An API that keeps what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v2/", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("place", list(SENT_AS))
@pytest.mark.parametrize("language", list(RUNNERS))
def test_samples_send_the_key_where_the_gateway_wants_it(api, place, language):
    program, command = RUNNERS[language]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not here")
    address, asked = api
    gateway = Gateway(name="edge", public_url=address, key_place=place, key_name="X-Acme-Key")
    [code] = [each.code for each in code_samples(gateway) if each.language == language]

    ran = subprocess.run(
        [each.replace("{code}", code) for each in command],
        env=os.environ | {"API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert "hello" in ran.stdout
    [(path, headers)] = asked
    name, value, query = SENT_AS[place]
    assert path == f"/v2/{query}"
    assert value is None or headers[name] == value


@pytest.mark.parametrize("place", list(SENT_AS))
def test_samples_in_go_have_the_key_where_the_gateway_wants_it(place):
    gateway = Gateway(public_url="https://api.example.com/", key_place=place, key_name="X-Acme-Key")

    code = code_samples(gateway)[-1].code

    expected = {
        "header": 'request.Header.Set("X-Acme-Key", key)',
        "bearer": 'request.Header.Set("Authorization", "Bearer "+key)',
        "basic": 'request.SetBasicAuth(key, "")',
        "query": '"https://api.example.com/?X-Acme-Key="+url.QueryEscape(key)',
    }
    assert expected[place] in code
    assert code.count("{") == code.count("}")


@pytest.mark.parametrize(
    "address",
    [
        "api.example.com",
        "ftp://api.example.com",
        "https://api.example.com/?key=",
        "https://api.example.com/'; rm -rf ~; '",
        'https://api.example.com/"',
        "https://api.example.com/$(id)",
        "https://api.example.com/`id`",
        "https://api.example.com/\n",
        "javascript:alert(1)",
    ],
)
def test_an_address_that_would_break_a_sample_is_not_accepted(address):
    with pytest.raises(ValidationError) as found:
        Gateway(name="edge", public_url=address).clean_fields()

    assert "public_url" in found.value.message_dict


@pytest.fixture
def credential(db):
    customer = factories.a_customer()
    owner = factories.a_subscriber(customer, Membership.Role.OWNER)
    maps = factories.a_subscription(customer, name="Maps")
    return factories.a_credential(customer, key=KEY, subscriptions=[maps], holders=[owner])


@pytest.fixture
def browser(credential, sign_in):
    return sign_in(credential.holders.get())


def text_of(answer):
    return " ".join(answer.content.decode().split())


def page_of(browser, credential, query=""):
    url = reverse("storefront:credential", args=[credential.pk])
    return text_of(browser.get(url + query))


def asked_again(browser, credential, seconds_ago=0):
    url = reverse("storefront:arrival", args=[credential.pk, credential.keys.first().pk])
    return browser.get(url, {"since": int(timezone.now().timestamp()) - seconds_ago})


def test_a_key_that_was_never_used_waits_for_its_first_call(browser, credential):
    page = page_of(browser, credential)

    assert "Waiting for the first call with the key" in page
    assert UNKNOWN_ADDRESS in page
    assert "Your provider has not said here" in page
    assert KEY not in page
    assert asked_again(browser, credential).status_code == 204


def test_the_address_of_a_gateway_stands_in_the_samples(browser, credential):
    factories.a_gateway("off", public_url="https://off.example/", suspended_at=timezone.now())
    factories.a_gateway("edge", public_url="https://api.example.com/", key_place="bearer")

    page = page_of(browser, credential)

    assert "https://api.example.com/" in page
    assert "Authorization: Bearer $API_KEY" in page
    assert "https://off.example/" not in page


def test_the_call_arrives_with_its_whole_path(browser, credential):
    gateway = factories.a_gateway("edge")
    factories.settled(
        factories.a_call(KEY, method="GET", path="/maps", status=200), gateway=gateway
    )

    arrived = asked_again(browser, credential)

    assert arrived.status_code == 286  # htmx asks no more
    said = text_of(arrived)
    for part in ("GET /maps", "answered with 200", "Reported by edge", "Charged to", "Its receipt"):
        assert part in said
    # The key has been used by now: the page shows how to make a call, and waits no more.
    page = page_of(browser, credential)
    assert "Waiting for" not in page
    assert "Make a call" in page


def test_a_call_that_is_not_counted_arrives_with_the_reason(browser, credential):
    factories.settled(factories.a_call(KEY, subscription_named="no such"))

    said = text_of(asked_again(browser, credential))

    assert "Not counted: they name a subscription" in said


def test_a_new_key_waits_for_calls_of_its_own(browser, credential):
    factories.settled(factories.a_call(KEY))
    key = credentials.rotate_credential(
        credential=credential, overlap=timedelta(days=1), by=None, by_subscriber=True
    )

    page = page_of(browser, credential, f"?new={key.pk}")

    assert "Waiting for the first call with the key" in page
    assert f"…{key.hint}" in page


def test_it_gives_up_after_a_while(browser, credential):
    given_up = asked_again(browser, credential, seconds_ago=3_600)

    assert given_up.status_code == 286
    assert "Reload this page to wait again." in text_of(given_up)


@pytest.mark.parametrize("since", ["", "x", "-5", "9" * 400, "\0"])
def test_nonsense_waits_on(browser, credential, since):
    url = reverse("storefront:arrival", args=[credential.pk, credential.keys.get().pk])

    assert browser.get(url, {"since": since}).status_code == 204


def test_a_revoked_credential_has_no_call_to_make(browser, credential):
    credentials.revoke_credential(credential=credential, reason="Over.", by=None)

    assert 'id="first-call"' not in page_of(browser, credential)
