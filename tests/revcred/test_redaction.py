"""Secrets are cut out of text in whatever form they stand there, and nothing else is changed."""

import base64
import html
import json
import re
import string
import unicodedata
from functools import partial
from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metering.models import gateways
from revcred import tokens
from revcred.actions import credentials
from revcred.models import tokens as user_tokens
from revcred.redaction import (
    MIN_SECRET_CHARACTERS,
    NOT_SEARCHED_TEXT,
    KnownSecret,
    drop_unsearched,
    key_candidates,
    known_secrets,
    may_hold_secret,
    redact_text,
    redact_value,
    search_needles,
    shorten_secret,
)

KEY = "harbour-K3y-9f2d/c7+a1="
OWN_KEY = credentials.generate_key()


def in_base64(before="", *, behind="", alphabet=base64.b64encode):
    return lambda secret: alphabet(f"{before}{secret}{behind}".encode()).decode()


FORMS = {
    "as it is": str,
    "bearer": lambda secret: f"Authorization: Bearer {secret}",
    "in a query": lambda secret: f"/maps?api_key={secret}&zoom=3",
    "in a path": lambda secret: f"/v1/{secret}/tiles",
    "percent-encoded": lambda secret: f"/v1?k={quote(secret, safe='')}",
    "all of it percent-encoded": lambda secret: "".join(f"%{byte:02x}" for byte in secret.encode()),
    "percent-encoded twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "JSON in text": lambda secret: json.dumps({"headers": {"x-api-key": secret}}),
    "JSON in JSON in text": lambda secret: json.dumps(json.dumps([secret])),
    "JSON with slashes escaped": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "base64": in_base64(),
    "base64 behind one byte": in_base64(":"),
    "base64 behind two bytes": in_base64("u:", behind=":"),
    "basic": lambda secret: f"Basic {in_base64('somebody:')(secret)}",
    "base64 for addresses": in_base64("a?", alphabet=base64.urlsafe_b64encode),
    "base64, percent-encoded": lambda secret: quote(in_base64(":")(secret), safe=""),
    "base64 twice": lambda secret: in_base64("u:")(in_base64(":")(secret)),
    "base64 three times": lambda secret: in_base64()(in_base64()(in_base64()(secret))),
    "base64 behind other text": lambda secret: f"session{in_base64(':')(secret)}",
    "JSON in base64": lambda secret: in_base64()(json.dumps({"a": [secret, 'b"c']})),
    "percent-encoded in base64": lambda secret: in_base64()(f"k={quote(secret, safe='')}"),
    "hexadecimal digits": lambda secret: secret.encode().hex(),
    "capital hexadecimal digits": lambda secret: f"0x{secret.encode().hex().upper()}",
    "base64 in hexadecimal digits": lambda secret: in_base64()(secret).encode().hex(),
    "hexadecimal digits in base64": lambda secret: in_base64()(secret.encode().hex()),
    "escaped bytes": lambda secret: "".join(f"\\x{byte:02x}" for byte in secret.encode()),
    "HTML": lambda secret: "".join(f"&#{ord(each)};" for each in secret),
    "HTML in hexadecimal digits": lambda secret: "".join(f"&#x{ord(each):X};" for each in secret),
    "HTML, percent-encoded": lambda secret: quote(html.escape(f"<{secret}>").replace("/", "&sol;")),
    "wide characters": lambda secret: "".join(chr(ord(each) + 0xFEE0) for each in secret),
    "unseen characters between": "\u200b".join,
    "capital letters": str.upper,
    "small letters": str.lower,
}
CASE_FORMS = {"capital letters", "small letters"}  # a fingerprint is of one way to write a key
MAX_DECODINGS = 4


def plain(text):
    """The text as a person would read it, in small letters."""
    for _ in range(3):
        text = unicodedata.normalize("NFKC", html.unescape(unquote(text)))
        text = re.sub(r"\\+x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text)
        text = text.replace("\\", "").replace("\u200b", "")
    return text


def decodings(text):
    """The text and whatever it may be read as, in small letters."""
    forms, level = [], [text]
    for _ in range(MAX_DECODINGS):
        level = [plain(each) for each in level]
        forms += level
        level = [decoded for each in level for decoded in decoded_once(each)]
    return [each.lower() for each in forms]


def decoded_once(text):
    standard = text.replace("-", "+").replace("_", "/")
    for run in re.findall(r"[A-Za-z0-9+/]{8,}", standard):
        for offset in range(4):
            part = run[offset:]
            decoded = base64.b64decode(part + "A" * (-len(part) % 4)).decode("latin-1")
            if re.search("[ -~]{8}", decoded):
                yield decoded
    for run in re.findall(r"[0-9A-Fa-f]{16,}", text):
        for offset in range(2):
            part = run[offset:]
            yield bytes.fromhex(part[: len(part) // 2 * 2]).decode("latin-1")


def is_left(secret, text):
    return any(secret.lower() in each for each in decodings(text))


secrets = st.text(string.ascii_letters + string.digits + "-_.+/=~", min_size=8, max_size=60).filter(
    lambda text: text.strip("=") and not text.startswith("hak_")
)
around = st.text(string.ascii_letters + string.digits + " /?&:.", max_size=20)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [KEY, OWN_KEY], ids=["foreign", "own"])
def test_each_form_is_cut(form, secret):
    text = FORMS[form](secret)

    shown = redact_text(text, known_secrets(secret))

    assert shown != text
    assert shorten_secret(secret) in shown
    assert not is_left(secret, shown)


@given(secrets, st.sampled_from(sorted(FORMS)), around, around)
@example("AAAAAAAA", "base64 behind one byte", "", "")
def test_no_secret_is_left_of_any_form(secret, form, before, behind):
    text = f"{before} {FORMS[form](secret)} {behind}"

    shown = redact_text(text, [KnownSecret(secret)])

    assert not is_left(secret, shown)
    assert redact_text(shown, [KnownSecret(secret)]) == shown


@given(secrets, around)
def test_what_holds_no_secret_is_left_as_it_is(secret, text):
    if secret.lower() not in text.lower():
        assert redact_text(text, [KnownSecret(secret)]) == text


@given(secrets, st.sampled_from(sorted(FORMS)))
def test_what_is_quickly_looked_for_is_all_that_is_cut(secret, form):
    """Most texts are only looked at for these needles."""
    text = FORMS[form](secret)

    assert may_hold_secret(text, search_needles(secret))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "issue",
    [
        credentials.generate_key,
        credentials.generate_secret,
        gateways.generate_gateway_token,
        partial(tokens.generate_token, user_tokens.USER_TOKEN_PREFIX),
    ],
)
def test_what_was_issued_here_is_known_by_its_shape(issue, form):
    issued = issue()

    shown = redact_text(FORMS[form](issued))

    assert not is_left(issued.removeprefix("hak_"), shown)


def test_a_token_of_another_checksum_is_none_of_ours():
    token = tokens.generate_token(gateways.GATEWAY_TOKEN_PREFIX)
    text = f"{token[:-1]}{'0' if token[-1] != '0' else '1'}"

    assert redact_text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer 0123456789abcdefXYZ", "Authorization: Bearer …fXYZ"),
        ("authorization: bearer 0123456789abcdefXYZ", "authorization: bearer …fXYZ"),
        ("Basic c29tZWJvZHk6aGVyIHBhc3N3b3Jk", "Basic …b3Jk"),
        ("Bearer certificates are good", "Bearer certificates are good"),
        ("Basic authentication", "Basic authentication"),
    ],
)
def test_what_a_scheme_says_is_a_secret(text, shown):
    assert redact_text(text) == shown


def test_short_keys_are_names():
    assert len("a-demo") < MIN_SECRET_CHARACTERS
    assert known_secrets("a-demo", "a", "", None) == []


def test_also_in_names_of_members_at_any_depth():
    value = {"headers": [{KEY: {"deep": [f"Bearer {KEY}", 7, None, True]}}]}

    assert redact_value(value, known_secrets(KEY)) == {
        "headers": [{"…+a1=": {"deep": ["Bearer …+a1=", 7, None, True]}}]
    }


def test_no_member_is_lost():
    others = [credentials.generate_key()[:-4] + "same" for _ in range(3)]

    found = redact_value(dict.fromkeys(others, 1), known_secrets(*others))

    assert found == {"…same": 1, "…same (2)": 1, "…same (3)": 1}


@pytest.mark.parametrize("form", [form for form in FORMS if form not in CASE_FORMS])
@pytest.mark.parametrize(
    "secret",
    ["harbour-K3y-9f2d.c7a1", OWN_KEY, "7e5d1b0a-93b1-4e8d-8a1c-9c7a"],
    ids=["foreign", "own", "uuid"],
)
def test_keys_are_among_the_candidates(form, secret):
    assert secret in key_candidates({"a": [FORMS[form](secret)]}).parts


# --- What is too much to be looked at -------------------------------------------------------------

FILLING = "".join(f"{number}-" for number in range(2_000))


def nested(text, times):
    for _ in range(times):
        text = in_base64()(text)
    return text


@pytest.mark.parametrize(
    "text",
    [
        f"{FILLING}{KEY}",
        in_base64()(f"{FILLING}{KEY}"),
        nested("many words, one after the other; " * 12_000 + KEY, 2),
    ],
    ids=["pieces", "pieces in base64", "layers"],
)
def test_what_is_too_much_is_told_and_left_out(text):
    value = {"a": ["short", {"b": text}], text: 1}

    found = key_candidates(value)

    assert KEY in found.parts or found.unsearched == {text}
    if found.unsearched:
        assert drop_unsearched(value, found.unsearched) == {
            "a": ["short", {"b": NOT_SEARCHED_TEXT}],
            NOT_SEARCHED_TEXT: 1,
        }


def test_layers_that_are_too_many_are_not_kept():
    text = nested("many words, one after the other; " * 12_000 + KEY, 2)

    assert redact_text(text, known_secrets(KEY)).rstrip("=") == NOT_SEARCHED_TEXT


@pytest.mark.parametrize("length", [8, 40, 999, 1_001, 4_096])
@pytest.mark.parametrize("around", ["{}", "/v1/{}/tiles", "k={}", "a-b-c.{}", "Bearer {}"])
def test_keys_of_any_length_are_among_the_candidates_or_told(length, around):
    key = ("k3yOfManyLetters" * 300)[:length]

    found = key_candidates(around.format(key))

    assert key in found.parts or found.unsearched


@given(st.text(max_size=300))
def test_any_text_can_be_looked_at(text):
    assert redact_text(text) is not None
    assert not key_candidates(text).unsearched
