"""Keys, secrets, tokens and passwords that were used everywhere are afterwards found nowhere."""

import base64
import html
import http.cookiejar
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from itertools import product
from pathlib import Path
from threading import Thread

import psycopg
import pytest
import redis

from tests import canaries
from tests.factories import PASSWORD

SECRET = "canary-SeCrEt-4f9a1c77e2"
CANARIES = {
    "a key that was issued": "canary-IsSuEd-d81b7a90c3",
    "its secret": SECRET,
    "a key nobody knows": "canary-UnKnOwN-77ab01fe55",
    "an alias": "canary-AlIaS-0c9e4bb821",
    "a key in a body that was refused": "canary-ReFuSeD-aa31b90c11",
    "a token that is none": "rvg_canaryToKeN91b3a7e5c0d2f4a6b8c1e3d5f7a9b",
}
ISSUED, UNKNOWN, ALIAS, REFUSED, NO_TOKEN = (
    CANARIES[name] for name in CANARIES if name != "its secret"
)

AT_OTHER_DOORS = {
    "/meter/v1/api/meter": {"application": ISSUED, "url": f"/a?key={ISSUED}"},
    "/meter/v1/api/event": {"requestId": "canary-half", "application": UNKNOWN},
    "/meter/v2/events": {"transactionId": "canary-event", "subscriberCredential": ISSUED},
    "/meter/v2/apis/requests": {"transactionId": "canary-request", "credential": ALIAS},
    "/meter/v2/tool/events": {"transactionId": "canary-tool", "subscriberCredential": UNKNOWN},
    "/meter/v2/ai/completions": {
        "transactionId": "canary-model",
        "subscriber": {"credential": {"name": "Songbird", "value": ISSUED}},
        "inputMessages": f"My key is {ISSUED}.",
    },
}

# Where the key and the token that a call comes with do not belong: as they are, and in each form.
WHERE = {
    "path": lambda said: f"/v1/{said}?key={said}",
    "source": str,
    "metadata": lambda said: {"headers": [{"authorization": said}], said: said},
    "elements": lambda said: {said[:100]: 1},
}
MAX_PAGES = 50  # of one person; pages are looked at in the process as well, and more of them

SEED = f"""
from revcred.actions import credentials
from revcred.models import Membership
from tests import factories
customer = factories.a_customer("Aviary")
ada = factories.a_subscriber(customer, Membership.Role.OWNER, "ada@aviary.example")
credential = factories.a_credential(
    customer, "{ISSUED}", "{SECRET}", name="Songbird",
    subscriptions=[factories.a_subscription(customer)], holders=[ada],
)
credentials.add_alias(credential=credential, alias="{ALIAS}", by=None)
factories.a_subscriber(factories.a_customer(), Membership.Role.OWNER, "bob@elsewhere.example")
factories.a_user("root@aviary.example", is_staff=True, is_superuser=True)
print(credential.pk, credential.keys.get(kind="key").pk)
"""


class Browser:
    """As much of one as it takes to sign in and send forms."""

    def __init__(self, url, email):
        jar = http.cookiejar.CookieJar()
        self.url = url
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        self.send("/account/login/", login=email, password=PASSWORD)

    def get(self, path):
        try:
            with self.opener.open(self.url + path, timeout=20) as response:
                return response.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.read().decode(errors="replace")

    def send(self, path, *, form_on=None, **fields):
        page = self.get(form_on or path)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
        body = urllib.parse.urlencode({"csrfmiddlewaretoken": token} | fields).encode()
        with self.opener.open(self.url + path, body, timeout=20) as response:
            return response.read().decode()

    def every_page(self):
        """What links from the first page lead to, and what those lead to."""
        pages, next_paths = {}, ["/", "/admin/"]
        while next_paths and len(pages) < MAX_PAGES:
            path = next_paths.pop(0)
            pages[path] = self.get(path)
            for link in re.findall(r'href="(/[^"#]*)"', html.unescape(pages[path])):
                if link not in pages and link not in next_paths and "logout" not in link:
                    next_paths.append(link)
        return pages


# As long as the installation is there.
@pytest.fixture(scope="package")
def used(stack):
    """Everything has been done with the canaries that can be. Answers what came of it."""
    credential, key = stack.manage("shell", "--no-imports", "--command", SEED).split()
    heard = listen_to_redis(stack)
    for number, each in enumerate((ISSUED, ALIAS, UNKNOWN)):
        stack.post(key=each, transaction_id=f"canary-{number}")
    stack.post(key=REFUSED, transaction_id=7, elements={"a": -1})
    stack.ask("/v1/transactions", raw=f'[{{"key": "{REFUSED}", '.encode())
    stack.ask("/v1/transactions", {"key": REFUSED}, authorization=f"Bearer {NO_TOKEN}")
    for path, said in AT_OTHER_DOORS.items():
        assert stack.ask(path, said).status in {200, 201, 202}
    stack.ask(f"/meter/v1/api/meter/product-key?application={ISSUED}")
    stack.ask(f"/meter/v1/api/meter/product-key?application={UNKNOWN}")
    tried = product(WHERE.items(), canaries.FORMS.values(), (ISSUED, UNKNOWN, stack.token))
    for number, ((field, put), form, secret) in enumerate(tried):
        caller = secret if secret != stack.token else ISSUED
        name = f"misplaced-{number}"
        stack.post(key=caller, transaction_id=name, **{field: put(form(secret))})
        stack.post(key=caller, transaction_id=f"{name} {form(secret)}"[:200])
    stack.ask(f"/v1/transactions/{ISSUED}")
    stack.ask("/meter/v2/events", {"subscriberCredential": REFUSED, "payload": {"a": -1}})
    stack.ask("/meter/v2/events", {"subscriberCredential": REFUSED}, **{"idempotency-key": " "})
    stack.seconds_until_attributed("canary-1")
    stack.seconds_until_attributed("canary-model")
    ada = Browser(stack.url, "ada@aviary.example")
    reveal = f"/credentials/{credential}/keys/{key}/reveal"
    shown = ada.send(f"{reveal}/", password=PASSWORD) + ada.send(f"{reveal}-secret/")
    admin = Browser(stack.url, "root@aviary.example")
    found = admin.send("/admin/revcred/credential/find/", form_on="/admin/", term=ISSUED)
    for line in ("{}", "Authorization: Bearer {}"):
        admin.send("/admin/revcred/customer/search/", form_on="/admin/", q=line.format(ISSUED))
        ada.send("/credentials/", q=line.format(ISSUED))
    return {
        "shown": shown,
        "found": found,
        "pages of the owner": ada.every_page(),
        "pages of an admin": admin.every_page(),
        "pages of somebody else": Browser(stack.url, "bob@elsewhere.example").every_page(),
        "redis": heard,
        "token": stack.token.removeprefix("hak_"),
    }


def listen_to_redis(stack):
    """Every command that Redis is sent from now on."""
    path = stack.environment["REDIS_URL"].removeprefix("redis+socket://").partition("?")[0]
    heard = []
    monitor = redis.Redis(unix_socket_path=path).monitor()
    monitor.__enter__()

    def listen():
        with suppress(redis.ConnectionError):  # in the end it is stopped
            for command in monitor.listen():
                heard.append(str(command))  # noqa: PERF401 - it never ends

    Thread(target=listen, daemon=True).start()
    return heard


def forms_of(canary):
    raw = canary.encode()
    encoded = base64.b64encode(raw).decode().rstrip("=")
    return {
        canary,
        canary.lower(),
        canary.upper(),
        canary[::-1],
        raw.hex(),
        encoded[:-2],
        urllib.parse.quote(canary, safe=""),
        json.dumps(canary)[1:-1],
        canary[:14],
    }


def hits(text, *more):
    found = [name for name, canary in CANARIES.items() for form in forms_of(canary) if form in text]
    return found + canaries.hits(text, more)


def test_the_owner_is_shown_them(used):
    assert ISSUED in used["shown"]
    assert SECRET in used["shown"]


def test_an_admin_finds_the_credential_by_its_whole_key(used):
    assert "Songbird" in used["found"]
    assert hits(used["found"]) == []


@pytest.mark.parametrize(
    "whose", ["pages of the owner", "pages of an admin", "pages of somebody else"]
)
def test_no_other_page_shows_them(used, whose):
    pages = used[whose]

    assert len(pages) > 3
    assert {path: hits(page) for path, page in pages.items() if hits(page)} == {}


def test_the_database_holds_none_of_them(used, stack):
    url = stack.environment["MIGRATION_DATABASE_URL"].replace("postgres://", "postgresql://")
    dump = []
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT format('%I', relname) FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        for (table,) in tables:
            with connection.cursor().copy(f"COPY {table} TO STDOUT") as rows:
                dump += [bytes(row).decode(errors="replace") for row in rows]

    text = "".join(dump)
    assert "Songbird" in text
    assert "misplaced-1 " in text
    assert hits(text, ISSUED, UNKNOWN, used["token"]) == []


def test_no_file_holds_any_of_them(used, stack):
    files = Path(stack.environment["UPLOADS_DIR"]).rglob("*")

    assert hits("".join(path.read_text(errors="replace") for path in files if path.is_file())) == []


def test_redis_was_told_none_of_them(used):
    assert any("metering.process_inbox" in command for command in used["redis"])
    assert hits("".join(used["redis"]), used["token"]) == []


def test_no_log_tells_any_of_them(used, stack):
    logs = "".join(
        path.read_text(errors="replace") for path in stack.logs.iterdir() if path.is_file()
    )

    assert "Not Found: /v1/transactions/…" in logs
    assert hits(logs, ISSUED, used["token"]) == []
