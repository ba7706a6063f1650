"""Cells of keys: what surrounds a key goes, and what no caller would send is rejected."""

import pytest

from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.key_cells import are_hashes, parse_key_cell, parse_secret_cell

KEY = "k1-aaaaaaaaaaaa1"


@pytest.mark.parametrize(
    "cell",
    [
        f"  {KEY}\t",
        f"{KEY}\N{NO-BREAK SPACE}",
        f"{KEY}\u200b",
        f"\ufeff{KEY}",
        f"\u2066{KEY}\u2069",
        f'"{KEY}"',
        f"'{KEY}'",
        f"“{KEY}”",
        f"„{KEY}“"[:-1] + "”",
        f"`{KEY}`",
        f"Bearer {KEY}",
        f"bearer  {KEY}",
        f"Authorization: Bearer {KEY}",
        f"X-API-Key: {KEY}",
        f"api_key={KEY}",
        f"Token {KEY}",
        f'"Bearer {KEY}"',
    ],
)
def test_what_surrounds_a_key_is_stripped(cell):
    assert parse_key_cell(cell) == KEY


@pytest.mark.parametrize(
    "key",
    [
        *("000837335688", "72e45", "1e5", "071e0045", "0012", "k", "Basic", "token"),
        *("aGVsbG93b3JsZAo=", "sk_live_a.b-c~d+e/f=", "{a", "a b c", "ключ-1", "a'b", "3.14"),
        *("eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.e30." + "a1B2" * 300, "6" * 40),
        *("a" * 64, "something:special/1", "$ecret-1", "nullable-1", "not-a-date-2027-08-01x"),
    ],
)
def test_keys_stay_as_they_are(key):
    assert parse_key_cell(key) == key


def test_the_mark_by_which_spreadsheets_keep_text_goes():
    assert parse_key_cell("'000837335688") == "000837335688"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("$SUPABASE_ANON_KEY", "placeholder"),
        ("${API_KEY}", "placeholder"),
        ('${{ env "DECK_SERVICE_KEY" }}', "placeholder"),
        ("{{ secrets.KEY }}", "placeholder"),
        ("{vault://env/my-key}", "placeholder"),
        ("vault:secret/data/key#value", "placeholder"),
        ("%API_KEY%", "placeholder"),
        ("<your key>", "placeholder"),
        ("[REDACTED]", "placeholder"),
        ("process.env.API_KEY", "placeholder"),
        ("@Microsoft.KeyVault(SecretUri=https://x)", "placeholder"),
        *((each, "placeholder") for each in ("$secret://vault/1/acme", "op://vault/item/key")),
        *((each, "placeholder") for each in ("YOUR_API_KEY_HERE", "replace-me", "(redacted)")),
        ("arn:aws:secretsmanager:eu-central-1:1234:secret:acme", "placeholder"),
        ("ENC[AES256_GCM,data:abc,iv:def]", "placeholder"),
        ("xxxx-xxxx", "the rest is hidden"),
        ("=CONCAT(A1,B1)", "a formula"),
        ("#NAME?", "error of a spreadsheet"),
        ("#WERT!", "error of a spreadsheet"),
        ("#N/A", "error of a spreadsheet"),
        ("NULL", "stands for no key"),
        ("n/a", "stands for no key"),
        ("-", "stands for no key"),
        ("sk-****abcd", "the rest is hidden"),
        ("...9c2e", "the rest is hidden"),
        ("…9c2e", "the rest is hidden"),
        ("x" * 32, "the rest is hidden"),
        ("8.37336E+11", "shortened this number"),
        ("8,37E+11", "shortened this number"),
        ("2027-08-01", "a date"),
        ("01.08.2027", "a date"),
        ("8/1/2027 10:00", "a date"),
        ("TRUE", "a yes or no"),
        ("falsch", "a yes or no"),
        ("Basic YWxhZGRpbjpvcGVu", "user name with a password"),
        ("$2b$12$abcdefghijklmnopqrstuv", "a hash"),
        ("sha256:1311f8fc80a7ea28d78dd7723f09c44c1754cd35160ca8e7133ae3d7f636a19a", "a hash"),
        (f'"{KEY}', "begins with a quote"),
        (f"{KEY}'", "ends with a quote"),
        ("u08-key-aaaa\u00adaaaaaaaa4", "U+00AD, soft hyphen"),
        ("u08-key\u200baaaaaaaaaaaa4", "U+200B, zero width space"),
        ("u08-key\u00a0aaaaaaaaaaaa4", "U+00A0, no-break space"),
        ("two\nlines", "U+000A"),
    ],
)
def test_what_no_caller_would_send_is_rejected_by_name(cell, said):
    with pytest.raises(InvalidCell) as raised:
        parse_key_cell(cell)

    assert said in str(raised.value)
    assert cell not in str(raised.value)


def test_secrets_may_look_like_anything_but_placeholders():
    assert [parse_secret_cell(each) for each in ("true", " 2027-08-01\u200b", "'x")] == [
        *("true", "2027-08-01", "'x")
    ]
    with pytest.raises(InvalidCell, match="placeholder for a secret"):
        parse_secret_cell("${SECRET}")


@pytest.mark.parametrize(
    ("header", "cell", "expected"),
    [
        ("key_sha256", "1311f8fc80a7ea28d78dd7723f09c44c1754cd35160ca8e7133ae3d7f636a19a", True),
        ("Key hash", "5f4dcc3b5aa765d61d8327deb882cf99", True),
        ("bcrypt", "$2b$12$abcdefghijklmnopqrstuv", True),
        ("key", "1311f8fc80a7ea28d78dd7723f09c44c1754cd35160ca8e7133ae3d7f636a19a", False),
        ("Hashtag", "partner", False),
        ("key_hash", "", False),
    ],
)
def test_a_column_of_hashes_is_known_by_its_name_and_cells(header, cell, expected):
    assert are_hashes(header, [cell, ""]) is expected
