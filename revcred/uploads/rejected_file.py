"""Rejected rows as a list in the format of the file, to be corrected and uploaded again."""

import shutil
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from revcred.list_files import ListFormat
from revcred.models import Upload
from revcred.uploads import files, problems
from revcred.uploads.opening import open_upload
from revcred.uploads.reading import ListReader, RowError
from revcred.uploads.writing import write_rejected

PROBLEM_ROWS_PER_QUERY = 1_000

# YAML, plain JSON and exports of other systems are only read.
REJECTED_FORMATS = {
    ".xlsx": ListFormat.XLSX,
    ".jsonl": ListFormat.JSON_LINES,
    ".ndjson": ListFormat.JSON_LINES,
}


def rejected_format_of(upload: Upload) -> ListFormat | None:
    """Return the file's format, or CSV if revcred cannot write it.

    None if no row was rejected, or the rows have been deleted.
    """
    has_rejected = upload.is_staged and (
        upload.outcome.get("meanwhile") or upload.preview.get("counts", {}).get("rejected")
    )
    paths = (files.list_file_path(upload.pk), files.rejected_file_path(upload.pk))
    if not has_rejected or not any(path.exists() for path in paths):
        return None
    return REJECTED_FORMATS.get(Path(upload.file_name.lower()).suffix, ListFormat.CSV)


def write_rejected_file(upload: Upload, to: BinaryIO) -> None:
    """Write the rejected rows: those kept at the end of the upload, or else from its file."""
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
    """Keep the rejected rows in a file of their own, because the upload's file is deleted next."""
    if rejected_format_of(upload) is None or not files.list_file_path(upload.pk).exists():
        return
    with files.private_file(files.rejected_file_path(upload.pk)) as file:
        write_rejected_file(upload, file)


def _rejected_rows(upload: Upload, read: ListReader) -> Iterator[tuple[list[str], str]]:
    """Yield the cells of each rejected row, and the text of its problems."""
    # Both come in order of row numbers, so that neither has to fit into memory.
    rejected = _reasons_by_row(upload)
    rejected_number, reasons = next(rejected, (None, ""))
    for number, cells in read.rows:
        if number != rejected_number:
            continue
        yield ([""] * len(read.header) if isinstance(cells, RowError) else cells), reasons
        rejected_number, reasons = next(rejected, (None, ""))


def _reasons_by_row(upload: Upload) -> Iterator[tuple[int | None, str]]:
    after = 0
    while found := problems.row_problems(upload, after=after, most=PROBLEM_ROWS_PER_QUERY):
        for number, of_row in groupby(found, key=lambda problem: problem.row):
            yield number, " ".join(_reason_text(problem) for problem in of_row)
            after = number


def _reason_text(problem: problems.RowProblem) -> str:
    return f"{problem.column}: {problem.message}" if problem.column else problem.message
