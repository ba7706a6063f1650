"""Redaction: cut known secrets, and anything of the shape of our own tokens, out of text.

A secret is found as it is, in capital or small letters, behind `Bearer `, in a query, and in every
encoding that `revcred.encodings` undoes: escapes, base64 at any alignment (as in `Basic`, behind a
user name), hexadecimal digits, and one of these in another. An ellipsis and its last four
characters stay, as on every page. A text that takes too long to search is not kept.
"""

import re
from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from revcred import encodings, tokens
from revcred.encodings import FROM_URL_SAFE_BASE64, TooMuchToDecode
from revcred.external_keys import MAX_KEY_CHARACTERS
from revcred.fingerprints import hint

# Shorter texts are names more often than secrets: cutting "demo" out of a path hides nothing.
MIN_SECRET_CHARACTERS = 8  # characters
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
# a gateway's token is known with it and without
FOREIGN_TOKEN_PREFIX = "hak_"  # noqa: S105 - begins a token

# Stored in place of a text that takes too long to search.
NOT_SEARCHED_TEXT = f"{ELLIPSIS} (not kept: too much to search for keys)"

# Tokens have a checksum, keys and secrets of earlier versions have none. The one letter that all
# begin with stands before the groups, so that the search skips from one such letter to the next.
OWN_TOKEN_PATTERN = re.compile(
    r"r(?:(?P<key>c[ks]_(?:[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{16,42}))|v[gu]_[0-9A-Za-z]{38})"
)
# The same shapes in small letters: where the case was changed, no checksum can be tested.
FOLDED_OWN_TOKEN_PATTERN = re.compile(r"r(?:c[ks]_[a-z0-9_-]{16,43}|v[gu]_[0-9a-z]{38})")
# Behind these schemes of an Authorization header stands a secret, whoever issued it.
SECRET_SCHEME_PATTERN = re.compile(r"(?:bearer|basic|apikey|token)\s+", re.IGNORECASE)
BEARER_PATTERN = re.compile(rb"\bbearer +(?P<token>[A-Za-z0-9._~+/-]{16,}=*)", re.IGNORECASE)
BASIC_PATTERN = re.compile(rb"\bbasic +(?P<token>[A-Za-z0-9+/]{8,}=*)", re.IGNORECASE)
BASE64_PADDING = re.compile(rb"=*")
# Texts without blanks, quotes, brackets or separators of a query: whole words.
WORD_RUN_PATTERN = re.compile(r"[^\s\"'<>(){}\[\],;&?#|\\]{8,}")
# Parts of a word between the separators that keys and paths use, and between those of paths alone.
WORD_PIECE_PATTERN = re.compile(r"[^-_.:/=+~@!$*%]+")
COARSE_PIECE_PATTERN = re.compile(r"[^:/=@]+")
# Limits of what one text may cost: pieces are combined, which grows with their product.
MAX_PIECES_PER_RUN = 200
MAX_PIECES_PER_KEY = 12
MAX_DECODED_SUFFIXES = 100  # of a decoded run, in which any character may begin the key
MAX_CANDIDATES_PER_TEXT = 20_000  # each costs a fingerprint
BASE64_START_BYTES = 6  # of a secret, enough to find where its base64 begins
MIN_BASE64_ROW_CHARACTERS = 11  # of a secret whose base64 has a long row of letters and digits


def _certain_base64(raw: bytes, alignment: int) -> bytes:
    """Return the base64 characters that depend on `raw` alone.

    `alignment`: number of other bytes before it, modulo 3. Characters that also encode a
    neighbour's bits are left out.
    """
    whole = b2a_base64(b"\0" * alignment + raw, newline=False)
    return whole[alignment and alignment + 1 : 8 * (alignment + len(raw)) // 6]


class RedactedSpan(NamedTuple):
    """A part of a text, as byte offsets, and what is shown in its place."""

    start: int
    end: int
    shown: str


# Strings to search for in a text, and one to search for in the text in small letters. A plain pair,
# because each call needs its own.
SearchNeedles = tuple[Sequence[str], str]
NO_NEEDLES: SearchNeedles = (), ""


class KnownSecret:
    """A secret to search for, and what is shown in its place."""

    __slots__ = ("folded", "shown", "text")

    def __init__(self, text: str) -> None:
        self.text = bare_secret(text)
        self.folded = self.text.encode(errors="replace").lower()
        self.shown = shorten_secret(self.text)

    def __repr__(self) -> str:
        return f"Secret({self.shown})"

    def is_in(self, text: bytes) -> bool:
        """Return True if the text contains the secret as it is, in capital or small letters."""
        return self.folded in text.lower()

    def spans(self, text: bytes) -> Iterator[RedactedSpan]:
        """Yield where the secret occurs in a text: plainly, with + for blanks, or in base64."""
        folded = text.lower()
        for needle in {self.folded, self.folded.replace(b" ", b"+")}:
            for start in _positions_of(needle, folded):
                yield RedactedSpan(start, start + len(needle), self.shown)
        raw = self.text.encode(errors="replace")
        standard = text.translate(FROM_URL_SAFE_BASE64)
        for alignment, start_of_it in enumerate(_base64_starts(self.text)[:3]):
            for start in _positions_of(start_of_it.encode(), standard):
                yield self._base64_span(raw, alignment, start, standard)

    def _base64_span(self, raw: bytes, alignment: int, start: int, text: bytes) -> RedactedSpan:
        """Return the span of its base64, with the characters it shares with its neighbours."""
        whole = _certain_base64(raw, alignment)
        length = next(
            (at for at, (a, b) in enumerate(zip(whole, text[start:], strict=False)) if a != b),
            min(len(whole), len(text) - start),
        )
        shared_before = 1 if alignment else 0
        shared_after = 1 if 8 * (alignment + len(raw)) % 6 else 0
        end = min(start + length + shared_after, len(text))
        padding = BASE64_PADDING.match(text, end)
        return RedactedSpan(start - shared_before, padding.end() if padding else end, self.shown)


KnownSecrets = Sequence[KnownSecret]


def bare_secret(text: str) -> str:
    """Return the secret without white space, a scheme such as `Bearer`, or the foreign prefix."""
    text = text.strip()
    if " " in text:
        text = SECRET_SCHEME_PATTERN.sub("", text, count=1)
    return text.removeprefix(FOREIGN_TOKEN_PREFIX)


def known_secrets(*texts: str | None) -> list[KnownSecret]:
    """Return those of the texts that are long enough to search for."""
    return [
        KnownSecret(text)
        for text in texts
        if text and len(bare_secret(text)) >= MIN_SECRET_CHARACTERS
    ]


def has_own_token_shape(text: str) -> bool:
    """Return True for anything issued here: a key, a secret, or a token of a gateway or user."""
    found = OWN_TOKEN_PATTERN.fullmatch(text)
    return found is not None and (bool(found["key"]) or tokens.is_own_token(text))


def shorten_secret(secret: str) -> str:
    """Return an ellipsis and the last four characters."""
    return ELLIPSIS + hint(secret)


def search_needles(secret: str) -> SearchNeedles:
    """Return strings of which a text has one if it holds the secret.

    They are for texts of which `encodings.may_be_encoded` is False. That function finds base64 by a
    long row of letters and digits. Short secrets, and those with characters for which base64 may
    have a sign, have none, so that these need the starts of their base64 as well.
    """
    text = bare_secret(secret)
    if len(text) < MIN_SECRET_CHARACTERS:
        return NO_NEEDLES
    has_row = len(text) >= MIN_BASE64_ROW_CHARACTERS and text.isascii()
    if has_row and not ("~" in text or "?" in text or ">" in text):
        return (), text.lower()
    return _base64_starts(text), text.lower()


def _base64_starts(text: str) -> Sequence[str]:
    """Return the first base64 characters that depend on the text alone, at each alignment."""
    first = text.encode(errors="replace")[:BASE64_START_BYTES]
    # All three at once, each filled up to whole groups: 8, 12 and 12 characters.
    groups = b2a_base64(b"%b\0%b\0\0\0\0%b\0" % (first, first, first), newline=False).decode()
    starts = groups[:8], groups[10:17], groups[23:30]
    if "+" in groups or "/" in groups:
        return *starts, *(start.replace("+", "-").replace("/", "_") for start in starts)
    return starts


def may_hold_secret(text: str, *needles: SearchNeedles, raw: bytes | None = None) -> bool:
    """Return False if the text certainly holds none: all that most texts cost.

    `raw` is the text in bytes, where the caller has it. Parts without secrets may be left out.
    """
    if _may_hold_unescaped(text, needles):
        return True
    if raw is None:
        raw = text.encode(errors="replace")
    if encodings.may_be_encoded(raw):
        return True
    if not encodings.may_have_escapes(text):
        return False
    plain = encodings.unescape(raw)
    return _may_hold_unescaped(plain.decode(errors="replace"), needles) or (
        encodings.may_be_encoded(plain)
    )


def _may_hold_unescaped(text: str, needles: Sequence[SearchNeedles]) -> bool:
    folded = text.lower()
    for exact, in_small in needles:
        if in_small and in_small in folded:
            return True
        for needle in exact:
            if needle in text:
                return True
    if FOLDED_OWN_TOKEN_PATTERN.search(folded):
        return True
    return " " in text and ("earer " in folded or "asic " in folded)


def redact_value(value: Any, secrets: KnownSecrets) -> Any:
    """Return the value without secrets in any text of it, at any depth, also in member names."""
    if isinstance(value, str):
        return redact_text(value, secrets)
    if isinstance(value, dict):
        return _redact_members(value, secrets)
    if isinstance(value, list | tuple):
        return [redact_value(each, secrets) for each in value]
    return value


def _redact_members(members: dict[Any, Any], secrets: KnownSecrets) -> dict[Any, Any]:
    """Redact names and values; names that become alike are numbered, so that none is lost."""
    found: dict[Any, Any] = {}
    for name, value in sorted(members.items(), key=lambda member: str(member[0])):
        shown = wanted = redact_value(name, secrets)
        number = 2
        while shown in found:
            shown, number = f"{wanted} ({number})", number + 1
        found[shown] = redact_value(value, secrets)
    return found


def redact_text(text: str, secrets: KnownSecrets = ()) -> str:
    """Return the text with each secret shortened."""
    if not any(
        may_hold_secret(text, search_needles(each.text)) for each in secrets
    ) and not may_hold_secret(text):
        return text
    # Bytes, because base64 and escapes are found in bytes, and offsets have to agree.
    raw = text.encode(errors="replace")
    shown = _replace_spans(raw, _all_spans(raw, secrets))
    shown = _replace_spans(shown, _spans_in_encodings(shown, secrets))
    return text if shown == raw else shown.decode(errors="replace")


def _replace_spans(raw: bytes, spans: Iterator[RedactedSpan]) -> bytes:
    parts, at = [], 0
    for span in sorted(spans):
        if span.start >= at:
            parts += [raw[at : span.start], span.shown.encode()]
        at = max(at, span.end)
    return b"".join((*parts, raw[at:]))


def _all_spans(raw: bytes, secrets: KnownSecrets) -> Iterator[RedactedSpan]:
    yield from _spans_in(raw, secrets)
    plain, starts = encodings.unescape_with_offsets(raw)
    if plain != raw:
        for start, end, shown in _spans_in(plain, secrets):
            yield RedactedSpan(starts[start], starts[end], shown)


def _spans_in(text: bytes, secrets: KnownSecrets) -> Iterator[RedactedSpan]:
    """Yield the spans of known secrets and, without overlap in what is shown, of our own shapes."""
    named = [span for secret in secrets for span in secret.spans(text)]
    yield from named
    for span in _spans_by_shape(text):
        inside = (each for each in named if span.start < each.end and each.start < span.end)
        yield RedactedSpan(span.start, span.end, next(inside, span).shown)


def _spans_in_encodings(raw: bytes, secrets: KnownSecrets) -> Iterator[RedactedSpan]:
    """Yield whole runs of base64 or hexadecimal digits that hold a secret in any layer."""
    plain, starts = encodings.unescape_with_offsets(raw)
    if not encodings.may_be_encoded(plain):
        return
    for run in encodings.BASE64_RUN_PATTERN.finditer(plain):
        if shown := _shown_in_place_of_run(run[0], secrets):
            yield RedactedSpan(starts[run.start()], starts[run.end()], shown)


def _shown_in_place_of_run(run: bytes, secrets: KnownSecrets) -> str | None:
    """Return what is shown in place of a run, or None if no secret is in it."""
    try:
        for layer in encodings.layers(run):
            for secret in secrets:
                if secret.is_in(layer):
                    return secret.shown
            if layer != run and (span := next(_spans_by_shape(layer), None)):
                return span.shown
    except TooMuchToDecode:
        return NOT_SEARCHED_TEXT
    return None


def _spans_by_shape(text: bytes) -> Iterator[RedactedSpan]:
    plain = text.decode("latin-1")
    for own in OWN_TOKEN_PATTERN.finditer(plain):
        if own["key"] or tokens.is_own_token(own[0]):
            yield RedactedSpan(own.start(), own.end(), shorten_secret(own[0]))
    for folded in FOLDED_OWN_TOKEN_PATTERN.finditer(plain.lower()):
        own_text = plain[folded.start() : folded.end()]
        if own_text in (own_text.upper(), own_text.lower()):
            yield RedactedSpan(folded.start(), folded.end(), shorten_secret(own_text))
    yield from _own_tokens_in_base64(text)
    for found in BEARER_PATTERN.finditer(text):
        if any(character in b"0123456789" for character in found["token"]):
            yield _token_span(found)
    for found in BASIC_PATTERN.finditer(text):
        if _is_name_and_password(found["token"]):
            yield _token_span(found)


def _own_tokens_in_base64(text: bytes) -> Iterator[RedactedSpan]:
    if not encodings.may_be_encoded(text):
        return
    for decoded in encodings.decodings(text):
        for own in OWN_TOKEN_PATTERN.finditer(decoded.decode("latin-1")):
            if own["key"] or tokens.is_own_token(own[0]):
                yield from KnownSecret(own[0]).spans(text)


def _token_span(found: "re.Match[bytes]") -> RedactedSpan:
    return RedactedSpan(
        found.start("token"), found.end("token"), shorten_secret(found["token"].decode())
    )


def _is_name_and_password(token: bytes) -> bool:
    try:
        _, _, password = a2b_base64(token).partition(b":")
    except NotBase64:
        return False
    return bool(password)


def _positions_of(needle: bytes, text: bytes) -> Iterator[int]:
    """Yield the offset of each occurrence, overlapping ones included."""
    at = text.find(needle) if needle else -1
    while at >= 0:
        yield at
        at = text.find(needle, at + 1)


class KeyCandidates(NamedTuple):
    """Parts of texts that may be keys, and the texts that take too long to search."""

    parts: set[str]
    unsearched: set[str]


def key_candidates(value: Any) -> KeyCandidates:
    """Return the parts of a value's texts that may be keys: whole words, and words in a row.

    For callers who know keys by their fingerprints only. Encodings are looked into.
    """
    found = KeyCandidates(set(), set())
    for text in texts_in(value):
        try:
            found.parts.update(_candidate_words(text))
        except TooMuchToDecode:
            found.unsearched.add(text)
    return found


def drop_unsearched(value: Any, unsearched: Collection[str]) -> Any:
    """Return the value with NOT_SEARCHED_TEXT in place of these texts, at any depth."""
    if not unsearched:
        return value
    if isinstance(value, str):
        return NOT_SEARCHED_TEXT if value in unsearched else value
    if isinstance(value, dict):
        return {
            drop_unsearched(name, unsearched): drop_unsearched(item, unsearched)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [drop_unsearched(item, unsearched) for item in value]
    return value


def texts_in(value: Any) -> Iterator[str]:
    """Yield all texts of a value at any depth, member names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from texts_in(name)
            yield from texts_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts_in(each)


def _candidate_words(text: str) -> set[str]:
    """Return the words of a text, and words joined by separators, that may be a key.

    Raises:
        TooMuchToDecode: the text takes too long to search.
    """
    raw = text.encode(errors="replace")
    undecoded = {raw, encodings.unescape(raw)}
    found = {text} if MIN_SECRET_CHARACTERS <= len(text) <= MAX_KEY_CHARACTERS else set()
    for layer in encodings.layers(raw):
        plain = encodings.NOT_PRINTABLE.sub(b" ", layer).decode(errors="replace")
        for run in WORD_RUN_PATTERN.findall(plain.replace("\ufffd", " ")):
            found.update(_candidates_in_run(run))
            # What base64 stands in front of the key's may decode to letters as well.
            if layer not in undecoded:
                starts = range(min(MAX_DECODED_SUFFIXES, len(run) - MIN_SECRET_CHARACTERS))
                found.update(run[start:] for start in starts)
        if len(found) > MAX_CANDIDATES_PER_TEXT:
            raise TooMuchToDecode
    return found | {part.lower() for part in found if part.isupper()}


def _candidates_in_run(run: str) -> Iterator[str]:
    """Yield the run, and its pieces that stand in a row.

    Raises:
        TooMuchToDecode: the run has more pieces than MAX_PIECES_PER_RUN.
    """
    yield run
    for pattern in (WORD_PIECE_PATTERN, COARSE_PIECE_PATTERN):
        pieces = [(piece.start(), piece.end()) for piece in pattern.finditer(run)]
        if len(pieces) > MAX_PIECES_PER_RUN:
            raise TooMuchToDecode
        for at, (start, _) in enumerate(pieces):
            ends = [end for _, end in pieces[at : at + MAX_PIECES_PER_KEY]]
            # A long key has many pieces, and the padding of base64 belongs to none of them.
            for end in {*ends, len(run)}:
                if MIN_SECRET_CHARACTERS <= end - start <= MAX_KEY_CHARACTERS:
                    yield run[start:end]
