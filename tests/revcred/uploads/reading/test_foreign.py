"""What other systems export is understood as it is."""

import time
from json import dumps

import pytest

from revcred.uploads.columns import ListKind, columns_of
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
        "FALSE,Orders,aws-key-0000000000000002,c7y23b\n"
        ",Bare,aws-key-0000000000000003,\n"
        "true,Ragged\n"
    )

    with opened(content) as read:
        assert read.file_format == "AWS API Gateway, CSV, comma, UTF-8"
        assert read.header == ["Enabled", "Name", "key", "plan"]
        assert dict(read.rows) == {
            2: ["true", "Orders", "aws-key-0000000000000001", "c7y23b|glvrsr"],
            3: ["FALSE", "Orders 2", "aws-key-0000000000000002", "c7y23b"],
            4: ["", "Bare", "aws-key-0000000000000003", ""],
            5: RowError("", "It has 2 cells, the header 4."),
        }


def test_what_was_added_to_it_stays(opened):
    content = "Customer,Name,key,description,Enabled\nacme,Orders,k-1,An old one,TRUE\n"

    with opened(content) as read:
        assert read.header == ["Customer", "Name", "key", "description", "Enabled"]
        assert dict(read.rows) == {2: ["acme", "Orders", "k-1", "An old one", "TRUE"]}
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
        assert read.file_format == "Kong, YAML"
        assert read.header == [
            "customer",
            "name",
            "key",
            "secret",
            "tags",
            "expires_in",
            "expires_at",
        ]
        assert list(read.rows) == [
            (1, ["acme", "Acme Ltd. 1", "0012", "", "eu|old", "", ""]),
            (2, ["acme", "Acme Ltd. 2", "k-2", "", "eu", "3600", ""]),
            (3, ["acme", "Portal", "portal-1", "s-1", "eu", "", ""]),
            (4, ["globex", "globex", "k-3", "", "", "", ""]),
            (5, ["initech", "Hashed", "hashed-1", "", "", "", ""]),
        ]
        assert read.done == 1.0
        assert read.left_out == {"JWT secrets": 1, "consumers without credentials": 1}


def test_what_deck_dumps_as_json(opened):
    consumers = [{"username": "globex", "keyauth_credentials": [{"key": "k-3"}]}]
    content = dumps({"_format_version": "3.0", "plugins": [{"name": "x"}], "consumers": consumers})

    with opened(content, name="kong.json") as read:
        assert read.file_format == "Kong, JSON"
        assert dict(read.rows) == {1: ["globex", "globex", "k-3", "", "", "", ""]}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{name}'] * 9)}]\n"
    for name, after in zip("abcdefgh", "bcdefghi", strict=True)
)
CONSUMER = "consumers:\n- username: acme\n  keyauth_credentials:\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB + "consumers: *i\n", "Row 5: There is too much in here."),
        (CONSUMER + "  - *k\n", "Row 4: Nothing is called *k before this."),
        ("consumers:\n- username: [" + "[" * 100_000, "Row 2: There is too much in here."),
        ("t: &t " + "x" * 5_000 + "\nk:\n- a: [" + "*t, " * 60 + "]\n", "Row 3: There is too"),
        (CONSUMER + "  - key: k\n" * 6_000, "Row 3,335: There is too much in here."),
        ("- a\n- b\n", "No object can be read."),
        ("only words\n", "Row 1: There is no record in here."),
        ("", "There is no record in here."),
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
            (2, ["acme", "acme 2", "k-1", "", "", "", ""]),
        ]


def test_a_consumer_that_is_none_leaves_the_others_alone(rows_of):
    content = (
        "consumers:\n- keyauth_credentials: []\n- username: a\n  keyauth_credentials: [{key: k}]"
    )

    assert rows_of(content, name="kong.yaml") == {
        1: RowError("", "This is not an export of Kong."),
        2: ["a", "a", "k", "", "", "", ""],
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
        assert read.header == ["customer", "name", "key", "secret", "plan", "expires_at", "state"]
        assert list(read.rows) == [
            (1, ["d-1", "Orders", "ck-1", "cs-1", "maps|weather", "-1", "approved"]),
            (2, ["Acme", "Orders 1", "ck-2", "", "", "1830297600000", ""]),
            (3, ["Acme", "Orders 2", "ck-3", "", "", "", "revoked"]),
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
                application(application_id="id-2", keys=["first", "second"]),
                application(
                    name="App", client_id="c-3", client_secret="s-3", plan={"name": "Gold"}
                ),
                application(name="App", user_key="uk-4", state="suspended"),
            ]
        }
    )

    with opened(content) as read:
        assert read.file_format == "3scale applications, JSON"
        assert read.header[:6] == ["customer", "name", "key", "secret", "plan", "state"]
        assert [row[:6] for _, row in read.rows] == [
            ["9", "Orders", "uk-1", "", "3", "live"],
            ["9", "7", "id-2", "first", "3", "live"],
            ["9", "App", "c-3", "s-3", "Gold", "live"],
            ["9", "App 2", "uk-4", "", "3", "suspended"],
        ]
        assert read.left_out == {"second and further application keys": 1}


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


# --- Shapes that are documented elsewhere ---------------------------------------------------------

# By title: an answer or file as its system documents it, what becomes of its rows by column, and
# what is left out.
DOCUMENTED = {
    "APISIX": (
        {
            "total": 4,
            "list": [
                {
                    "key": "/apisix/consumers/jack",
                    "value": {
                        "username": "jack",
                        "create_time": 1700000000,
                        "labels": {"company": "acme", "team": "web"},
                        "plugins": {"key-auth": {"key": "apx-1"}, "limit-count": {}},
                    },
                },
                {
                    "key": "/apisix/consumers/jack/credentials/second",
                    "value": {"id": "second", "plugins": {"key-auth": {"key": "apx-2"}}},
                },
                {
                    "key": "/apisix/consumers/jill",
                    "value": {
                        "username": "jill",
                        "credentials": [
                            {"name": "k", "type": "key-auth", "config": {"key": "apx-3"}},
                            {"name": "j", "type": "jwt-auth", "config": {"key": "iss"}},
                        ],
                    },
                },
                {"key": "/apisix/consumers/joe", "value": {"username": "joe"}},
            ],
        },
        [
            {
                "customer": "acme",
                "name": "jack",
                "key": "apx-1",
                "tags": "team=web",
                "key_active_from": "1700000000",
            },
            {"customer": "jack", "name": "second", "key": "apx-2"},
            {"customer": "jill", "name": "k", "key": "apx-3"},
        ],
        {"JWT secrets": 1, "consumers without credentials of their own": 1},
    ),
    "KrakenD": (
        {
            "version": 3,
            "endpoints": [{"endpoint": "/maps"}],
            "extra_config": {
                "auth/api-keys": {
                    "strategy": "header",
                    "keys": [
                        {"key": "kd-1", "roles": ["gold", "eu"], "@description": "Jane"},
                        {"key": "kd-0002"},
                    ],
                }
            },
        },
        [
            {"name": "Jane", "key": "kd-1", "tags": "gold|eu"},
            {"name": "KrakenD key …0002", "key": "kd-0002", "tags": ""},
        ],
        {},
    ),
    "Kubernetes secrets": (
        {
            "kind": "List",
            "items": [
                {
                    "kind": "Secret",
                    "metadata": {
                        "name": "jack-key",
                        "labels": {"konghq.com/credential": "key-auth", "company": "acme"},
                    },
                    "data": {"key": "azhzLTE="},
                },
                {
                    "kind": "Secret",
                    "metadata": {"name": "jill-key", "namespace": "web"},
                    "stringData": {"client_id": "k8s-2", "client_secret": "s"},
                },
                {"kind": "Secret", "metadata": {"name": "tls"}, "data": {"tls.crt": "/w=="}},
            ],
        },
        [
            {"customer": "acme", "name": "jack-key", "key": "k8s-1", "tags": ""},
            {"customer": "web", "name": "jill-key", "key": "k8s-2", "secret": "s"},
        ],
        {"secrets without a key": 1},
    ),
    "Kong": (
        {
            "_format_version": "3.0",
            "consumers": [
                {"id": "c-1", "username": "orders", "custom_id": "acme", "tags": ["eu"]},
                {"id": "c-2", "username": "globex"},
                {"id": "c-3", "username": "nobody"},
            ],
            "keyauth_credentials": [
                {"id": "1", "key": "k-1", "consumer": "c-1", "created_at": 1893456000, "ttl": 60},
                {"id": "2", "key": "k-2", "consumer": {"id": "c-1"}, "ttl": None},
                {"id": "3", "key": "k-3", "consumer": "gone"},
            ],
            "acls": [{"group": "gold", "consumer": "c-2"}],
        },
        [
            {"customer": "acme", "name": "orders", "key": "k-1", "expires_at": "1893456060"},
            {"customer": "acme", "name": "orders 2", "key": "k-2", "tags": "eu", "expires_in": ""},
            RowError("customer", "The consumer of this credential is not in the file."),
        ],
        {"ACL groups": 1, "consumers without credentials": 1},
    ),
    "Tyk": (
        [
            {
                "key_id": "tyk-key-0001",
                "data": {
                    "alias": "Orders",
                    "org_id": "o-1",
                    "expires": 1893456000,
                    "tags": ["eu"],
                    "apply_policies": ["gold"],
                    "is_inactive": True,
                    "access_rights": {},
                    "meta_data": {"tyk_developer_id": "acme", "email": "ada@example.com"},
                },
            },
            {"key_hash": "5f4dcc3b", "data": {"org_id": "o-1", "access_rights": {}}},
        ],
        [
            {
                "customer": "acme",
                "name": "Orders",
                "key": "tyk-key-0001",
                "plan": "gold",
                "holders": "ada@example.com",
                "tags": "eu",
                "switched_off": "true",
                "expires_at": "1893456000",
            },
            RowError("key", "Only a hash of the key is in the export."),
        ],
        {},
    ),
    "Gravitee subscriptions": (
        {
            "data": [
                {
                    "id": "s-1",
                    "status": "ACCEPTED",
                    "plan": {"id": "p", "name": "Gold"},
                    "api": {"id": "a", "name": "Maps"},
                    "ending_at": None,
                    "application": {
                        "name": "Orders",
                        "primaryOwner": {"displayName": "Acme", "email": "ada@example.com"},
                    },
                    "keys": [
                        {"key": "grav-1", "revoked": True, "expire_at": 1893456000000},
                        {"key": "grav-2", "revoked": False},
                    ],
                }
            ],
            "metadata": {},
        },
        [
            {
                "customer": "Acme",
                "name": "Orders (Maps)",
                "key": "grav-1",
                "plan": "Maps Gold",
                "state": "ACCEPTED|revoked",
                "expires_at": "1893456000000",
            },
            {"name": "Orders (Maps) 2", "key": "grav-2", "state": "ACCEPTED", "expires_at": ""},
        ],
        {},
    ),
    "WSO2 applications": (
        {
            "count": 2,
            "list": [
                {
                    "applicationId": "a-1",
                    "name": "Orders",
                    "owner": "ada@example.com",
                    "throttlingPolicy": "Gold",
                    "status": "APPROVED",
                    "groups": ["acme"],
                    "keys": [
                        {
                            "consumerKey": "w-1",
                            "consumerSecret": "s",
                            "keyType": "PRODUCTION",
                            "keyState": "APPROVED",
                        },
                        {"consumerKey": "w-2", "keyType": "SANDBOX", "keyState": "REJECTED"},
                    ],
                },
                {"applicationId": "a-2", "name": "Empty", "throttlingPolicy": "Gold"},
            ],
        },
        [
            {
                "customer": "acme",
                "name": "Orders",
                "key": "w-1",
                "secret": "s",
                "plan": "Gold",
                "holders": "ada@example.com",
                "environment": "production",
            },
            {"name": "Orders (sandbox)", "environment": "sandbox", "state": "APPROVED|REJECTED"},
        ],
        {"applications without keys": 1},
    ),
    "Azure API Management": (
        {
            "value": [
                {
                    "name": "sub-1",
                    "properties": {
                        "ownerId": "/subscriptions/x/users/acme",
                        "displayName": "Orders",
                        "scope": "/subscriptions/x/products/starter",
                        "state": "cancelled",
                        "primaryKey": "az-1",
                        "secondaryKey": "az-2",
                        "createdDate": "2026-01-01T00:00:00Z",
                        "expirationDate": None,
                    },
                },
                {
                    "name": "sub-2",
                    "properties": {"ownerId": "u", "scope": "/apis"},
                },
            ]
        },
        [
            {
                "customer": "acme",
                "name": "Orders",
                "key": "az-1",
                "aliases": "az-2",
                "plan": "starter",
                "state": "cancelled",
                "expires_at": "",
                "key_active_from": "2026-01-01T00:00:00Z",
            },
            RowError("key", "The keys are not in the export. Add them with listSecrets."),
        ],
        {},
    ),
    "Axway applications": (
        [
            {
                "name": "Orders",
                "organization": "acme",
                "state": "approved",
                "enabled": True,
                "credentials": [
                    {"credentialType": "apikey", "id": "1", "apiKey": "ax-1", "enabled": False},
                    {"credentialType": "oauth", "clientId": "ax-2", "secret": "s"},
                    {"credentialType": "extclients", "clientId": "ax-3"},
                ],
            }
        ],
        [
            {"customer": "acme", "name": "Orders", "key": "ax-1", "state": "approved|true|false"},
            {"name": "Orders 2", "key": "ax-2", "secret": "s", "state": "approved|true"},
        ],
        {"external credentials": 1},
    ),
    "Unkey": (
        {
            "data": [
                {
                    "keyId": "key_1",
                    "start": "sk_a",
                    "plaintext": "sk_abc",
                    "enabled": False,
                    "identity": {"externalId": "acme"},
                    "expires": 1893456000000,
                    "name": "Orders",
                },
                {"keyId": "key_2", "start": "sk_b", "enabled": True},
            ],
            "pagination": {"hasMore": False},
        },
        [
            {"customer": "acme", "name": "Orders", "key": "sk_abc", "state": "false"},
            RowError("key", "Only the start of the key is here. List the keys with decrypt=true."),
        ],
        {},
    ),
    "Auth0 clients": (
        [
            {
                "client_id": "a0-1",
                "client_secret": "s",
                "name": "Orders",
                "tenant": "t",
                "app_type": "non_interactive",
                "client_metadata": {"customer": "acme"},
            },
            {"client_id": "a0-2", "name": "Shop", "app_type": "spa"},
        ],
        [{"customer": "acme", "name": "Orders", "key": "a0-1", "secret": "s"}],
        {"clients of people, which are no machine-to-machine applications": 1},
    ),
    "Revenium credentials": (
        {
            "_embedded": {
                "credentialResourceList": [
                    {
                        "id": "1",
                        "label": "Orders",
                        "externalId": "rev-1",
                        "tags": ["eu"],
                        "organization": {"id": "o", "label": "Acme"},
                        "subscriber": {"email": "ada@example.com"},
                        "subscriptions": [{"id": "s", "label": "Acme Gold"}],
                        "externalSecret": "s",
                    }
                ]
            },
            "page": {"size": 100, "totalElements": 1},
        },
        [
            {
                "customer": "Acme",
                "name": "Orders",
                "key": "rev-1",
                "secret": "s",
                "subscription": "Acme Gold",
                "holders": "ada@example.com",
                "tags": "eu",
            }
        ],
        {},
    ),
    "AWS API Gateway": (
        {
            "items": [
                {
                    "id": "i-1",
                    "value": "aws-key-1",
                    "name": "Orders",
                    "enabled": True,
                    "stageKeys": ["a1b2c3/prod"],
                    "createdDate": "2026-01-01T10:00:00+01:00",
                },
                {"id": "i-2", "value": "aws-key-2", "name": "Orders", "enabled": False},
                {"id": "i-3", "name": "Hidden", "enabled": True, "stageKeys": []},
            ]
        },
        [
            {"name": "Orders", "key": "aws-key-1", "state": "true", "environment": "prod"},
            {"name": "Orders 2", "key": "aws-key-2", "state": "false", "environment": ""},
            RowError(
                *("key", "The key is not in the export. Export again with --include-values."),
            ),
        ],
        {},
    ),
}


@pytest.mark.parametrize("title", DOCUMENTED)
def test_what_is_documented_is_understood(opened, title):
    content, expected, left_out = DOCUMENTED[title]

    with opened("\ufeff" + dumps(content, indent=1)) as read:
        found = [row for _, row in read.rows]

    assert read.file_format == f"{title}, JSON"
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        if isinstance(wanted, RowError):
            assert row == wanted
        else:
            cells = dict(zip(read.header, row, strict=True))
            assert {name: cells[name] for name in wanted} == wanted
    assert read.left_out == left_out
    assert {*read.header} <= {column.name for column in columns_of(ListKind.CREDENTIALS)}


def test_anchors_of_yaml_stand_for_what_they_name(rows_of):
    content = (
        "defaults: &d\n  tags: [eu]\nconsumers:\n- <<: *d\n  username: a\n"
        "  keyauth_credentials: [&k {key: k-1}]\n- username: b\n  keyauth_credentials: [*k]\n"
    )

    assert rows_of(content, name="kong.yaml") == {
        1: ["a", "a", "k-1", "", "eu", "", ""],
        2: ["b", "b", "k-1", "", "", "", ""],
    }


YAML_ROWS = [["acme", "One", "0012", "eu|prod", "true"], ["acme", "Two", "k-2", "", ""]]


@pytest.mark.parametrize(
    "content",
    [
        (
            "- &one {customer: acme, name: One, key: 0012, tags: [eu, prod], active: true}\n"
            "- <<: [{customer: acme}, *one]\n  name: Two\n  key: k-2\n  tags: ~\n  active:\n"
        ),
        (
            "version: 1\nkeys:\n"
            "- {customer: acme, name: One, key: '0012', tags: [eu, prod], active: true}\n"
            "- {customer: acme, name: Two, key: k-2}\n"
        ),
        (
            "---\ncustomer: acme\nname: One\nkey: 0012\ntags: [eu, prod]\nactive: true\n"
            "---\ncustomer: acme\nname: Two\nkey: k-2\n"
        ),
        (
            "consumers:\n- {customer: acme, name: One, key: 0012, tags: [eu, prod], active: true}\n"
            "- {customer: acme, name: Two, key: k-2}\n"
        ),
    ],
    ids=["a list", "a list in an object", "documents", "consumers of no known gateway"],
)
def test_yaml_of_any_shape(opened, content):
    with opened(content, name="keys.yaml") as read:
        assert read.file_format == "YAML"
        assert read.header == ["customer", "name", "key", "tags", "active"]
        assert [row for _, row in read.rows] == YAML_ROWS


def test_a_standalone_file_of_apisix(rows_of):
    content = (
        "routes: []\nconsumers:\n- username: jack\n  plugins:\n    key-auth:\n      key: apx-1\n"
        "- id: jack/credentials/second\n  plugins:\n    key-auth: {key: apx-2}\n- 7\n#END\n"
    )

    assert rows_of(content, name="apisix.yaml") == {
        1: ["jack", "jack", "apx-1", "", ""],
        2: ["jack", "second", "apx-2", "", ""],
        3: RowError("", "This is not an object."),
    }


def test_hashed_keys_of_krakend_are_no_keys(rows_of):
    block = {"strategy": "header", "hash": "sha256", "keys": [{"key": "ab" * 32, "roles": []}]}

    assert rows_of(dumps(block)) == {
        1: RowError("key", "Only a hash of the key is in the export."),
    }
