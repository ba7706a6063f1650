"""Detection of a text file's encoding, and verification of all its bytes."""

import codecs
import re
from pathlib import Path

from django.utils.translation import gettext_noop

from revcred.uploads.reading.list_reader import UnreadableFile

KNOWN_ENCODINGS = {"utf-8": "UTF-8", "windows-1252": "Windows-1252", "utf-16": "UTF-16"}

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
ENCODING_TITLES = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "windows-1252": "Windows-1252",
}
# Of two characters of most scripts, one byte each is zero in UTF-16, and in no other text.
UNMARKED_UTF_16 = {
    "utf-16-le": re.compile(rb"[^\0]\0[^\0]\0", re.DOTALL),
    "utf-16-be": re.compile(rb"\0[^\0]\0[^\0]", re.DOTALL),
}
VERIFY_CHUNK_BYTES = 1 << 20  # bytes


def encoding_of(
    path: Path, chosen: str | None = None, *, by_line: bool = True, advice: str = ""
) -> str:
    """Return Python's name of the encoding: of the byte order mark, else `chosen`, else a guess.

    Without a mark it is UTF-8, or UTF-16 by its zero bytes.

    Raises UnreadableFile where a byte does not fit the encoding, and, if the text is to be read
    `by_line`, where a line is too long for memory.
    """
    if chosen is not None and chosen not in KNOWN_ENCODINGS:
        raise UnreadableFile(f"The encoding may be {', '.join(KNOWN_ENCODINGS.values())}.")
    with path.open("rb") as file:
        start = file.read(4)
    encoding = encoding_in(start)
    if encoding is None:
        encoding = "utf-16-le" if chosen == "utf-16" else chosen or "utf-8"
    _verify_encoding(path, encoding, by_line=by_line, advice="" if chosen else advice)
    return encoding


def encoding_in(start: bytes) -> str | None:
    """Return the encoding that the first bytes of a file tell, if they do."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if start.startswith(mark):
            return encoding
    return next((name for name, sign in UNMARKED_UTF_16.items() if sign.match(start)), None)


def _verify_encoding(path: Path, encoding: str, *, by_line: bool, advice: str) -> None:
    """Decode the whole file, because the one wrong byte may be in the last row."""
    decoder = codecs.getincrementaldecoder(encoding)()
    read = lines = 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(VERIFY_CHUNK_BYTES)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # The decoder may hold the first bytes of a character from the chunk before.
                pending = len(error.object) - len(chunk)
                before = error.object[: error.start].decode(encoding, errors="replace")
                raise UnreadableFile(
                    f"This is not {ENCODING_TITLES[encoding]}. {advice}".strip(),
                    row=lines + before.count("\n") + 1,
                    byte=read - pending + error.start + 1,
                ) from None
            if not chunk:
                return
            read += len(chunk)
            if (
                # A chunk of one megabyte without any line break: a line must fit into memory.
                by_line
                and len(chunk) == VERIFY_CHUNK_BYTES
                and "\n" not in text
                and "\r" not in text
            ):
                raise UnreadableFile(gettext_noop("This line is too long."), row=lines + 1)
            lines += text.count("\n")
