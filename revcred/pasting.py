"""Recognition of keys as people paste them: with the header's name, the scheme and quotes."""

import re
from collections.abc import Iterable

from revcred.fingerprints import fingerprint
from revcred.models import ExternalKey
from revcred.redaction import MIN_SECRET_CHARACTERS, bare_secret, has_own_token_shape

MAX_PASTED_CHARACTERS = 2_000
SURROUNDING_CHARACTERS = (
    " \t\r\n\"'`,;\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
)
# As copied from a curl command, a header or a line of configuration.
HEADER_NAME_PATTERN = re.compile(
    r"(?:-H|--header)?[\s\"'`]*"
    r"[\w-]*(?:authorization|api[-_]?key|[-_]key|[-_]token)[\"']?\s*[:=]\s*",
    re.IGNORECASE,
)
AUTH_SCHEME_PATTERN = re.compile(r"(?:bearer|apikey|token)\s+", re.IGNORECASE)


def extract_key(pasted: str) -> str:
    """Return the key in what was pasted, such as `Authorization: Bearer KEY`, or all of it."""
    key, _ = _unwrap_key(pasted)
    return key


def is_marked_as_key(pasted: str) -> bool:
    """Return True if its own shape, or what stands before it, shows that it is a key."""
    key, is_labelled = _unwrap_key(pasted)
    return has_own_token_shape(bare_secret(key)) or (
        is_labelled and len(key) >= MIN_SECRET_CHARACTERS
    )


def _unwrap_key(pasted: str) -> tuple[str, bool]:
    """Return the key, and True if a header's name or a scheme stood before it."""
    # Limited, because patterns run over whatever somebody pastes.
    text = whole = pasted.replace("\0", "")[:MAX_PASTED_CHARACTERS].strip(SURROUNDING_CHARACTERS)
    for around in (HEADER_NAME_PATTERN, AUTH_SCHEME_PATTERN):
        text = (
            around.sub("", text, count=1).strip(SURROUNDING_CHARACTERS)
            if around.match(text)
            else text
        )
    return text, text != whole


def is_known_key(pasted: str) -> bool:
    """Return True if it shows that it is a key, or if some credential has or had it."""
    return any_known_key([pasted])


def any_known_key(texts: Iterable[str]) -> bool:
    """Return True if any of the texts is a known key: one query for all of them."""
    texts = [text for text in texts if extract_key(text)]
    # Without a query where the text itself tells.
    if any(is_marked_as_key(text) for text in texts):
        return True
    fingerprints = [fingerprint(extract_key(text)) for text in texts]
    return bool(fingerprints) and ExternalKey.objects.filter(fingerprint__in=fingerprints).exists()


def looks_like_key(term: str) -> bool:
    """Return True for a long text in one piece, as names and e-mail addresses are not."""
    return len(term) >= MIN_SECRET_CHARACTERS and not {" ", "@"} & set(term)
