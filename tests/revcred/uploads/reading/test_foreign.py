"""What other systems export is understood as it is."""

import time
from json import dumps

import pytest

from revcred.uploads.columns import ListKind
from revcred.uploads.mapping import guess_mapping, missing_columns
from revcred.uploads.reading import RowError, UnreadableFile


def refused(opened, content, **chosen):
    with pytest.raises(UnreadableFile) as raised, opened(content, **chosen) as read:
        for _ in read.rows:
            pass
    return str(raised.value)


# --- AWS API Gateway ------------------------------------------------------------------------------


def test_the_key_file_of_aws(opened):
    content = (
        "Enabled,Name,key,UsageplanIds\n"
        'true,Orders,aws-key-0000000000000001,"c7y23b,glvrsr"\n'
        "FALSE,Off,aws-key-0000000000000002,c7y23b\n"
        ",Bare,aws-key-0000000000000003,\n"
        "true,Ragged\n"
    )

    with opened(content) as read:
        assert read.file_format == "AWS API Gateway, CSV, comma, UTF-8"
        assert read.header == ["Name", "key", "subscription"]
        assert dict(read.rows) == {
            2: ["Orders", "aws-key-0000000000000001", "c7y23b|glvrsr"],
            3: RowError("enabled", "It is switched off at AWS."),
            4: ["Bare", "aws-key-0000000000000003", ""],
            5: RowError("", "It has 2 cells, the header 4."),
        }


def test_what_was_added_to_it_stays(opened):
    content = "Customer,Name,key,description,Enabled\nacme,Orders,k-1,An old one,TRUE\n"

    with opened(content) as read:
        assert read.header == ["Customer", "Name", "key", "description"]
        assert dict(read.rows) == {2: ["acme", "Orders", "k-1", "An old one"]}
        assert (
            missing_columns(
                ListKind.CREDENTIALS, guess_mapping(ListKind.CREDENTIALS, read.header, [])
            )
            == []
        )


# --- Kong -----------------------------------------------------------------------------------------

DECK = """\
_format_version: "3.0"
_info:
  select_tags: [partner]
  defaults: {}
services:
- name: orders
  routes:
  - name: orders
    paths: [/orders]
consumers:
- custom_id: acme
  username: Acme Ltd.
  tags: [eu]
  keyauth_credentials:
  - key: 0012
    tags: [old, eu]
  - key: "k-2"
    ttl: 3600
  oauth2_credentials:
  - name: Portal
    client_id: portal-1
    client_secret: s-1
    redirect_uris: [https://portal.example.com]
- username: globex
  keyauth_credentials:
  - key: k-3
- username: without
  jwt_secrets:
  - key: issuer
- username: null
- keyauth_credentials: ~
  oauth2_credentials:
  - {client_id: hashed-1, client_secret: $pbkdf2-512$x, hash_secret: true, name: Hashed}
  custom_id: initech
plugins:
- name: key-auth
"""


@pytest.mark.parametrize("name", ["kong.yaml", "kong.YML", "dump"])
def test_what_deck_dumps_of_kong(opened, name):
    with opened(DECK, name=name) as read:
        assert read.file_format == "Kong decK, YAML"
        assert read.header == ["customer", "name", "key", "secret", "tags"]
        assert list(read.rows) == [
            (1, ["acme", "Acme Ltd. 1", "0012", "", "eu|old"]),
            (2, ["acme", "Acme Ltd. 2", "k-2", "", "eu"]),
            (3, ["acme", "Portal", "portal-1", "s-1", "eu"]),
            (4, ["globex", "globex", "k-3", "", ""]),
            (5, ["initech", "Hashed", "hashed-1", "", ""]),
        ]
        assert read.done == 1.0


def test_what_deck_dumps_as_json(opened):
    consumers = [{"username": "globex", "keyauth_credentials": [{"key": "k-3"}]}]
    content = dumps({"_format_version": "3.0", "plugins": [{"name": "x"}], "consumers": consumers})

    with opened(content, name="kong.json") as read:
        assert read.file_format == "Kong decK, JSON"
        assert dict(read.rows) == {1: ["globex", "globex", "k-3", "", ""]}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{name}'] * 9)}]\n"
    for name, after in zip("abcdefgh", "bcdefghi", strict=True)
)
CONSUMER = "consumers:\n- username: acme\n  keyauth_credentials:\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB + "consumers: *i\n", "Row 2: Aliases are not read."),
        (CONSUMER + "  - &k {key: k-1}\n  - *k\n", "Row 5: Aliases are not read."),
        ("consumers:\n- username: [" + "[" * 100_000, "Row 2: There is too much in here."),
        (CONSUMER + "  - key: k\n" * 6_000, "Row 3,335: There is too much in here."),
        ("- a\n- b\n", "The only YAML that can be read is decK's dump"),
        ("a: 1\n", "The only YAML that can be read is decK's dump"),
        ("", "The only YAML that can be read is decK's dump"),
        ("consumers:\n- username: 'acme\n", "Row 3: This is not YAML: found unexpected end of st"),
        (
            "consumers:\n\t- username: acme\n",
            "Row 2: This is not YAML: found character that cannot",
        ),
        (b"consumers:\n- username: caf\xe9\n", "Row 2, byte 27: This is not UTF-8."),
        (
            "consumers:\n- username: a\x01\n",
            "This is not YAML: it contains bytes that are not text.",
        ),
        ("consumers: '" + "x" * 2_000_000, "Row 1: This line is too long."),
        ("consumers:\n- acme\n- globex\n", "Row 2: The only YAML that can be read"),
        ("consumers: []\n", "The only YAML that can be read is decK's dump"),
    ],
    ids=lambda each: str(each)[:30],
)
def test_yaml_that_is_none_or_means_harm(opened, content, said):
    began = time.monotonic()

    message = refused(opened, content, name="kong.yaml")

    assert message.startswith(said)
    assert time.monotonic() - began < 2


def test_tags_of_yaml_are_not_followed(opened):
    call = "!!python/object/apply:os.system [echo]"
    content = f"{CONSUMER}  - key: {call}\n  - key: k-1\n"

    with opened(content, name="kong.yaml") as read:
        assert list(read.rows) == [
            (1, RowError("key", "It has no key.")),
            (2, ["acme", "acme 2", "k-1", "", ""]),
        ]


def test_a_consumer_that_is_none_leaves_the_others_alone(rows_of):
    content = (
        "consumers:\n- keyauth_credentials: []\n- username: a\n  keyauth_credentials: [{key: k}]"
    )

    assert rows_of(content, name="kong.yaml") == {
        1: RowError("", "This is not an export of Kong decK."),
        2: ["a", "a", "k", "", ""],
    }


# --- Apigee ---------------------------------------------------------------------------------------


def app(**more):
    credential = {
        "apiProducts": [{"apiproduct": "maps"}, {"apiproduct": "weather"}],
        "consumerKey": "ck-1",
        "consumerSecret": "cs-1",
        "expiresAt": "-1",
        "status": "approved",
    }
    return {"name": "Orders", "developerId": "d-1", "credentials": [credential], **more}


@pytest.mark.parametrize(
    "write",
    [
        lambda *apps: dumps(apps, indent=1),
        lambda *apps: "".join(f"{dumps(each)}\n" for each in apps),
        lambda *apps: dumps({"app": apps}),
    ],
)
def test_the_apps_that_apigeecli_exports(opened, write):
    two = [
        {"consumerKey": "ck-2", "expiresAt": "1830297600000"},
        {"consumerKey": "ck-3", "status": "revoked"},
    ]
    content = write(app(), app(companyName="Acme", credentials=two), {"name": "x"})

    with opened(content) as read:
        assert read.file_format.startswith("apigeecli, JSON")
        assert read.header == ["customer", "name", "key", "secret", "subscription", "expires_at"]
        assert list(read.rows) == [
            (1, ["d-1", "Orders", "ck-1", "cs-1", "maps|weather", ""]),
            (2, ["Acme", "Orders 1", "ck-2", "", "", "2028-01-01T00:00:00+00:00"]),
            (3, RowError("", "It is revoked at Apigee.")),
            (4, RowError("", "This is not an export of apigeecli.")),
        ]


def test_one_app_of_apigee(opened):
    with opened(dumps(app(), indent=2)) as read:
        assert [row[2] for _, row in read.rows] == ["ck-1"]


# --- 3scale ---------------------------------------------------------------------------------------


def application(**more):
    return {"application": {"id": 7, "state": "live", "plan_id": 3, "account_id": 9, **more}}


def test_the_listing_of_3scale(opened):
    content = dumps(
        {
            "applications": [
                application(name="Orders", user_key="uk-1"),
                application(application_id="id-2"),
                application(name="App", client_id="c-3", client_secret="s-3", application_id="c-3"),
                application(name="Off", user_key="uk-4", state="suspended"),
            ]
        }
    )

    with opened(content) as read:
        assert read.file_format == "3scale applications, JSON"
        assert read.header == ["customer", "name", "key", "secret", "subscription"]
        assert list(read.rows) == [
            (1, ["9", "Orders", "uk-1", "", "3"]),
            (2, ["9", "7", "id-2", "", "3"]),
            (3, ["9", "App", "c-3", "s-3", "3"]),
            (4, RowError("", "It is suspended at 3scale.")),
        ]


@pytest.mark.parametrize("odd", [None, 1, [], {}, "", [None], {"a": []}])
def test_odd_values_are_no_fault_of_ours(rows_of, odd):
    """Whatever stands where another system has something else: rows, or a word. No surprise."""
    for record in (
        {"username": odd, "custom_id": odd, "tags": odd, "keyauth_credentials": odd},
        {"username": "a", "oauth2_credentials": [{"client_id": odd, "tags": odd}, odd]},
        app(name=odd, developerId=odd, status=odd, companyName=odd),
        {"credentials": [{"consumerKey": odd, "expiresAt": odd, "apiProducts": odd}, odd]},
        application(state=odd, name=odd, user_key=odd),
    ):
        for row in rows_of(dumps([record])).values():
            assert isinstance(row, RowError) or all(isinstance(each, str) for each in row)
