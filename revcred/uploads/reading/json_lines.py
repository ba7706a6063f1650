"""JSON Lines: one object a line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from revcred.uploads.reading.encodings import encoding_of
from revcred.uploads.reading.list_reader import ListReader, UnreadableFile
from revcred.uploads.reading.records import NumberedRecord, decode_record, read_records
from revcred.uploads.reading.row_copiers import JsonLinesCopier


@contextmanager
def open_json_lines(path: Path) -> Iterator[ListReader]:
    """Open a file with one JSON object a line. Raises UnreadableFile."""
    encoding = encoding_of(path)
    if not encoding.startswith("utf-8"):
        raise UnreadableFile("JSON Lines have to be in UTF-8.")
    size = path.stat().st_size
    copier = JsonLinesCopier(encoding=encoding)
    with path.open("rb") as file:

        def records() -> Iterator[NumberedRecord]:
            # 3 bytes: the byte order mark
            file.seek(3 if encoding == "utf-8-sig" else 0)
            for number, line in enumerate(file, start=1):
                if line.strip():
                    copier.pass_record(line)
                    yield number, decode_record(line)

        yield read_records("JSON Lines", records, lambda: file.tell() / size, copier)
