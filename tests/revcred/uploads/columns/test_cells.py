"""What a cell may say, and what of it is kept."""

import pytest

from revcred.uploads import columns
from revcred.uploads.columns import ListKind
from revcred.uploads.invalid_cell import InvalidCell


def parsed(name, cell, kind=ListKind.CREDENTIALS):
    return columns.columns_by_name(kind)[name].parse(cell)


@pytest.mark.parametrize("kind", ListKind)
def test_a_blank_cell_means_nothing(kind):
    for column in columns.columns_of(kind):
        assert column.parse("") == ""
        assert column.parse("  ") == ""


@pytest.mark.parametrize("kind", ListKind)
def test_the_example_of_a_column_can_be_parsed(kind):
    for column in columns.columns_of(kind):
        assert bool(column.parse(column.example)) == bool(column.example)


@pytest.mark.parametrize("kind", ListKind)
def test_no_name_means_two_columns(kind):
    names = [
        name.replace(" ", "").replace("_", "").replace("-", "").lower()
        for column in columns.columns_of(kind)
        for name in {column.name.replace("_", " "), column.title.lower().replace("-", "")}
        | {*column.aliases}
    ]

    assert sorted(names) == sorted({*names})


def test_only_keys_and_secrets_are_secret():
    secret = [
        (kind, each.name) for kind in ListKind for each in columns.columns_of(kind) if each.secret
    ]

    assert secret == [
        *((ListKind.CREDENTIALS, name) for name in ("key", "aliases", "secret")),
        (ListKind.USAGE, "key"),
    ]


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        ("2027-12-31", "2027-12-31T00:00:00+00:00"),
        (" 2027-12-31 ", "2027-12-31T00:00:00+00:00"),
        ("2027-12-31T12:00", "2027-12-31T12:00:00+00:00"),
        ("2027-12-31 12:00:00", "2027-12-31T12:00:00+00:00"),
        ("2027-12-31T12:00:00Z", "2027-12-31T12:00:00+00:00"),
        ("2027-12-31T12:00:00+02:00", "2027-12-31T10:00:00+00:00"),
    ],
)
def test_moments_are_kept_in_utc(cell, kept):
    assert parsed("expires_at", cell) == kept


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        ("Ada@Example.com", "ada@example.com"),
        ("a@example.com | B@example.com|", "a@example.com|b@example.com"),
        ("a@example.com|A@example.com", "a@example.com"),
        ("a@example.com;b@example.com", "a@example.com|b@example.com"),
        ("a@example.com, b@example.com", "a@example.com|b@example.com"),
        ("Ada Lovelace <Ada@Example.com>", "ada@example.com"),
        ("mailto:a@example.com", "a@example.com"),
        ("kein", ""),
        ("o'neil+api@sub.example.co.uk", "o'neil+api@sub.example.co.uk"),
    ],
)
def test_addresses_are_kept_in_lower_case_and_once(cell, kept):
    assert parsed("holders", cell) == kept


@pytest.mark.parametrize(
    ("cell", "kept"),
    [("eu, partner", "eu|partner"), ("eu, partner|", "eu, partner"), ("a;b|c|", "a;b|c"),
     ("|", "|"), (" | | ", "|"), ("", "")],
)  # fmt: skip
def test_a_cell_of_tags_that_ends_with_the_separator_is_exact(cell, kept):
    assert parsed("tags", cell) == kept


@pytest.mark.parametrize(
    "cell",
    ["ada", "ada@", "@example.com", "ada@example", "a b@example.com", "a@b@example.com",
     "a" * 250 + "@example.com"],
)  # fmt: skip
def test_what_is_no_address(cell):
    with pytest.raises(InvalidCell, match="This is not an e-mail address"):
        parsed("holders", cell)


@pytest.mark.parametrize(
    ("name", "cell", "kind", "said"),
    [
        (
            "name",
            "x" * 301,
            ListKind.CREDENTIALS,
            "It has 301 characters; at most 300 are allowed.",
        ),
        (
            "customer",
            "x" * 201,
            ListKind.CREDENTIALS,
            "It has 201 characters; at most 200 are allowed.",
        ),
        (
            "tags",
            "a|" + "x" * 101,
            ListKind.CREDENTIALS,
            "It has 101 characters; at most 100 are allowed.",
        ),
        (
            "email_domains",
            "example",
            ListKind.CUSTOMERS,
            "This is not a domain such as example.com.",
        ),
        ("metadata", "{", ListKind.CUSTOMERS, 'This is not JSON such as {"region": "EU"}.'),
        (
            "metadata",
            "[1]",
            ListKind.CUSTOMERS,
            'This is not a JSON object such as {"region": "EU"}.',
        ),
        ("metadata", "[" * 4000, ListKind.CUSTOMERS, 'This is not JSON such as {"region": "EU"}.'),
        (
            "metadata",
            '{"a": NaN}',
            ListKind.CUSTOMERS,
            'This is not JSON such as {"region": "EU"}.',
        ),
        (
            "metadata",
            '{"a": 1e9999}',
            ListKind.CUSTOMERS,
            'This is not JSON such as {"region": "EU"}.',
        ),
        (
            "metadata",
            r'{"a": "\ud800"}',
            ListKind.CUSTOMERS,
            'This is not JSON such as {"region": "EU"}.',
        ),
        ("role", "boss", ListKind.SUBSCRIBERS, "This is not one of owner, member, viewer."),
        ("quota", "-1", ListKind.SUBSCRIPTIONS, "This is not a whole number of 0 or more."),
        ("quota", "1.5", ListKind.SUBSCRIPTIONS, "This is not a whole number of 0 or more."),
        ("quota", "٣", ListKind.SUBSCRIPTIONS, "This is not a whole number of 0 or more."),
        (
            "quota",
            "9223372036854775808",
            ListKind.SUBSCRIPTIONS,
            "This is not a whole number of 0 or more.",
        ),
        ("quota", "9" * 4096, ListKind.SUBSCRIPTIONS, "This is not a whole number of 0 or more."),
    ],
)
def test_why_a_cell_is_not_taken(name, cell, kind, said):
    with pytest.raises(InvalidCell) as raised:
        parsed(name, cell, kind)

    assert str(raised.value) == said


def test_a_role_may_be_written_in_any_case():
    assert parsed("role", " Owner ", ListKind.SUBSCRIBERS) == "owner"


@pytest.mark.parametrize("said", [r'{"a": "\u0000"}', r'{"\u0000": 1}'])
def test_metadata_holds_only_text(said):
    with pytest.raises(InvalidCell, match=r"It contains U\+0000, which cannot be stored\."):
        parsed("metadata", said, ListKind.CUSTOMERS)
