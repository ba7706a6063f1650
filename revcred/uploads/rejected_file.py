"""The refused rows as a list of the same shape, to be mended and sent again."""

import shutil
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from revcred.models import Upload
from revcred.uploads import files, problems
from revcred.uploads.opening import open_upload
from revcred.uploads.reading import ListReader, RowError
from revcred.uploads.writing import ListFormat, write_rejected

AT_ONCE = 1_000  # rows

FORMATS = {
    ".xlsx": ListFormat.XLSX,
    ".jsonl": ListFormat.JSON_LINES,
    ".ndjson": ListFormat.JSON_LINES,
}


def format_of(upload: Upload) -> ListFormat | None:
    """That of the file, or CSV for one that is read only. None if there is nothing to be had."""
    has_some = upload.is_staged and (
        upload.outcome.get("meanwhile") or upload.preview.get("counts", {}).get("refused")
    )
    if not has_some or not any(
        each(upload.pk).exists() for each in (files.path_of, files.refused_of)
    ):
        return None
    return FORMATS.get(Path(upload.file_name.lower()).suffix, ListFormat.CSV)


def write(upload: Upload, to: BinaryIO) -> None:
    kept = files.refused_of(upload.pk)
    if kept.exists():
        with kept.open("rb") as file:
            shutil.copyfileobj(file, to)
        return
    form = format_of(upload)
    assert form
    with open_upload(upload) as read:
        write_rejected(to, form, read.header, _rows(upload, read))


def keep(upload: Upload) -> None:
    """Before the file goes: the refused rows of it alone."""
    if format_of(upload) is None or not files.path_of(upload.pk).exists():
        return
    with files.private(files.refused_of(upload.pk)) as file:
        write(upload, file)


def _rows(upload: Upload, read: ListReader) -> Iterator[tuple[list[str], str]]:
    """Each row that is refused, with all that is wrong with it."""
    wanted = _reasons(upload)
    number, reasons = next(wanted, (None, ""))
    for at, cells in read.rows:
        if at != number:
            continue
        yield ([""] * len(read.header) if isinstance(cells, RowError) else cells), reasons
        number, reasons = next(wanted, (None, ""))


def _reasons(upload: Upload) -> Iterator[tuple[int | None, str]]:
    after = 0
    while some := problems.of(upload, after=after, most=AT_ONCE):
        for number, those in groupby(some, key=lambda each: each.row):
            yield number, " ".join(_worded(each) for each in those)
            after = number


def _worded(refusal: problems.Refusal) -> str:
    return f"{refusal.column}: {refusal.message}" if refusal.column else refusal.message
