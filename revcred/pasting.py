"""Understand a key as people paste it: with the header's name, the scheme and the quotes."""

import re
from collections.abc import Iterable

from revcred.fingerprints import fingerprint
from revcred.models import ExternalKey
from revcred.redaction import MIN_SECRET_CHARACTERS, bare_secret, has_own_token_shape

MAX_PASTED_CHARACTERS = 2_000
SURROUNDING_CHARACTERS = (
    " \t\r\n\"'`,;\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
)
HEADER_NAME_PATTERN = re.compile(
    r"(?:-H|--header)?[\s\"'`]*"
    r"[\w-]*(?:authorization|api[-_]?key|[-_]key|[-_]token)[\"']?\s*[:=]\s*",
    re.IGNORECASE,
)
AUTH_SCHEME_PATTERN = re.compile(r"(?:bearer|apikey|token)\s+", re.IGNORECASE)


def extract_key(pasted: str) -> str:
    """The key in what was pasted, such as `Authorization: Bearer KEY`; all of it if it is bare."""
    key, _ = _unwrap_key(pasted)
    return key


def is_marked_as_key(pasted: str) -> bool:
    """True if its own shape, or what stands before it, says that it is a key."""
    key, is_labelled = _unwrap_key(pasted)
    return has_own_token_shape(bare_secret(key)) or (
        is_labelled and len(key) >= MIN_SECRET_CHARACTERS
    )


def _unwrap_key(pasted: str) -> tuple[str, bool]:
    """The key, and whether a header's name or a scheme stood before it."""
    text = whole = pasted.replace("\0", "")[:MAX_PASTED_CHARACTERS].strip(SURROUNDING_CHARACTERS)
    for around in (HEADER_NAME_PATTERN, AUTH_SCHEME_PATTERN):
        text = (
            around.sub("", text, count=1).strip(SURROUNDING_CHARACTERS)
            if around.match(text)
            else text
        )
    return text, text != whole


def is_known_key(pasted: str) -> bool:
    """True if it says so itself, or if some credential has or had this key."""
    return any_known_key([pasted])


def any_known_key(texts: Iterable[str]) -> bool:
    """True if any of them says so itself, or if some credential has or had one as its key."""
    texts = [text for text in texts if extract_key(text)]
    if any(is_marked_as_key(text) for text in texts):
        return True
    marks = [fingerprint(extract_key(text)) for text in texts]
    return bool(marks) and ExternalKey.objects.filter(fingerprint__in=marks).exists()


def looks_like_key(term: str) -> bool:
    """True of what is long enough, and in one piece, as names and addresses of people are not."""
    return len(term) >= MIN_SECRET_CHARACTERS and not {" ", "@"} & set(term)
