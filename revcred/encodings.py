"""Encodings in which a secret may be written, and how they are undone to find it.

A layer is one of: escapes (percent, JSON, HTML entities, compatible characters of Unicode), base64,
and hexadecimal digits. They are undone one in the other, MAX_LAYERS deep. Escapes are undone with
a note of where each byte came from, so that what is found can be cut out of the text as it was.
"""

import re
import sys
import unicodedata
from binascii import a2b_base64
from collections.abc import Iterator, Sequence
from html.entities import html5

MAX_LAYERS = 3  # of one encoding in another
MAX_DECODED_BYTES = 400_000  # of one text, in all layers together
MIN_DECODED_CHARACTERS = 8  # no secret is shorter

# %25 is an encoded percent sign: some proxies encode twice. So do loggers with backslashes.
ESCAPE_PATTERN = re.compile(
    rb"%(?:25)*(?P<percent>[0-9A-Fa-f]{2})"
    rb"|\\+u(?P<code>[0-9A-Fa-f]{4})"
    rb"|\\+x(?P<byte>[0-9A-Fa-f]{2})"
    rb'|\\+(?P<character>["\\/])'
    rb"|&(?:amp;)*\#(?:(?P<decimal>[0-9]{1,7})|[xX](?P<hexadecimal>[0-9A-Fa-f]{1,6}));?"
    rb"|&(?:amp;)*(?P<entity>[A-Za-z][A-Za-z0-9]{1,30});"
)
FROM_URL_SAFE_BASE64 = bytes.maketrans(b"-_", b"+/")
BASE64_RUN_PATTERN = re.compile(rb"[A-Za-z0-9+/_-]{11,}")
HEX_RUN_PATTERN = re.compile(rb"[0-9A-Fa-f]{16,}")
NOT_ASCII = re.compile(r"[^\x00-\x7f]")
NOT_PRINTABLE = re.compile(rb"[^!-~\x80-\xff]")
PRINTABLE_PATTERN = re.compile(rb"[ -~]{%d,}" % MIN_DECODED_CHARACTERS)

_BASE64_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _base64_character_class(numbers: Iterator[int]) -> bytes:
    """Return the regex class of the base64 characters with these values, in both alphabets."""
    characters = bytes(_BASE64_ALPHABET[number] for number in numbers)
    return b"[" + characters.replace(b"/", b"/_").replace(b"+", b"+-")


# Base64 or hexadecimal digits of printable ASCII: bits that are never set tell it from other text.
ENCODED_TEXT_PATTERN = re.compile(
    rb"(?:%b]%b]%b][A-Za-z0-9+/_-]){3}|(?:[2-7][0-9A-Fa-f]){8}"
    % (
        _base64_character_class(n for n in range(64) if n in range(8, 32)),
        _base64_character_class(n for n in range(64) if n & 15 in range(2, 8)),
        _base64_character_class(n for n in range(64) if not n & 2),
    )
)
# No encoded secret has a shorter row of letters and digits; of a UUID the longest has twelve.
LONG_ROW = b"a" * 13
ROW_CLASSES = bytes(ord("a" if chr(n).isascii() and chr(n).isalnum() else " ") for n in range(256))
LONG_RUN_PATTERN = re.compile(rb"(?<![A-Za-z0-9])[A-Za-z0-9]{13,}[A-Za-z0-9+/_-]*")


class TooMuchToDecode(Exception):
    """The layers of a text are more than MAX_DECODED_BYTES: not all of it was looked at."""


def may_be_encoded(text: bytes) -> bool:
    """Return False if the text certainly has no base64 or hexadecimal digits of printable text."""
    if LONG_ROW not in text.translate(ROW_CLASSES):
        return False
    return any(ENCODED_TEXT_PATTERN.search(run) for run in LONG_RUN_PATTERN.findall(text))


def may_have_escapes(text: str) -> bool:
    """Return False if the text certainly has none."""
    return "%" in text or "\\" in text or "&" in text or not text.isascii()


def unescape_with_offsets(raw: bytes) -> tuple[bytes, Sequence[int]]:
    """Return the text without escapes, and for each byte of it (and the end) its place in `raw`."""
    plain, starts = raw, range(len(raw) + 1)
    for _ in range(MAX_LAYERS):
        before = plain
        for step in (_unescape_once, _normalize):
            changed, here = step(plain)
            if changed != plain:
                plain, starts = changed, [starts[at] for at in here]  # type: ignore[assignment]
        if plain == before:
            break
    return plain, starts


def unescape(text: bytes) -> bytes:
    """Return the text without escapes. A mixture of kinds is undone MAX_LAYERS times."""
    for _ in range(MAX_LAYERS):
        before = text
        text = ESCAPE_PATTERN.sub(_escaped_character, text)
        if not text.isascii():
            shown = text.decode(errors="surrogateescape")
            text = NOT_ASCII.sub(_compatible_match, shown).encode(errors="surrogateescape")
        if text == before:
            break
    return text


def layers(text: bytes) -> Iterator[bytes]:
    """Yield all that the text may be read as: itself, without escapes, decoded, decoded again.

    Raises:
        TooMuchToDecode: there is more than what was yielded.
    """
    left = MAX_DECODED_BYTES
    seen = {text}
    level = [text]
    for depth in range(MAX_LAYERS + 1):
        deeper: list[bytes] = []
        for each in level:
            yield each
            shown = unescape(each)
            if shown != each:
                yield shown
            if depth == MAX_LAYERS:
                continue
            for decoded in decodings(shown):
                if decoded in seen:
                    continue
                left -= len(decoded)
                if left < 0:
                    raise TooMuchToDecode
                seen.add(decoded)
                deeper.append(decoded)
        level = deeper


def decodings(text: bytes) -> Iterator[bytes]:
    """Yield what runs of base64 or hexadecimal digits in the text decode to, if it may be text."""
    for run in BASE64_RUN_PATTERN.findall(text):
        yield from decodings_of_run(run)


def decodings_of_run(run: bytes) -> Iterator[bytes]:
    """Yield what a run decodes to at each offset, if it may be text."""
    standard = run.translate(FROM_URL_SAFE_BASE64)
    for offset in range(4):
        whole = standard[offset:]
        decoded = a2b_base64(whole + b"A" * (-len(whole) % 4))
        if PRINTABLE_PATTERN.search(decoded):
            yield decoded
    for decoded in _from_hex(run):
        if PRINTABLE_PATTERN.search(decoded):
            yield decoded


def _from_hex(text: bytes) -> Iterator[bytes]:
    for run in HEX_RUN_PATTERN.findall(text):
        for offset in range(2):
            whole = run[offset:]
            yield bytes.fromhex(whole[: len(whole) & ~1].decode())


def _unescape_once(raw: bytes) -> tuple[bytes, Sequence[int]]:
    if not ESCAPE_PATTERN.search(raw):
        return raw, range(len(raw) + 1)
    shown = bytearray()
    starts: list[int] = []
    at = 0
    for escape in ESCAPE_PATTERN.finditer(raw):
        shown += raw[at : escape.start()]
        starts += range(at, escape.start())
        replacement = _escaped_character(escape)
        shown += replacement
        starts += [escape.start()] * len(replacement)
        at = escape.end()
    shown += raw[at:]
    starts += range(at, len(raw) + 1)
    return bytes(shown), starts


def _escaped_character(escape: "re.Match[bytes]") -> bytes:
    """Return the bytes that an escape stands for."""
    if escape["percent"] or escape["byte"]:
        return bytes([int(escape["percent"] or escape["byte"], 16)])
    if escape["code"]:
        return chr(int(escape["code"], 16)).encode(errors="surrogatepass")
    if escape["character"]:
        return escape["character"]
    if escape["entity"]:
        return html5.get(escape["entity"].decode() + ";", escape[0].decode()).encode()
    number = int(escape["decimal"]) if escape["decimal"] else int(escape["hexadecimal"], 16)
    return chr(number).encode(errors="surrogatepass") if number <= sys.maxunicode else escape[0]


def _normalize(raw: bytes) -> tuple[bytes, Sequence[int]]:
    """Return the text with wide and styled characters as plain ones, without invisible ones."""
    if raw.isascii():
        return raw, range(len(raw) + 1)
    shown = bytearray()
    starts: list[int] = []
    at = 0
    for character in raw.decode(errors="surrogateescape"):
        replacement = _compatible_character(character).encode(errors="surrogateescape")
        shown += replacement
        starts += [at] * len(replacement)
        at += len(character.encode(errors="surrogateescape"))
    starts.append(at)
    return bytes(shown), starts


def _compatible_character(character: str) -> str:
    if character.isascii() or "\udc80" <= character <= "\udcff":  # or a byte that is no text
        return character
    if unicodedata.category(character) == "Cf":
        return ""
    return unicodedata.normalize("NFKC", character)


def _compatible_match(found: "re.Match[str]") -> str:
    return _compatible_character(found[0])
