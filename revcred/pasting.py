"""Understand a key as people paste it: with the header's name, the scheme and the quotes."""

import re
from collections.abc import Iterable

from revcred.fingerprints import fingerprint
from revcred.models import ExternalKey
from revcred.redaction import SHORTEST_SECRET, bare, has_own_shape

MOST_CHARACTERS = 2_000
AROUND = " \t\r\n\"'`,;\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
HEADER = re.compile(
    r"(?:-H|--header)?[\s\"'`]*"
    r"[\w-]*(?:authorization|api[-_]?key|[-_]key|[-_]token)[\"']?\s*[:=]\s*",
    re.IGNORECASE,
)
SCHEME = re.compile(r"(?:bearer|apikey|token)\s+", re.IGNORECASE)


def key_in(pasted: str) -> str:
    """The key in what was pasted, such as `Authorization: Bearer KEY`; all of it if it is bare."""
    key, _ = _unwrapped(pasted)
    return key


def says_it_is_a_key(pasted: str) -> bool:
    """True if its own shape, or what stands before it, says that it is a key."""
    key, is_labelled = _unwrapped(pasted)
    return has_own_shape(bare(key)) or (is_labelled and len(key) >= SHORTEST_SECRET)


def _unwrapped(pasted: str) -> tuple[str, bool]:
    """The key, and whether a header's name or a scheme stood before it."""
    text = whole = pasted.replace("\0", "")[:MOST_CHARACTERS].strip(AROUND)
    for around in (HEADER, SCHEME):
        text = around.sub("", text, count=1).strip(AROUND) if around.match(text) else text
    return text, text != whole


def is_a_key(pasted: str) -> bool:
    """True if it says so itself, or if some credential has or had this key."""
    return are_keys([pasted])


def are_keys(texts: Iterable[str]) -> bool:
    """True if any of them says so itself, or if some credential has or had one as its key."""
    texts = [text for text in texts if key_in(text)]
    if any(says_it_is_a_key(text) for text in texts):
        return True
    marks = [fingerprint(key_in(text)) for text in texts]
    return bool(marks) and ExternalKey.objects.filter(fingerprint__in=marks).exists()


def may_be_a_key(term: str) -> bool:
    """True of what is long enough, and in one piece, as names and addresses of people are not."""
    return len(term) >= SHORTEST_SECRET and not {" ", "@"} & set(term)
