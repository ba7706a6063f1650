"""Lists of gateways: settings as by hand, and never a token."""

import pytest

from metering.actions import issue_gateway_token
from metering.models import GatewayToken
from revcred.models import Gateway, Upload
from revcred.uploads import actions
from revcred.uploads.columns import ListKind
from tests import factories
from tests.lengths import sampled
from tests.revcred.uploads.conftest import counts, problems, rows, worked

pytestmark = pytest.mark.django_db(transaction=True)

HEADER = "name,kind,accepted_days,ids_from_callers,event_elements,check_mode,key_name"


def settings_of(name):
    ignored = {"id", "name", "created_at"}
    fields = Gateway.objects.filter(name=name).values().get()
    return {field: value for field, value in fields.items() if field not in ignored}


@pytest.mark.parametrize("kind", sampled(Gateway.Kind, every=5))
def test_a_new_gateway_is_as_by_hand(applied, uploaded, undone, kind):
    by_hand = Gateway.objects.create(name="by hand", kind=kind)
    text = rows("Gateway,Type", f"edge,{kind.label}")

    upload = applied(text, kind=ListKind.GATEWAYS)

    assert settings_of("edge") == settings_of("by hand")
    assert counts(uploaded(text, kind=ListKind.GATEWAYS)) == {"unchanged": 1}
    undone(upload)
    assert [*Gateway.objects.all()] == [by_hand]


def test_settings_are_changed_and_come_back(applied, uploaded, undone):
    factories.a_gateway("edge")
    before = settings_of("edge")
    text = rows(HEADER, "edge,kong,20,yes,tokens|usage.total,enforce,X-Key")

    upload = applied(text, kind=ListKind.GATEWAYS)

    after = settings_of("edge")
    assert {name: after[name] for name in HEADER.split(",")[1:]} == {
        "kind": "kong",
        "accepted_days": 20,
        "ids_from_callers": True,
        "event_elements": ["tokens", "usage.total"],
        "check_mode": "enforce",
        "key_name": "X-Key",
    }
    (warning,) = upload.preview["warnings"]
    assert (warning["code"], warning["examples"]) == ("counted_differently", ["edge"])
    # Blank cells change nothing.
    blank = rows(HEADER, "edge,,,,,,")
    assert counts(uploaded(blank, kind=ListKind.GATEWAYS)) == {"unchanged": 1}

    undone(upload)

    assert settings_of("edge") == before


def test_no_list_makes_a_token(applied):
    upload = applied(rows("name,token", "edge,rcg_something-secret"), kind=ListKind.GATEWAYS)

    (warning,) = upload.preview["warnings"]
    assert (warning["code"], warning["examples"]) == ("tokens", ["token"])
    assert "something-secret" not in str(Upload.objects.filter(pk=upload.pk).values().get())
    assert not GatewayToken.objects.exists()


def test_a_gateway_with_a_token_is_not_undone(applied):
    upload = applied(rows("name", "edge", "other"), kind=ListKind.GATEWAYS)
    edge = Gateway.objects.get(name="edge")
    issue_gateway_token(gateway=edge, name="a", scopes=[GatewayToken.Scope.POST], by=None)

    actions.undo_upload(upload=upload, by=upload.applied_by)
    worked(upload)
    found = {each["reason"]: each["first"] for each in upload.undo_preview["obstacles"]}
    assert found["Tokens have been issued to the gateway"] == ["edge"]
    assert upload.state == Upload.State.APPLIED

    actions.undo_upload(upload=upload, by=upload.applied_by, keep_depended=True)
    assert worked(upload).state == Upload.State.UNDONE
    assert [*Gateway.objects.all()] == [edge]


def test_faults_name_the_row_and_the_field(uploaded):
    text = rows(
        HEADER,
        "a,abacus,,,,,",
        "b,,0,,,,",
        "c,,,perhaps,,,",
        "d,,,,,sometimes,",
        "e,,,,,,X Key",
        f"{'f' * 101},,,,,,",
    )

    found = problems(uploaded(text, kind=ListKind.GATEWAYS))

    assert [(row, column) for row, column, _ in found] == [
        *((2, "kind"), (3, "accepted_days"), (4, "ids_from_callers"), (5, "check_mode")),
        *((6, "key_name"), (7, "name")),
    ]
    assert found[1][2].startswith("Enter 1 to ")
