"""No key, no gateway's token and no prompt is kept, shown or logged, wherever a sender puts it.

Every door, every field that it documents or keeps, others besides, headers, names of members and
whole bodies that are none, each with a key, the gateway's token and, where models are asked, a
prompt, as it is and in every form. Then all columns of all tables, what was logged, and the pages.
"""

import json
import logging
import sys
from itertools import count
from urllib.parse import quote

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from metering import provisioning
from metering.api.revenium import labels
from metering.attribution.discovery import SourceDiscovery
from metering.attribution.processing import process_waiting_deliveries
from metering.inbox import redaction
from metering.models import PartialTransaction, Quarantined, Transaction
from metering.pairing.completion import pair_due_partials
from revcred.models import Membership
from tests import canaries, factories
from tests.metering.api.conftest import LoopClient
from tests.metering.api.documented import documented, schema

PROMPT = "the heron asked what the tide had said"
OF_UNKNOWN_KEYS, OF_KNOWN_KEYS = "-zQ9x7Wv3.harbour", "-hb4Rw8.of/callers+="  # how all of them end
PROMPTED = ("/meter/v2/ai/", "/meter/v2/tool/", "/meter/v2/otlp/")
LOOP = "loop"  # in the event loop, at the address of the native one
REQUESTS, RESPONSES = "/meter/v2/apis/requests", "/meter/v2/apis/responses"
HEADERS = (
    "user-agent",
    "referer",
    "x-request-id",
    "idempotency-key",
    "traceparent",
    "x-forwarded-for",
    "ce-source",
    "ce-subject",
    "ce-whatever",
)
# In test_lines.py, test_key_inventory.py and test_views.py of checks.
TRIED_ELSEWHERE = {"/v1/lines", "/v1/keys/inventory", "/v1/verify"}
LABELS_AT_ONCE = 8
PAGES_OF_EACH = 12


def native(key, number):
    return {
        "transaction_id": f"t-{number}",
        "occurred_at": timezone.now().isoformat(),
        "key": key,
        "metadata": {},
    }


def cloud_event(key, number):
    return {
        "specversion": "1.0",
        "id": f"t-{number}",
        "source": "canaries",
        "type": "call",
        "subject": key,
        "data": {},
    }


def model_asked(key, number):
    return {"transactionId": f"t-{number}", "subscriber": {"credential": {"value": key}}}


def attributes(members):
    return [{"key": name, "value": {"stringValue": value}} for name, value in members.items()]


def logged(key, number, *, record=None, resource=None, body="api_request", name=""):
    told = {"subscriber.credential": key, "transaction.id": f"t-{number}"} | (record or {})
    return {
        "resourceLogs": [
            {
                "resource": {"attributes": attributes(resource or {})},
                "scopeLogs": [
                    {
                        "logRecords": [
                            {
                                "timeUnixNano": str(int(timezone.now().timestamp() * 1e9)),
                                "eventName": name,
                                "body": {"stringValue": body},
                                "attributes": attributes(told),
                            }
                        ]
                    }
                ],
            }
        ]
    }


def traced(key, number, **said):
    """The same in the span of a request to a model."""
    (of_resource,) = logged(key, number, **said)["resourceLogs"]
    (record,) = of_resource.pop("scopeLogs")[0]["logRecords"]
    usage = {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "1"}}
    span = {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": f"{number!s:0>16}"[-16:],
        "name": record["eventName"] or record["body"]["stringValue"],
        "startTimeUnixNano": record["timeUnixNano"],
        "attributes": [*record["attributes"], usage],
    }
    return {"resourceSpans": [of_resource | {"scopeSpans": [{"spans": [span]}]}]}


BODIES = {
    LOOP: native,
    "/v1/transactions": native,
    "/v1/events": cloud_event,
    "/api/v1/events": cloud_event,
    "/meter/v1/api/meter": lambda key, _: {"application": key},
    "/meter/v1/api/event": lambda key, n: {"requestId": f"t-{n}", "application": key},
    "/meter/v2/events": lambda key, n: {
        "transactionId": f"t-{n}",
        "subscriberCredential": key,
        "payload": {},
    },
    REQUESTS: lambda key, n: {"transactionId": f"t-{n}", "credential": key},
    RESPONSES: lambda _, n: {"transactionId": f"t-{n}"},
    "/meter/v2/ai/completions": model_asked,
    "/meter/v2/ai/images": model_asked,
    "/meter/v2/ai/audio": model_asked,
    "/meter/v2/ai/video": model_asked,
    "/meter/v2/tool/events": lambda key, n: {
        "transactionId": f"t-{n}",
        "toolId": "search",
        "subscriberCredential": key,
    },
    "/meter/v2/otlp/v1/logs": logged,
    "/meter/v2/otlp/v1/traces": traced,
}
OTLP = {logged, traced}
KEYS = {"key", "subject", "application", "credential", "subscriberCredential", "subscriber"}
NESTED = {
    "metadata": lambda said: {"headers": [{"deep": {"er": said}}], said: 1},
    "payload": lambda said: {"text": said, said: 1, "list": [said], "more": {said: said}},
    "data": lambda said: {"text": said, said: 1, "list": [said], "more": {said: said}},
    "elements": lambda said: {said: 1},
    "usageMetadata": lambda said: {said: 7, "text": said},
    "subscriber": lambda said: {"id": said, "email": said, "credential": {"name": said}},
}


def properties_of(address):
    """What the door is documented to take, by its schema."""
    document = schema()
    asked = document["paths"][address]["post"]["requestBody"]["content"]["application/json"]
    said = asked["schema"]
    said = said.get("oneOf", [said])[0]
    while "$ref" in said:
        said = document["components"]["schemas"][said["$ref"].rpartition("/")[2]]
    return sorted(said["properties"])


def batched(names):
    return [names[at : at + LABELS_AT_ONCE] for at in range(0, len(names), LABELS_AT_ONCE)]


def positions_of(door):
    """Ways to put a text into what is posted at a door: by name, a body made of one and a text."""
    address = "/v1/transactions" if door == LOOP else door
    make = BODIES[door]
    if make in OTLP:
        yield from positions_in_telemetry(make)
    else:
        for name in properties_of(address):
            if name in KEYS:
                continue
            yield name, lambda base, said, name=name: base | {name: said}
        for name, nested in NESTED.items():
            yield (
                f"in {name}",
                lambda base, said, name=name, nested=nested: merged(base, {name: nested(said)}),
            )
        yield "unknown", lambda base, said: base | {"whatever": said}
        yield "as a name", lambda base, said: base | {said: "whatever"}
        kept = labels.TOOL_LABELS if "tool" in door else labels.AI_LABELS
        kept = kept if door.startswith(PROMPTED) else frozenset()
        for names in batched(sorted(kept)):
            yield (
                f"labels from {names[0]}",
                lambda base, said, names=names: base | dict.fromkeys(names, said),
            )
    yield "broken", lambda base, said: f'{json.dumps(base)[:-1]}, "whatever": "{said}'
    yield "no JSON", lambda _, said: said


def positions_in_telemetry(make):
    listed = sorted({*labels.LOG_LABELS, "http.request.method", "url.path", "url.full", "http.url"})
    for names in batched(listed):
        yield (
            f"attributes from {names[0]}",
            lambda base, said, names=names: make(**of_log(base), record=dict.fromkeys(names, said)),
        )
        yield (
            f"of the resource from {names[0]}",
            lambda base, said, names=names: make(
                **of_log(base), resource=dict.fromkeys(names, said)
            ),
        )
    for name in (
        *("transaction.id", "log.record.uid", "organization.name", "product.name", "user.email"),
        *("subscriber.id", "revenium.api_key", "request_X-Api-Key", "subscription.id", "whatever"),
    ):
        yield name, lambda base, said, name=name: make(**of_log(base), record={name: said})
        yield (
            f"{name} of the resource",
            lambda base, said, name=name: make(**of_log(base), resource={name: said}),
        )
    yield "body", lambda base, said: make(**of_log(base), body=said)
    yield "event's name", lambda base, said: make(**of_log(base), name=said)
    yield "as a name", lambda base, said: make(**of_log(base), record={said: "whatever"})


def of_log(base):
    if "resourceSpans" in base:
        item = base["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    else:
        item = base["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    told = {each["key"]: each["value"].get("stringValue") for each in item["attributes"]}
    return {
        "key": told["subscriber.credential"],
        "number": told["transaction.id"].removeprefix("t-"),
    }


def merged(base, more):
    whole = base | more
    if "subscriber" in base and "subscriber" in more:
        credential = more["subscriber"]["credential"] | base["subscriber"]["credential"]
        whole["subscriber"] = more["subscriber"] | {"credential": credential}
    return whole


def positions_of_prompts(door):
    make = BODIES[door]
    if make in OTLP:
        for name in sorted(labels.NEVER_KEPT_LABELS):
            yield lambda base, said, name=name: make(**of_log(base), record={name: said})
            yield lambda base, said, name=name: make(**of_log(base), resource={name: said})
        yield lambda base, said: make(**of_log(base), body=said)
        yield lambda base, said: make(**of_log(base), record={"whatever": said})
    else:
        for name in sorted({*labels.NEVER_KEPT_LABELS, "whatever"}):
            yield lambda base, said, name=name: base | {name: said}
            yield lambda base, said, name=name: base | {name: [{"role": "user", "content": said}]}
        yield lambda base, said: base | {"usageMetadata": {"query": said}}


class Sender:
    """Posts as a gateway, each time with a key that nothing else came with."""

    def __init__(self, client, loop, token):
        self.client, self.loop, self.token = client, loop, token
        self.numbers = count(1)
        self.keys, self.posts, self.taken = {}, 0, 0

    def post(self, door, put, secret_is, form, *, known=None, headers=None):
        """True if it was taken."""
        number = next(self.numbers)
        key = known or f"Kn{number:05}{OF_UNKNOWN_KEYS}"
        if not known:
            self.keys[key] = door
        secret = {"key": key, "token": self.token, "prompt": PROMPT}[secret_is]
        base = BODIES[door](key, number)
        body = put(base, form(secret))
        if door == RESPONSES and isinstance(body, dict):  # which have no key: their requests do
            asked = {"transactionId": body["transactionId"], "credential": key}
            self.client.post(
                REQUESTS,
                json.dumps(asked),
                content_type="application/json",
                headers={"x-api-key": self.token},
            )
        data = body if isinstance(body, str) else json.dumps(body)
        more = {name: form(secret) for name in headers or ()}
        credentials = {"x-api-key": self.token} | more
        address = "/v1/transactions" if door == LOOP else door
        client = self.loop if door == LOOP else self.client
        response = client.post(
            address, data.encode(), content_type="application/json", headers=credentials
        )
        assert response.status_code < 500, (door, data)
        self.posts += 1
        self.taken += response.status_code < 300
        return response.status_code < 300

    def ask(self, address):
        return self.client.get(address, headers={"x-api-key": self.token})


def all_forms(secret):
    return " ".join(form(secret) for form in canaries.FORMS.values())


@pytest.fixture
def sender(gateway, token, client, settings, monkeypatch):
    """Somebody who posts a lot, to whom nothing is refused for that."""
    settings.MAX_BACKLOG_PER_GATEWAY = 10**9
    monkeypatch.setattr("metering.api.event_loop_doors.close_old_connections", lambda: None)
    for module in ("authentication", "backlog", "pipeline"):
        monkeypatch.setattr(f"metering.api.{module}.DATABASE_DEADLINE_SECONDS", 60.0)
    provisioning.forget_provisioned()
    redaction.forget_name_checks()
    return Sender(client, LoopClient(), token)


@pytest.fixture
def owner():
    """Of a customer that has a credential for each door."""
    return factories.a_subscriber(
        factories.a_customer("Aviary"), Membership.Role.OWNER, "ada@aviary.example"
    )


def send_to(sender, door, known):
    """Everything that is tried at one door. Answers how many fields and headers that was."""
    tried = 0
    for _, put in positions_of(door):
        tried += 1
        for secret_is in ("key", "token"):
            sender.post(door, put, secret_is, str)
            if not sender.post(door, put, secret_is, all_forms, known=known):
                for form in canaries.FORMS.values():
                    sender.post(door, put, secret_is, form, known=known)
    for header in HEADERS:
        tried += 1
        for secret_is in ("key", "token"):
            sender.post(door, lambda base, _: base, secret_is, str, headers=[header])
    for put in positions_of_prompts(door) if door.startswith(PROMPTED) else ():
        tried += 1
        sender.post(door, put, "prompt", str)
    return tried


def settle_all():
    PartialTransaction.objects.update(next_look_at=timezone.now(), received_at=factories.LONG_AGO)
    while pair_due_partials():
        pass
    while process_waiting_deliveries():
        pass
    SourceDiscovery().look()


def test_every_door_is_here():
    assert set(BODIES) - {LOOP} == set(documented()) - TRIED_ELSEWHERE


def test_what_is_kept_is_found(db):
    """This would tell: planted in each form, in a name, in JSON and as bytes, each is found."""
    secret = "pLanted-04-hb4Rw8.of/callers+="
    for number, form in enumerate(canaries.FORMS.values()):
        factories.a_customer(f"{number} {form(secret)}"[:200])

    assert len(canaries.lines_with(canaries.everything(), {secret})) == len(canaries.FORMS)
    assert canaries.hits(f"\\x{secret.encode().hex()}", {secret}) == [secret]


def test_nothing_is_kept(sender, owner, settings, caplog):
    settings.AUTO_PROVISION = True  # whatever is named is made: customers, too, are looked at
    caplog.set_level(logging.INFO)
    customer = owner.memberships.get().customer
    subscription = factories.a_subscription(customer)
    known = {door: f"kNown-{number:02}-hb4Rw8.of/callers+=" for number, door in enumerate(BODIES)}
    for key in known.values():
        factories.a_credential(customer, key=key, subscriptions=[subscription])
    tried = sum(send_to(sender, door, known[door]) for door in BODIES)
    asked = list(sender.keys)[::100]
    for key in asked:
        sender.ask(f"/v1/transactions/{quote(key, safe='')}")
        sender.ask(f"/meter/v1/api/meter/product-key?application={quote(key, safe='')}")

    secrets = {OF_UNKNOWN_KEYS, OF_KNOWN_KEYS, sender.token.removeprefix("hak_"), PROMPT}
    assert canaries.lines_with(canaries.everything(), secrets) == []
    settle_all()
    stored = canaries.everything()
    assert canaries.lines_with(stored, secrets) == []
    assert canaries.hits(caplog.text, secrets) == []
    pages = dict(pages_about(owner))
    shown = {address: canaries.hits(page, secrets) for address, page in pages.items()}
    assert {address: found for address, found in shown.items() if found} == {}

    assert sender.taken > sender.posts / 3
    assert Transaction.objects.count() > tried / 3
    assert Quarantined.objects.count() > tried / 3
    columns = canaries.columns()
    sys.stderr.write(
        f"\nCanaries: {len(BODIES)} doors, {tried} fields and headers of them all,"
        f" {len(canaries.FORMS)} forms; {sender.posts} posts, {sender.taken} of them taken;"
        f" looked for in {columns} columns of {stored.count(chr(10))} rows, {len(pages)} pages"
        " and the log.\n"
    )


def pages_about(owner):
    """The administration's pages about calls, and their receipts in the storefront."""
    addresses = [
        reverse(f"admin:{name}_changelist")
        for name in (
            *("metering_transaction", "metering_quarantined", "metering_discoveredsource"),
            *("metering_conflict", "metering_usage", "metering_intakestats", "revcred_auditevent"),
            *("revcred_gateway", "revcred_customer", "revcred_credential"),
        )
    ]
    addresses += [reverse("admin:index")]
    for rows, name in ((Transaction, "transaction"), (Quarantined, "quarantined")):
        some = rows.objects.order_by("?")[:PAGES_OF_EACH]
        addresses += [reverse(f"admin:metering_{name}_change", args=[row.pk]) for row in some]
    yield from _pages_of(factories.a_user(is_staff=True, is_superuser=True), addresses)
    mine = Transaction.objects.filter(customer__name="Aviary").order_by("?")[:PAGES_OF_EACH]
    addresses = [reverse("storefront:transaction", args=[row.pk]) for row in mine]
    addresses += [reverse("storefront:credentials"), reverse("storefront:home")]
    yield from _pages_of(owner.user, addresses)


def _pages_of(user, addresses):
    browser = Client()
    browser.force_login(user)
    for address in addresses:
        response = browser.get(address)
        assert response.status_code == 200, address
        yield address, response.content.decode()
