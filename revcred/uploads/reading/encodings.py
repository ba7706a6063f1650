"""In what encoding a text was saved, and whether all of it was."""

import codecs
from pathlib import Path

from revcred.uploads.reading.lists import Unreadable

ENCODINGS = {"utf-8": "UTF-8", "windows-1252": "Windows-1252", "utf-16": "UTF-16"}

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
TITLES = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "windows-1252": "Windows-1252",
}
CHUNK = 1 << 20  # bytes


def encoding_of(
    path: Path, chosen: str | None = None, *, by_line: bool = True, advice: str = ""
) -> str:
    """What Python calls the encoding: the one of the mark it begins with, the chosen one, UTF-8.

    Raises Unreadable where the text is not in it, or in none that is read here; also where it is
    to be read by line, and one is longer than memory is for.
    """
    if chosen is not None and chosen not in ENCODINGS:
        raise Unreadable(f"The encoding may be {', '.join(ENCODINGS.values())}.")
    with path.open("rb") as file:
        start = file.read(4)
    encoding = next((MARKS[mark] for mark in MARKS if start.startswith(mark)), None)
    if encoding is None:
        encoding = "utf-16-le" if chosen == "utf-16" else chosen or "utf-8"
    _verify(path, encoding, by_line=by_line, advice="" if chosen else advice)
    return encoding


def _verify(path: Path, encoding: str, *, by_line: bool, advice: str) -> None:
    """Go through all of it, because the one wrong byte may be in the last row."""
    decoder = codecs.getincrementaldecoder(encoding)()
    read = lines = 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                pending = len(error.object) - len(chunk)
                before = error.object[: error.start].decode(encoding, errors="replace")
                raise Unreadable(
                    f"This is not {TITLES[encoding]}. {advice}".strip(),
                    row=lines + before.count("\n") + 1,
                    byte=read - pending + error.start + 1,
                ) from None
            if not chunk:
                return
            read += len(chunk)
            if by_line and len(chunk) == CHUNK and "\n" not in text and "\r" not in text:
                raise Unreadable("This line is too long.", row=lines + 1)
            lines += text.count("\n")
