"""Recognise a known key that is written unusually, such as in quotes or after the word "Bearer".

Only the door has a key in plain text, so this has to happen there. A key with such an oddity is
stored with a second fingerprint, that of the same key written plainly. The quarantine's page can
then name the credential that is probably meant.
"""

import re
import unicodedata
from urllib.parse import unquote

from revcred.fingerprints import fingerprint_hex

# Nearly all keys match this, and need no closer look.
PLAIN_KEY_PATTERN = re.compile(r"[A-Za-z0-9_.~+/=:-]+")
# A header's name or an authentication scheme, copied along with the key: "X-API-Key: ", "Bearer ".
KEY_PREFIX_PATTERN = re.compile(
    r"(?:authorization|x-api-key|api-?key|key)\s*[:=]\s*|(?:bearer|basic|apikey|token)[\s:]+",
    re.IGNORECASE,
)
QUOTE_CHARACTERS = "\"'`\u201c\u201d\u2018\u2019"
MAX_CLEANING_ROUNDS = 6  # such as quotes around a prefix around quotes

ODDITY_TEXTS = {
    "prefix": "a word before it, such as Bearer",
    "quotes": "quotes around it",
    "escapes": "%-escapes in it",
    "invisible": "white space or invisible characters in it",
    "case": "capital letters",
}


def similar_plain_key(key: str) -> tuple[str, str] | None:
    """Return the fingerprint of the same key written plainly, and the key's oddities.

    The oddities are names from ODDITY_TEXTS, separated by commas. None for a plain key.
    """
    if PLAIN_KEY_PATTERN.fullmatch(key) and not key.isupper() and not KEY_PREFIX_PATTERN.match(key):
        return None
    text, oddities = _without_oddities(key)
    # Keys are case-sensitive; one in capitals only was probably converted on its way.
    if text.isupper():
        text = text.lower()
        oddities["case"] = None
    if not text or text == key:
        return None
    return fingerprint_hex(text), ",".join(oddities)


def describe_oddities(oddities: str) -> str:
    """Return the oddities in words, such as "quotes around it"."""
    return " and ".join(ODDITY_TEXTS[name] for name in oddities.split(",") if name in ODDITY_TEXTS)


def _without_oddities(key: str) -> tuple[str, dict[str, None]]:
    text, oddities = key, dict[str, None]()
    for _ in range(MAX_CLEANING_ROUNDS):
        changes = ((oddity, step(text)) for oddity, step in CLEANING_STEPS)
        changed = next(((oddity, after) for oddity, after in changes if after != text), None)
        if changed is None:
            break
        oddities[changed[0]], text = None, changed[1]
    return text, oddities


def _without_prefix(text: str) -> str:
    return KEY_PREFIX_PATTERN.sub("", text, count=1) if KEY_PREFIX_PATTERN.match(text) else text


def _without_quotes(text: str) -> str:
    return text.strip(QUOTE_CHARACTERS)


def _without_escapes(text: str) -> str:
    return unquote(text, errors="replace") if "%" in text else text


def _without_invisible(text: str) -> str:
    return "".join(
        character
        for character in text
        if not character.isspace() and unicodedata.category(character) not in HIDDEN_CATEGORIES
    )


HIDDEN_CATEGORIES = {"Cc", "Cf"}  # of Unicode: control and format characters
# White space comes last: the space after a prefix is what tells that it is one.
CLEANING_STEPS = (
    ("escapes", _without_escapes),
    ("prefix", _without_prefix),
    ("quotes", _without_quotes),
    ("invisible", _without_invisible),
)
