"""JSON Lines: one object a line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from revcred.uploads.reading.encodings import encoding_of
from revcred.uploads.reading.lists import List, Unreadable
from revcred.uploads.reading.records import Record, decoded, of_records


@contextmanager
def open_json_lines(path: Path) -> Iterator[List]:
    """Raises Unreadable."""
    encoding = encoding_of(path)
    if not encoding.startswith("utf-8"):
        raise Unreadable("JSON Lines have to be in UTF-8.")
    size = path.stat().st_size
    with path.open("rb") as file:

        def records() -> Iterator[Record]:
            file.seek(3 if encoding == "utf-8-sig" else 0)
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, decoded(line)

        yield of_records("JSON Lines", records, lambda: file.tell() / size)
