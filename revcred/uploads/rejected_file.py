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

PROBLEM_ROWS_PER_QUERY = 1_000  # rows

REJECTED_FORMATS = {
    ".xlsx": ListFormat.XLSX,
    ".jsonl": ListFormat.JSON_LINES,
    ".ndjson": ListFormat.JSON_LINES,
}


def rejected_format_of(upload: Upload) -> ListFormat | None:
    """That of the file, or CSV for one that is read only. None if there is nothing to be had."""
    has_some = upload.is_staged and (
        upload.outcome.get("meanwhile") or upload.preview.get("counts", {}).get("refused")
    )
    if not has_some or not any(
        each(upload.pk).exists() for each in (files.list_file_path, files.rejected_file_path)
    ):
        return None
    return REJECTED_FORMATS.get(Path(upload.file_name.lower()).suffix, ListFormat.CSV)


def write_rejected_file(upload: Upload, to: BinaryIO) -> None:
    kept = files.rejected_file_path(upload.pk)
    if kept.exists():
        with kept.open("rb") as file:
            shutil.copyfileobj(file, to)
        return
    form = rejected_format_of(upload)
    assert form
    with open_upload(upload) as read:
        write_rejected(to, form, read.header, _rejected_rows(upload, read))


def keep_rejected_file(upload: Upload) -> None:
    """Before the file goes: the refused rows of it alone."""
    if rejected_format_of(upload) is None or not files.list_file_path(upload.pk).exists():
        return
    with files.private_file(files.rejected_file_path(upload.pk)) as file:
        write_rejected_file(upload, file)


def _rejected_rows(upload: Upload, read: ListReader) -> Iterator[tuple[list[str], str]]:
    """Each row that is refused, with all that is wrong with it."""
    wanted = _reasons_by_row(upload)
    number, reasons = next(wanted, (None, ""))
    for at, cells in read.rows:
        if at != number:
            continue
        yield ([""] * len(read.header) if isinstance(cells, RowError) else cells), reasons
        number, reasons = next(wanted, (None, ""))


def _reasons_by_row(upload: Upload) -> Iterator[tuple[int | None, str]]:
    after = 0
    while some := problems.row_problems(upload, after=after, most=PROBLEM_ROWS_PER_QUERY):
        for number, those in groupby(some, key=lambda each: each.row):
            yield number, " ".join(_reason_text(each) for each in those)
            after = number


def _reason_text(refusal: problems.RowProblem) -> str:
    return f"{refusal.column}: {refusal.message}" if refusal.column else refusal.message
