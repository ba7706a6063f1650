import json
from datetime import timedelta

import pytest
from django.utils import timezone

from revcred.actions import credentials
from revcred.models import Credential, Customer, Upload
from revcred.uploads import actions, columns
from revcred.uploads.columns import ListKind
from revcred.uploads.mapping import may_be_fixed, parse_fixed_values
from revcred.uploads.worker import process_waiting_uploads
from tests import factories
from tests.revcred.uploads.conftest import rows

pytestmark = pytest.mark.django_db(transaction=True)

KEY_OF_REVOKED = (
    "A revoked credential had this key. To use it again, allow keys of revoked credentials."
)
HEADER = "customer,name,key,secret,subscription,holders,environment,tags,expires_at,assigned_from"


def counts(upload):
    assert upload.state == Upload.State.READY, upload.error
    return {action: count for action, count in upload.preview["counts"].items() if count}


def problems(upload):
    return [
        (each.row, each.column, each.hint, each.message)
        for each in actions.list_row_problems(upload=upload)
    ]


@pytest.fixture
def acme():
    return factories.a_customer("Acme")


@pytest.fixture
def maps(acme):
    return factories.a_subscription(acme, external_key="maps")


def test_a_new_key_would_create(uploaded, acme, maps):
    upload = uploaded(rows("customer,name,key,subscription", "acme,Orders,the-key-of-orders,maps"))

    assert counts(upload) == {"create": 1}
    assert upload.preview["examples"]["create"] == [
        {
            "row": 2,
            "title": "Orders",
            "from": None,
            "values": [
                ["customer", None, "acme"],
                ["name", None, "Orders"],
                ["key", None, "…ders"],
                ["subscription", None, ["maps"]],
            ],
        }
    ]
    assert not Credential.objects.exists()


def test_the_same_again_is_unchanged(uploaded, applied, acme, maps):
    text = rows(HEADER, "acme,Orders,the-key-of-orders,the-secret,maps,,production,a|b,2030-01-01,")
    applied(text)

    assert counts(uploaded(text)) == {"unchanged": 1}


def test_a_known_key_would_update_what_is_said_otherwise(uploaded, acme):
    factories.a_credential(acme, "the-key-of-orders", "old secret", name="Orders", tags=["a"])

    upload = uploaded(rows(HEADER, "acme,Bills,the-key-of-orders,new secret,,,,b,,"))

    assert counts(upload) == {"update": 1}
    assert upload.preview["examples"]["update"][0]["values"] == [
        ["name", "Orders", "Bills"],
        ["secret", True, True],
        ["tags", ["a"], ["b"]],
    ]


def test_another_subscription_is_a_move(uploaded, acme, maps):
    factories.a_subscription(acme, external_key="routes")
    factories.a_credential(acme, "the-key-of-orders", name="Orders", subscriptions=[maps])

    upload = uploaded(
        rows("customer,name,key,subscription", "acme,Orders,the-key-of-orders,routes")
    )

    assert counts(upload) == {"move": 1}
    assert upload.preview["examples"]["move"][0]["values"] == [
        ["subscription", ["maps"], ["routes"]]
    ]


def test_one_more_subscription_is_an_update(uploaded, acme, maps):
    factories.a_subscription(acme, external_key="routes")
    factories.a_credential(acme, "the-key-of-orders", name="Orders", subscriptions=[maps])

    upload = uploaded(
        rows("customer,name,key,subscription", "acme,Orders,the-key-of-orders,routes|maps")
    )

    assert counts(upload) == {"update": 1}


def test_every_refusal_names_row_column_hint_and_reason(uploaded, acme, maps):
    other = factories.a_customer("Other")
    factories.a_subscription(other, external_key="of-other")
    factories.a_credential(other, "the-key-of-another", name="Theirs")
    revoked = factories.a_credential(acme, "the-key-that-is-over", name="Over")
    credentials.revoke_credential(credential=revoked, reason="leaked", by=None)
    factories.a_credential(acme, "the-key-of-bills", name="Bills")

    upload = uploaded(
        rows(
            "customer,name,key,secret,subscription,holders,gateway,expires_at",
            "nobody,A,key-number-01,,,,,",
            "acme,B,key-number-02,,nothing,,,",
            "acme,C,key-number-03,,of-other,,,",
            "acme,D,key-number-04,,,ada@example.com,,",
            "acme,E,key-number-05,,,,nowhere,",
            "acme,F,the-key-of-another,,,,,",
            "acme,Over,the-key-that-is-over,,,,,",
            "acme,Bills,key-number-06,,,,,",
            "acme,G,key-number-07,,,,,31.02.2027",
            "acme,,key-number-08,,,,,",
        )
    )

    assert counts(upload) == {"rejected": 10}
    assert problems(upload) == [
        (2, "customer", "nobody", "No customer has this external key."),
        (3, "subscription", "nothing", "No subscription has this external key."),
        (4, "subscription", "of-other", "The subscription belongs to another customer."),
        (5, "holders", "ada@example.com", "No subscriber has this address."),
        (6, "gateway", "nowhere", "No gateway has this name."),
        (7, "key", "…ther", "This key belongs to another customer."),
        (8, "key", "…over", KEY_OF_REVOKED),
        (9, "name", "Bills", "This customer has another credential with this name."),
        (
            10,
            "expires_at",
            "31.02.2027",
            "This is not a date or time. Write 2027-12-31 or 2027-12-31T23:59:00Z.",
        ),
        (11, "name", "", "A value is required."),
    ]


def test_the_same_twice_in_a_file_names_both_rows(uploaded, acme):
    upload = uploaded(
        rows(
            "customer,name,key",
            "acme,A,the-same-key-twice",
            "acme,B,the-same-key-twice",
            "acme,C,key-number-01",
            "acme,C,key-number-02",
        )
    )

    assert problems(upload) == [
        (2, "key", "…wice", "The same key is also in row 3."),
        (3, "key", "…wice", "The same key is also in row 2."),
        (4, "name", "C", "This customer has the same name in row 5."),
        (5, "name", "C", "This customer has the same name in row 4."),
    ]
    assert upload.preview["reasons"] == [
        ["key", "The same key is also in another row.", 2],
        ["name", "This customer has the same name in another row.", 2],
    ]


def test_what_is_named_and_not_there_is_created_if_chosen(uploaded):
    factories.a_product("Maps")

    upload = uploaded(
        rows("customer,name,key,subscription,holders", "acme,A,key-number-01,maps,ada@example.com"),
        customers="create",
        subscribers="create",
        subscriptions="create",
        product="maps",
    )

    assert counts(upload) == {"create": 1}
    created = {"customers": 1, "subscribers": 1, "subscriptions": 1, "products": 0}
    assert upload.preview["also_creates"] == created
    assert not Customer.objects.exists()


def test_a_subscription_named_for_two_customers_can_be_neithers(uploaded):
    factories.a_product("Maps")

    upload = uploaded(
        rows("customer,name,key,subscription", "a,A,key-number-01,maps", "b,B,key-number-02,maps"),
        customers="create",
        subscriptions="create",
        product="maps",
    )

    assert counts(upload) == {"rejected": 2}


def test_a_row_without_a_key_is_told_by_its_name(uploaded, acme):
    factories.a_credential(acme, name="Orders")

    upload = uploaded(rows("customer,name,tags", "acme,Orders,a", "acme,Bills,b"))

    assert counts(upload) == {"update": 1, "create": 1}


def test_a_preview_tells_what_waits_in_quarantine(uploaded, acme):
    factories.settled(
        factories.a_call("the-key-of-orders", ago=timedelta(hours=2)),
        factories.a_call("the-key-of-orders"),
        factories.a_call("some-other-key-of-theirs"),
    )

    claim = uploaded(rows("customer,name,key", "acme,Orders,the-key-of-orders")).preview["claim"]

    assert claim["transactions"] == 2
    assert claim["customers"] == [["acme", 2]]
    assert claim["since"] < (timezone.now() - timedelta(hours=1)).isoformat()


def test_columns_that_cannot_be_told_are_asked_for_and_remembered(uploaded, acme):
    text = rows("firm,label of it,what", "acme,Orders,the-key-of-orders")
    upload = uploaded(text)
    assert upload.state == Upload.State.UNMAPPED

    with pytest.raises(actions.ColumnsMissing, match="customer"):
        actions.recheck_upload(upload=upload, by=None, mapping={1: "name"})
    actions.recheck_upload(upload=upload, by=None, mapping={0: "customer", 1: "name", 2: "key"})
    process_waiting_uploads()
    upload.refresh_from_db()

    assert counts(upload) == {"create": 1}
    assert counts(uploaded(text)) == {"create": 1}


def test_keys_are_not_in_what_a_page_may_show(uploaded, acme):
    upload = uploaded(
        rows("customer,name,key,secret,odd", "acme,A,key-number-01,hushhushhush,odd-and-secret")
    )

    assert upload.sample[0] == ["acme", "A", "…r-01", "", "…cret"]


def test_a_file_that_is_none_fails_with_a_word(uploaded):
    upload = uploaded("")

    assert upload.state == Upload.State.FAILED
    assert upload.error


def test_other_kinds_are_checked_the_same_way(uploaded, acme):
    factories.a_product("Maps")
    factories.a_subscriber(acme, email="ada@example.com")

    customers = uploaded(
        rows("external_key,name", "acme,Acme Ltd.", "new,New"), kind=ListKind.CUSTOMERS
    )
    subscribers = uploaded(
        rows("email,name,customer,role", "ADA@example.com,Ada,acme,owner", "b@example.com,,acme,"),
        kind=ListKind.SUBSCRIBERS,
    )
    subscriptions = uploaded(
        rows(
            "external_key,customer,product,active_from,active_until",
            "acme-maps,acme,maps,2026-01-01,",
            "acme-odd,acme,nothing,2026-01-01,2025-01-01",
        ),
        kind=ListKind.SUBSCRIPTIONS,
    )

    assert counts(customers) == {"update": 1, "create": 1}
    assert counts(subscribers) == {"update": 1, "create": 1}
    assert subscribers.preview["examples"]["update"][0]["values"] == [
        ["name", "", "Ada"],
        ["role", "member", "owner"],
    ]
    assert counts(subscriptions) == {"create": 1, "rejected": 1}
    assert problems(subscriptions) == [
        (3, "product", "nothing", "No product has this external key."),
        (3, "active_until", "2025-01-01 00:00:00+00:00", "The end has to be after the start."),
    ]


@pytest.mark.parametrize("kind", [*ListKind])
def test_what_every_row_has_is_as_if_it_stood_in_each(uploaded, acme, maps, kind):
    examples = {each.name: each.example for each in columns.columns_of(kind)}
    shared = {each.name for each in columns.columns_of(kind) if may_be_fixed(each)}
    own = {name: cell for name, cell in examples.items() if name not in shared}
    given = parse_fixed_values(kind, {name: examples[name] for name in shared})

    in_each = uploaded(json.dumps([examples]), kind=kind, name="list.json")
    for_each = uploaded(json.dumps([own]), kind=kind, name="list.json", fixed_values=given)

    for upload in (in_each, for_each):
        upload.preview.get("moves", {}).pop("at", None)  # the moment of counting
    assert for_each.preview == in_each.preview


# --- Keys that are missing, states and ends -------------------------------------------------------


def test_new_credentials_without_a_key_are_a_decision(uploaded, applied, acme):
    text = rows("customer,name", "acme,Orders", "acme,Bills")

    upload = uploaded(text, missing_keys="reject")

    assert counts(upload) == {"rejected": 2}
    assert problems(upload)[0] == (
        *(2, "key", ""),
        "It has no key. To generate one for each such row, choose so.",
    )
    assert applied(text, missing_keys="generate").outcome["create"] == 2


def test_a_row_without_a_key_still_changes_a_credential_by_its_name(uploaded, acme):
    factories.a_credential(acme, name="Orders")

    upload = uploaded(rows("customer,name,tags", "acme,Orders,eu"), missing_keys="reject")

    assert counts(upload) == {"update": 1}


STATES = rows(
    "customer,name,key,status,enabled",
    "acme,Live,key-of-the-live,active,true",
    "acme,Off,key-of-the-off-one,active,false",
    "acme,Gone,key-of-the-gone-one,revoked,false",
    "acme,Over,key-of-the-over-one,expired,true",
    "acme,Odd,key-of-the-odd-one,ruht,true",
)


def test_states_are_a_decision(uploaded, acme):
    upload = uploaded(STATES)

    inactive = "It is suspended, revoked or expired. To bring it in this state, choose so."
    unknown = "This state is not known. Say which of active, suspended, revoked and expired it is."
    assert counts(upload) == {"create": 1, "rejected": 4}
    assert problems(upload) == [
        *((row, "state", state, inactive) for row, state in ((3, "suspended"), (4, "revoked"))),
        (5, "state", "expired", inactive),
        (6, "state", "ruht|true", unknown),
    ]


def test_states_are_brought_if_that_is_chosen_and_undone(applied, undone, acme):
    upload = applied(STATES, inactive="keep", states="ruht = suspended")

    now = timezone.now()
    states = {
        each.name: each.state_at(now, suspended=each.suspensions.at(now).exists()).value
        for each in acme.credentials.all()
    }
    assert states == {
        "Live": "active",
        "Off": "suspended",
        "Odd": "suspended",
        "Gone": "revoked",
        "Over": "expired",
    }

    undone(upload)

    assert not acme.credentials.exists()


def test_another_state_than_here_is_not_changed_silently(uploaded, acme):
    here = factories.a_credential(acme, "key-of-orders", name="Orders")
    credentials.suspend_credential(credential=here, by=None)

    upload = uploaded(rows("customer,name,key,state", "acme,Orders,key-of-orders,active"))

    ((_, column, _, message),) = problems(upload)
    assert (column, message) == (
        "state",
        "The credential is in another state here. Change it on its page.",
    )


def test_moments_are_read_by_the_choices(applied, acme):
    text = rows(
        "customer,name,key,expires_at,ttl,created",
        "acme,One,key-of-number-one,03/04/2030,,",
        "acme,Two,key-of-number-two,,3600,2030-01-01T00:00:00Z",
        "acme,Three,key-of-number-three,1893456000000,,",
        "acme,Four,key-of-number-four,-1,0,",
    )

    applied(text, day_order="day_first", time_zone="Europe/Berlin")

    ends = {
        each.name: each.expires_at and each.expires_at.isoformat()
        for each in acme.credentials.all()
    }
    assert ends == {
        "One": "2030-04-02T22:00:00+00:00",
        "Two": "2030-01-01T01:00:00+00:00",
        "Three": "2030-01-01T00:00:00+00:00",
        "Four": None,
    }


@pytest.mark.parametrize(
    ("choice", "text"),
    [("time_zone", "Berlin"), ("states", "ruht"), ("plan_keys", "{customer}")],
)
def test_choices_are_no_text_that_they_cannot_have(choice, text):
    with pytest.raises(actions.InvalidChoice) as raised:
        actions.UploadChoices(**{choice: text})

    assert raised.value.name == choice


# --- Warnings of the preview ----------------------------------------------------------------------


def warnings(upload):
    return {each["code"]: (each["count"], each["examples"]) for each in upload.preview["warnings"]}


def test_names_that_differ_only_in_case_or_accents_are_pointed_out(uploaded, acme):
    factories.a_customer("Käse AG")
    factories.a_credential(acme, name="Órders")
    text = rows(
        "customer,name,key",
        "foo-bar,Bills,key-of-number-one",
        "Foo_Bar,Bills,key-of-number-two",
        "kase-ag,Maps,key-of-number-three",
        "acme,orders,key-of-number-four",
    )

    found = warnings(uploaded(text, customers="create"))

    count, examples = found["similar_customers"]
    assert count == 3
    assert {*examples} >= {"Foo_Bar · foo-bar", "foo-bar · Foo_Bar"}
    assert found["similar_names"] == (1, ["acme: orders · Órders"])


@pytest.mark.parametrize(("kept", "name"), [("first", "A"), ("last", "C")])
def test_of_rows_that_say_the_same_one_can_be_kept(applied, acme, kept, name):
    text = rows("customer,name,key", *(f"acme,{each},the-same-key-thrice" for each in "ABC"))

    upload = applied(text, duplicates=kept)

    assert (upload.outcome["create"], upload.preview["counts"]["unchanged"]) == (1, 2)
    assert warnings(upload)["superseded"][0] == 2
    assert [*acme.credentials.values_list("name", flat=True)] == [name]


@pytest.mark.parametrize(("kept", "name"), [("first", "One"), ("last", "Three")])
def test_one_of_several_customers_of_a_key_can_be_kept(applied, kept, name):
    text = rows("external_key,name", "new,One", "new,Two", "new,Three")

    applied(text, kind=ListKind.CUSTOMERS, duplicates=kept)

    assert Customer.objects.get().name == name


def test_what_a_file_has_besides_is_counted(uploaded):
    text = json.dumps(
        {
            "consumers": [
                {"username": "a", "keyauth_credentials": [{"key": "key-of-number-one"}]},
                {"username": "b", "basicauth_credentials": [{"username": "b"}]},
            ]
        }
    )

    upload = uploaded(text, name="kong.json", customers="create")

    assert warnings(upload)["left_out"] == (1, ["1 basic-auth credentials"])


# --- Columns that nobody may guess ----------------------------------------------------------------


def test_two_columns_that_could_be_the_key_are_asked_about(uploaded, acme):
    upload = uploaded(
        rows("customer,name,API key,client id", "acme,A,key-of-number-one,client-number-one")
    )

    assert upload.state == Upload.State.UNMAPPED
    assert upload.findings["asked"] == [2, 3]

    actions.recheck_upload(upload=upload, by=None, mapping={0: "customer", 1: "name", 3: "key"})
    process_waiting_uploads()
    upload.refresh_from_db()

    assert counts(upload) == {"create": 1}
    again = uploaded(
        rows("customer,name,API key,client id", "acme,B,key-of-number-two,client-number-two")
    )
    assert (again.state, again.mapping["3"]) == (Upload.State.READY, "key")


def test_hashes_are_no_keys(uploaded, acme):
    upload = uploaded(
        rows("customer,name,key_sha256", f"acme,A,{'1311f8fc' * 8}"), missing_keys="reject"
    )

    assert problems(upload)[0][1] == "key"
    assert warnings(upload)["hashes"] == (1, ["key_sha256"])


def test_how_cells_are_read_is_remembered_and_who_gets_access_is_not(uploaded, acme):
    text = rows("customer,name,key,expires", "acme,A,key-of-number-one,03/04/2030")
    upload = uploaded(text)
    choices = actions.UploadChoices(day_order="day_first", keys_of_others="take_over")
    actions.recheck_upload(upload=upload, by=None, choices=choices)

    again = uploaded(text)

    assert counts(again) == {"create": 1}
    assert (again.choices["day_order"], again.choices["keys_of_others"]) == ("day_first", "reject")


def test_samples_show_values_that_help_and_no_keys(uploaded):
    upload = uploaded(
        rows(
            "Customer,Credential,Value,Region,Note",
            "acme,A,ak_live_5f2b8c1e9d,eu,",
            "acme,B,ak_live_5f2b8c1e9e,eu,call us",
            "globex,C,ak_live_5f2b8c1e9f,us,",
        )
    )

    assert upload.sample == [
        ["acme", "A", "…1e9d", "eu", "call us"],
        ["globex", "B", "…1e9e", "us", ""],
        ["", "C", "…1e9f", "", ""],
    ]
    assert upload.findings["distinct"] == [2, 3, 3, 2, 1]
    assert upload.findings["reasons"]["1"] == "another name for it"
