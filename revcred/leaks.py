"""Find keys of ours in a text that leaked, such as a log: by the fingerprint of each token in it.

Nothing of the text is kept or shown, and a token that is no key of ours leaves no trace.
"""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from revcred.external_keys import MAX_KEY_CHARACTERS
from revcred.fingerprints import fingerprint
from revcred.models import ExternalKey

MIN_TOKEN_CHARACTERS = 8  # shorter words are everywhere, and no key that anybody should use
MAX_SCANNED_CHARACTERS = 500_000  # at once: a page sends longer texts in parts
FINGERPRINTS_PER_QUERY = 10_000

# Runs between white space, quotes and brackets; then their parts between signs that stand between
# a name and a value, or between the parts of an address.
RUN_PATTERN = re.compile(r"[^\s\"'`<>(){}\[\]|\\]+")
SEPARATOR_PATTERN = re.compile(r"[=:,;&?/@#*!$]+")
PUNCTUATION = ".,;:!?"
EDGE_CHARACTERS = f"{PUNCTUATION}-_=&/"


def find_keys(text: str) -> list[ExternalKey]:
    """Return the keys of ours among the tokens of a text, ended ones included.

    Raises:
        ValueError: the text has more than MAX_SCANNED_CHARACTERS.
    """
    if len(text) > MAX_SCANNED_CHARACTERS:
        message = f"At most {MAX_SCANNED_CHARACTERS:,} characters are searched at once."
        raise ValueError(message)
    fingerprints = [fingerprint(token) for token in _tokens_of(text)]
    found: dict[int, ExternalKey] = {}
    for start in range(0, len(fingerprints), FINGERPRINTS_PER_QUERY):
        part = fingerprints[start : start + FINGERPRINTS_PER_QUERY]
        keys = ExternalKey.objects.filter(fingerprint__in=part)
        found |= {key.pk: key for key in keys.select_related("credential__customer", "use")}
    return sorted(found.values(), key=lambda key: key.pk)


def _tokens_of(text: str) -> set[str]:
    """Return what may be a key in a text: each run of characters, and the parts of it."""
    candidates = set(_candidates(RUN_PATTERN.findall(text)))
    # An address has its values escaped, so that they are whole only before that is undone.
    escaped = {candidate for candidate in candidates if "%" in candidate}
    return candidates | set(_candidates(map(unquote, escaped)))


def _candidates(runs: Iterable[str]) -> Iterator[str]:
    for run in runs:
        # `name=value`: what follows the first separator may itself hold separators, as base64 does.
        _, _, rest = run.partition("=")
        for piece in (run, rest, *SEPARATOR_PATTERN.split(run)):
            # A key may end with what base64 ends with: punctuation alone is taken off first.
            for token in (piece, piece.strip(PUNCTUATION), piece.strip(EDGE_CHARACTERS)):
                if MIN_TOKEN_CHARACTERS <= len(token) <= MAX_KEY_CHARACTERS:
                    yield token
