"""Lists as people of this trade have them, and what becomes of each row.

Each case is a shape that was met somewhere, with made-up values. A row either comes in as it was
meant, or is rejected with one true reason.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from json import dumps
from typing import Any

import pytest
from xlsxwriter import Workbook

from revcred.models import Credential, Upload
from revcred.uploads import actions
from revcred.uploads.columns import ListKind
from tests import factories
from tests.revcred.uploads.conftest import worked

pytestmark = pytest.mark.django_db

NOT_OURS = "It is suspended, revoked or expired. To bring it in this state, choose so."
PLACEHOLDER = "This is a placeholder for a key. Write the key itself."


@dataclass(frozen=True)
class Case:
    """A list, the number of rows by action, and why rows are rejected, by number of the row.

    `found`: values of the created credentials, by name.
    """

    text: str | bytes
    counts: dict[str, int]
    rejected: dict[int, str] = field(default_factory=dict)
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    file: str = "list.csv"
    kind: ListKind = ListKind.CREDENTIALS
    how: dict[str, Any] = field(default_factory=dict)
    warned: dict[str, list[str]] = field(default_factory=dict)


def consumers(**more):
    return [{"custom_id": "acme", "username": "Orders", **more}]


def apigee(**more):
    credential = {"consumerKey": "apigee-key-0001", "status": "approved", "expiresAt": "-1", **more}
    return {
        "name": f"App {credential['consumerKey']}",
        "developerId": "acme",
        "credentials": [credential],
    }


CASES = {
    "mark of byte order": Case("\ufeffcustomer,name,key\nacme,One,bom-key-0001\n", {"create": 1}),
    "semicolons, one too many": Case(
        'customer;"name";"key";\nacme;"One";"semi-key-0001";\nacme;"Two";"semi-key-0002";\n',
        {"create": 2},
    ),
    "quotes behind a separator and a space": Case(
        'customer, name, key\nacme, "Spaced one", "space-key-0001"\n',
        {"create": 1},
        found={"Spaced one": {"hint": "0001"}},
    ),
    "invisible characters": Case(
        "customer ,name,key,holders\nacme\u00a0,NBSP,inv-key-0001\u00a0,ada@acme.example\u00a0\n"
        "acme,ZWSP,inv-key-0002\u200b,\nacme,BOM,\ufeffinv-key-0003,\n"
        "acme,Soft,inv-key\u00ad-0004,\n",
        {"create": 3, "rejected": 1},
        {5: "Inside the key is a character that nobody sees: U+00AD, soft hyphen."},
        {"ZWSP": {"hint": "0002"}, "BOM": {"hint": "0003"}},
    ),
    "placeholders": Case(
        dumps(
            {
                "consumers": [
                    *consumers(keyauth_credentials=[{"key": "$ANON_KEY"}]),
                    *consumers(keyauth_credentials=[{"key": '${{ env "DECK_KEY" }}'}]),
                    *consumers(keyauth_credentials=[{"key": "{vault://env/my-key}"}]),
                ]
            }
        ),
        {"rejected": 3},
        {1: PLACEHOLDER, 2: PLACEHOLDER, 3: PLACEHOLDER},
        file="kong.json",
    ),
    "Bearer": Case(
        "customer,name,key\nacme,One,Bearer bearer-key-0001\n",
        {"create": 1},
        found={"One": {"hint": "0001"}},
    ),
    "a column of hashes only": Case(
        f"customer,name,key_sha256\nacme,One,{'1311f8fc' * 8}\n",
        {"rejected": 1},
        {2: "It has no key. To generate one for each such row, choose so."},
        how={"missing_keys": "reject"},
        warned={"hashes": ["key_sha256"]},
    ),
    "Kong's db_export": Case(
        '_format_version: "3.0"\n_transform: false\nconsumers:\n- id: 59d1\n  username: acme\n'
        "  custom_id: ~\nkeyauth_credentials:\n- created_at: 1734329245\n  key: kong-key-0001\n"
        "  id: 6b94\n  consumer: 59d1\n  ttl: ~\n",
        {"create": 1},
        found={"acme": {"hint": "0001"}},
        file="kong.yaml",
    ),
    "other types of credentials": Case(
        dumps(
            {
                "consumers": [
                    *consumers(keyauth_credentials=[{"key": "kong-key-0001", "ttl": 3600}]),
                    *consumers(basicauth_credentials=[{"username": "x", "password": "y"}]),
                    *consumers(jwt_secrets=[{"key": "iss", "secret": "s"}]),
                    *consumers(hmacauth_credentials=[{"username": "x", "secret": "s"}]),
                ]
            }
        ),
        {"create": 1},
        found={"Orders": {"expires": True}},
        file="kong.json",
        warned={"left_out": ["1 HMAC credentials", "1 JWT secrets", "1 basic-auth credentials"]},
    ),
    "states in two columns": Case(
        "customer,name,key,status,enabled\nacme,One,state-key-0001,active,true\n"
        "acme,Two,state-key-0002,revoked,false\nacme,Three,state-key-0003,suspended,false\n",
        {"create": 1, "rejected": 2},
        {3: NOT_OURS, 4: NOT_OURS},
    ),
    "an end in microseconds": Case(
        dumps([apigee(expiresAt="1893456000000000")]),
        {"create": 1},
        found={"App apigee-key-0001": {"expires": True}},
        file="apigee.json",
    ),
    "an end beyond all time": Case(
        dumps([apigee(expiresAt="9" * 20), apigee(consumerKey="apigee-key-0002")]),
        {"create": 1, "rejected": 1},
        {1: "No moment between 1990 and 2200 is this number, in whatever unit."},
        {"App apigee-key-0002": {"expires": False}},
        file="apigee.json",
    ),
    "3scale": Case(
        dumps(
            {
                "applications": [
                    {
                        "application": {
                            "id": number,
                            "account_id": "acme",
                            "plan_id": "acme-sub1",
                            "name": f"App {number}",
                            **about,
                        }
                    }
                    for number, about in enumerate(
                        (
                            {"state": "live", "user_key": "aGVsbG93b3JsZAo="},
                            {
                                "state": "live",
                                "application_id": "some:special/id-1",
                                "keys": ["coffee"],
                            },
                            {"state": "pending", "user_key": "pending-key-1"},
                        )
                    )
                ]
            }
        ),
        {"create": 2, "rejected": 1},
        {3: NOT_OURS},
        {"App 0": {"feeds": ["acme-sub1"]}, "App 1": {"hint": "id-1", "feeds": ["acme-sub1"]}},
        file="3scale.json",
    ),
    "AWS keys of one name, and one that is off": Case(
        "Name,Key,description,Enabled,usageplanIds\nstress,aws-key-00000001,x,TRUE,acme-sub1\n"
        'stress,aws-key-00000002,x,TRUE,"acme-sub1, acme-sub2"\n'
        "off,aws-key-00000003,,False,acme-sub1\n",
        {"create": 2, "rejected": 1},
        {4: NOT_OURS},
        {"stress": {"feeds": ["acme-sub1"]}, "stress 2": {"feeds": ["acme-sub1", "acme-sub2"]}},
        how={"fixed_values": {"customer": "acme"}},
    ),
    "one key at two gateways": Case(
        "customer,name,key,gateway,environment\nacme,Live,gw-key-00000001,north,production\n"
        "other,Test,gw-key-00000001,south,staging\n",
        {"create": 2},
    ),
    "one key of two customers": Case(
        "customer,name,key\nacme,A,same-key-0001\nother,B,same-key-0001\n",
        {"rejected": 2},
        {2: "The same key is also in row 3.", 3: "The same key is also in row 2."},
    ),
    "Windows-1252": Case(
        "customer;name;key\nacme;Kraiø Müller;win-key-0001\n".encode("cp1252"),
        {"create": 1},
        found={"Kraiø Müller": {"hint": "0001"}},
        how={"encoding": "windows-1252"},
    ),
    "customers that are called alike": Case(
        "customer,name,key\nfoo-bar,c,like-key-0001\nfoo_bar,c,like-key-0002\nFoo-Bar,c,like-key-0003\n",
        {"create": 3},
        how={"customers": "create"},
        warned={"similar_customers": None},
    ),
    "a long token as key": Case(
        f"customer,name,key\nacme,JWT,eyJhbGciOi.{'a1B2' * 390}.sig1\n",
        {"create": 1},
        found={"JWT": {"hint": "sig1"}},
    ),
    "aliases": Case(
        "customer,name,key,aliases\nacme,One,alias-key-0001,6b94-43ae|kong-consumer-1\n",
        {"create": 1},
        found={"One": {"keys": 3}},
    ),
    "separators": Case(
        "customer,name,key,holders,tags,subscription\n"
        'acme,One,sep-key-0001,ada@acme.example;grace@acme.example,"eu, partner",acme-sub1\n'
        'acme,Two,sep-key-0002,"ada@acme.example, grace@acme.example",eu;partner,'
        "acme-sub1;acme-sub2\n"
        "acme,Three,sep-key-0003,Ada L <ada@acme.example>,eu,acme-sub1\n",
        {"create": 3},
        found={
            "One": {"holders": 2, "tags": ["eu", "partner"]},
            "Two": {"holders": 2, "tags": ["eu", "partner"], "feeds": ["acme-sub1", "acme-sub2"]},
            "Three": {"holders": 1},
        },
    ),
    "a line sep=": Case("sep=;\ncustomer;name;key\nacme;One;sep-key-0001\n", {"create": 1}),
    "a German spreadsheet": Case(
        "\ufeffExport der Schlüssel;;;;;;\nStand: 01.11.2026;;;;;;\n"
        "Bezeichnung;Kunde;API-Schlüssel;Schlagworte;Erstellt am;Tarif;E-Mail;;\n"
        'eins;acme;000837335688;prod,eu;01.02.2026 10:00;"Kostenlos, Test";ada@acme.example;;\n'
        'zwei;acme;71e45;"prod\nzweite";02.02.2026 10:00;Gold;kein;;\n;;;;;;;;\n',
        {"create": 2},
        found={
            "eins": {"hint": "5688", "feeds": ["acme-Kostenlos-Test"], "tags": ["prod", "eu"]},
            "zwei": {"feeds": ["acme-Gold"], "tags": ["prod", "zweite"]},
        },
        how={"plans": "create", "subscriptions": "create", "time_zone": "Europe/Berlin"},
    ),
    "a French spreadsheet": Case(
        "Nom de l'application;Société;Clé API;Date d'expiration;Statut;Étiquettes\n"
        "Boutique;acme;cle-000001-aaaa;31/12/2027;actif;eu\n"
        "Caisse;acme;cle-000002-bbbb;31/01/2028;désactivé;\n",
        {"create": 1, "rejected": 1},
        {3: NOT_OURS},
        {"Boutique": {"hint": "aaaa", "expires": True, "tags": ["eu"]}},
    ),
    "a Spanish one in UTF-16": Case(
        "Aplicación\tCliente\tClave\tEstado\tVence\nTienda\tacme\tclave-000001-aaaa\tactivo\t"
        "31/12/2027\nCaja\tacme\tclave-000002-bbbb\tinactivo\t\n".encode("utf-16"),
        {"create": 1, "rejected": 1},
        {3: NOT_OURS},
        {"Tienda": {"hint": "aaaa", "expires": True}},
    ),
    "a Dutch one": Case(
        "Toepassing;Klant;Sleutel;Vervaldatum;Status\n"
        "Winkel;acme;sleutel-00001-aaaa;31-12-2027;actief\n"
        "Kassa;acme;sleutel-00002-bbbb;;ingetrokken\n",
        {"create": 1, "rejected": 1},
        {3: NOT_OURS},
        {"Winkel": {"hint": "aaaa", "expires": True}},
    ),
    "days as in America": Case(
        "Account,App Name,API Key,Expires\nacme,One,us-key-0000aaaa,12/31/2027\n"
        "acme,Two,us-key-0000bbbb,1/15/2028\n",
        {"create": 2},
        found={"One": {"expires": True}, "Two": {"expires": True}},
    ),
    "objects in objects": Case(
        dumps(
            {
                "data": [
                    {
                        "client": {"id": "acme"},
                        "label": "Shop",
                        "apiKeys": [
                            {"key": "env-key-aaaa", "expiresOn": None},
                            {"key": "env-key-bbbb", "expiresOn": "2029-12-31T00:00:00Z"},
                        ],
                    },
                ]
            }
        ),
        {"rejected": 2},
        {
            1: "This customer has the same name in row 2.",
            2: "This customer has the same name in row 1.",
        },
        file="keys.json",
    ),
    "subscriptions separated by commas": Case(
        'customer,name,key,subscription\nacme,One,sep-key-aaaa,"acme-sub1, acme-sub2"\n',
        {"rejected": 1},
        {2: "No subscription has this external key. Separate several by | or ;."},
    ),
    "the table of Revenium": Case(
        "Label,Subscriber Credential Name,External ID,External Secret,Organization,Subscription,"
        "Subscriber,Tags\n"
        'Rev 0,rev-0,5ca975dd04ce,b57aacef,acme,acme-sub1,ada@acme.example,"a,b"\n',
        {"create": 1},
        found={"Rev 0": {"hint": "04ce", "feeds": ["acme-sub1"], "tags": ["a", "b"]}},
    ),
    "columns that say since when it is over, and who made it": Case(
        "customer,name,key,deleted,deleted_at,disabled,Created by\n"
        "acme,One,gone-key-0001,no,,false,grace@acme.example\n"
        "acme,Two,gone-key-0002,,2026-01-01T00:00:00Z,false,grace@acme.example\n"
        "acme,Three,gone-key-0003,,,true,ada@acme.example\n",
        {"create": 1, "rejected": 2},
        {3: NOT_OURS, 4: NOT_OURS},
        {"One": {"holders": 0}},
    ),
    "life times in a unit of their own": Case(
        "customer,name,key,ttl_days\nacme,One,ttl-key-0001,30\nacme,Two,ttl-key-0002,0\n",
        {"create": 2},
        found={"One": {"expires": True}, "Two": {"expires": False}},
    ),
    "what databases write for nothing, and errors of a spreadsheet": Case(
        "customer,name,key,environment\nacme,One,null-key-0001,NULL\n"
        "NULL,Two,null-key-0002,\nacme,#REF!,null-key-0003,\\N\n",
        {"create": 1, "rejected": 2},
        {3: "A value is required.", 4: "This is an error of a spreadsheet."},
    ),
    "names of nested objects": Case(
        dumps(
            {
                "data": [
                    {
                        "org": {"id": "acme", "name": "Acme Ltd"},
                        "apps": [{"title": "One", "apiKey": "nest-key-0001"}],
                    }
                ]
            }
        ),
        {"create": 1},
        found={"One": {"hint": "0001"}},
        file="list.json",
    ),
    "first and last names": Case(
        "Name;Vorname;E-Mail;Kunde\nLovelace;Ada;ada@new.example;acme\n",
        {"create": 1},
        kind=ListKind.SUBSCRIBERS,
    ),
    "a quota that is no number": Case(
        'external_key,customer,product,quota\nq1,acme,maps,"1,000"\nq2,acme,maps,5000\n',
        {"create": 1, "rejected": 1},
        {2: "This is not a whole number of 0 or more."},
        kind=ListKind.SUBSCRIPTIONS,
    ),
    "a person in two cases": Case(
        "email,name,customer\nAnn@Acme.example,A,acme\nann@acme.example,B,acme\n",
        {"rejected": 2},
        {2: "The same address is also in row 3.", 3: "The same address is also in row 2."},
        kind=ListKind.SUBSCRIBERS,
    ),
    "a holder of another customer": Case(
        "customer,name,key,holders\nacme,Pay,hold-key-0001,owner@other.example\n",
        {"rejected": 1},
        {
            2: "A holder belongs to another customer and would become a member of this one. To"
            " permit this, allow people of other customers."
        },
    ),
}


@pytest.fixture(autouse=True)
def _world():
    acme, other = factories.a_customer("acme"), factories.a_customer("other")
    maps = factories.a_product("maps")
    for name in ("acme-sub1", "acme-sub2"):
        factories.a_subscription(acme, external_key=name, product=maps)
    for name in ("north", "south"):
        factories.a_gateway(name)
    for email in ("ada@acme.example", "grace@acme.example"):
        factories.a_subscriber(acme, email=email)
    factories.a_subscriber(other, email="owner@other.example")


@pytest.mark.parametrize("name", CASES)
def test_every_row_comes_in_or_is_rejected_with_its_reason(name):
    case = CASES[name]
    choices = {"missing_keys": "generate"} | case.how
    reading = {each: choices.pop(each) for each in ("encoding", "fixed_values") if each in choices}
    upload = worked(
        actions.receive_upload(
            kind=case.kind,
            file=BytesIO(case.text if isinstance(case.text, bytes) else case.text.encode()),
            name=case.file,
            by=None,
            choices=actions.UploadChoices(**choices),
            **reading,
        )
    )

    assert upload.state == Upload.State.READY, (upload.error, upload.header, upload.mapping)
    found = actions.list_row_problems(upload=upload, after=0, most=100)
    assert {each.row: each.message for each in found} == case.rejected
    assert max(Counter(each.row for each in found).values(), default=1) == 1
    assert {act: count for act, count in upload.preview["counts"].items() if count} == case.counts
    warned = {each["code"]: each["examples"] for each in upload.preview["warnings"]}
    for code, examples in case.warned.items():
        assert code in warned
        assert examples is None or warned[code] == examples
    if case.found:
        actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)
        worked(upload)
        assert upload.state == Upload.State.APPLIED, upload.error
        for title, wanted in case.found.items():
            credential = Credential.objects.get(name=title)
            values = {
                "hint": credential.keys.get(kind="key").hint,
                "keys": credential.keys.count(),
                "expires": credential.expires_at is not None,
                "tags": credential.tags,
                "holders": credential.holders.count(),
                "feeds": sorted(
                    credential.assignments.values_list("subscription__external_key", flat=True)
                ),
            }
            assert {each: values[each] for each in wanted} == wanted


def test_numbers_of_a_workbook_come_as_they_are_shown():
    """Excel shows 000837335688 and 123456-789012; a day in the column of keys is no key."""
    upload = worked(
        actions.receive_upload(
            kind=ListKind.CREDENTIALS,
            file=BytesIO(a_workbook()),
            name="keys.xlsx",
            by=None,
        )
    )

    assert [each.message for each in actions.list_row_problems(upload=upload, after=0, most=9)] == [
        "This is a date, not a key. Format the column as text and enter the key again."
    ]
    hints = [
        value
        for example in upload.preview["examples"]["create"]
        for column, _, value in example["values"]
        if column == "key"
    ]
    # Short keys have no hint.
    assert hints == ["…5688", "…9012"]


def a_workbook():
    to = BytesIO()
    with Workbook(to) as workbook:
        sheet = workbook.add_worksheet()
        sheet.write_row(0, 0, ["customer", "name", "key"])
        for row, (value, shown) in enumerate(
            (
                (837335688, "0" * 12),
                (123456789012, r"000000\-000000"),
                (date(2027, 8, 1), "yyyy-mm-dd"),
            ),
            start=1,
        ):
            sheet.write_row(row, 0, ["acme", f"Row {row}"])
            form = workbook.add_format({"num_format": shown})
            if isinstance(value, date):
                sheet.write_datetime(row, 2, value, form)
            else:
                sheet.write_number(row, 2, value, form)
    return to.getvalue()
