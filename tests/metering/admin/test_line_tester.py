import json

import msgspec
import pytest
from django.urls import reverse
from django.utils import timezone

from metering import actions
from metering.admin.line_recipes import CONFIGURATIONS, recipe_of
from metering.api.line_formats import choosing
from metering.api.line_formats.definition import parse_definition
from metering.models import Delivery, LineFormat
from revcred.models import AuditEvent, Gateway, User
from tests.confirming import confirm
from tests.factories import a_credential, a_customer, a_gateway, a_subscription

pytestmark = pytest.mark.django_db

KEY = "some-key-of-a-caller-0001"
SLOW_DEFINITION = '{"occurred_at": [{"at": "ts", "capture": "([0-9]+) ms$"}]}'
DEFINITION = json.dumps({"occurred_at": ["when"], "key": ["who"]})


@pytest.fixture
def gateway():
    return a_gateway("Edge", kind="nginx")


@pytest.fixture(autouse=True)
def _no_format_of_another_test():
    yield
    choosing.forget_own_formats()


def page_of(gateway):
    return reverse("admin:revcred_gateway_lines", args=[gateway.pk])


def line(**fields):
    return json.dumps({"id": "a", "ts": timezone.now().isoformat(), "key": KEY} | fields)


def shown(response):
    return " ".join(response.content.decode().split())


def test_lines_are_shown_as_they_would_be_counted(admin_client, gateway):
    customer = a_customer("Harbour & Pine")
    a_credential(customer, KEY, subscriptions=[a_subscription(customer, name="Fleet maps")])
    data = {"lines": f"{line(path='/a')}\nno json\n# head\n", "line_format": "nginx"}

    response = admin_client.post(page_of(gateway), data)

    text = shown(response)
    assert "1 would be counted, 1 ignored, 1 rejected" in text
    assert "Fleet maps" in text
    assert "Harbour &amp; Pine" in text
    assert "…0001" in text
    assert "It is not JSON, as this format expects." in text
    assert "no-store" in response.headers["Cache-Control"]
    assert not Delivery.objects.exists()


def test_the_format_that_reads_more_is_proposed_and_tried(admin_client, gateway):
    lines = f'10.0.0.1 - - [{timezone.now():%d/%b/%Y:%H:%M:%S} +0000] "GET /a HTTP/1.1" 200 5'
    data = {"lines": lines, "line_format": "nginx"}

    proposed = admin_client.post(page_of(gateway), data).context["proposal"]
    tried = admin_client.post(page_of(gateway), data | {"propose": proposed.name})

    assert proposed.name == "combined"
    assert tried.context["counts"]["taken"] == 1
    assert tried.context["proposal"] is None


def test_a_definition_is_tried_before_it_is_saved(admin_client, gateway):
    lines = json.dumps({"when": timezone.now().isoformat(), "who": KEY})
    data = {"lines": lines, "line_format": "nginx", "definition": DEFINITION}

    response = admin_client.post(page_of(gateway), data)

    assert response.context["counts"] == {"taken": 1, "ignored": 0, "rejected": 0}
    assert not LineFormat.objects.exists()


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "lines"),
        ({"lines": " \n"}, "lines"),
        ({"lines": "x\n" * 21}, "lines"),
        ({"lines": "[" + ",".join(["{}"] * 1_001) + "]"}, "lines"),
        ({"lines": "x", "line_format": "gone"}, "line_format"),
        ({"lines": "x", "definition": "{"}, "definition"),
        ({"lines": "x", "definition": '{"occurred_at": []}'}, "definition"),
        ({"lines": "x", "definition": SLOW_DEFINITION}, "definition"),
    ],
)
def test_what_cannot_be_tried_is_said(admin_client, gateway, data, field):
    response = admin_client.post(page_of(gateway), {"line_format": "nginx"} | data)

    assert list(response.context["form"].errors) == [field]


def test_the_page_shows_the_recipe_of_the_kind(admin_client, gateway):
    text = shown(admin_client.get(page_of(gateway)))

    assert "log_format calls escape=json" in text
    assert "http://testserver/agent" in text


@pytest.mark.parametrize("kind", Gateway.Kind)
def test_each_kind_has_a_recipe(kind):
    recipe = recipe_of(Gateway(kind=kind), "https://revcred.example.com")

    assert recipe.log.endswith(".log")
    assert bool(recipe.configuration) == (kind in CONFIGURATIONS)


def test_a_format_is_saved_for_the_gateway_and_on_record(admin_client, gateway):
    address = reverse("admin:revcred_gateway_save-format", args=[gateway.pk])

    begun = admin_client.get(f"{address}?base=kong")
    data = {"name": "own-kong", "definition": DEFINITION, "for_gateway": "on"}
    asked = admin_client.post(address, data)
    confirm(admin_client, asked)

    assert begun.context["form"]["name"].value() == "own-kong"
    assert "consumer/custom_id" in begun.context["form"]["definition"].value()
    assert "lines of Edge are read by it" in shown(asked)
    gateway.refresh_from_db()
    assert gateway.line_format == LineFormat.objects.get().name == "own-kong"
    event = AuditEvent.objects.get(target_type="revcred.gateway", verb="changed")
    assert event.details["changed"]["format of its lines"] == {"old": None, "new": "own-kong"}


def save(name="own", definition=DEFINITION, **named):
    return actions.save_line_format(
        name=name, definition=parse_definition(definition), by=User(email="ann@x"), **named
    )


def test_each_change_of_a_format_is_a_version(gateway):
    first = save(gateway=gateway)
    again = save(gateway=gateway)
    second = save(definition='{"occurred_at": ["at"]}')

    gateway.refresh_from_db()
    assert gateway.line_format == "own"
    assert (first.version, again.pk, second.version) == (1, first.pk, 2)
    found = choosing.format_of_gateway(gateway)
    assert (found.name, found.version) == ("own", 2)
    assert ("own", "own, version 2") in choosing.format_choices()
    events = AuditEvent.objects.filter(target_type="metering.lineformat")
    assert list(events.order_by("pk").values_list("verb", flat=True)) == ["created", "changed"]
    assert events.latest("pk").details["gateways"] == ["Edge"]


def test_an_earlier_version_is_taken_back(admin_client, gateway):
    save(gateway=gateway)
    save(definition='{"occurred_at": ["at"]}')
    address = reverse("admin:revcred_gateway_save-format", args=[gateway.pk])

    page = admin_client.get(page_of(gateway))
    begun = admin_client.get(f"{address}?base=own&version=1")
    for number in ("9" * 5_000, "9" * 18, "²"):
        assert admin_client.get(f"{address}?base=own&version={number}").status_code == 200

    assert "Take it back" in shown(page)
    assert msgspec.json.decode(begun.context["form"]["definition"].value()) == json.loads(
        DEFINITION
    )


def test_a_built_in_name_is_taken(gateway):
    with pytest.raises(actions.NameOfBuiltInFormat):
        save(name="nginx")
