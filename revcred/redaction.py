"""Redaction: cut known secrets, and anything of the shape of our own tokens, out of text.

A secret is found as it is, behind `Bearer `, in a query, percent-encoded, escaped as in JSON, and
in base64 at any alignment (as in `Basic`, behind a user name). An ellipsis and its last four
characters stay, as on every page.
"""

import re
from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from revcred import tokens
from revcred.fingerprints import hint

# Shorter texts are names more often than secrets: cutting "demo" out of a path hides nothing.
MIN_SECRET_CHARACTERS = 8  # characters
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
# a gateway's token is known with it and without
FOREIGN_TOKEN_PREFIX = "hak_"  # noqa: S105 - begins a token

# %25 is an encoded percent sign: some proxies encode twice. So do loggers with backslashes.
ESCAPE_PATTERN = re.compile(
    rb"%(?:25)*(?P<percent>[0-9A-Fa-f]{2})"
    rb"|\\+u(?P<code>[0-9A-Fa-f]{4})"
    rb'|\\+(?P<character>["\\/])'
)
# Tokens have a checksum; keys and secrets may be of a time when they had none. That all of it
# begins with one letter, and not in a group, lets it be looked for by that: most texts are only
# looked through.
KEY_PREFIXES = ("rck_", "rcs_")
OWN_TOKEN_PATTERN = re.compile(
    r"r(?:(?P<key>c[ks]_(?:[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{16,42}))|v[gu]_[0-9A-Za-z]{38})"
)
# Behind these schemes of an Authorization header stands a secret, whoever issued it.
SECRET_SCHEME_PATTERN = re.compile(r"(?:bearer|basic|apikey|token)\s+", re.IGNORECASE)
BEARER_PATTERN = re.compile(rb"\bbearer +(?P<token>[A-Za-z0-9._~+/-]{16,}=*)", re.IGNORECASE)
BASIC_PATTERN = re.compile(rb"\bbasic +(?P<token>[A-Za-z0-9+/]{8,}=*)", re.IGNORECASE)
BASE64_PADDING = re.compile(rb"=*")
FROM_URL_SAFE_BASE64 = bytes.maketrans(b"-_", b"+/")
TO_URL_SAFE_BASE64 = bytes.maketrans(b"+/", b"-_")
# Texts without blanks, quotes, brackets or separators of a query: whole words.
WORD_RUN_PATTERN = re.compile(r"[^\s\"'<>(){}\[\],;&?#|\\]{8,1000}")
# Parts of a word between the separators that keys and paths use.
WORD_PIECE_PATTERN = re.compile(r"[^-_.:/=+~@!$*%]+")
# 8 bytes, the shortest secret, take at least 11 characters of base64.
BASE64_RUN_PATTERN = re.compile(r"[A-Za-z0-9+/_-]{11,}")
NOT_PRINTABLE_ASCII = re.compile(r"[^!-~]")
# Limits of what one text may cost: pieces are combined, which grows with their product.
MAX_PIECES_PER_RUN = 40
MAX_PIECES_PER_KEY = 12
MAX_CANDIDATE_CHARACTERS = 1_000  # characters
BASE64_START_BYTES = 6  # of a secret, enough to find where its base64 begins
OWN_PREFIX_CHARACTERS = 4  # characters


def _certain_base64(raw: bytes, alignment: int) -> bytes:
    """Return the base64 characters that depend on `raw` alone.

    `alignment`: number of other bytes before it, modulo 3. Characters that also encode a
    neighbour's bits are left out.
    """
    whole = b2a_base64(b"\0" * alignment + raw, newline=False)
    return whole[alignment and alignment + 1 : 8 * (alignment + len(raw)) // 6]


# Base64 of our own prefixes at each alignment: one search finds any token issued here.
BASE64_STARTS_BY_PREFIX = {
    prefix: tuple(_certain_base64(prefix.encode(), alignment).decode() for alignment in range(3))
    for prefix in (*KEY_PREFIXES, *tokens.TOKEN_PREFIXES)
}
OWN_TOKEN_NEEDLES = tuple(start for starts in BASE64_STARTS_BY_PREFIX.values() for start in starts)


class RedactedSpan(NamedTuple):
    """A part of a text, as byte offsets, and what is shown in its place."""

    start: int
    end: int
    shown: str


class KnownSecret:
    """A secret to search for, and what is shown in its place."""

    __slots__ = ("shown", "text")

    def __init__(self, text: str) -> None:
        self.text = bare_secret(text)
        self.shown = shorten_secret(self.text)

    def __repr__(self) -> str:
        return f"Secret({self.shown})"

    def spans(self, text: bytes) -> Iterator[RedactedSpan]:
        """Yield where the secret occurs in a text: plainly, with + for blanks, or in base64."""
        raw = self.text.encode(errors="replace")
        for needle in {raw, raw.replace(b" ", b"+")}:
            for start in _positions_of(needle, text):
                yield RedactedSpan(start, start + len(needle), self.shown)
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


def search_needles(secret: str) -> Sequence[str]:
    """Return strings of which a text has one if it holds the secret: itself, or base64 starts."""
    if starts := BASE64_STARTS_BY_PREFIX.get(secret[:OWN_PREFIX_CHARACTERS]):
        return secret, *starts
    text = bare_secret(secret)
    return (text, *_base64_starts(text)) if len(text) >= MIN_SECRET_CHARACTERS else ()


def long_search_needles(secret: str) -> Sequence[str]:
    """Return all of the secret's base64 in each alignment, for searching many texts.

    A long needle is ruled out sooner than a short one.
    """
    raw = bare_secret(secret).encode(errors="replace")
    if len(raw) < MIN_SECRET_CHARACTERS:
        return ()
    whole = [_certain_base64(raw, alignment) for alignment in range(3)]
    return [
        each.decode() for each in {*whole, *(item.translate(TO_URL_SAFE_BASE64) for item in whole)}
    ]


def _base64_starts(text: str) -> Sequence[str]:
    """Return the first base64 characters that depend on the text alone, at each alignment."""
    first = text.encode(errors="replace")[:BASE64_START_BYTES]
    # All three alignments in one call, each padded to whole groups: 8, 12 and 12 characters.
    groups = b2a_base64(b"%b\0%b\0\0\0\0%b\0" % (first, first, first), newline=False).decode()
    starts = groups[:8], groups[10:17], groups[23:30]
    if "+" in groups or "/" in groups:
        return *starts, *(start.replace("+", "-").replace("/", "_") for start in starts)
    return starts


def may_hold_secret(text: str, needles: Sequence[str] = OWN_TOKEN_NEEDLES) -> bool:
    """Return False if the text certainly holds none: all that most texts cost."""
    if _may_hold_unescaped(text, needles):
        return True
    if "%" not in text and "\\" not in text:
        return False
    plain = ESCAPE_PATTERN.sub(_escaped_character, text.encode(errors="replace")).decode(
        errors="replace"
    )
    return _may_hold_unescaped(plain, needles)


def _may_hold_unescaped(text: str, needles: Sequence[str]) -> bool:
    for needle in needles:
        if needle in text:
            return True
    if OWN_TOKEN_PATTERN.search(text):
        return True
    return " " in text and ("earer " in text or "asic " in text)


def redact_value(value: Any, secrets: KnownSecrets) -> Any:
    """Return the value without secrets in any text of it, at any depth, also in member names."""
    if isinstance(value, str):
        return redact_text(value, secrets)
    if isinstance(value, dict):
        return _redact_members(value, secrets)
    if isinstance(value, list | tuple):
        return [redact_value(item, secrets) for item in value]
    return value


def _redact_members(members: dict[Any, Any], secrets: KnownSecrets) -> dict[Any, Any]:
    """Redact names and values; names that become alike are numbered, so that none is lost."""
    found: dict[Any, Any] = {}
    # Sorted, so that the numbering does not depend on the order of members.
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
        may_hold_secret(text, search_needles(secret.text)) for secret in secrets
    ) and not may_hold_secret(text):
        return text
    raw = text.encode(errors="replace")
    # Bytes, because base64 and escapes are found in bytes, and offsets have to agree.
    spans = sorted(_all_spans(raw, secrets))
    if not spans:
        return text
    parts, at = [], 0
    for span in spans:
        if span.start >= at:
            parts += [raw[at : span.start], span.shown.encode()]
        at = max(at, span.end)
    return b"".join((*parts, raw[at:])).decode(errors="replace")


def _all_spans(raw: bytes, secrets: KnownSecrets) -> Iterator[RedactedSpan]:
    yield from _spans_in(raw, secrets)
    if b"%" in raw or b"\\" in raw:
        plain, starts = _unescape_bytes(raw)
        for start, end, shown in _spans_in(plain, secrets):
            yield RedactedSpan(starts[start], starts[end], shown)


def _spans_in(text: bytes, secrets: KnownSecrets) -> Iterator[RedactedSpan]:
    """Yield the spans of known secrets and, without overlap in what is shown, of our own shapes."""
    named = [span for secret in secrets for span in secret.spans(text)]
    yield from named
    for span in _spans_by_shape(text):
        inside = (each for each in named if span.start < each.end and each.start < span.end)
        yield RedactedSpan(span.start, span.end, next(inside, span).shown)


def _spans_by_shape(text: bytes) -> Iterator[RedactedSpan]:
    for own in OWN_TOKEN_PATTERN.finditer(text.decode("latin-1")):
        if own["key"] or tokens.is_own_token(own[0]):
            yield RedactedSpan(own.start(), own.end(), shorten_secret(own[0]))
    yield from _own_tokens_in_base64(text)
    for found in BEARER_PATTERN.finditer(text):
        # Words such as "bearer authentication-required" have no digit.
        if any(character in b"0123456789" for character in found["token"]):
            yield _token_span(found)
    for found in BASIC_PATTERN.finditer(text):
        if _is_name_and_password(found["token"]):
            yield _token_span(found)


def _own_tokens_in_base64(text: bytes) -> Iterator[RedactedSpan]:
    if not any(needle.encode() in text for needle in OWN_TOKEN_NEEDLES):
        return
    for run in BASE64_RUN_PATTERN.findall(text.decode("latin-1")):
        for decoded in _decode_base64_run(run):
            for own in OWN_TOKEN_PATTERN.finditer(decoded):
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


def _unescape_bytes(raw: bytes) -> tuple[bytes, list[int]]:
    """Return the text without escapes, and for each byte of it (and the end) its place in `raw`."""
    plain = bytearray()
    starts: list[int] = []
    at = 0
    for escape in ESCAPE_PATTERN.finditer(raw):
        plain += raw[at : escape.start()]
        starts += range(at, escape.start())
        character = _escaped_character(escape)
        plain += character
        starts += [escape.start()] * len(character)
        at = escape.end()
    plain += raw[at:]
    starts += range(at, len(raw) + 1)
    return bytes(plain), starts


def _escaped_character(escape: "re.Match[bytes]") -> bytes:
    """Return the bytes that an escape stands for."""
    if escape["percent"]:
        return bytes([int(escape["percent"], 16)])
    if escape["code"]:
        return chr(int(escape["code"], 16)).encode(errors="surrogatepass")
    return escape["character"]


def _positions_of(needle: bytes, text: bytes) -> Iterator[int]:
    """Yield the offset of each occurrence, overlapping ones included."""
    at = text.find(needle) if needle else -1
    while at >= 0:
        yield at
        at = text.find(needle, at + 1)


def key_candidates(value: Any) -> set[str]:
    """Return the parts of a value's texts that may be keys: whole words, and words in a row.

    For callers who know keys by their fingerprints only. Escapes and base64 are looked into.
    """
    found: set[str] = set()
    for text in _texts_in(value):
        found |= _candidate_words(text)
        if "%" in text or "\\" in text:
            plain, _ = _unescape_bytes(text.encode(errors="replace"))
            found |= _candidate_words(plain.decode(errors="replace"))
        for run in BASE64_RUN_PATTERN.findall(text):
            for decoded in _decode_base64_run(run):
                found |= _candidate_words(decoded)
    return found


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _texts_in(name)
            yield from _texts_in(each)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts_in(item)


def _candidate_words(text: str) -> set[str]:
    """Return the words of a text, and words joined by separators, that may be a key."""
    found = {text} if MIN_SECRET_CHARACTERS <= len(text) <= MAX_CANDIDATE_CHARACTERS else set()
    for run in WORD_RUN_PATTERN.findall(text):
        pieces = [(piece.start(), piece.end()) for piece in WORD_PIECE_PATTERN.finditer(run)][
            :MAX_PIECES_PER_RUN
        ]
        found.add(run)
        for at, (start, _) in enumerate(pieces):
            ends = [end for _, end in pieces[at : at + MAX_PIECES_PER_KEY]]
            # The padding of base64 belongs to no piece, but to the key.
            ends += [len(run)] if run[-1] == "=" else []
            found.update(run[start:end] for end in ends if end - start >= MIN_SECRET_CHARACTERS)
    return found


def _decode_base64_run(run: str) -> Iterator[str]:
    """Yield what base64 decodes to at each offset of the run, with blanks for what is not text."""
    # The run may begin in the middle of a group of four, so each offset is tried.
    standard = run.encode().translate(FROM_URL_SAFE_BASE64)
    for offset in range(4):
        whole = standard[offset:]
        decoded = a2b_base64(whole + b"A" * (-len(whole) % 4)).decode("latin-1")
        yield NOT_PRINTABLE_ASCII.sub(" ", decoded)
