"""Which column is which: by its name, by another name for it, by what stands in it."""

import pytest

from revcred.uploads.columns import ListKind
from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.mapping import (
    guess_mapping,
    header_signature,
    missing_columns,
    parse_fixed_values,
)

CREDENTIALS = ListKind.CREDENTIALS


def guessed(header, *rows, kind=CREDENTIALS):
    names = guess_mapping(kind, header, rows)
    return {header[position]: name for position, name in names.items()}


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("customer", "customer"),
        ("Expires at", "expires_at"),
        ("EXPIRES_AT", "expires_at"),
        ("expiresAt", "expires_at"),
        ("API Key", "key"),
        ("apiKey", "key"),
        ("api-key", "key"),
        ("Organization", "customer"),
        ("Client Secret", "secret"),
        ("E-mail", "holders"),
        ("Credential ID", "key"),
        ("valid until", "expires_at"),
    ],
)
def test_by_name_however_it_is_written(header, name):
    assert guessed([header]) == {header: name}


def test_the_fields_of_a_form_of_revenium():
    header = [
        "Name",
        "Subscriber e-mail",
        "Organization",
        "Credential ID",
        "External secret",
        "Subscription",
        "Tags",
    ]

    assert [*guessed(header).values()] == [
        "name",
        "holders",
        "customer",
        "key",
        "secret",
        "subscription",
        "tags",
    ]


def test_its_own_name_counts_more_than_another_wherever_it_stands():
    assert guessed(["Client ID", "Key"]) == {"Key": "key"}


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (["Firma", "Anwendung"], {0: "customer", 1: "name"}),
        (["Firma", "Kundennr.", "Anwendung"], {0: "customer_name", 1: "customer", 2: "name"}),
        (["Company ID", "Company", "App"], {0: "customer", 1: "customer_name", 2: "name"}),
    ],
)
def test_a_company_is_the_customer_where_nothing_else_is(header, wanted):
    assert guess_mapping(ListKind.CREDENTIALS, header, []) == wanted


def test_another_name_is_not_believed_against_what_stands_below():
    rows = [["Sales", "A"], ["Support", "B"]]

    assert guessed(["owner", "name"], *rows) == {"name": "name"}
    assert guessed(["owner", "name"], ["ada@example.com", "A"]) == {
        "owner": "holders",
        "name": "name",
    }


def test_by_what_stands_in_it():
    rows = [
        ["Orders", "ada@example.com", "ak_live_5f2b8c1e9d"],
        ["Nightly", "ada@example.com", "ak_live_77aa01bc3e"],
        ["Mobile", "", "ak_live_0d9c8b7a6f"],
    ]

    assert guessed(["What", "Who", "String"], *rows) == {"Who": "holders", "String": "key"}


@pytest.mark.parametrize(
    ("header", "cell", "column"),
    [
        ("client.id", "acme", "customer"),
        ("data.apiKeys.key", "ak-000001", "key"),
        ("data.apiKeys.expiresOn", "2029-12-31T00:00:00Z", "expires_at"),
        ("Expires (UTC)", "12/31/2029", "expires_at"),
        ("Expires", "31/12/2029", "expires_at"),
        ("Statut", "en attente", "state"),
    ],
)
def test_what_a_header_means(header, cell, column):
    assert guessed([header], [cell]) == {header: column}


@pytest.mark.parametrize("cell", ["2029-12-31T00:00:00Z", "https://acme.example/keys/1"])
def test_moments_and_addresses_are_no_keys(cell):
    assert guessed(["String"], [cell]) == {}


def test_states_that_nobody_knows_are_no_reason_to_leave_their_column_out():
    """Its rows would come in as active. The preview asks for each word."""
    assert guessed(["Stato"], ["xyzzy"], ["plugh"]) == {"Stato": "state"}
    assert guessed(["Status"], ["200"], ["404"]) == {}


def test_customers_by_the_headers_that_other_lists_call_them():
    header = ["Kundennummer", "Firma"]
    assert [*guessed(header, kind=ListKind.CUSTOMERS).values()] == ["external_key", "name"]


def test_between_two_that_look_alike_there_is_no_guess():
    assert guessed(["one", "two"], ["ak_live_5f2b8c1e9d", "sk_live_5f2b8c1e9d"]) == {}


def test_what_repeats_itself_is_no_key():
    rows = [["sub-2026-000001-eu"], ["sub-2026-000001-eu"]]

    assert guessed(["which"], *rows) == {}


def test_addresses_of_subscribers():
    assert guessed(["Wer", "Wie"], ["ada@example.com", "Ada"], kind=ListKind.SUBSCRIBERS) == {
        "Wer": "email"
    }


def test_nothing_is_guessed_of_a_list_without_rows_but_its_names():
    assert guessed(["String", "Key"]) == {"Key": "key"}


def test_files_of_one_shape_have_one_signature():
    shape = header_signature(CREDENTIALS, ["Name", "API key"])

    assert header_signature(CREDENTIALS, ["name", "api_key"]) == shape
    assert header_signature(CREDENTIALS, ["API key", "Name"]) != shape
    assert header_signature(CREDENTIALS, ["Name", "API key", "x"]) != shape
    assert header_signature(CREDENTIALS, ["Name API", "key"]) != shape
    assert header_signature(ListKind.CUSTOMERS, ["Name", "API key"]) != shape


def test_what_is_missing():
    assert missing_columns(CREDENTIALS, {0: "name", 3: "key"}) == ["customer"]
    assert missing_columns(CREDENTIALS, {0: "name", 1: "customer"}) == []


def test_what_every_row_may_have():
    said = {"customer": " acme ", "tags": "a|b|a", "expires_at": "2029-12-31", "environment": ""}

    assert parse_fixed_values(CREDENTIALS, said) == {
        "customer": "acme",
        "tags": "a|b",
        "expires_at": "2029-12-31T00:00:00+00:00",
    }
    assert missing_columns(CREDENTIALS, {0: "name"}, ["customer"]) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"key": "one-for-all"}, "“key” is not one of customer, customer_name"),
        ({"secret": "one-for-all"}, "“secret” is not one of"),
        ({"name": "Orders"}, "“name” is not one of"),
        ({"shoe_size": "43"}, "“shoe_size” is not one of"),
        ({"expires_at": "soon"}, "expires_at: This is not a date"),
        ({"customer": "ac\0me"}, "customer: It contains U\\+0000"),
        ({"environment": "\x1b[31m"}, "environment: It contains U\\+001B"),
        ({"tags": "a|" * 2_049}, "tags: It has 4,098 characters"),
    ],
)
def test_what_every_row_may_not_have(said, reason):
    with pytest.raises(InvalidCell, match=reason):
        parse_fixed_values(CREDENTIALS, said)
