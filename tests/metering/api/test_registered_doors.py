"""An entry is all that a door needs: here one at an address that nothing else knows."""

import json
import sys
from types import ModuleType

import pytest
from drf_spectacular.generators import SchemaGenerator

from metering.api.dialects import Answer, Dialect, ParsedBody
from metering.api.documentation import DoorDocumentation
from metering.api.registered_doors import DOORS, RegisteredDoor, announce_doors
from metering.attribution.processing import process_waiting_deliveries
from metering.inbox.calls import ONE_CALL, Call, caller_key_field
from metering.models import Rejection, Transaction
from revcred import urls
from revcred.api.errors import MalformedRequest
from revcred.runtime import program_paths
from tests import factories

KEY = "key-that-came-by-a-new-door"


class LinesDialect(Dialect):
    """A key and an id in a line of text."""

    documented = DoorDocumentation(
        name="post_lines", summary="Lines", tag="Lines", answers={202: {"type": "object"}}
    )

    def read(self, post):
        if b" " not in post.body:
            message = f"“{post.body.decode()}” has no id."
            raise MalformedRequest(message)
        key, name = post.body.decode().split()
        call = Call(
            transaction_id=name,
            occurred_at=post.now,
            path=f"/of/{key}",
            elements=ONE_CALL,
            **caller_key_field(key),
        )
        return ParsedBody([call])

    def answer(self, post, reading, delivery):
        return Answer(202, {"accepted": len(reading.calls)})


DOOR = RegisteredDoor("lines/of/edge", LinesDialect(), ("other/lines",))


@pytest.fixture
def registered(settings, monkeypatch):
    conf = ModuleType("tests.urls_with_a_new_door")
    conf.urlpatterns = [*DOOR.urls(), *urls.urlpatterns]
    conf.handler404, conf.handler500 = urls.handler404, urls.handler500
    monkeypatch.setitem(sys.modules, conf.__name__, conf)
    for name in ("_prefixes", "_addresses"):
        monkeypatch.setattr(program_paths, name, getattr(program_paths, name))
    settings.ROOT_URLCONF = conf.__name__
    announce_doors([DOOR])


@pytest.fixture
def post_line(registered, client, token):
    def post_line(path, line, **headers):
        return client.post(
            path,
            line,
            content_type="text/plain",
            headers={"authorization": f"Bearer {token}"} | headers,
        )

    return post_line


@pytest.mark.parametrize("path", sorted(DOOR.paths))
def test_its_calls_are_counted_without_their_key(post_line, path):
    customer = factories.a_customer()
    subscription = factories.a_subscription(customer)
    credential = factories.a_credential(customer, KEY, subscriptions=[subscription])

    answer = post_line(path, f"{KEY} t-1")
    process_waiting_deliveries()

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    call = Transaction.objects.get()
    assert call.credential == credential
    assert KEY not in call.path


def test_its_errors_are_json_and_on_the_gateway_s_page(post_line, gateway):
    answer = post_line("/lines/of/edge", KEY)

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    rejection = Rejection.objects.get()
    assert (rejection.gateway, rejection.door) == (gateway, "/lines/of/edge")
    assert post_line("/lines/of/edge", "a b", authorization="Bearer none").status_code == 401


def test_it_needs_no_session_and_no_policy_of_pages(post_line):
    answer = post_line("/lines/of/edge", f"{KEY} t-1")

    assert "Content-Security-Policy" not in answer.headers
    assert not answer.cookies


def test_pages_below_its_address_stay_pages(registered, client):
    """A door at `admin/x` must not take sessions and forms' protection from `admin/`."""
    assert not program_paths.is_program_path("/lines/of/edge/of/somebody")
    assert "Content-Security-Policy" in client.get("/lines/of/edge/of/somebody").headers


def test_it_is_documented_once(registered):
    paths = SchemaGenerator().get_schema(public=True)["paths"]

    documented = [
        path for path in paths if path.rstrip("/") in {each.rstrip("/") for each in DOOR.paths}
    ]
    assert documented == ["/lines/of/edge"]
    assert paths["/lines/of/edge"]["post"]["operationId"] == "post_lines"


def test_every_door_is_documented_under_a_name_of_its_own(registered):
    paths = SchemaGenerator().get_schema(public=True)["paths"]

    names = [paths[f"/{door.address}"]["post"]["operationId"] for door in DOORS]
    assert len({*names}) == len(DOORS) == len(names)
    assert json.dumps(paths)
