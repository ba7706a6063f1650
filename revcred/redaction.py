"""Cut secrets out of text: those that are named, and whatever has the shape of our own tokens.

A secret is found as it is, behind `Bearer `, in a query, percent-encoded, escaped as in JSON, and
in base64 at any alignment (as in `Basic`, behind a user's name). An ellipsis and its last four
characters are left of it, as on every page.
"""

import re
from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from revcred import tokens
from revcred.fingerprints import hint

# Shorter ones are names more often than secrets: cutting "demo" out of a path would hide nothing.
SHORTEST_SECRET = 8  # characters
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
FOREIGN_PREFIX = "hak_"  # a gateway's token is known with it and without

ESCAPE = re.compile(
    rb"%(?:25)*(?P<percent>[0-9A-Fa-f]{2})"
    rb"|\\+u(?P<code>[0-9A-Fa-f]{4})"
    rb'|\\+(?P<character>["\\/])'
)
# Tokens have a checksum; keys and secrets may be of a time when they had none. That all of it
# begins with one letter, and not in a group, lets it be looked for by that: most texts are only
# looked through.
KEY_PREFIXES = ("rck_", "rcs_")
OWN = re.compile(
    r"r(?:(?P<key>c[ks]_(?:[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{16,42}))|v[gu]_[0-9A-Za-z]{38})"
)
# What the scheme itself says is a secret, whoever's it is.
SCHEME = re.compile(r"(?:bearer|basic|apikey|token)\s+", re.IGNORECASE)
BEARER = re.compile(rb"\bbearer +(?P<token>[A-Za-z0-9._~+/-]{16,}=*)", re.IGNORECASE)
BASIC = re.compile(rb"\bbasic +(?P<token>[A-Za-z0-9+/]{8,}=*)", re.IGNORECASE)
PADDING = re.compile(rb"=*")
FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
RUN = re.compile(r"[^\s\"'<>(){}\[\],;&?#|\\]{8,1000}")
PIECE = re.compile(r"[^-_.:/=+~@!$*%]+")
BASE64_RUN = re.compile(r"[A-Za-z0-9+/_-]{11,}")
NOT_ASCII = re.compile(r"[^!-~]")
MOST_PIECES = 40  # of one run that are looked at
MOST_PIECES_OF_A_KEY = 12
LONGEST_KEY = 1_000  # characters
STARTING_BYTES = 6  # of a secret, by whose base64 the rest is found
OWN_PREFIX = 4  # characters


def _base64_of(raw: bytes, alignment: int) -> bytes:
    """The characters of its base64 that follow from it alone, behind that many other bytes."""
    whole = b2a_base64(b"\0" * alignment + raw, newline=False)
    return whole[alignment and alignment + 1 : 8 * (alignment + len(raw)) // 6]


# The same for whatever was issued here, by its prefix alone, and so at no cost.
OWN_STARTS = {
    prefix: tuple(_base64_of(prefix.encode(), alignment).decode() for alignment in range(3))
    for prefix in (*KEY_PREFIXES, *tokens.PREFIXES)
}
OWN_NEEDLES = tuple(start for starts in OWN_STARTS.values() for start in starts)


class Span(NamedTuple):
    """A part of a text, in bytes, and what is shown in its place."""

    start: int
    end: int
    shown: str


class Secret:
    """A text to be looked for, and what is shown in its place."""

    __slots__ = ("shown", "text")

    def __init__(self, text: str) -> None:
        self.text = bare(text)
        self.shown = shortened(self.text)

    def __repr__(self) -> str:
        return f"Secret({self.shown})"

    def spans(self, text: bytes) -> Iterator[Span]:
        raw = self.text.encode(errors="replace")
        for needle in {raw, raw.replace(b" ", b"+")}:
            for start in _places(needle, text):
                yield Span(start, start + len(needle), self.shown)
        standard = text.translate(FROM_URL_SAFE)
        for alignment, start_of_it in enumerate(_base64_starts(self.text)[:3]):
            for start in _places(start_of_it.encode(), standard):
                yield self._base64_span(raw, alignment, start, standard)

    def _base64_span(self, raw: bytes, alignment: int, start: int, text: bytes) -> Span:
        """All of its base64 that is there, with the characters shared with what is beside it."""
        whole = _base64_of(raw, alignment)
        length = next(
            (at for at, (a, b) in enumerate(zip(whole, text[start:], strict=False)) if a != b),
            min(len(whole), len(text) - start),
        )
        shared_before = 1 if alignment else 0
        shared_after = 1 if 8 * (alignment + len(raw)) % 6 else 0
        end = min(start + length + shared_after, len(text))
        padding = PADDING.match(text, end)
        return Span(start - shared_before, padding.end() if padding else end, self.shown)


Secrets = Sequence[Secret]


def bare(text: str) -> str:
    """The secret itself: without white space, a scheme such as `Bearer`, or the foreign prefix."""
    text = text.strip()
    if " " in text:
        text = SCHEME.sub("", text, count=1)
    return text.removeprefix(FOREIGN_PREFIX)


def secrets_of(*texts: str | None) -> list[Secret]:
    """Those of the texts that are long enough to be looked for."""
    return [Secret(text) for text in texts if text and len(bare(text)) >= SHORTEST_SECRET]


def has_own_shape(text: str) -> bool:
    """True of whatever was issued here: a key, a secret, or a token of a gateway or user."""
    found = OWN.fullmatch(text)
    return found is not None and (bool(found["key"]) or tokens.is_own(text))


def shortened(secret: str) -> str:
    return ELLIPSIS + hint(secret)


def needles_of(secret: str) -> Sequence[str]:
    """What a text has in it if the secret is there: itself, or the start of its base64."""
    if starts := OWN_STARTS.get(secret[:OWN_PREFIX]):
        return secret, *starts
    text = bare(secret)
    return (text, *_base64_starts(text)) if len(text) >= SHORTEST_SECRET else ()


def long_needles_of(secret: str) -> Sequence[str]:
    """The same for what is looked for in many texts: long ones are sooner known not to be there."""
    raw = bare(secret).encode(errors="replace")
    if len(raw) < SHORTEST_SECRET:
        return ()
    whole = [_base64_of(raw, alignment) for alignment in range(3)]
    return [each.decode() for each in {*whole, *(each.translate(TO_URL_SAFE) for each in whole)}]


def _base64_starts(text: str) -> Sequence[str]:
    """The first characters of a text's base64 that follow from it alone, at each alignment."""
    first = text.encode(errors="replace")[:STARTING_BYTES]
    # All three at once, each filled up to whole groups: 8, 12 and 12 characters.
    groups = b2a_base64(b"%b\0%b\0\0\0\0%b\0" % (first, first, first), newline=False).decode()
    starts = groups[:8], groups[10:17], groups[23:30]
    if "+" in groups or "/" in groups:
        return *starts, *(start.replace("+", "-").replace("/", "_") for start in starts)
    return starts


def may_hold(text: str, needles: Sequence[str] = OWN_NEEDLES) -> bool:
    """False if there is certainly nothing to be cut from the text: all that most texts cost."""
    if _may_hold_as_it_is(text, needles):
        return True
    if "%" not in text and "\\" not in text:
        return False
    plain = ESCAPE.sub(_meaning, text.encode(errors="replace")).decode(errors="replace")
    return _may_hold_as_it_is(plain, needles)


def _may_hold_as_it_is(text: str, needles: Sequence[str]) -> bool:
    for needle in needles:
        if needle in text:
            return True
    if OWN.search(text):
        return True
    return " " in text and ("earer " in text or "asic " in text)


def cut(value: Any, secrets: Secrets) -> Any:
    """The same value, with no secret in any text of it, at whatever depth; also not in names."""
    if isinstance(value, str):
        return cut_text(value, secrets)
    if isinstance(value, dict):
        return _cut_members(value, secrets)
    if isinstance(value, list | tuple):
        return [cut(each, secrets) for each in value]
    return value


def _cut_members(members: dict[Any, Any], secrets: Secrets) -> dict[Any, Any]:
    """Names that differ only in what is cut are numbered, so that no member is lost."""
    found: dict[Any, Any] = {}
    for name, value in sorted(members.items(), key=lambda member: str(member[0])):
        shown = wanted = cut(name, secrets)
        number = 2
        while shown in found:
            shown, number = f"{wanted} ({number})", number + 1
        found[shown] = cut(value, secrets)
    return found


def cut_text(text: str, secrets: Secrets = ()) -> str:
    if not any(may_hold(text, needles_of(each.text)) for each in secrets) and not may_hold(text):
        return text
    raw = text.encode(errors="replace")
    spans = sorted(_spans(raw, secrets))
    if not spans:
        return text
    parts, at = [], 0
    for span in spans:
        if span.start >= at:
            parts += [raw[at : span.start], span.shown.encode()]
        at = max(at, span.end)
    return b"".join((*parts, raw[at:])).decode(errors="replace")


def _spans(raw: bytes, secrets: Secrets) -> Iterator[Span]:
    yield from _spans_in(raw, secrets)
    if b"%" in raw or b"\\" in raw:
        plain, starts = _unescaped(raw)
        for start, end, shown in _spans_in(plain, secrets):
            yield Span(starts[start], starts[end], shown)


def _spans_in(text: bytes, secrets: Secrets) -> Iterator[Span]:
    named = [span for secret in secrets for span in secret.spans(text)]
    yield from named
    for span in _spans_by_shape(text):
        inside = (each for each in named if span.start < each.end and each.start < span.end)
        yield Span(span.start, span.end, next(inside, span).shown)


def _spans_by_shape(text: bytes) -> Iterator[Span]:
    for own in OWN.finditer(text.decode("latin-1")):
        if own["key"] or tokens.is_own(own[0]):
            yield Span(own.start(), own.end(), shortened(own[0]))
    yield from _own_in_base64(text)
    for found in BEARER.finditer(text):
        if any(character in b"0123456789" for character in found["token"]):
            yield _token_span(found)
    for found in BASIC.finditer(text):
        if _is_name_and_password(found["token"]):
            yield _token_span(found)


def _own_in_base64(text: bytes) -> Iterator[Span]:
    if not any(needle.encode() in text for needle in OWN_NEEDLES):
        return
    for run in BASE64_RUN.findall(text.decode("latin-1")):
        for decoded in _decoded(run):
            for own in OWN.finditer(decoded):
                if own["key"] or tokens.is_own(own[0]):
                    yield from Secret(own[0]).spans(text)


def _token_span(found: "re.Match[bytes]") -> Span:
    return Span(found.start("token"), found.end("token"), shortened(found["token"].decode()))


def _is_name_and_password(token: bytes) -> bool:
    try:
        _, _, password = a2b_base64(token).partition(b":")
    except NotBase64:
        return False
    return bool(password)


def _unescaped(raw: bytes) -> tuple[bytes, list[int]]:
    """The text without its escapes, and where in `raw` each of its bytes begins, and it ends."""
    plain = bytearray()
    starts: list[int] = []
    at = 0
    for escape in ESCAPE.finditer(raw):
        plain += raw[at : escape.start()]
        starts += range(at, escape.start())
        said = _meaning(escape)
        plain += said
        starts += [escape.start()] * len(said)
        at = escape.end()
    plain += raw[at:]
    starts += range(at, len(raw) + 1)
    return bytes(plain), starts


def _meaning(escape: "re.Match[bytes]") -> bytes:
    if escape["percent"]:
        return bytes([int(escape["percent"], 16)])
    if escape["code"]:
        return chr(int(escape["code"], 16)).encode(errors="surrogatepass")
    return escape["character"]


def _places(needle: bytes, text: bytes) -> Iterator[int]:
    at = text.find(needle) if needle else -1
    while at >= 0:
        yield at
        at = text.find(needle, at + 1)


def candidates(value: Any) -> set[str]:
    """Parts of the texts in a value that may be keys: whole words, and words in a row.

    For who knows keys by their fingerprints alone. What is escaped or in base64 is looked into.
    """
    found: set[str] = set()
    for text in _texts(value):
        found |= _words(text)
        if "%" in text or "\\" in text:
            plain, _ = _unescaped(text.encode(errors="replace"))
            found |= _words(plain.decode(errors="replace"))
        for run in BASE64_RUN.findall(text):
            for decoded in _decoded(run):
                found |= _words(decoded)
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _texts(name)
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _words(text: str) -> set[str]:
    found = {text} if SHORTEST_SECRET <= len(text) <= LONGEST_KEY else set()
    for run in RUN.findall(text):
        pieces = [(piece.start(), piece.end()) for piece in PIECE.finditer(run)][:MOST_PIECES]
        found.add(run)
        for at, (start, _) in enumerate(pieces):
            ends = [end for _, end in pieces[at : at + MOST_PIECES_OF_A_KEY]]
            # Base64 ends with signs that are no part of any piece.
            ends += [len(run)] if run[-1] == "=" else []
            found.update(run[start:end] for end in ends if end - start >= SHORTEST_SECRET)
    return found


def _decoded(run: str) -> Iterator[str]:
    """What base64 says wherever in the run it begins, with blanks for what is not text."""
    standard = run.encode().translate(FROM_URL_SAFE)
    for offset in range(4):
        whole = standard[offset:]
        decoded = a2b_base64(whole + b"A" * (-len(whole) % 4)).decode("latin-1")
        yield NOT_ASCII.sub(" ", decoded)
